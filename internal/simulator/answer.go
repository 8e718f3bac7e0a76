package simulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answer is a whole HTTP answer, made before any fault spoils it.
type answer struct {
	status int
	header http.Header
	body   []byte
	line   int // of the ledger; noLine when it is about no presentation
}

// write sends the answer as it is.
func (a answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that left is its own affair
}

func jsonAnswer(status int, members map[string]any) answer {
	body, err := json.Marshal(members)
	if err != nil { // only a Config.Wire.Extra that JSON cannot express gets here
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store") // RFC 6749 §5.1
	return answer{status: status, header: h, body: body, line: noLine}
}

// formAnswer writes members as a form. They are strings, numbers and booleans.
func formAnswer(status int, members map[string]any) answer {
	form := url.Values{}
	for name, v := range members {
		form.Set(name, fmt.Sprint(v))
	}
	a := jsonAnswer(status, nil)
	a.header.Set("Content-Type", "application/x-www-form-urlencoded")
	a.body = []byte(form.Encode())
	return a
}

// render chooses between JSON and a form.
func (s *Server) render(r *http.Request, status int, members map[string]any, line int) answer {
	var a answer
	switch wire := s.cfg.Wire.Answer; {
	case wire == AnswerForm, wire == AnswerByAccept && !strings.Contains(r.Header.Get("Accept"), "application/json"):
		a = formAnswer(status, members)
	default:
		a = jsonAnswer(status, members)
	}
	a.line = line
	return a
}

// issued is the answer to a success (RFC 6749 §5.1), with the provider's habits.
func (s *Server) issued(r *http.Request, t Reply, line int) answer {
	w := s.cfg.Wire
	m := map[string]any{}
	maps.Copy(m, w.Extra)
	m["access_token"] = t.Access.Reveal()
	if !t.Refresh.IsZero() {
		m["refresh_token"] = t.Refresh.Reveal()
	}
	if !w.NoTokenType {
		m["token_type"] = "Bearer"
	}
	seconds := int64(t.ExpiresIn / time.Second)
	switch w.Expires {
	case ExpiresNumber:
		m["expires_in"] = seconds
	case ExpiresString:
		m["expires_in"] = strconv.FormatInt(seconds, 10)
	case ExpiresWords:
		m["expires_in"] = "soon"
	}
	switch {
	case w.Scope == ScopeArray:
		m["scope"] = append([]string{}, t.Scope...)
	case w.Scope == ScopeString && len(t.Scope) > 0:
		m["scope"] = strings.Join(t.Scope, w.ScopeSeparator)
	}
	if w.RefreshExpiry != "" && t.RefreshExpiresIn > 0 {
		m[w.RefreshExpiry] = int64(t.RefreshExpiresIn / time.Second)
	}
	if w.Account != nil {
		m["account"] = w.Account
	}
	if w.Errors == ErrorsSlack {
		m["ok"] = true
	}
	return s.render(r, http.StatusOK, m, line)
}

// failed is the answer to a failure, in the provider's envelope.
func (s *Server) failed(r *http.Request, f *failure, line int) answer {
	w := s.cfg.Wire
	code := f.code
	if renamed, ok := w.Codes[string(f.reason)]; ok {
		code = renamed
	} else if renamed, ok := w.Codes[code]; ok {
		code = renamed
	}
	var m map[string]any
	status := http.StatusBadRequest
	if f.code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	switch w.Errors {
	case ErrorsNested:
		m = map[string]any{"error": map[string]any{"type": "invalid_request_error", "code": code, "message": f.text}}
	case ErrorsSlack:
		m, status = map[string]any{"ok": false, "error": code}, http.StatusOK
	default:
		m = map[string]any{"error": code, "error_description": f.text}
		if w.SpentMember != "" && f.reason == ReasonReused {
			m["error"] = "invalid_request"
			m[w.SpentMember] = code
		}
	}
	a := s.render(r, defaultTo(w.ErrorStatus, status), m, line)
	if f.basic && a.status == http.StatusUnauthorized {
		a.header.Set("WWW-Authenticate", `Basic realm="simulator"`)
	}
	return a
}
