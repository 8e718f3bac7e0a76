package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"evergrant/internal/grant"
)

// StepError is a request of a sign-in or a sign-out that failed. Its text carries
// no body, header, code or token.
type StepError struct {
	Step string // "token request", "device request" or "revocation"
	// Fate says of what was presented what it says of a refresh token.
	Fate       grant.Fate
	Code       string        // the provider's error code, cleaned; "" if none
	Status     int           // HTTP status; 0 if no status line arrived
	RetryAfter time.Duration // as the provider asked; 0 if it did not
	Err        error
}

func (e *StepError) Error() string {
	text := "the " + e.Step + " failed"
	switch {
	case e.Code != "":
		text += fmt.Sprintf(": the provider answered %s (HTTP %d)", e.Code, e.Status)
	case e.Status != 0:
		text += fmt.Sprintf(": the provider answered HTTP %d", e.Status)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *StepError) Unwrap() error { return e.Err }

func stepError(step string, f *grant.RefreshError) *StepError {
	return &StepError{Step: step, Fate: f.Fate, Code: f.Code, Status: f.Status, RetryAfter: f.RetryAfter, Err: f.Err}
}

// post makes one request with the client's authentication. It never sends twice,
// and from its first byte on only the request timeout counts.
func (c *Client) post(ctx context.Context, address string, b Body, presented grant.Secret, p map[string]string) (*Client, answer, *grant.RefreshError) {
	u, err := parseEndpoint(address)
	if err != nil {
		return c, answer{}, &grant.RefreshError{Fate: grant.Unspent, Err: fmt.Errorf("its URL %w", err)}
	}
	at := *c
	at.url = u
	message, err := at.message(address, b, p)
	if err != nil {
		return c, answer{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	conn, sent, err := at.net.open(ctx, u)
	if err != nil {
		return c, answer{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	k := newConnection(&at, conn, sent)
	defer func() { _ = k.Close() }()
	if err := ctx.Err(); err != nil {
		return c, answer{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	a, failure := k.send(presented, message)
	return &at, a, failure
}

// Issued is what a sign-in yields.
type Issued struct {
	Tokens   grant.TokenSet
	Identity Identity
}

// Code is an authorization code with what must come with it (RFC 6749 §4.1.3,
// RFC 7636 §4.5).
type Code struct {
	Code        grant.Secret
	Verifier    grant.Secret
	RedirectURI string
	Issuer      string // "": not known; an ID token must name it
}

// Exchange redeems an authorization code, once. An error is a *[StepError];
// InDoubt and Rejected say that the code is of no more use.
func (c *Client) Exchange(ctx context.Context, code Code) (Issued, error) {
	p := c.ownParams()
	p["grant_type"] = "authorization_code"
	p["code"] = code.Code.Reveal()
	p["redirect_uri"] = code.RedirectURI
	p["code_verifier"] = code.Verifier.Reveal()
	return c.issue(ctx, code.Code, code.Issuer, p)
}

func (c *Client) issue(ctx context.Context, presented grant.Secret, issuer string, p map[string]string) (Issued, error) {
	const step = "token request"
	_, a, failure := c.post(ctx, c.cfg.TokenURL, c.cfg.Body, presented, p)
	if failure != nil {
		return Issued{}, stepError(step, failure)
	}
	set, failure := c.settle(a)
	if failure != nil {
		return Issued{}, stepError(step, failure)
	}
	return Issued{set, c.identity(parseReply(a).members, issuer)}, nil
}

// Device is a device authorization (RFC 8628 §3.2). Its texts are printable.
type Device struct {
	Code        grant.Secret
	UserCode    string
	Address     string // where the person types the code
	AddressFull string // with the code in it; "": there is none
	Life        time.Duration
	Interval    time.Duration // between two polls
}

// Defaults and bounds of RFC 8628 §3.2.
const (
	DefaultInterval = 5 * time.Second
	maxInterval     = 5 * time.Minute
	maxDeviceLife   = time.Hour
)

// AuthorizeDevice asks a device authorization endpoint for a code. An error is a
// *[StepError].
func (c *Client) AuthorizeDevice(ctx context.Context, address, scope string, params map[string]string) (Device, error) {
	const step = "device request"
	p := maps.Clone(params)
	if p == nil {
		p = map[string]string{}
	}
	if scope != "" {
		p["scope"] = scope
	}
	at, a, failure := c.post(ctx, address, BodyForm, grant.Secret{}, p)
	if failure != nil {
		return Device{}, stepError(step, failure)
	}
	r := parseReply(a)
	if !a.ok() || len(r.codes) > 0 || !r.read || r.members["device_code"].kind != kindText {
		fate, code := at.fate(r, a)
		code = at.cleanCode(code, grant.Secret{})
		return Device{}, &StepError{Step: step, Fate: fate, Code: code, Status: a.status, RetryAfter: at.retryAfter(a.header), Err: describeDevice(r, a, code)}
	}
	m := r.members
	d := Device{
		Code: grant.NewSecret(m["device_code"].text), UserCode: m["user_code"].text, AddressFull: m["verification_uri_complete"].text,
		Address: orDefault(m["verification_uri"].text, m["verification_url"].text), // Google's name for it
		Life:    lifeOf(m["expires_in"]), Interval: orDefault(lifeOf(m["interval"]), DefaultInterval),
	}
	d.Life, d.Interval = min(orDefault(d.Life, maxDeviceLife), maxDeviceLife), min(d.Interval, maxInterval)
	if ValidateEndpoint(d.AddressFull) != nil {
		d.AddressFull = ""
	}
	if err := ValidateEndpoint(d.Address); err != nil || d.UserCode == "" || len(d.UserCode) > 64 || !printable(d.UserCode) {
		return Device{}, &StepError{Step: step, Fate: grant.Refused, Status: a.status, Err: errors.New("the answer names no page, or no code, that could be shown")}
	}
	return d, nil
}

func describeDevice(r reply, a answer, code string) error {
	if a.ok() && len(r.codes) == 0 && !r.html {
		return errors.New("the answer holds neither a device code nor an error that can be read")
	}
	return describe(r, a, code)
}

// PollDevice asks once whether the person has decided. An error is a *[StepError],
// whose Code is one of RFC 8628 §3.5 as long as there is no decision.
func (c *Client) PollDevice(ctx context.Context, d Device, issuer string) (Issued, error) {
	p := c.ownParams()
	p["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code"
	p["device_code"] = d.Code.Reveal()
	return c.issue(ctx, d.Code, issuer, p)
}

// Revoke asks a revocation endpoint to end a refresh token (RFC 7009 §2). Nil
// means that the token is worth nothing any more. An error is a *[StepError]:
// Unspent and Refused say that the token lives on, InDoubt that nobody knows.
func (c *Client) Revoke(ctx context.Context, address string, token grant.Secret) error {
	const step = "revocation"
	at, a, failure := c.post(ctx, address, BodyForm, token, map[string]string{"token": token.Reveal(), "token_type_hint": "refresh_token"})
	if failure != nil {
		return stepError(step, failure)
	}
	r := parseReply(a)
	fate, code := at.fate(r, a)
	code = at.cleanCode(code, token)
	switch {
	case a.ok() && len(r.codes) == 0:
		return nil
	case code == "invalid_token" || code == "invalid_grant":
		return nil // it was dead before; RFC 7009 §2.2 would have said 200
	case a.ok():
		fate = grant.Refused // an error in a success's clothes is a definite one
	}
	return &StepError{Step: step, Fate: fate, Code: code, Status: a.status, RetryAfter: at.retryAfter(a.header), Err: describe(r, a, code)}
}

// Userinfo asks whose access token it is (OpenID Connect Core §5.3).
func (c *Client) Userinfo(ctx context.Context, address string, access grant.Secret) (Identity, error) {
	u, err := parseEndpoint(address)
	if err != nil {
		return Identity{}, fmt.Errorf("userinfo URL %w", err)
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{
		"Authorization": {"Bearer " + access.Reveal()}, "Accept": {"application/json"}}}
	resp, err := (&Transport{c.net}).RoundTrip(req.WithContext(ctx))
	if err != nil {
		return Identity{}, err
	}
	body, err := readAll(resp)
	m, ok := parseObject(body)
	if err != nil || resp.StatusCode != http.StatusOK || !ok {
		return Identity{}, fmt.Errorf("the userinfo endpoint answered HTTP %d without an account", resp.StatusCode)
	}
	return Identity{Account: accountOf(m), From: "userinfo"}, nil
}

// ValidateEndpoint applies the rule of [ValidateTokenURL] to another endpoint's
// address. Its error lacks the name of the setting.
func ValidateEndpoint(raw string) error {
	_, err := parseEndpoint(raw)
	return err
}

// AuthorizeURL adds a request's parameters to an authorization endpoint's address,
// which may have some of its own (RFC 6749 §3.1).
func AuthorizeURL(endpoint string, params map[string]string) (string, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return "", fmt.Errorf("authorization URL %w", err)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", errors.New("authorization URL has a query that cannot be read")
	}
	for name, value := range params {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
