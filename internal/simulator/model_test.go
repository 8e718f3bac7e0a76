package simulator_test

import (
	"fmt"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counting returns a source of tokens that a test can name: r1, r2, … and a1,
// a2, ….
func counting() func(simulator.Kind) string {
	n := map[simulator.Kind]int{}
	return func(k simulator.Kind) string {
		n[k]++
		return fmt.Sprintf("%c%d", "ar"[k], n[k])
	}
}

// step presents a token at a moment and says what must come of it. The access
// tokens in alive, and no others, must be good afterwards.
type step struct {
	at      time.Duration
	client  string // "": the family's
	token   string
	scope   []string
	outcome simulator.Outcome
	reason  simulator.Reason
	refresh string // of the reply
	access  string
	alive   []string
	dead    bool // the family is dead afterwards
}

func TestModel(t *testing.T) {
	t.Parallel()
	const (
		rotated, refreshed, replayed = simulator.Rotated, simulator.Refreshed, simulator.ReplayedInGrace
		reuse, refused               = simulator.ReuseDetected, simulator.Refused
	)
	graceful := func(s grant.Sibling, revokes bool) simulator.Rules {
		return simulator.Rules{Behaviour: grant.Behaviour{
			Rotates: true, Reuse: grant.ReuseGrace, Grace: time.Minute, Sibling: s, RevokesAccess: revokes}}
	}
	static := grant.Behaviour{Reuse: grant.ReuseSafe}
	tests := []struct {
		name  string
		rules simulator.Rules
		steps []step
	}{
		{"zero rules are strict", simulator.Rules{}, []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{token: "r2", outcome: rotated, refresh: "r3", access: "a3", alive: []string{"a1", "a2", "a3"}},
			{token: "r1", outcome: reuse, reason: "reused", dead: true},
			{token: "r3", outcome: refused, reason: "reused", dead: true},
		}},
		{"unknown token", simulator.Strict(), []step{
			{token: "nonsense", outcome: simulator.Unknown, reason: "unknown", alive: []string{"a1"}},
			{token: "", outcome: simulator.Unknown, reason: "unknown", alive: []string{"a1"}},
		}},
		{"another client spends nothing", simulator.Strict(), []step{
			{token: "r1", client: "thief", outcome: refused, reason: "client", alive: []string{"a1"}},
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
		}},
		{"too much scope spends nothing", simulator.Strict(), []step{
			{token: "r1", scope: []string{"admin"}, outcome: refused, reason: "scope", alive: []string{"a1"}},
			{token: "r1", scope: []string{"read"}, outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{token: "r1", scope: []string{"admin"}, outcome: reuse, reason: "reused", dead: true},
		}},
		{"refresh ends the access token", simulator.Rules{Behaviour: grant.Behaviour{Rotates: true, RevokesAccess: true}}, []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a2"}},
			{token: "r2", outcome: rotated, refresh: "r3", access: "a3", alive: []string{"a3"}},
		}},
		{"grace, same", graceful(grant.SiblingSame, true), []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a2"}},
			{at: time.Minute, token: "r1", outcome: replayed, refresh: "r2", access: "a2", alive: []string{"a2"}},
			{at: time.Minute + 1, token: "r1", outcome: reuse, reason: "reused", dead: true},
		}},
		{"grace, same, with an access token that ended", simulator.Rules{AccessLife: time.Second, Behaviour: grant.Behaviour{
			Rotates: true, Reuse: grant.ReuseGrace, Grace: time.Minute, Sibling: grant.SiblingSame}}, []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{at: time.Second, token: "r1", outcome: replayed, refresh: "r2", access: "a3", alive: []string{"a3"}},
		}},
		{"grace, valid", graceful(grant.SiblingValid, false), []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{at: 1, token: "r1", outcome: replayed, refresh: "r3", access: "a3", alive: []string{"a1", "a2", "a3"}},
			{at: 2, token: "r2", outcome: rotated, refresh: "r4", access: "a4", alive: []string{"a1", "a2", "a3", "a4"}},
			{at: 3, token: "r3", outcome: rotated, refresh: "r5", access: "a5", alive: []string{"a1", "a2", "a3", "a4", "a5"}},
		}},
		{"grace, valid, revokes only what came before", graceful(grant.SiblingValid, true), []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a2"}},
			{at: 1, token: "r1", outcome: replayed, refresh: "r3", access: "a3", alive: []string{"a2", "a3"}},
			{at: 2, token: "r3", outcome: rotated, refresh: "r4", access: "a4", alive: []string{"a4"}},
		}},
		{"grace, replaces", graceful(grant.SiblingReplaces, false), []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{at: 1, token: "r1", outcome: replayed, refresh: "r3", access: "a3", alive: []string{"a1", "a3"}},
			{at: 2, token: "r2", outcome: refused, reason: "replaced", alive: []string{"a1", "a3"}},
			{at: 3, token: "r3", outcome: rotated, refresh: "r4", access: "a4", alive: []string{"a1", "a3", "a4"}},
			{at: 4, token: "r1", outcome: replayed, refresh: "r5", access: "a5", alive: []string{"a1", "a5"}},
			{at: 5, token: "r4", outcome: refused, reason: "replaced", alive: []string{"a1", "a5"}},
		}},
		{"grace for the last only", simulator.Rules{GraceLastOnly: true, Behaviour: graceful(grant.SiblingValid, false).Behaviour}, []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{at: 1, token: "r1", outcome: replayed, refresh: "r3", access: "a3", alive: []string{"a1", "a2", "a3"}},
			{at: 2, token: "r2", outcome: rotated, refresh: "r4", access: "a4", alive: []string{"a1", "a2", "a3", "a4"}},
			{at: 3, token: "r1", outcome: reuse, reason: "reused", dead: true},
		}},
		{"safe with rotation", simulator.Rules{Behaviour: grant.Behaviour{Rotates: true, Reuse: grant.ReuseSafe}}, []step{
			{token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a1", "a2"}},
			{at: time.Hour, token: "r1", outcome: rotated, refresh: "r3", access: "a3", alive: []string{"a3"}},
		}},
		{"no rotation", simulator.Rules{Behaviour: static}, []step{
			{token: "r1", outcome: refreshed, refresh: "r1", access: "a2", alive: []string{"a1", "a2"}},
			{at: time.Hour, token: "r1", outcome: refreshed, refresh: "r1", access: "a3", alive: []string{"a3"}},
		}},
		{"no rotation, nothing in the reply", simulator.Rules{Behaviour: static, OmitUnchanged: true}, []step{
			{token: "r1", outcome: refreshed, refresh: "", access: "a2", alive: []string{"a1", "a2"}},
		}},
		{"rotation once a day", simulator.Rules{RotateAfter: 24 * time.Hour}, []step{
			{at: time.Hour, token: "r1", outcome: refreshed, refresh: "r1", access: "a2", alive: []string{"a2"}},
			{at: 24 * time.Hour, token: "r1", outcome: rotated, refresh: "r2", access: "a3", alive: []string{"a3"}},
			{at: 25 * time.Hour, token: "r1", outcome: reuse, reason: "reused", dead: true},
		}},
		{"idle limit slides", simulator.Rules{IdleLimit: 48 * time.Hour}, []step{
			{at: 47 * time.Hour, token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a2"}},
			{at: 94 * time.Hour, token: "r2", outcome: rotated, refresh: "r3", access: "a3", alive: []string{"a3"}},
			{at: 142 * time.Hour, token: "r3", outcome: refused, reason: "expired", dead: true},
		}},
		{"idle limit without rotation", simulator.Rules{Behaviour: static, IdleLimit: 2 * time.Hour}, []step{
			{at: time.Hour, token: "r1", outcome: refreshed, refresh: "r1", access: "a2", alive: []string{"a2"}},
			{at: 2*time.Hour + time.Minute, token: "r1", outcome: refreshed, refresh: "r1", access: "a3", alive: []string{"a3"}},
			{at: 5 * time.Hour, token: "r1", outcome: refused, reason: "expired", dead: true},
		}},
		{"the end of consent does not slide", simulator.Rules{ConsentLife: 48 * time.Hour}, []step{
			{at: 47*time.Hour + 30*time.Minute, token: "r1", outcome: rotated, refresh: "r2", access: "a2", alive: []string{"a2"}},
			{at: 48 * time.Hour, token: "r2", outcome: refused, reason: "expired", alive: []string{"a2"}, dead: true},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, err := simulator.NewModel(tc.rules, counting())
			if err != nil {
				t.Fatal(err)
			}
			first := m.NewFamily(epoch, "ci", "read", "write")
			if first.Refresh.Reveal() != "r1" || first.Access.Reveal() != "a1" || first.Generation != 1 {
				t.Fatalf("a new family starts with generation %d, want r1, a1 and 1", first.Generation)
			}
			for i, s := range tc.steps {
				checkStep(t, m, first.Family, i, s)
			}
		})
	}
}

func checkStep(t *testing.T, m *simulator.Model, family string, i int, s step) {
	t.Helper()
	now, client, token := epoch.Add(s.at), "ci", grant.NewSecret(s.token)
	if s.client != "" {
		client = s.client
	}
	before := len(m.Presentations(token.Digest()))
	usable := m.Usable(now, token)
	r := m.Refresh(now, client, token, s.scope...)
	if r.Outcome != s.outcome || r.Reason != s.reason || r.OK() != (s.reason == "") {
		t.Fatalf("step %d: outcome %q, reason %q, code %q; want %q, %q", i, r.Outcome, r.Reason, r.Code, s.outcome, s.reason)
	}
	if usable != r.OK() && s.client == "" && s.scope == nil {
		t.Errorf("step %d: Usable said %v", i, usable)
	}
	if got := r.Reply.Refresh.Reveal(); got != s.refresh {
		t.Errorf("step %d: refresh token %q, want %q", i, got, s.refresh)
	}
	if got := r.Reply.Access.Reveal(); got != s.access {
		t.Errorf("step %d: access token %q, want %q", i, got, s.access)
	}
	if s.scope != nil && r.OK() && fmt.Sprint(r.Reply.Scope) != fmt.Sprint(s.scope) {
		t.Errorf("step %d: scope %v, want %v", i, r.Reply.Scope, s.scope)
	}
	var alive []string
	for n := range 9 {
		if a := fmt.Sprintf("a%d", n); m.AccessValid(now, grant.NewSecret(a)) {
			alive = append(alive, a)
		}
	}
	if fmt.Sprint(alive) != fmt.Sprint(s.alive) {
		t.Errorf("step %d: living access tokens %v, want %v", i, alive, s.alive)
	}
	if m.FamilyAlive(now, family) == s.dead {
		t.Errorf("step %d: family alive is %v", i, !s.dead)
	}
	of := m.Presentations(token.Digest())
	if len(of) != before+1 || of[before].Outcome != s.outcome || !of[before].At.Equal(now) {
		t.Errorf("step %d: the ledger has %d presentations, last %+v", i, len(of), of[len(of)-1])
	}
}

func TestModelCountsRefreshesByGeneration(t *testing.T) {
	t.Parallel()
	m, err := simulator.NewModel(simulator.Rules{Behaviour: grant.Behaviour{
		Rotates: true, Reuse: grant.ReuseGrace, Grace: time.Minute, Sibling: grant.SiblingValid}}, counting())
	if err != nil {
		t.Fatal(err)
	}
	f := m.NewFamily(epoch, "ci").Family
	for _, token := range []string{"r1", "r1", "r2", "nonsense"} {
		m.Refresh(epoch, "ci", grant.NewSecret(token))
	}
	line := m.NoteDropped(epoch, "ci", grant.NewSecret("r4"))
	if m.Refreshes(f, 1) != 2 || m.Refreshes(f, 2) != 1 || m.Refreshes(f, 3) != 0 {
		t.Errorf("refreshes by generation: %d, %d, %d; want 2, 1, 0", m.Refreshes(f, 1), m.Refreshes(f, 2), m.Refreshes(f, 3))
	}
	newest, generation := m.Newest(f)
	if newest.Reveal() != "r4" || generation != 3 {
		t.Errorf("newest has generation %d, want r4 of generation 3", generation)
	}
	l := m.Ledger(epoch)
	if p := l.Presentations[line]; p.Outcome != simulator.DroppedBefore || p.Generation != 3 || p.Answered() {
		t.Errorf("dropped presentation is noted as %+v", p)
	}
	s, ok := l.Family(f)
	if !ok || !s.Alive || s.Newest != newest.Digest() || s.Refreshes[1] != 2 || len(s.Access) != 4 {
		t.Errorf("standing is %+v", s)
	}
	if !m.RevokeFamily(epoch, f) || m.RevokeFamily(epoch, f) || m.FamilyAlive(epoch, f) {
		t.Error("a family is revoked once")
	}
	if r := m.Refresh(epoch, "ci", newest); r.Reason != simulator.ReasonRevoked {
		t.Errorf("a revoked family answers with reason %q", r.Reason)
	}
}

func TestModelTellsWhatIsLeft(t *testing.T) {
	t.Parallel()
	tests := []struct {
		idle, consent, want time.Duration
	}{
		{0, 0, 0},
		{time.Hour, 0, time.Hour},
		{0, 10 * time.Hour, 8 * time.Hour},
		{9 * time.Hour, 10 * time.Hour, 8 * time.Hour},
		{7 * time.Hour, 10 * time.Hour, 7 * time.Hour},
	}
	for _, tc := range tests {
		m, err := simulator.NewModel(simulator.Rules{IdleLimit: tc.idle, ConsentLife: tc.consent, AccessLife: time.Minute}, counting())
		if err != nil {
			t.Fatal(err)
		}
		first := m.NewFamily(epoch, "ci")
		for _, at := range []time.Duration{30 * time.Minute, time.Hour, 90 * time.Minute, 2 * time.Hour} {
			r := m.Refresh(epoch.Add(at), "ci", first.Refresh)
			first = r.Reply
		}
		if first.RefreshExpiresIn != tc.want || first.ExpiresIn != time.Minute {
			t.Errorf("idle %v, consent %v: left %v and %v, want %v and 1m", tc.idle, tc.consent, first.RefreshExpiresIn, first.ExpiresIn, tc.want)
		}
	}
}

func TestModelRefusesContradictions(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]simulator.Rules{
		"negative life":        {AccessLife: -1},
		"grace without length": {Behaviour: grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace}},
		"length without grace": {Behaviour: grant.Behaviour{Rotates: true, Grace: time.Second}},
	} {
		if _, err := simulator.NewModel(r, counting()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := simulator.NewModel(simulator.Strict(), nil); err == nil {
		t.Error("a model without a source of tokens is accepted")
	}
}
