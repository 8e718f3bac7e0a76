//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// door is the way to an authorization server. It takes token requests as a form
// or as JSON, as vendors do who take JSON only, hands them on as a form, and
// counts what goes through: how often each refresh token was presented, and
// which tokens came back.
type door struct {
	url string
	web *httptest.Server

	mu        sync.Mutex
	to        string
	presented []string            // refresh tokens, in the order in which they came
	answered  map[string]struct{} // access tokens
	issued    map[string]struct{} // refresh tokens
	holding   func()              // called with the answer in hand
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	d := &door{to: to, answered: map[string]struct{}{}, issued: map[string]struct{}{}}
	d.web = httptest.NewServer(d)
	t.Cleanup(d.web.Close)
	d.url = d.web.URL
	return d
}

// hold calls f for each answer before it is passed on; nil holds nothing.
func (d *door) hold(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holding = f
}

// shut makes the provider unreachable for the rest of the test.
func (d *door) shut() { d.web.Close() }

// requests is how many token requests reached the provider.
func (d *door) requests() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.presented)
}

// answers is how many answers with tokens came back.
func (d *door) answers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.answered)
}

// twice counts refresh tokens that were presented more than once.
func (d *door) twice() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[string]int{}
	for _, p := range d.presented {
		if seen[p]++; seen[p] == 2 {
			n++
		}
	}
	return n
}

// tokens returns all tokens that went through.
func (d *door) tokens() (access, refresh []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for token := range d.answered {
		access = append(access, token)
	}
	for token := range d.issued {
		refresh = append(refresh, token)
	}
	return access, append(refresh, d.presented...)
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	form := url.Values{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var members map[string]string
		err = json.Unmarshal(body, &members)
		for name, value := range members {
			form.Set(name, value)
		}
	} else if err == nil {
		form, err = url.ParseQuery(string(body))
	}
	d.mu.Lock()
	d.presented = append(d.presented, form.Get("refresh_token"))
	d.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler) // the connection ends
	}
	ask, err := http.NewRequest(http.MethodPost, d.to+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ask.Header.Set("User-Agent", r.Header.Get("User-Agent"))
	res, err := http.DefaultClient.Do(ask)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	d.note(answer)
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(answer) // whoever asked may be gone
}

// note learns the tokens of an answer, and holds it.
func (d *door) note(answer []byte) {
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer, &tokens) // an error's answer has none
	d.mu.Lock()
	if tokens.Access != "" {
		d.answered[tokens.Access] = struct{}{}
	}
	if tokens.Refresh != "" {
		d.issued[tokens.Refresh] = struct{}{}
	}
	holding := d.holding
	d.mu.Unlock()
	if holding != nil {
		holding()
	}
}
