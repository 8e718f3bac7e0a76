package simulator

import (
	"net/http"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code" // RFC 8628 §3.4

const noLine = -1 // an answer that is about no presentation

// serveToken is the token endpoint: read, act, answer, with one fault at most.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f := s.faults.next()
	s.mu.Unlock()
	if f.Kind == FaultDropUnread {
		s.dropUnread(w, f)
		return
	}
	p, bad := readParams(r, s.cfg.Wire.Body)
	if bad != nil {
		s.send(w, r, f, s.failed(r, bad, noLine))
		return
	}
	act := s.delayActing(f)
	if !act || !f.acts() {
		s.noteDropped(r, p)
		if !act {
			f = Fault{Kind: FaultDrop}
		}
		s.send(w, r, f, answer{line: noLine})
		return
	}
	a := s.answerToken(r, p)
	if f.After > 0 && !s.cfg.Wait(s.done, f.After) {
		f = Fault{Kind: FaultDrop, Acted: true}
	}
	s.send(w, r, f, a)
}

// delayActing waits before the provider acts, and counts the request as
// pending meanwhile. It is false when the server closes first.
func (s *Server) delayActing(f Fault) bool {
	if f.Before <= 0 {
		return true
	}
	s.mu.Lock()
	s.pending++
	s.mu.Unlock()
	act := s.cfg.Wait(s.done, f.Before)
	s.mu.Lock()
	s.pending--
	s.mu.Unlock()
	return act
}

// noteDropped notes a refresh token that was shown in vain, and who claimed to
// show it.
func (s *Server) noteDropped(r *http.Request, p params) {
	if p["grant_type"] != "refresh_token" {
		return
	}
	claimed, _, _, _ := credentials(r, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.model.NoteDropped(s.now(), claimed, grant.NewSecret(p["refresh_token"]))
}

// answerToken acts on a token request.
func (s *Server) answerToken(r *http.Request, p params) answer {
	c, bad := s.authenticate(r, p)
	if bad != nil {
		return s.failed(r, bad, noLine)
	}
	var reply Reply
	line := noLine
	switch p["grant_type"] {
	case "refresh_token":
		reply, line, bad = s.actRefresh(c, p)
	case "authorization_code":
		reply, bad = s.actCode(c, p)
	case deviceGrant:
		reply, bad = s.actDevice(c, p)
	case "":
		bad = fail("invalid_request", "grant_type is missing")
	default:
		bad = fail("unsupported_grant_type", "this server does not know that grant_type")
	}
	if bad != nil {
		return s.failed(r, bad, line)
	}
	return s.issued(r, reply, line)
}

func (s *Server) actRefresh(c Client, p params) (Reply, int, *failure) {
	if !p.has("refresh_token") {
		return Reply{}, noLine, fail("invalid_request", "refresh_token is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.model.Refresh(s.now(), c.ID, grant.NewSecret(p["refresh_token"]), s.scopes(p)...)
	if !r.OK() {
		return Reply{}, r.Line, &failure{code: r.Code, reason: r.Reason, text: "the refresh token was not accepted: " + string(r.Reason)}
	}
	return r.Reply, r.Line, nil
}

func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	p, bad := readParams(r, s.cfg.Wire.Body)
	var c Client
	if bad == nil {
		c, bad = s.authenticate(r, p)
	}
	if bad == nil && !p.has("token") {
		bad = fail("invalid_request", "token is missing")
	}
	if bad == nil {
		s.mu.Lock()
		if !s.model.Revoke(c.ID, grant.NewSecret(p["token"])) {
			bad = fail("unauthorized_client", "the token belongs to another client")
		}
		s.mu.Unlock()
	}
	if bad != nil {
		s.failed(r, bad, noLine).write(w)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// serveIntrospect answers confidential clients about their own tokens (RFC
// 7662 §2.1 demands authentication); all others are inactive.
func (s *Server) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	p, bad := readParams(r, s.cfg.Wire.Body)
	var c Client
	if bad == nil {
		c, bad = s.authenticate(r, p)
	}
	if bad == nil && c.Auth == AuthNone {
		bad = fail("invalid_client", "a public client may not introspect")
	}
	if bad == nil && !p.has("token") {
		bad = fail("invalid_request", "token is missing")
	}
	if bad != nil {
		s.failed(r, bad, noLine).write(w)
		return
	}
	s.mu.Lock()
	t, ok := s.model.Introspect(s.now(), grant.NewSecret(p["token"]))
	s.mu.Unlock()
	if !ok || t.Client != c.ID {
		jsonAnswer(http.StatusOK, map[string]any{"active": false}).write(w)
		return
	}
	m := map[string]any{
		"active": true, "client_id": t.Client, "sub": t.Family, "scope": strings.Join(t.Scope, " "), "iss": s.claimedIssuer(r),
	}
	if !t.Expiry.IsZero() {
		m["exp"] = t.Expiry.Unix()
	}
	if t.Kind == KindAccess {
		m["token_type"] = "Bearer"
	}
	jsonAnswer(http.StatusOK, m).write(w)
}

// serveUserinfo is a protected resource (RFC 6750): a living access token in
// the Authorization header, and nothing else, opens it.
func (s *Server) serveUserinfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if len(r.Header.Values("Authorization")) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="simulator"`)
		jsonAnswer(http.StatusUnauthorized, map[string]any{"error": "missing_token"}).write(w)
		return
	}
	s.mu.Lock()
	t, ok := s.model.Introspect(s.now(), grant.NewSecret(token))
	now := s.now()
	s.mu.Unlock()
	if !ok || t.Kind != KindAccess {
		w.Header().Set("WWW-Authenticate", `Bearer realm="simulator", error="invalid_token"`)
		jsonAnswer(http.StatusUnauthorized, map[string]any{"error": "invalid_token"}).write(w)
		return
	}
	jsonAnswer(http.StatusOK, map[string]any{
		"sub": t.Family, "client_id": t.Client, "scope": strings.Join(t.Scope, " "),
		"expires_in": int64(t.Expiry.Sub(now) / time.Second),
	}).write(w)
}

// claimedIssuer is the issuer in discovery: the true one unless configured.
func (s *Server) claimedIssuer(r *http.Request) string {
	return defaultTo(s.cfg.Issuer, s.issuer(r))
}

// serveDiscovery answers RFC 8414 and OpenID discovery alike.
func (s *Server) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
		return
	}
	base := s.issuer(r)
	jsonAnswer(http.StatusOK, map[string]any{
		"issuer":                                s.claimedIssuer(r),
		"token_endpoint":                        base + "/token",
		"authorization_endpoint":                base + "/authorize",
		"device_authorization_endpoint":         base + "/device_authorization",
		"revocation_endpoint":                   base + "/revoke",
		"introspection_endpoint":                base + "/introspect",
		"userinfo_endpoint":                     base + "/userinfo",
		"grant_types_supported":                 []string{"authorization_code", "refresh_token", deviceGrant},
		"response_types_supported":              []string{"code"},
		"code_challenge_methods_supported":      []string{"S256"},
		"subject_types_supported":               []string{"public"},
		"token_endpoint_auth_methods_supported": []Auth{AuthNone, AuthBasic, AuthPost, AuthJWT},
		"token_endpoint_auth_signing_alg_values_supported": []string{
			"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"},
		"authorization_response_iss_parameter_supported": true, // RFC 9207
	}).write(w)
}
