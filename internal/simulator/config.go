package simulator

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// Auth is how a client authenticates at the token endpoint; the names are
// those of RFC 8414's token_endpoint_auth_methods_supported.
type Auth string

const (
	AuthNone  Auth = "none"
	AuthBasic Auth = "client_secret_basic"
	AuthPost  Auth = "client_secret_post"
	AuthJWT   Auth = "private_key_jwt" // RFC 7523 §2.2
)

// Client is a registered client. It authenticates by its Auth and by no other
// way.
type Client struct {
	ID     string
	Auth   Auth         // "": none without a secret or Verify, else basic or private_key_jwt
	Secret grant.Secret // of basic and post
	// Verify checks the signature of a private_key_jwt client's assertion and
	// returns its claims as JSON (RFC 7519 §4).
	Verify func(assertion string) (claims []byte, err error)
	// Redirects are compared exactly, but for the port of a loopback address
	// (RFC 8252 §7.3). "/callback" stands for the simulator's own page, which
	// shows the code.
	Redirects []string
	Scope     []string // all that it may ask for; empty: anything
}

// DefaultClient is registered when Config.Clients is empty: public, with
// loopback redirects.
const DefaultClient = "evergrant-simulated"

// Values of [Wire]'s members. The empty string is the first of each group.
const (
	BodyBoth = "both" // form and JSON requests
	BodyForm = "form" // JSON is refused
	BodyJSON = "json" // forms are refused

	AnswerJSON     = "json"
	AnswerForm     = "form"   // application/x-www-form-urlencoded
	AnswerByAccept = "accept" // form unless Accept names application/json, as GitHub does

	ErrorsFlat   = "flat"   // {"error":"CODE"}, RFC 6749 §5.2
	ErrorsNested = "nested" // {"error":{"type":…,"code":"CODE","message":…}}
	ErrorsSlack  = "slack"  // HTTP 200 {"ok":false,"error":"CODE"}; successes have "ok":true

	ExpiresNumber  = "number"
	ExpiresString  = "string" // "3600"
	ExpiresMissing = "missing"
	ExpiresWords   = "words" // "soon"

	ScopeString  = "string"
	ScopeArray   = "array"
	ScopeMissing = "missing"
)

// Wire is how the provider puts things: none of it changes what happens to a
// token. The zero value is plain RFC 6749 that also accepts JSON requests.
type Wire struct {
	Body   string
	Answer string
	Errors string
	// ErrorStatus is the HTTP status of token errors; 0: 400, 401 for
	// invalid_client, 200 with ErrorsSlack.
	ErrorStatus int
	// Codes renames error codes on the wire. A [Reason] ("reused", "expired", …)
	// wins over an RFC 6749 code.
	Codes map[string]string
	// SpentMember is the member in which a refresh token that was used before is
	// told, with the text that Codes gives it; the code is invalid_request then. "":
	// Codes renames the code.
	SpentMember string

	Expires string // form of expires_in
	Scope   string // form of scope
	// ScopeSeparator joins and splits scopes; "": a space.
	ScopeSeparator string
	// RefreshExpiry names the member that tells the seconds left of the refresh
	// token: refresh_token_expires_in, x_refresh_token_expires_in or
	// refresh_expires_in. "": none.
	RefreshExpiry string
	NoTokenType   bool
	Account       map[string]any // member "account", if any
	Extra         map[string]any // further members of a success
}

// Approval is what happens at /authorize and /device without a person.
type Approval string

const (
	ApproveAuto Approval = ""     // the person consents at once
	ApproveAsk  Approval = "ask"  // a page asks
	ApproveDeny Approval = "deny" // the person declines at once
)

// Config is a simulated provider. The zero value is usable: a strict provider
// with one public client.
type Config struct {
	Clients []Client
	Rules   Rules
	Wire    Wire

	// Path is put before every endpoint but /_sim, such as "/tenant".
	Path string
	// Issuer is what discovery claims; "": the true one.
	Issuer string
	// NoRFC8414 and NoOpenID leave out one of the discovery documents.
	NoRFC8414, NoOpenID bool
	// TLS makes Start serve HTTPS with a certificate of a fresh authority.
	TLS bool

	Approve Approval
	// DevicePolls is how often a device is told authorization_pending before
	// ApproveAuto or ApproveDeny takes effect.
	DevicePolls int
	// DeviceInterval is the shortest time between two polls; 0: 5 s (RFC 8628
	// §3.2). DeviceLife is the life of a device code; 0: 10 min. CodeLife is
	// that of an authorization code; 0: 1 min.
	DeviceInterval, DeviceLife, CodeLife time.Duration

	// Seed drives the faults that come by chance.
	Seed uint64
	Now  func() time.Time // nil: time.Now
	// Wait waits for d on behalf of a delay and reports false if done closed
	// first. Nil: a timer.
	Wait func(done <-chan struct{}, d time.Duration) bool
	// NewToken yields token texts that never repeat. Nil: random ones.
	NewToken func(Kind) string
}

func (c Config) withDefaults() Config {
	if len(c.Clients) == 0 {
		c.Clients = []Client{{ID: DefaultClient, Redirects: []string{"http://127.0.0.1/callback", "http://[::1]/callback", "/callback"}}}
	}
	c.Clients = slices.Clone(c.Clients)
	for i, cl := range c.Clients {
		if cl.Auth == "" {
			c.Clients[i].Auth = cl.impliedAuth()
		}
	}
	c.Wire = c.Wire.withDefaults()
	c.DeviceInterval = defaultTo(c.DeviceInterval, 5*time.Second)
	c.DeviceLife = defaultTo(c.DeviceLife, 10*time.Minute)
	c.CodeLife = defaultTo(c.CodeLife, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wait == nil {
		c.Wait = waitTimer
	}
	if c.NewToken == nil {
		c.NewToken = randomToken
	}
	return c
}

func (c Client) impliedAuth() Auth {
	switch {
	case c.Verify != nil:
		return AuthJWT
	case !c.Secret.IsZero():
		return AuthBasic
	}
	return AuthNone
}

func (w Wire) withDefaults() Wire {
	w.Body = defaultTo(w.Body, BodyBoth)
	w.Answer = defaultTo(w.Answer, AnswerJSON)
	w.Errors = defaultTo(w.Errors, ErrorsFlat)
	w.Expires = defaultTo(w.Expires, ExpiresNumber)
	w.Scope = defaultTo(w.Scope, ScopeString)
	w.ScopeSeparator = defaultTo(w.ScopeSeparator, " ")
	return w
}

func defaultTo[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// check judges a Config with its defaults filled in.
func (c Config) check() error {
	seen := map[string]bool{}
	for _, cl := range c.Clients {
		if cl.ID == "" || seen[cl.ID] {
			return fmt.Errorf("simulator: client id %q is empty or registered twice", cl.ID)
		}
		seen[cl.ID] = true
		if err := cl.check(); err != nil {
			return fmt.Errorf("simulator: client %q: %w", cl.ID, err)
		}
	}
	if c.Path != "" && (!strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/") || strings.ContainsAny(c.Path, "{}?#% ")) {
		return fmt.Errorf("simulator: path %q must start with a slash, not end in one, and hold no special characters", c.Path)
	}
	switch c.Approve {
	case ApproveAuto, ApproveAsk, ApproveDeny:
	default:
		return fmt.Errorf("simulator: unknown approval %q", c.Approve)
	}
	return c.Wire.check()
}

func (c Client) check() error {
	switch c.Auth {
	case AuthNone:
		if !c.Secret.IsZero() || c.Verify != nil {
			return errors.New("a public client has neither secret nor key")
		}
	case AuthBasic, AuthPost:
		if c.Secret.IsZero() {
			return fmt.Errorf("%s needs a secret", c.Auth)
		}
	case AuthJWT:
		if c.Verify == nil {
			return fmt.Errorf("%s needs a public key", c.Auth)
		}
	default:
		return fmt.Errorf("unknown authentication %q", c.Auth)
	}
	for _, r := range c.Redirects {
		if u, err := url.Parse(r); err != nil || u.Fragment != "" || (!u.IsAbs() && r != "/callback") {
			return fmt.Errorf("redirect %q is neither an absolute URL without fragment nor /callback", r)
		}
	}
	return nil
}

func (w Wire) check() error {
	for _, m := range []struct {
		name, value string
		allowed     []string
	}{
		{"body", w.Body, []string{BodyBoth, BodyForm, BodyJSON}},
		{"answer", w.Answer, []string{AnswerJSON, AnswerForm, AnswerByAccept}},
		{"errors", w.Errors, []string{ErrorsFlat, ErrorsNested, ErrorsSlack}},
		{"expires", w.Expires, []string{ExpiresNumber, ExpiresString, ExpiresMissing, ExpiresWords}},
		{"scope", w.Scope, []string{ScopeString, ScopeArray, ScopeMissing}},
		{"refresh expiry", w.RefreshExpiry, []string{"", "refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"}},
	} {
		if !slices.Contains(m.allowed, m.value) {
			return fmt.Errorf("simulator: %s may be one of %q, not %q", m.name, m.allowed, m.value)
		}
	}
	if w.ErrorStatus != 0 && (w.ErrorStatus < 200 || w.ErrorStatus > 599) {
		return fmt.Errorf("simulator: error status %d is no HTTP status", w.ErrorStatus)
	}
	if _, err := json.Marshal([]any{w.Account, w.Extra}); err != nil {
		return fmt.Errorf("simulator: account and extra members must be JSON: %w", err)
	}
	if w.Answer != AnswerJSON && (w.Errors == ErrorsNested || w.Scope == ScopeArray || w.Account != nil) {
		return errors.New("simulator: form-encoded answers cannot hold nested errors, arrays or an account")
	}
	return nil
}

func waitTimer(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return false
	case <-t.C:
		return true
	}
}

func randomToken(k Kind) string {
	if k == KindRefresh {
		return "sim-refresh-" + rand.Text()
	}
	return "sim-access-" + rand.Text()
}
