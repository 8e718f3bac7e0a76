package simulator_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

func (p peer) admin(t *testing.T, method, path, body string) got {
	t.Helper()
	return p.do(t, method, path, jsonType, body, http.Header{simulator.AdminHeader: {p.AdminSecret().Reveal()}})
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{Path: "/t", Now: func() time.Time { return epoch }})
	issuer, host := p.url, strings.TrimSuffix(p.url, "/t")
	p.url = host

	var issued simulator.IssuedFamily
	g := p.admin(t, http.MethodPost, simulator.FamiliesPath, `{"scope":["read"]}`)
	if err := json.Unmarshal([]byte(g.body), &issued); err != nil || issued.Client != simulator.DefaultClient ||
		issued.Digest != grant.NewSecret(issued.RefreshToken).Digest() {
		t.Fatalf("families answers %d: %v", g.status, err)
	}
	if g := p.admin(t, http.MethodPut, simulator.FaultsPath, `["status,status=503,times=2"]`); g.body != "[\"status,times=2,status=503\"]\n" {
		t.Errorf("faults answers %d %s", g.status, g.body)
	}
	p.url = issuer
	if g := p.refresh(t, issued.RefreshToken); g.status != http.StatusServiceUnavailable {
		t.Errorf("a fault that was set gets %d", g.status)
	}
	p.url = host
	if g := p.admin(t, http.MethodGet, simulator.FaultsPath, ""); g.body != "[\"status,times=1,status=503\"]\n" {
		t.Errorf("faults answers %s", g.body)
	}
	p.admin(t, http.MethodPut, simulator.FaultsPath, `[]`)
	if g := p.admin(t, http.MethodPost, simulator.ClockPath, `{"advance":"36h"}`); g.text("now") != "2026-03-03T00:00:00Z" {
		t.Errorf("clock answers %s", g.body)
	}
	p.url = issuer
	p.refresh(t, issued.RefreshToken)
	p.url = host

	g = p.admin(t, http.MethodGet, simulator.LedgerPath, "")
	var l simulator.Ledger
	if err := json.NewDecoder(bytes.NewReader([]byte(g.body))).Decode(&l); err != nil {
		t.Fatal(err)
	}
	of := l.Of(issued.Digest)
	s, ok := l.Family(issued.Family)
	if len(of) != 2 || of[0].Outcome != simulator.DroppedBefore || of[1].Outcome != simulator.Rotated || !ok || !s.Alive ||
		s.Generation != 2 || s.Refreshes[1] != 1 || len(s.Access) != 1 || strings.Contains(g.body, issued.RefreshToken) {
		t.Errorf("ledger: %s", g.body)
	}
	for _, want := range []string{"true", "false"} {
		if g := p.admin(t, http.MethodPost, simulator.RevokePath, `{"family":"`+issued.Family+`"}`); g.body != "{\"revoked\":"+want+"}\n" {
			t.Errorf("revoke answers %s", g.body)
		}
	}
}

func TestAdminRefuses(t *testing.T) {
	t.Parallel()
	p := start(t, simulator.Config{Clients: []simulator.Client{{ID: "a", Scope: []string{"read"}}, {ID: "b"}}})
	for _, path := range []string{simulator.LedgerPath, simulator.FaultsPath} {
		for name, header := range map[string]http.Header{"no secret": {}, "wrong secret": {simulator.AdminHeader: {"x"}}} {
			if g := p.do(t, http.MethodGet, path, "", "", header); g.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d", path, name, g.status)
			}
		}
	}
	for _, tc := range []struct{ method, path, body, says string }{
		{http.MethodPost, simulator.FamiliesPath, `{}`, `no client "" is registered`},
		{http.MethodPost, simulator.FamiliesPath, `{"client":"a","scope":["write"]}`, "may not ask"},
		{http.MethodPost, simulator.FamiliesPath, `{"klient":"a"}`, "right shape"},
		{http.MethodPut, simulator.FaultsPath, `["explode"]`, "unknown fault"},
		{http.MethodPut, simulator.FaultsPath, `"drop"`, "right shape"},
		{http.MethodPost, simulator.ClockPath, `{"advance":"a day"}`, "duration"},
		{http.MethodPost, simulator.RevokePath, ``, "right shape"},
	} {
		if g := p.admin(t, tc.method, tc.path, tc.body); g.status != http.StatusBadRequest || !strings.Contains(g.body, tc.says) {
			t.Errorf("%s %s: %d %q, want %q", tc.path, tc.body, g.status, g.body, tc.says)
		}
	}
	if err := p.SetFaults(simulator.Fault{Kind: "explode"}); err == nil {
		t.Error("an unknown fault is set")
	}
}
