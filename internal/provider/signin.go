package provider

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Where a provider sends the browser after a consent.
const (
	// RedirectLoopback: to http on this machine, at any port (RFC 8252 §7.3).
	RedirectLoopback = "loopback"
	// RedirectFixed: to http on this machine, at the port that was registered.
	RedirectFixed = "fixed"
	// RedirectHTTPS: to a page that was registered, which is not on this machine.
	// The person copies the address that the browser ends at.
	RedirectHTTPS = "https"
)

// SignIn says how a person consents. What is left out is not known, or not there.
type SignIn struct {
	// AuthorizeURL, DeviceURL and RevokeURL are the endpoints of RFC 6749 §3.1,
	// RFC 8628 §3.1 and RFC 7009 §2, with the placeholders of the token URL.
	AuthorizeURL string `yaml:"authorize_url"`
	DeviceURL    string `yaml:"device_url"`
	RevokeURL    string `yaml:"revoke_url"`
	// Redirect is RedirectLoopback, RedirectFixed (also if empty) or RedirectHTTPS.
	Redirect string `yaml:"redirect"`
	// RedirectURI is how a loopback redirect is written where 127.0.0.1 is not
	// taken, without a port, such as http://localhost.
	RedirectURI string `yaml:"redirect_uri"`
	// Scope is asked for unless the user says otherwise: what a refresh token takes.
	Scope string `yaml:"scope"`
	// Params are further parameters of the authorization request.
	Params map[string]string `yaml:"params"`
	// OwnTool are the commands by which the provider's own program signs in, and
	// the last one the import of what it stores. With them nothing else is offered.
	OwnTool []string `yaml:"own_tool"`
}

// Ways are the endpoints of a sign-in and a sign-out; "" where there is none.
type Ways struct{ SignIn }

// Ways resolves the endpoints for the user's settings. Those of a preset belong to
// its token URL: beside another one the user names them.
func (p Preset) Ways(s Settings) (Ways, error) {
	w := Ways{p.SignIn}
	w.Params = maps.Clone(p.SignIn.Params)
	w.Redirect = or(w.Redirect, RedirectFixed)
	own, err := p.endpoint(Settings{Params: s.Params})
	if s.TokenURL != "" && (err != nil || s.TokenURL != own) {
		w.AuthorizeURL, w.DeviceURL, w.RevokeURL = "", "", ""
		return w, nil
	}
	for _, u := range []*string{&w.AuthorizeURL, &w.DeviceURL, &w.RevokeURL} {
		for _, name := range p.varNames() {
			*u = strings.ReplaceAll(*u, "{"+name+"}", or(s.Params[name], p.Vars[name].Default))
		}
	}
	return w, nil
}

func (p Preset) checkSignIn() *fault {
	w := p.SignIn
	if w.Redirect != "" && !slices.Contains([]string{RedirectLoopback, RedirectFixed, RedirectHTTPS}, w.Redirect) {
		return &fault{"sign_in.redirect", oneOf(RedirectLoopback, RedirectFixed, RedirectHTTPS)}
	}
	for _, e := range []struct{ path, url string }{
		{"sign_in.authorize_url", w.AuthorizeURL}, {"sign_in.device_url", w.DeviceURL}, {"sign_in.revoke_url", w.RevokeURL},
	} {
		if e.url == "" {
			continue
		}
		if says := checkEndpoint(p.sample(e.url)); says != "" {
			return &fault{e.path, says}
		}
	}
	if u, err := url.Parse(w.RedirectURI); w.RedirectURI != "" && (err != nil || u.Scheme != "http" || !isLoopback(u.Hostname()) || u.Port() != "") {
		return &fault{"sign_in.redirect_uri", "must be http on this machine, without a port"}
	}
	for name := range w.Params {
		if slices.Contains(reservedParams(), name) || slices.Contains(AuthorizeParams(), name) {
			return &fault{"sign_in.params", name + " is set by the client"}
		}
	}
	if len(w.OwnTool) > 0 && (w.AuthorizeURL != "" || w.DeviceURL != "") {
		return &fault{"sign_in.own_tool", "goes with no endpoint to sign in at"}
	}
	return nil
}

// sample fills placeholders with something of their kind; unknown ones stay.
func (p Preset) sample(s string) string {
	for name, v := range p.Vars {
		value := "sample"
		if v.Kind == KindHost {
			value = "sample.example"
		}
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	if strings.ContainsAny(s, "{}") {
		return "" // a placeholder that vars lacks
	}
	return s
}

// AuthorizeParams are the parameters of an authorization request that the client
// sets.
func AuthorizeParams() []string {
	return []string{"response_type", "redirect_uri", "state", "code_challenge", "code_challenge_method", "response_mode", "nonce", "request", "request_uri"}
}
