package double

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Fault is something that goes wrong with requests that match. The first match
// counts; one that is used up is gone.
type Fault struct {
	Method string // "": any
	Name   string // the last part of the path; "": any
	Skip   int    // so many matches are left alone first
	Times  int    // so many are met; 0: all

	Status  int               // instead of acting; 0: see below
	Header  map[string]string // of that answer
	Message string            // of that answer
	// Without a Status the connection is cut: before the request is acted upon,
	// or, with Acted, after it.
	Acted bool
	// Hang answers nothing until the client gives up.
	Hang bool
}

// Fail adds faults.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// Mend takes all faults away.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) faultFor(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Method != "" && f.Method != r.Method || f.Name != "" && !strings.HasSuffix(r.URL.Path, "/"+f.Name) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			return nil
		}
		if f.Times == 1 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		f.Times = max(f.Times-1, 0)
		met := *f
		return &met
	}
	return nil
}

// prefix is where GitHub Enterprise Server has its API; the double answers at
// both.
const prefix = "/api/v3"

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.URL.Path = strings.TrimPrefix(r.URL.Path, prefix)
	r.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, prefix)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.inspect(r, body)
	fault := s.faultFor(r)
	answer := httptest.NewRecorder()
	switch {
	case fault == nil, fault.Status == 0 && fault.Acted:
		s.act(answer, r, body)
	case fault.Status != 0:
		for name, value := range fault.Header {
			answer.Header().Set(name, value)
		}
		refuse(answer, fault.Status, fault.Message)
	}
	if fault != nil && fault.Hang {
		s.log(r, 0)
		select {
		case <-r.Context().Done():
		case <-s.hidden:
		}
		return
	}
	if fault != nil && fault.Status == 0 {
		s.log(r, 0)
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
		return
	}
	s.log(r, answer.Code)
	s.mu.Lock()
	answer.Header().Set("Date", s.now().Add(s.passed+s.skew).UTC().Format(http.TimeFormat))
	s.mu.Unlock()
	if err := s.rules.answer(r, body, answer); err != nil {
		s.blame("answer to %s %s: %v", r.Method, r.URL.Path, err)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// inspect holds a request to the description and to what the documentation
// demands of every one.
func (s *Server) inspect(r *http.Request, body []byte) {
	if err := s.rules.request(r, body); err != nil {
		s.blame("%s %s: %v", r.Method, r.URL.Path, err)
	}
	if r.Header.Get("User-Agent") == "" || strings.HasPrefix(r.Header.Get("User-Agent"), "Go-http-client") {
		s.blame("%s %s: no user agent of its own", r.Method, r.URL.Path)
	}
	if !strings.Contains(r.Header.Get("Accept"), "application/vnd.github") {
		s.blame("%s %s: Accept is not GitHub's", r.Method, r.URL.Path)
	}
}

func (s *Server) log(r *http.Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, Request{r.Method, r.URL.Path, status, r.Header.Get("User-Agent"), tokenOf(r)})
}

// tokenOf reads both spellings that GitHub takes.
func tokenOf(r *http.Request) string {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(kind, "Bearer") || strings.EqualFold(kind, "token") {
		return token
	}
	return ""
}

// act does what the request asks for, if its token may.
func (s *Server) act(w http.ResponseWriter, r *http.Request, body []byte) {
	where, rest, ok := cut(r.URL.Path)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.places[where]
	repository, environment, _ := strings.Cut(where, ":")
	if issues, found := strings.CutPrefix(r.URL.Path, "/repos/"+repository+"/issues"); found {
		s.actOnIssues(w, r, repository, issues, body)
		return
	}
	switch access := s.tokens[tokenOf(r)]; {
	case access == Unknown:
		refuse(w, http.StatusUnauthorized, "Bad credentials")
	case s.renamed[repository]:
		w.Header().Set("Location", s.URL+"/repositories/1/actions/secrets")
		refuse(w, http.StatusMovedPermanently, "Moved Permanently")
	case !ok || s.places[repository] == nil || access == Unseeing:
		refuse(w, http.StatusNotFound, "Not Found")
	case access == Unsigned:
		w.Header().Set("X-GitHub-SSO", "required; url=https://github.example/orgs/acme/sso?authorization_request=canary-sso-request")
		refuse(w, http.StatusForbidden, "Resource protected by organization SAML enforcement.")
	case access == Job:
		w.Header().Set("X-Accepted-GitHub-Permissions", needed(environment))
		refuse(w, http.StatusForbidden, "Resource not accessible by integration")
	case access == Read && r.Method != http.MethodGet:
		w.Header().Set("X-Accepted-GitHub-Permissions", needed(environment))
		refuse(w, http.StatusForbidden, "Resource not accessible by personal access token")
	case p == nil:
		refuse(w, http.StatusNotFound, "Not Found")
	default:
		s.secret(w, r, p, rest, body)
	}
}

func needed(environment string) string {
	if environment != "" {
		return "environments=write"
	}
	return "secrets=write"
}

// cut splits a path into the name of a place and what is in it: "public-key",
// the name of a secret, or "" for all.
func cut(path string) (where, rest string, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) > 3 && parts[3] == "issues" {
		return strings.ToLower(parts[1] + "/" + parts[2]), "", false
	}
	if len(parts) < 5 || parts[0] != "repos" {
		return "", "", false
	}
	where = strings.ToLower(parts[1] + "/" + parts[2])
	switch {
	case parts[3] == "actions" && parts[4] == "secrets":
		return where, strings.Join(parts[5:], "/"), true
	case len(parts) > 5 && parts[3] == "environments" && parts[5] == "secrets":
		return where + ":" + strings.ToLower(parts[4]), strings.Join(parts[6:], "/"), true
	}
	return where, "", false
}

// secret is what remains when a token may do it. The caller holds mu.
func (s *Server) secret(w http.ResponseWriter, r *http.Request, p *place, name string, body []byte) {
	k := p.secrets[strings.ToUpper(name)]
	switch {
	case r.Method == http.MethodGet && name == "public-key":
		reply(w, http.StatusOK, map[string]string{"key_id": p.keyID, "key": base64.StdEncoding.EncodeToString(p.public[:])})
	case r.Method == http.MethodGet && name == "":
		all := []any{}
		for name, k := range p.secrets {
			all = append(all, describe(name, k))
		}
		reply(w, http.StatusOK, map[string]any{"total_count": len(all), "secrets": all})
	case r.Method == http.MethodPut:
		s.write(w, p, name, body)
	case k == nil:
		refuse(w, http.StatusNotFound, "Not Found")
	case r.Method == http.MethodGet:
		s.passed += s.step
		told := *k
		if s.lag > 0 {
			s.lag--
			told.updated = k.before
		}
		reply(w, http.StatusOK, describe(name, &told))
	case r.Method == http.MethodDelete:
		delete(p.secrets, strings.ToUpper(name))
		w.WriteHeader(http.StatusNoContent)
	}
}

func describe(name string, k *kept) map[string]string {
	return map[string]string{"name": strings.ToUpper(name), "created_at": k.created.Format(time.RFC3339), "updated_at": k.updated.Format(time.RFC3339)}
}

// most is the longest value that GitHub takes, at the most generous reading of
// "48 KB".
const most = 48 << 10

func (s *Server) write(w http.ResponseWriter, p *place, name string, body []byte) {
	var sent struct {
		Value string `json:"encrypted_value"`
		KeyID string `json:"key_id"`
	}
	if json.NewDecoder(bytes.NewReader(body)).Decode(&sent) != nil {
		refuse(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	value, ok := p.open(sent.Value, sent.KeyID)
	switch {
	case !ok || len(value) > most || strings.HasPrefix(strings.ToUpper(name), "GITHUB_"):
		refuse(w, http.StatusUnprocessableEntity, "Validation Failed")
	case p.put(name, value, s.clock()):
		reply(w, http.StatusCreated, map[string]any{})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
}
