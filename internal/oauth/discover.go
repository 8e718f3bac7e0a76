package oauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Metadata is what an authorization server publishes about itself (RFC 8414
// §2, OpenID Connect Discovery 1.0 §3). Only TokenEndpoint is checked.
type Metadata struct {
	Issuer                      string
	TokenEndpoint               string
	AuthorizationEndpoint       string
	DeviceAuthorizationEndpoint string
	RevocationEndpoint          string
	IntrospectionEndpoint       string
	UserinfoEndpoint            string
	JWKSURI                     string
	AuthMethods                 []string // token_endpoint_auth_methods_supported
	GrantTypes                  []string
	Scopes                      []string
	CodeChallengeMethods        []string
	// IssParameter: the answer of the authorization endpoint names its issuer,
	// and one that does not is not from there (RFC 9207 §2.3).
	IssParameter bool
}

// DiscoverConfig is how [Discover] reaches the issuer. The zero value is usable;
// the fields mean what they mean in [Config].
type DiscoverConfig struct {
	ConnectTimeout, RequestTimeout time.Duration
	UserAgent                      string
	Proxy                          func(*url.URL) (*url.URL, error)
	TLS                            *tls.Config
}

// errNoDocument: the server is there, and has no metadata at this address.
var errNoDocument = errors.New("no metadata")

// Discover fetches an issuer's metadata: from the address of RFC 8414 §3, else
// from that of OpenID Connect. The document must name exactly this issuer
// (RFC 8414 §3.3), and its token endpoint must pass [ValidateTokenURL]; an https
// issuer must name an https endpoint. Redirects are not followed. Errors are one
// line, fit for a user.
func Discover(ctx context.Context, issuer string, cfg DiscoverConfig) (Metadata, error) {
	u, err := parseEndpoint(issuer)
	if err != nil {
		return Metadata{}, fmt.Errorf("issuer %w", err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return Metadata{}, errors.New("issuer has a query; remove the ? and what follows it")
	}
	n := network{
		connectTimeout: orDefault(cfg.ConnectTimeout, DefaultConnectTimeout),
		requestTimeout: orDefault(cfg.RequestTimeout, DefaultRequestTimeout),
		userAgent:      orDefault(cfg.UserAgent, "evergrant"),
		proxy:          cfg.Proxy, tls: cfg.TLS,
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	var tried []string
	for _, address := range []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + path + "/.well-known/openid-configuration",
	} {
		body, err := n.get(ctx, address)
		if errors.Is(err, errNoDocument) {
			tried = append(tried, err.Error())
			continue
		}
		if err != nil {
			return Metadata{}, fmt.Errorf("discovery: %w", err)
		}
		meta, err := parseMetadata(body, issuer, u)
		if err != nil {
			return Metadata{}, fmt.Errorf("discovery: %s: %w", address, err)
		}
		return meta, nil
	}
	return Metadata{}, fmt.Errorf("discovery: issuer %s publishes no metadata (%s); name the token URL instead",
		issuer, strings.Join(tried, "; "))
}

// get makes one GET and returns the body of a 200 answer.
func (n network) get(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("issuer is not a valid URL")
	}
	conn, _, err := n.open(ctx, u)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	body, err := n.fetch(conn, u)
	switch {
	case err == nil || errors.Is(err, errNoDocument):
		return body, err
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", address, ctx.Err())
	case isTimeout(err):
		return nil, says(fmt.Sprintf("%s: no whole answer within %v", address, n.requestTimeout), err)
	}
	return nil, fmt.Errorf("%s: %w", address, explainReply(err, u.Hostname()))
}

func (n network) fetch(conn deadlineConn, u *url.URL) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(n.requestTimeout)); err != nil {
		return nil, err
	}
	head := "GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: " + n.userAgent +
		"\r\nAccept: application/json\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return nil, err
	}
	w := newWire(conn, MaxReply)
	resp, err := w.head(http.MethodGet)
	if err != nil && w.full() {
		return nil, errTooLarge()
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answered HTTP %d", errNoDocument, u.Path, resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if w.full() {
		return nil, errTooLarge()
	}
	if err != nil {
		return nil, err
	}
	body = bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf"))
	if !isObject(body) {
		return nil, fmt.Errorf("%w: %s did not answer JSON", errNoDocument, u.Path)
	}
	return body, nil
}

type deadlineConn interface {
	io.ReadWriter
	SetDeadline(time.Time) error
}

func parseMetadata(body []byte, issuer string, u *url.URL) (Metadata, error) {
	m, ok := parseObject(body)
	if !ok {
		return Metadata{}, errors.New("the metadata is no valid JSON")
	}
	meta := Metadata{
		Issuer:                      m["issuer"].text,
		TokenEndpoint:               m["token_endpoint"].text,
		AuthorizationEndpoint:       m["authorization_endpoint"].text,
		DeviceAuthorizationEndpoint: m["device_authorization_endpoint"].text,
		RevocationEndpoint:          m["revocation_endpoint"].text,
		IntrospectionEndpoint:       m["introspection_endpoint"].text,
		UserinfoEndpoint:            m["userinfo_endpoint"].text,
		JWKSURI:                     m["jwks_uri"].text,
		AuthMethods:                 m.strings("token_endpoint_auth_methods_supported"),
		GrantTypes:                  m.strings("grant_types_supported"),
		Scopes:                      m.strings("scopes_supported"),
		CodeChallengeMethods:        m.strings("code_challenge_methods_supported"),
		IssParameter:                m["authorization_response_iss_parameter_supported"].text == "true",
	}
	if meta.Issuer != issuer {
		return Metadata{}, fmt.Errorf("the metadata names the issuer %.200q, not %q; they must be equal to the letter", meta.Issuer, issuer)
	}
	if meta.TokenEndpoint == "" {
		return Metadata{}, errors.New("the metadata names no token endpoint")
	}
	end, err := parseEndpoint(meta.TokenEndpoint)
	if err != nil {
		return Metadata{}, fmt.Errorf("the token endpoint in the metadata %w", err)
	}
	if u.Scheme == "https" && end.Scheme != "https" {
		return Metadata{}, errors.New("the token endpoint in the metadata is http although the issuer is https")
	}
	return meta, nil
}

func (m members) strings(name string) []string {
	var out []string
	if v := m[name]; v.kind != kindList || json.Unmarshal(v.raw, &out) != nil {
		return nil
	}
	return out
}
