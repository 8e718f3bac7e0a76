package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const (
	maxBody        = 64 << 10
	assertionType  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	assertionReach = time.Hour                                                // longest life of an assertion
	assertionSkew  = time.Minute
)

// failure is an OAuth error: a code, and what it means in words that hold
// nothing of the request.
type failure struct {
	code   string
	reason Reason // finer than the code, when a refresh token failed
	text   string
	basic  bool // the client tried Basic: 401 must challenge (RFC 6749 §5.2)
}

func fail(code, text string) *failure { return &failure{code: code, text: text} }

// params are the parameters of a request, each at most once (RFC 6749 §3.2).
// Empty ones are left out (§3.1).
type params map[string]string

func (p params) has(name string) bool { _, ok := p[name]; return ok }

// readParams reads the body of a POST in the form that the provider takes.
func readParams(r *http.Request, body string) (params, *failure) {
	if r.Method != http.MethodPost {
		return nil, fail("invalid_request", "the method must be POST")
	}
	for _, secret := range []string{"client_secret", "client_assertion", "refresh_token", "code", "token", "device_code"} {
		if r.URL.Query().Has(secret) {
			return nil, fail("invalid_request", "secrets do not belong in the URL")
		}
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form, isJSON := media == "application/x-www-form-urlencoded", media == "application/json"
	switch {
	case err != nil || !form && !isJSON:
		return nil, fail("invalid_request", "the content type must be a form or JSON")
	case form && body == BodyJSON || isJSON && body == BodyForm:
		return nil, fail("invalid_request", "this endpoint does not take that content type")
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(b) > maxBody {
		return nil, fail("invalid_request", "the body is incomplete or too large")
	}
	if isJSON {
		return parseJSON(b)
	}
	return parseForm(b)
}

func parseForm(b []byte) (params, *failure) {
	values, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, fail("invalid_request", "the form cannot be read")
	}
	p := params{}
	for name, v := range values {
		if len(v) > 1 {
			return nil, fail("invalid_request", "a parameter is given twice")
		}
		if v[0] != "" {
			p[name] = v[0]
		}
	}
	return p, nil
}

// parseJSON reads one flat object. Members that are not strings are ignored,
// as extensions would be.
func parseJSON(b []byte) (params, *failure) {
	bad := fail("invalid_request", "the body is not one JSON object")
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, bad
	}
	p, seen := params{}, map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, bad
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, bad
		}
		key, _ := name.(string)
		if seen[key] {
			return nil, fail("invalid_request", "a member is given twice")
		}
		seen[key] = true
		if text, ok := value.(string); ok && text != "" {
			p[key] = text
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, bad
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad
	}
	return p, nil
}

// authenticate returns the client that sent the request (RFC 6749 §2.3). It
// takes the registered method and no other.
func (s *Server) authenticate(r *http.Request, p params) (Client, *failure) {
	id, secret, auth, f := credentials(r, p)
	if f != nil {
		return Client{}, f
	}
	bad := &failure{code: "invalid_client", text: "client authentication failed", basic: auth == AuthBasic}
	if auth == AuthJWT {
		return s.authenticateJWT(r, p, bad)
	}
	c, ok := s.clients[id]
	if !ok || c.Auth != auth || !c.Secret.Equal(secret) {
		return Client{}, bad
	}
	return c, nil
}

// credentials finds out who the client claims to be and how it proves it.
func credentials(r *http.Request, p params) (id string, secret grant.Secret, a Auth, f *failure) {
	id, a = p["client_id"], AuthNone
	ways := 0
	if header := r.Header.Values("Authorization"); len(header) > 0 {
		ways, a = ways+1, AuthBasic
		user, pass, ok := basicHalves(header)
		if !ok || id != "" && id != user {
			return "", grant.Secret{}, a, &failure{code: "invalid_client", text: "the Authorization header is malformed or contradicts client_id", basic: true}
		}
		id, secret = user, grant.NewSecret(pass)
	}
	if p.has("client_secret") {
		ways, a, secret = ways+1, AuthPost, grant.NewSecret(p["client_secret"])
	}
	if p.has("client_assertion") || p.has("client_assertion_type") {
		ways, a = ways+1, AuthJWT
	}
	if ways > 1 {
		return "", grant.Secret{}, a, fail("invalid_request", "more than one way of client authentication")
	}
	return id, secret, a, nil
}

// basicHalves decodes a Basic header strictly. Both halves are form-encoded
// before they are joined (RFC 6749 §2.3.1), so a raw "+" or "%" is an error or
// another secret.
func basicHalves(header []string) (user, pass string, ok bool) {
	scheme, text, _ := strings.Cut(header[0], " ")
	if len(header) != 1 || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", "", false
	}
	user, pass, ok = strings.Cut(string(raw), ":")
	if !ok || !formEncoded(user) || !formEncoded(pass) {
		return "", "", false
	}
	user, err1 := url.QueryUnescape(user)
	pass, err2 := url.QueryUnescape(pass)
	return user, pass, err1 == nil && err2 == nil
}

// formEncoded reports whether text holds only what encoders of form values
// leave as it is; they differ about a few marks.
func formEncoded(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("%+-._~!*'()", r))
	})
}

// authenticateJWT verifies a client assertion (RFC 7523 §3). Its times are
// judged by the clock without [Server.Advance]: the client's clock did not jump.
func (s *Server) authenticateJWT(r *http.Request, p params, bad *failure) (Client, *failure) {
	if p["client_assertion_type"] != assertionType {
		return Client{}, bad
	}
	claimed, err := unverified(p["client_assertion"])
	if err != nil {
		return Client{}, bad
	}
	c, ok := s.clients[claimed.Subject]
	if !ok || c.Auth != AuthJWT || p.has("client_id") && p["client_id"] != c.ID {
		return Client{}, bad
	}
	payload, err := c.Verify(p["client_assertion"])
	if err != nil {
		return Client{}, bad
	}
	var claims assertion
	if err := json.Unmarshal(payload, &claims); err != nil {
		return Client{}, bad
	}
	now, issuer := s.cfg.Now(), s.issuer(r)
	if claims.Issuer != c.ID || claims.Subject != c.ID || claims.ID == "" || !claims.meantFor(issuer, issuer+"/token") || !claims.valid(now) {
		return Client{}, bad
	}
	if !s.firstSight(c.ID+"\x00"+claims.ID, claims.Expiry.time(), now) {
		return Client{}, bad
	}
	return c, nil
}

// assertion is the claims of a client assertion (RFC 7523 §3).
type assertion struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	ID        string   `json:"jti"`
	Expiry    *seconds `json:"exp"`
	NotBefore *seconds `json:"nbf"`
	IssuedAt  *seconds `json:"iat"`
}

// seconds is a NumericDate (RFC 7519 §2).
type seconds float64

func (s seconds) time() time.Time { return time.UnixMilli(int64(float64(s) * 1000)) }

// audience is one text or a list of them (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

func (a assertion) meantFor(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(a.Audience, n) })
}

// valid judges the times with some leeway for two clocks.
func (a assertion) valid(now time.Time) bool {
	started := func(s *seconds) bool { return s == nil || !s.time().After(now.Add(assertionSkew)) }
	return a.Expiry != nil && now.Before(a.Expiry.time().Add(assertionSkew)) && !a.Expiry.time().After(now.Add(assertionReach)) &&
		started(a.NotBefore) && started(a.IssuedAt)
}

// unverified reads the claims of a JWT, to learn whose key it must be held to.
func unverified(jwt string) (assertion, error) {
	var a assertion
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return a, errors.New("no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(payload, &a)
}

// firstSight reports whether an assertion id is new, and remembers it.
func (s *Server) firstSight(id string, until, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known, end := range s.assertion {
		if end.Add(assertionSkew).Before(now) {
			delete(s.assertion, known)
		}
	}
	if _, seen := s.assertion[id]; seen {
		return false
	}
	s.assertion[id] = until
	return true
}

// scopes splits a scope parameter.
func (s *Server) scopes(p params) []string {
	return strings.FieldsFunc(p["scope"], func(r rune) bool { return strings.ContainsRune(s.cfg.Wire.ScopeSeparator, r) })
}

func (c Client) allows(scope []string) bool {
	for _, one := range scope {
		if len(c.Scope) > 0 && !slices.Contains(c.Scope, one) {
			return false
		}
	}
	return true
}
