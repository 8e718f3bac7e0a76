package provider

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"evergrant/internal/grant"
)

// customName is what a record and a report call a provider without preset.
const customName = "custom"

// Settings is what the user says beside the preset; what is empty is the
// preset's business.
type Settings struct {
	TokenURL  string
	ClientID  string
	Auth      string // an authentication method, also "basic" and "post"
	HasSecret bool   // a client secret is at hand
	HasKey    bool   // a signing key is at hand
	Body      string // BodyForm or BodyJSON
	Scope     string // as it is sent
	// Params are sent with the request, except those named like a placeholder
	// of the preset's token URL, which fill it.
	Params map[string]string
}

// Endpoint is a token endpoint and how to ask it: all that the token client
// needs besides secrets and time limits.
type Endpoint struct {
	Provider string // name of the preset
	TokenURL string
	ClientID string
	// Auth is AuthNone, AuthBasic, AuthPost or AuthJWT.
	Auth           string
	Body           string // BodyForm or BodyJSON
	Scope          string // "": not sent
	ScopeSeparator string // of the answer's scope
	Params         map[string]string
	Headers        map[string]string
	Codes          map[string]grant.Fate // win over those of RFC 6749
	Statuses       map[int]grant.Fate    // win over the general rule for statuses
}

// Bind is where a chain of refresh tokens from this endpoint belongs.
func (e Endpoint) Bind() grant.Binding {
	return grant.Binding{TokenURL: e.TokenURL, ClientID: e.ClientID}
}

// Custom is the preset of a provider that nobody described: it rotates, a spent
// token is fatal, and the user names the token URL.
func Custom() Preset {
	rotates := true
	return Preset{
		Name: customName, Title: "any OAuth 2.0 provider, by its token URL", Origin: "no preset",
		Refresh: Refresh{Rotates: &rotates},
	}
}

// Resolve merges the user's settings into the preset. The error is one line
// that says what is wrong and what to do; nothing in it is secret.
func (p Preset) Resolve(s Settings) (Endpoint, error) {
	e := Endpoint{
		Provider: p.Name, ClientID: or(s.ClientID, p.Client.ID), Scope: s.Scope,
		Body: or(s.Body, or(p.Request.Body, BodyForm)), ScopeSeparator: or(p.Request.ScopeSeparator, " "),
		Headers: maps.Clone(p.Request.Headers), Codes: p.Codes(), Statuses: p.Statuses(),
	}
	if e.Body != BodyForm && e.Body != BodyJSON {
		return Endpoint{}, fmt.Errorf("--body is %q; it must be form or json", s.Body)
	}
	if e.ClientID == "" && p.Name != customName {
		return Endpoint{}, fmt.Errorf("preset %s has no client id of its own: give yours with --client-id", p.Name)
	}
	var err error
	if e.TokenURL, err = p.endpoint(s); err != nil {
		return Endpoint{}, err
	}
	if e.Auth, err = p.auth(s); err != nil {
		return Endpoint{}, err
	}
	if e.Params, err = p.params(s); err != nil {
		return Endpoint{}, err
	}
	return e, nil
}

// endpoint returns the token URL with every placeholder filled.
func (p Preset) endpoint(s Settings) (string, error) {
	target := p.TokenURL
	for _, name := range p.varNames() {
		value, given := s.Params[name]
		if given && s.TokenURL != "" {
			return "", fmt.Errorf("--param %s has no effect beside --token-url: leave one of them out", name)
		}
		v := p.Vars[name]
		value = or(value, v.Default)
		if value == "" && s.TokenURL == "" {
			return "", fmt.Errorf("preset %s needs %s: add --param %s=... (%s)", p.Name, name, name, v.About)
		}
		if says := checkVar(v.Kind, value); given && says != "" {
			return "", fmt.Errorf("--param %s %s (%s)", name, says, v.About)
		}
		target = strings.ReplaceAll(target, "{"+name+"}", value)
	}
	target = or(s.TokenURL, target)
	if target == "" {
		return "", fmt.Errorf("no token endpoint: give --token-url, --issuer or --provider")
	}
	return target, p.checkTarget(target)
}

// checkTarget refuses what is no token URL, and hosts that are retired.
func (p Preset) checkTarget(target string) error {
	if says := checkEndpoint(target); says != "" {
		return fmt.Errorf("token URL %s", says)
	}
	u, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("token URL is no absolute URL")
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	for _, r := range p.RetiredHosts {
		if !strings.EqualFold(host, r.Host) {
			continue
		}
		return fmt.Errorf("token host %s is retired (%s): use %s, or leave --token-url out", r.Host, r.Says, r.Use)
	}
	return nil
}

// auth chooses how the client authenticates: the user's word, else by what is
// at hand.
func (p Preset) auth(s Settings) (string, error) {
	method := s.Auth
	switch method {
	case "basic":
		method = AuthBasic
	case "post":
		method = AuthPost
	case "", AuthNone, AuthBasic, AuthPost, AuthJWT:
	default:
		return "", fmt.Errorf("--client-auth must be one of none, basic, post, private_key_jwt")
	}
	need := or(p.Client.Secret, SecretOptional)
	switch {
	case s.HasSecret && s.HasKey:
		return "", fmt.Errorf("a client has a secret or a signing key, not both: leave one of them out")
	case need == SecretNever && (s.HasSecret || s.HasKey) && s.ClientID == "":
		return "", fmt.Errorf("preset %s is a public client and takes no client secret or key: leave it out", p.Name)
	case method == "" && s.HasKey:
		method = AuthJWT
	case method == "" && s.HasSecret:
		method = or(p.Client.Auth, AuthBasic)
		if method == AuthNone || method == AuthJWT {
			method = AuthBasic
		}
	case method == "" && need == SecretRequired:
		return "", fmt.Errorf("preset %s needs a client secret: give --client-secret-env VAR or --client-secret-file PATH", p.Name)
	case method == "":
		method = AuthNone
	}
	switch {
	case (method == AuthBasic || method == AuthPost) && !s.HasSecret:
		return "", fmt.Errorf("client authentication %s needs a secret: give --client-secret-env VAR or --client-secret-file PATH", method)
	case method == AuthJWT && !s.HasKey:
		return "", fmt.Errorf("client authentication %s needs a signing key", method)
	case method == AuthNone && (s.HasSecret || s.HasKey):
		return "", fmt.Errorf("client authentication none, and yet a client secret or key: leave one of them out")
	}
	return method, nil
}

// params merges extra request parameters; the user's win.
func (p Preset) params(s Settings) (map[string]string, error) {
	merged := maps.Clone(p.Request.Params)
	if merged == nil {
		merged = make(map[string]string)
	}
	for name, value := range s.Params {
		if _, fills := p.Vars[name]; fills {
			continue
		}
		if name == "scope" {
			return nil, fmt.Errorf("--param scope: use --scope")
		}
		if name == "" || slices.Contains(reservedParams(), name) {
			return nil, fmt.Errorf("--param %q is set by the client itself", name)
		}
		merged[name] = value
	}
	return merged, nil
}

// reservedParams are the parameters of a refresh that the token client sets.
func reservedParams() []string {
	return []string{
		"grant_type", "refresh_token", "client_id", "client_secret", "scope",
		"client_assertion", "client_assertion_type",
	}
}

// checkVar says what is wrong with the value of a placeholder; "" if nothing
// is. A value can change neither the scheme nor the shape of the URL.
func checkVar(kind, value string) string {
	if kind == KindSegment {
		if value == "" || len(value) > 128 || value == "." || value == ".." || strings.IndexFunc(value, notUnreserved) >= 0 {
			return "must be one path segment: letters, digits, '-', '.', '_', '~'"
		}
		return ""
	}
	if strings.Contains(value, "/") {
		return "must be a host name alone, without scheme and path"
	}
	host, port, hasPort := strings.Cut(value, ":")
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0) {
		return "must be a host name, with a port from 1 to 65535 if need be"
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.IndexFunc(label, notHost) >= 0 {
			return "must be a host name such as example.com"
		}
	}
	return ""
}

func notHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

// notUnreserved is the complement of RFC 3986 §2.3.
func notUnreserved(r rune) bool { return notHost(r) && r != '.' && r != '_' && r != '~' }

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
