package simulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// TestSuccessHabits compares whole answers: a member too many or of another
// type is a difference.
func TestSuccessHabits(t *testing.T) {
	t.Parallel()
	const plain = `{"access_token":"a2","expires_in":3600,"refresh_token":"r2","scope":"read write","token_type":"Bearer"}`
	static := simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}}
	silent := static
	silent.OmitUnchanged = true
	limited := simulator.Rules{ConsentLife: 24 * time.Hour}
	tests := []struct {
		name  string
		wire  simulator.Wire
		rules simulator.Rules
		want  string
	}{
		{"plain", simulator.Wire{}, simulator.Rules{}, plain},
		{"expires_in as a string", simulator.Wire{Expires: simulator.ExpiresString}, simulator.Rules{},
			`{"access_token":"a2","expires_in":"3600","refresh_token":"r2","scope":"read write","token_type":"Bearer"}`},
		{"no expires_in", simulator.Wire{Expires: simulator.ExpiresMissing}, simulator.Rules{},
			`{"access_token":"a2","refresh_token":"r2","scope":"read write","token_type":"Bearer"}`},
		{"expires_in in words", simulator.Wire{Expires: simulator.ExpiresWords}, simulator.Rules{},
			`{"access_token":"a2","expires_in":"soon","refresh_token":"r2","scope":"read write","token_type":"Bearer"}`},
		{"scope as an array", simulator.Wire{Scope: simulator.ScopeArray}, simulator.Rules{},
			`{"access_token":"a2","expires_in":3600,"refresh_token":"r2","scope":["read","write"],"token_type":"Bearer"}`},
		{"scope with commas", simulator.Wire{ScopeSeparator: ","}, simulator.Rules{},
			`{"access_token":"a2","expires_in":3600,"refresh_token":"r2","scope":"read,write","token_type":"Bearer"}`},
		{"no scope, no type", simulator.Wire{Scope: simulator.ScopeMissing, NoTokenType: true}, simulator.Rules{},
			`{"access_token":"a2","expires_in":3600,"refresh_token":"r2"}`},
		{"unchanged refresh token", simulator.Wire{}, static,
			`{"access_token":"a2","expires_in":3600,"refresh_token":"r1","scope":"read write","token_type":"Bearer"}`},
		{"missing refresh token", simulator.Wire{}, silent,
			`{"access_token":"a2","expires_in":3600,"scope":"read write","token_type":"Bearer"}`},
		{"refresh expiry, first spelling", simulator.Wire{RefreshExpiry: "refresh_token_expires_in"}, limited,
			`{"access_token":"a2","expires_in":3600,"refresh_token":"r2","refresh_token_expires_in":82800,"scope":"read write","token_type":"Bearer"}`},
		{"refresh expiry, second spelling", simulator.Wire{RefreshExpiry: "x_refresh_token_expires_in"}, limited,
			`{"access_token":"a2","expires_in":3600,"refresh_token":"r2","scope":"read write","token_type":"Bearer","x_refresh_token_expires_in":82800}`},
		{"refresh expiry, third spelling", simulator.Wire{RefreshExpiry: "refresh_expires_in"}, limited,
			`{"access_token":"a2","expires_in":3600,"refresh_expires_in":82800,"refresh_token":"r2","scope":"read write","token_type":"Bearer"}`},
		{"refresh expiry without a limit", simulator.Wire{RefreshExpiry: "refresh_expires_in"}, simulator.Rules{}, plain},
		{"account and extras", simulator.Wire{Account: map[string]any{"uuid": "u1"}, Extra: map[string]any{"bot": true, "access_token": "no"}}, simulator.Rules{},
			`{"access_token":"a2","account":{"uuid":"u1"},"bot":true,"expires_in":3600,"refresh_token":"r2","scope":"read write","token_type":"Bearer"}`},
		{"slack", simulator.Wire{Errors: simulator.ErrorsSlack}, simulator.Rules{},
			`{"access_token":"a2","expires_in":3600,"ok":true,"refresh_token":"r2","scope":"read write","token_type":"Bearer"}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := refreshOnce(t, tc.wire, tc.rules, nil)
			if g.status != http.StatusOK || g.body != tc.want {
				t.Errorf("answers %d\n%s, want\n%s", g.status, g.body, tc.want)
			}
			if g.header.Get("Cache-Control") != "no-store" || g.header.Get("Content-Type") != jsonType {
				t.Errorf("headers %v", g.header)
			}
		})
	}
}

// refreshOnce makes a family with tokens r1, a1, lets an hour pass and
// refreshes it.
func refreshOnce(t *testing.T, wire simulator.Wire, rules simulator.Rules, header http.Header) got {
	t.Helper()
	p := start(t, simulator.Config{Wire: wire, Rules: rules, NewToken: counting(), Now: func() time.Time { return epoch }})
	if _, err := p.IssueFamily(simulator.DefaultClient, "read", "write"); err != nil {
		t.Fatal(err)
	}
	p.Advance(time.Hour)
	return p.do(t, http.MethodPost, "/token", formType,
		formBody("grant_type", "refresh_token", "client_id", simulator.DefaultClient, "refresh_token", "r1"), header)
}

func TestFormAnswers(t *testing.T) {
	t.Parallel()
	const want = "access_token=a2&expires_in=3600&refresh_token=r2&scope=read+write&token_type=Bearer"
	tests := []struct {
		name, answer, accept string
		form                 bool
	}{
		{"always", simulator.AnswerForm, jsonType, true},
		{"by accept, not asked", simulator.AnswerByAccept, "", true},
		{"by accept, anything", simulator.AnswerByAccept, "*/*", true},
		{"by accept, JSON", simulator.AnswerByAccept, "application/json", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := refreshOnce(t, simulator.Wire{Answer: tc.answer}, simulator.Rules{}, http.Header{"Accept": {tc.accept}})
			if isForm := g.header.Get("Content-Type") == formType && g.body == want; isForm != tc.form || !isForm && g.text("refresh_token") != "r2" {
				t.Errorf("answers %v with %s", g.header, g.body)
			}
		})
	}
	g := refreshTwice(t, simulator.Wire{Answer: simulator.AnswerForm})
	if v, err := url.ParseQuery(g.body); err != nil || v.Get("error") != "invalid_grant" {
		t.Errorf("a failure answers %s", g.body)
	}
}

// refreshTwice presents a spent token and returns the answer.
func refreshTwice(t *testing.T, wire simulator.Wire) got {
	t.Helper()
	p := start(t, simulator.Config{Wire: wire})
	_, token, _ := p.family(t)
	p.refresh(t, token)
	return p.refresh(t, token)
}

func TestErrorHabits(t *testing.T) {
	t.Parallel()
	const text = "the refresh token was not accepted: reused"
	tests := []struct {
		name   string
		wire   simulator.Wire
		status int
		want   map[string]any
	}{
		{"flat", simulator.Wire{}, 400, map[string]any{"error": "invalid_grant", "error_description": text}},
		{"flat, 403", simulator.Wire{ErrorStatus: 403}, 403, map[string]any{"error": "invalid_grant", "error_description": text}},
		{"flat, 200", simulator.Wire{ErrorStatus: 200}, 200, map[string]any{"error": "invalid_grant", "error_description": text}},
		{"nested", simulator.Wire{Errors: simulator.ErrorsNested, ErrorStatus: 401, Codes: map[string]string{"reused": "refresh_token_reused"}}, 401,
			map[string]any{"error": map[string]any{"type": "invalid_request_error", "code": "refresh_token_reused", "message": text}}},
		{"slack", simulator.Wire{Errors: simulator.ErrorsSlack, Codes: map[string]string{"invalid_grant": "invalid_refresh_token"}}, 200,
			map[string]any{"ok": false, "error": "invalid_refresh_token"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := refreshTwice(t, tc.wire)
			want, err := json.Marshal(tc.want)
			if err != nil {
				t.Fatal(err)
			}
			if g.status != tc.status || fmt.Sprint(g.body) != string(want) {
				t.Errorf("answers %d %s, want %d %s", g.status, g.body, tc.status, want)
			}
		})
	}
}
