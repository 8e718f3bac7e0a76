package simulator

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authorization is one pass through /authorize: first a question to a person,
// then a code.
type authorization struct {
	client    string
	redirect  string // as the client gave it; the token request must repeat it
	state     string
	scope     []string
	challenge string
	issuer    string
	issued    time.Time
	used      bool
	family    string // once the code was used
}

// serveAuthorize is RFC 6749 §4.1.1 with PKCE, which everyone must use here.
// Until client and redirect are known to belong together, mistakes are told to
// the person and redirect nowhere (§4.1.2.1).
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		s.serveDecision(w, r)
		return
	case http.MethodGet:
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "GET or POST only", http.StatusMethodNotAllowed)
		return
	}
	q := r.URL.Query()
	for name, v := range q {
		if len(v) > 1 {
			page(w, http.StatusBadRequest, "<p>Parameter "+html.EscapeString(name)+" is given twice.</p>")
			return
		}
	}
	a := &authorization{client: q.Get("client_id"), redirect: q.Get("redirect_uri"), state: q.Get("state"), issuer: s.claimedIssuer(r)}
	c, ok := s.clients[a.client]
	if !ok || !c.redirects(a.redirect, s.issuer(r)) {
		page(w, http.StatusBadRequest, "<p>The client is not registered, or not with this redirect URI.</p>")
		return
	}
	a.scope, a.challenge = s.scopes(params{"scope": q.Get("scope")}), q.Get("code_challenge")
	switch {
	case q.Get("response_type") != "code":
		a.decline(w, r, "unsupported_response_type")
	case q.Get("code_challenge_method") != "S256" || len(a.challenge) != 43:
		a.decline(w, r, "invalid_request")
	case !c.allows(a.scope):
		a.decline(w, r, "invalid_scope")
	case s.cfg.Approve == ApproveDeny:
		a.decline(w, r, "access_denied")
	case s.cfg.Approve == ApproveAsk:
		s.ask(w, a)
	default:
		s.approve(w, r, a)
	}
}

// redirects reports whether uri is one of the client's.
func (c Client) redirects(uri, issuer string) bool {
	return slices.ContainsFunc(c.Redirects, func(known string) bool {
		if known == "/callback" {
			known = issuer + known
		}
		return uri == known || withoutPort(uri) != "" && withoutPort(uri) == withoutPort(known)
	})
}

// withoutPort strips the port of an http URL on a loopback address; "" for all
// other URLs. RFC 8252 §7.3 lets that port vary; the name localhost is not
// such an address (§8.3).
func withoutPort(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" {
		return ""
	}
	u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	return u.String()
}

func (s *Server) ask(w http.ResponseWriter, a *authorization) {
	id := rand.Text()
	s.mu.Lock()
	s.asked[id] = a
	s.mu.Unlock()
	page(w, http.StatusOK, fmt.Sprintf(`<p>%s asks for: %s</p>
<form method="post"><input type="hidden" name="request" value="%s">
<button name="decision" value="approve">Approve</button> <button name="decision" value="deny">Deny</button></form>`,
		html.EscapeString(a.client), html.EscapeString(strings.Join(a.scope, " ")), id))
}

// serveDecision takes the answer to ask's form, once.
func (s *Server) serveDecision(w http.ResponseWriter, r *http.Request) {
	p, bad := readParams(r, BodyForm)
	if bad != nil {
		page(w, http.StatusBadRequest, "<p>"+html.EscapeString(bad.text)+"</p>")
		return
	}
	s.mu.Lock()
	a := s.asked[p["request"]]
	delete(s.asked, p["request"])
	s.mu.Unlock()
	switch {
	case a == nil:
		page(w, http.StatusBadRequest, "<p>This request is unknown or was answered already.</p>")
	case p["decision"] == "approve":
		s.approve(w, r, a)
	default:
		a.decline(w, r, "access_denied")
	}
}

func (s *Server) approve(w http.ResponseWriter, r *http.Request, a *authorization) {
	code := "sim-code-" + rand.Text()
	s.mu.Lock()
	a.issued = s.now()
	s.codes[code] = a
	s.mu.Unlock()
	a.goBack(w, r, "code", code)
}

func (a *authorization) decline(w http.ResponseWriter, r *http.Request, code string) {
	a.goBack(w, r, "error", code)
}

// goBack sends the browser to the client, with the issuer against mix-ups (RFC
// 9207).
func (a *authorization) goBack(w http.ResponseWriter, r *http.Request, name, value string) {
	u, err := url.Parse(a.redirect)
	if err != nil { // a registered one that was parsed before
		page(w, http.StatusBadRequest, "<p>The redirect URI cannot be read.</p>")
		return
	}
	q := u.Query()
	q.Set(name, value)
	q.Set("iss", a.issuer)
	if a.state != "" {
		q.Set("state", a.state)
	}
	u.RawQuery = q.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// serveCallback shows the code to a person who pastes it, as "code#state".
func (s *Server) serveCallback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("code") == "" {
		page(w, http.StatusOK, "<p>No consent was given: "+html.EscapeString(q.Get("error"))+"</p>")
		return
	}
	page(w, http.StatusOK, `<p>Paste this code:</p><pre id="code">`+html.EscapeString(q.Get("code")+"#"+q.Get("state"))+"</pre>")
}

// actCode is RFC 6749 §4.1.3. A code that comes twice takes the tokens of its
// first use along (§4.1.2).
func (s *Server) actCode(c Client, p params) (Reply, *failure) {
	refuse := fail("invalid_grant", "the code was not accepted")
	s.mu.Lock()
	defer s.mu.Unlock()
	a, now := s.codes[p["code"]], s.now()
	switch {
	case !p.has("code") || !p.has("code_verifier"):
		return Reply{}, fail("invalid_request", "code or code_verifier is missing")
	case a == nil || a.client != c.ID:
		return Reply{}, refuse
	case a.used:
		s.model.RevokeFamily(now, a.family)
		return Reply{}, refuse
	}
	a.used = true // also by a wrong verifier: a guess costs the code
	if now.Sub(a.issued) >= s.cfg.CodeLife || p["redirect_uri"] != a.redirect || !verifies(p["code_verifier"], a.challenge) {
		return Reply{}, refuse
	}
	reply := s.model.NewFamily(now, c.ID, a.scope...)
	a.family = reply.Family
	return reply, nil
}

// verifies is RFC 7636 §4.6 with S256.
func verifies(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || strings.ContainsFunc(verifier, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~", r))
	}) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// page writes a small page for a person. body is HTML, escaped by the caller.
func page(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!DOCTYPE html><title>Simulated provider</title><h1>Simulated provider</h1>\n"+body+"\n")
}
