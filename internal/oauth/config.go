package oauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// Defaults and limits.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultRequestTimeout = 20 * time.Second
	// MaxReply bounds an answer, headers included, in bytes.
	MaxReply = 1 << 20
	// MaxToken is the longest access token that is used, in bytes.
	MaxToken = 64 << 10
)

// Body is the encoding of the token request's body.
type Body uint8

// Bodies. RFC 6749 knows only the form; some providers want JSON.
const (
	BodyForm Body = iota
	BodyJSON
)

// ParseBody reads "form" or "json".
func ParseBody(s string) (Body, error) {
	switch s {
	case "form":
		return BodyForm, nil
	case "json":
		return BodyJSON, nil
	}
	return BodyForm, fmt.Errorf("body %q is unknown; it is form or json", s)
}

func (b Body) String() string {
	if b == BodyJSON {
		return "json"
	}
	return "form"
}

// Config describes one client at one token endpoint. TokenURL is required.
type Config struct {
	TokenURL string
	ClientID string
	Auth     AuthMethod
	Secret   grant.Secret // for ClientSecretBasic and ClientSecretPost
	Key      *SigningKey  // for PrivateKeyJWT
	// Audience of the assertion; "" means TokenURL (RFC 7523 §3).
	Audience string

	Body  Body
	Scope string // sent as it is; "" is not sent
	// ScopeSeparator splits the scope of the reply; "" means white space
	// (RFC 6749 §3.3). A "," splits at commas and white space.
	ScopeSeparator string
	Params         map[string]string // further request parameters
	Headers        map[string]string // further request headers

	// Codes and Statuses are the preset's own words on error codes and HTTP
	// statuses; they win over those of [Table]. A code may also be the whole text
	// of a reason, status, message or error_description; that wins over the code
	// beside it, and is shown in its place.
	Codes    map[string]grant.Fate
	Statuses map[int]grant.Fate

	ConnectTimeout time.Duration // 0: DefaultConnectTimeout
	RequestTimeout time.Duration // 0: DefaultRequestTimeout
	UserAgent      string        // "": "evergrant"

	// Proxy chooses the proxy for a URL; nil: HTTPS_PROXY and NO_PROXY of the
	// environment, as it was at the first call in this process. Loopback
	// addresses are always dialled directly.
	Proxy func(*url.URL) (*url.URL, error)
	// TLS is a starting point, such as roots of a test; nil: the system's
	// roots, or those that SSL_CERT_FILE and SSL_CERT_DIR name. A certificate
	// that the system's bundle alone, or SSL_CERT_FILE alone, does not verify
	// costs a second connection, which is then held to all of them.
	TLS *tls.Config
	Now func() time.Time // nil: time.Now
}

// Client implements [grant.Refresher]. It is safe for concurrent use; each
// Connect is an attempt of its own.
type Client struct {
	cfg Config
	url *url.URL
	net network
}

// New checks the configuration. Its errors are one line, fit for a user, and
// mean that nothing was sent.
func New(cfg Config) (*Client, error) {
	if err := ValidateTokenURL(cfg.TokenURL); err != nil {
		return nil, err
	}
	u, err := parseEndpoint(cfg.TokenURL)
	if err != nil {
		return nil, err
	}
	if err := cfg.checkAuth(); err != nil {
		return nil, err
	}
	if err := cfg.checkExtras(); err != nil {
		return nil, err
	}
	if cfg.ConnectTimeout < 0 || cfg.RequestTimeout < 0 {
		return nil, errors.New("a timeout is negative")
	}
	cfg.Params, cfg.Headers = maps.Clone(cfg.Params), maps.Clone(cfg.Headers)
	cfg.Codes, cfg.Statuses = maps.Clone(cfg.Codes), maps.Clone(cfg.Statuses)
	cfg.UserAgent = orDefault(cfg.UserAgent, "evergrant")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg, url: u, net: network{
		connectTimeout: orDefault(cfg.ConnectTimeout, DefaultConnectTimeout),
		requestTimeout: orDefault(cfg.RequestTimeout, DefaultRequestTimeout),
		userAgent:      cfg.UserAgent,
		proxy:          cfg.Proxy,
		tls:            cfg.TLS,
	}}, nil
}

// Binding is where the refresh tokens that this client presents belong.
func (c *Client) Binding() grant.Binding {
	return grant.Binding{TokenURL: c.cfg.TokenURL, ClientID: c.cfg.ClientID}
}

// Connect implements [grant.Refresher]: DNS, TCP, proxy and TLS, within
// Config.ConnectTimeout. An error is a *[grant.RefreshError] with Unspent.
func (c *Client) Connect(ctx context.Context) (grant.Connection, error) {
	conn, sent, err := c.net.open(ctx, c.url)
	if err != nil {
		return nil, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	return newConnection(c, conn, sent), nil
}

func (cfg *Config) checkAuth() error {
	switch cfg.Auth {
	case AuthNone:
		if !cfg.Secret.IsZero() {
			return errors.New("a client secret is given, but client authentication is none; choose basic or post")
		}
	case ClientSecretBasic, ClientSecretPost:
		if cfg.Secret.IsZero() {
			return fmt.Errorf("client authentication %s needs a client secret", cfg.Auth)
		}
	case PrivateKeyJWT:
		if cfg.Key == nil {
			return fmt.Errorf("client authentication %s needs a private key", cfg.Auth)
		}
	default:
		return fmt.Errorf("client authentication %s is unknown", cfg.Auth)
	}
	if cfg.Auth != AuthNone && cfg.ClientID == "" {
		return fmt.Errorf("client authentication %s needs a client id", cfg.Auth)
	}
	return nil
}

func (cfg *Config) checkExtras() error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		switch name {
		case "":
			return errors.New("a request parameter has no name")
		case "grant_type", "refresh_token", "client_id", "client_secret", "client_assertion", "client_assertion_type":
			return fmt.Errorf("request parameter %s is set by evergrant and cannot be overridden", name)
		case "scope":
			if cfg.Scope != "" {
				return errors.New("the scope is given twice: as scope and as a request parameter")
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		if !isFieldName(name) || !isFieldValue(cfg.Headers[name]) {
			return fmt.Errorf("request header %.64q is not a valid header", name)
		}
		switch name := http.CanonicalHeaderKey(name); name {
		case "Host", "Authorization", "Proxy-Authorization", "Connection", "Content-Length", "Content-Type",
			"Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "User-Agent", "Accept-Encoding":
			return fmt.Errorf("request header %s is set by evergrant and cannot be overridden", name)
		}
	}
	if !isFieldValue(cfg.UserAgent) {
		return errors.New("the user agent is not a valid header value")
	}
	return nil
}

func isFieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func isFieldValue(s string) bool { return printable(s) }

// printable reports whether s is made of printable ASCII: VSCHAR of RFC 6749
// appendix A, which is also what a header value may safely hold.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
