package simulator_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// peer is a started server and a client that keeps no connections and follows
// no redirects.
type peer struct {
	*simulator.Server
	url    string
	client *http.Client
}

func start(t *testing.T, c simulator.Config) peer {
	t.Helper()
	s, err := simulator.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	base, err := s.Start("")
	if err != nil {
		t.Fatal(err)
	}
	return peer{s, base, &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// got is an HTTP answer; err is what a client saw instead of a whole one.
type got struct {
	status int
	header http.Header
	body   string
	json   map[string]any
	err    error
}

func (p peer) do(t *testing.T, method, path, contentType, body string, header http.Header) got {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := p.client.Do(r)
	if err != nil {
		return got{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	g := got{status: res.StatusCode, header: res.Header, body: string(b), err: err}
	_ = json.Unmarshal(b, &g.json) // not every answer is JSON
	return g
}

const formType, jsonType = "application/x-www-form-urlencoded", "application/json"

// form posts pairs of names and values.
func (p peer) form(t *testing.T, path string, pairs ...string) got {
	t.Helper()
	return p.do(t, http.MethodPost, path, formType, formBody(pairs...), nil)
}

func formBody(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func (p peer) refresh(t *testing.T, token string) got {
	t.Helper()
	return p.form(t, "/token", "grant_type", "refresh_token", "client_id", simulator.DefaultClient, "refresh_token", token)
}

// opens reports whether /userinfo accepts an access token.
func (p peer) opens(t *testing.T, access string) bool {
	t.Helper()
	g := p.do(t, http.MethodGet, "/userinfo", "", "", http.Header{"Authorization": {"Bearer " + access}})
	if g.status != http.StatusOK && g.status != http.StatusUnauthorized {
		t.Fatalf("userinfo answers %d, %v", g.status, g.err)
	}
	if p.AccessValid(grant.NewSecret(access)) != (g.status == http.StatusOK) {
		t.Errorf("AccessValid contradicts userinfo, which answers %d", g.status)
	}
	return g.status == http.StatusOK
}

// family issues a consent to the default client and returns its name and its
// tokens.
func (p peer) family(t *testing.T) (family, refresh, access string) {
	t.Helper()
	r, err := p.IssueFamily(simulator.DefaultClient, "read")
	if err != nil {
		t.Fatal(err)
	}
	return r.Family, r.Refresh.Reveal(), r.Access.Reveal()
}

func (g got) text(member string) string { s, _ := g.json[member].(string); return s }

func TestBehavioursOverHTTP(t *testing.T) {
	t.Parallel()
	grace := func(s grant.Sibling) simulator.Rules {
		return simulator.Rules{Behaviour: grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: time.Minute, Sibling: s}}
	}
	tests := []struct {
		name         string
		rules        simulator.Rules
		advance      time.Duration     // between the two presentations of the first token
		again        simulator.Outcome // of the second presentation
		sameRefresh  bool              // the second answer repeats the first one's refresh token
		firstAccess  bool              // of the family's first access token, after the first refresh
		secondAccess bool              // of the first answer's access token, after the second presentation
		alive        bool              // the first answer's refresh token is good at the end
	}{
		{"fatal", simulator.Strict(), 0, simulator.ReuseDetected, false, true, false, false},
		{"fatal, revokes access", simulator.Rules{Behaviour: grant.Behaviour{Rotates: true, RevokesAccess: true}}, 0, simulator.ReuseDetected, false, false, false, false},
		{"grace, same", grace(grant.SiblingSame), time.Minute, simulator.ReplayedInGrace, true, true, true, true},
		{"grace, valid", grace(grant.SiblingValid), time.Minute, simulator.ReplayedInGrace, false, true, true, true},
		{"grace, replaces", grace(grant.SiblingReplaces), time.Minute, simulator.ReplayedInGrace, false, true, false, false},
		{"grace that passed", grace(grant.SiblingValid), time.Minute + time.Second, simulator.ReuseDetected, false, true, false, false},
		{"safe, rotating", simulator.Rules{Behaviour: grant.Behaviour{Rotates: true, Reuse: grant.ReuseSafe}}, 0, simulator.Rotated, false, true, true, true},
		{"static", simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}}, 0, simulator.Refreshed, true, true, true, true},
		{"static, revokes access", simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe, RevokesAccess: true}}, 0, simulator.Refreshed, true, false, false, true},
		{"idle limit", simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}, IdleLimit: time.Minute}, time.Minute, simulator.Refused, false, true, true, false},
		{"end of consent", simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}, ConsentLife: time.Minute}, time.Minute, simulator.Refused, false, true, true, false},
		{"access life", simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}, AccessLife: time.Minute}, time.Minute, simulator.Refreshed, true, true, false, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, simulator.Config{Rules: tc.rules, Now: func() time.Time { return epoch }})
			family, r1, a1 := p.family(t)
			first := p.refresh(t, r1)
			if first.status != http.StatusOK || !p.opens(t, first.text("access_token")) {
				t.Fatalf("first refresh answers %d, %v", first.status, first.err)
			}
			if got := p.opens(t, a1); got != tc.firstAccess {
				t.Errorf("the family's first access token lives: %v", got)
			}
			p.Advance(tc.advance)
			second := p.refresh(t, r1)
			of := p.Presentations(grant.NewSecret(r1).Digest())
			if len(of) != 2 || of[1].Outcome != tc.again || of[1].Answered() != (second.status == http.StatusOK) {
				t.Fatalf("second presentation: status %d, ledger %+v", second.status, of)
			}
			if second.status != http.StatusOK && second.text("error") != "invalid_grant" {
				t.Errorf("a failure says %q", second.text("error"))
			}
			if same := second.text("refresh_token") == first.text("refresh_token"); same != tc.sameRefresh {
				t.Errorf("the refresh token is repeated: %v", same)
			}
			if got := p.opens(t, first.text("access_token")); got != tc.secondAccess {
				t.Errorf("the first answer's access token lives: %v", got)
			}
			third := p.refresh(t, first.text("refresh_token"))
			if (third.status == http.StatusOK) != tc.alive {
				t.Errorf("the first answer's refresh token gets %d", third.status)
			}
			if s, ok := p.Standing(family); !ok || s.Client != simulator.DefaultClient || s.Refreshes[1] == 0 {
				t.Errorf("standing %+v", s)
			}
		})
	}
}

func TestOneOfManyConcurrentRefreshesWins(t *testing.T) {
	t.Parallel()
	const n = 24
	tests := []struct {
		name  string
		rules simulator.Rules
		wins  int
		alive bool
	}{
		{"fatal", simulator.Strict(), 1, false},
		{"grace", simulator.Rules{Behaviour: grant.Behaviour{
			Rotates: true, Reuse: grant.ReuseGrace, Grace: time.Hour, Sibling: grant.SiblingSame}}, n, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, simulator.Config{Rules: tc.rules})
			family, token, _ := p.family(t)
			answers := make([]got, n)
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() { answers[i] = p.refresh(t, token) })
			}
			all.Wait()
			wins, refreshes := 0, map[string]bool{}
			for _, a := range answers {
				if a.status == http.StatusOK {
					wins++
					refreshes[a.text("refresh_token")] = true
				}
			}
			s, _ := p.Standing(family)
			if wins != tc.wins || len(refreshes) != 1 || s.Refreshes[1] != tc.wins || s.Alive != tc.alive {
				t.Errorf("%d of %d won with %d tokens; standing %+v", wins, n, len(refreshes), s)
			}
			if of := p.Ledger().Of(grant.NewSecret(token).Digest()); len(of) != n {
				t.Errorf("the ledger has %d presentations of %d", len(of), n)
			}
		})
	}
}

func TestServerLife(t *testing.T) {
	t.Parallel()
	s, err := simulator.New(simulator.Config{Path: "/tenant"})
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Start("127.0.0.1:0")
	if err != nil || !strings.HasSuffix(base, "/tenant") {
		t.Fatalf("started at %q: %v", base, err)
	}
	if _, err := s.Start(""); err == nil {
		t.Error("a server starts twice")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := http.Get(base + "/userinfo"); err == nil {
		t.Error("a closed server answers")
	}
	if _, err := s.Start(""); err == nil {
		t.Error("a closed server starts")
	}
	if _, err := (peerless(t)).Start("256.0.0.1:0"); err == nil {
		t.Error("a server starts at an impossible address")
	}
}

func peerless(t *testing.T) *simulator.Server {
	t.Helper()
	s, err := simulator.New(simulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]simulator.Config{
		"client twice":          {Clients: []simulator.Client{{ID: "a"}, {ID: "a"}}},
		"client without id":     {Clients: []simulator.Client{{}}},
		"public with secret":    {Clients: []simulator.Client{{ID: "a", Auth: simulator.AuthNone, Secret: grant.NewSecret("s")}}},
		"basic without secret":  {Clients: []simulator.Client{{ID: "a", Auth: simulator.AuthBasic}}},
		"jwt without key":       {Clients: []simulator.Client{{ID: "a", Auth: simulator.AuthJWT}}},
		"unknown auth":          {Clients: []simulator.Client{{ID: "a", Auth: "magic"}}},
		"relative redirect":     {Clients: []simulator.Client{{ID: "a", Redirects: []string{"/elsewhere"}}}},
		"redirect to fragment":  {Clients: []simulator.Client{{ID: "a", Redirects: []string{"https://a.example/#x"}}}},
		"path without slash":    {Path: "tenant"},
		"path ends in slash":    {Path: "/tenant/"},
		"unknown approval":      {Approve: "perhaps"},
		"unknown body":          {Wire: simulator.Wire{Body: "xml"}},
		"unknown expires":       {Wire: simulator.Wire{Expires: "never"}},
		"unknown expiry member": {Wire: simulator.Wire{RefreshExpiry: "rt_exp"}},
		"status":                {Wire: simulator.Wire{ErrorStatus: 99}},
		"nested form":           {Wire: simulator.Wire{Answer: simulator.AnswerForm, Errors: simulator.ErrorsNested}},
		"extra is not JSON":     {Wire: simulator.Wire{Extra: map[string]any{"f": func() {}}}},
		"rules":                 {Rules: simulator.Rules{AccessLife: -1}},
	} {
		if _, err := simulator.New(c); err == nil || !strings.HasPrefix(err.Error(), "simulator: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
