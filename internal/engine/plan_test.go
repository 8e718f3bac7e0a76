package engine_test

import (
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// living is a record of generation 7 whose access token has 40 of 60 minutes
// left at noon.
func living() grant.Credential {
	return grant.Credential{
		Grant: "acme/claude", Consent: "c1", Generation: 7, Writer: "w7",
		Tokens: grant.TokenSet{
			Access: grant.AccessToken{
				Grant: "acme/claude", Generation: 7, Value: grant.NewSecret("at7"), Expiry: noon.Add(40 * time.Minute),
			},
			Refresh: grant.NewSecret("rt7"), ObtainedAt: noon.Add(-20 * time.Minute),
		},
	}
}

func digest() string { return grant.NewSecret("rt7").Digest() }

func edit(edits ...func(*grant.Credential)) grant.Credential {
	c := living()
	for _, e := range edits {
		e(&c)
	}
	return c
}

func state(s grant.State) func(*grant.Credential) {
	return func(c *grant.Credential) { c.State = s }
}

// lease is another holder's lease that ends this long after noon.
func lease(until time.Duration) func(*grant.Credential) {
	return func(c *grant.Credential) {
		c.Lease = &grant.Lease{Holder: "other", Until: noon.Add(until), TTL: 90 * time.Second, Spends: digest()}
	}
}

// doubt was counted first and last this long before noon.
func doubt(sends uint, first, last time.Duration) func(*grant.Credential) {
	return func(c *grant.Credential) {
		c.Doubt = &grant.Doubt{Spends: digest(), Sends: sends, First: noon.Add(-first), Last: noon.Add(-last)}
	}
}

func expired(c *grant.Credential) { c.Tokens.Access.Expiry = noon.Add(-time.Minute) }
func raw(c *grant.Credential)     { c.Raw = grant.NewSecret("garbage") }
func left(d time.Duration) func(*grant.Credential) {
	return func(c *grant.Credential) { c.Tokens.Access.Expiry = noon.Add(d) }
}

var (
	strict   = grant.Behaviour{Rotates: true}
	revoking = grant.Behaviour{Rotates: true, RevokesAccess: true}
	safe     = grant.Behaviour{Reuse: grant.ReuseSafe}
	valid10  = grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: 10 * time.Minute, Sibling: grant.SiblingValid}
	repl10   = grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: 10 * time.Minute}
	repl2    = grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: 2 * time.Minute}
)

// TestNext is the decision table of the protocol, cell by cell. Where row is
// 4 or 6, next is how long after noon the answer may change by itself.
func TestNext(t *testing.T) {
	t.Parallel()
	const min, sec = time.Minute, time.Second
	calm := engine.Ask{First: 7, Watched: min}
	with := func(f func(*engine.Ask)) engine.Ask { a := calm; f(&a); return a }
	forced := with(func(a *engine.Ask) { a.Force = true })
	tests := []struct {
		name     string
		c        grant.Credential
		a        engine.Ask
		b        grant.Behaviour
		sameHost bool
		do       engine.Verb
		row      engine.Row
		next     time.Duration
	}{
		{name: "retired wins over a living token", c: edit(state(grant.Retired)), a: calm, do: engine.Refuse, row: engine.RowRetired},

		{name: "enough life", c: living(), a: with(func(a *engine.Ask) { a.MinTTL = 40 * min }), do: engine.Serve, row: engine.RowLife},
		{name: "a second too little life", c: living(), a: with(func(a *engine.Ask) { a.MinTTL = 40*min + sec }), do: engine.Take, row: engine.RowTake},
		{name: "an ask above 90 % of the life is capped", c: edit(left(54 * min)), a: with(func(a *engine.Ask) { a.MinTTL = 10 * time.Hour }), do: engine.Take, row: engine.RowTake},
		{name: "the cap is met", c: edit(left(67*min), func(c *grant.Credential) { c.Tokens.ObtainedAt = noon.Add(-2 * min) }),
			a: with(func(a *engine.Ask) { a.MinTTL = 10 * time.Hour }), do: engine.Serve, row: engine.RowLife},
		{name: "alive by no more than the skew", c: edit(left(min)), a: calm, do: engine.Take, row: engine.RowTake},
		{name: "alive by more than the skew", c: edit(left(min + sec)), a: calm, do: engine.Serve, row: engine.RowLife},
		{name: "on one clock a second is life", c: edit(left(sec)), a: calm, sameHost: true, do: engine.Serve, row: engine.RowLife},
		{name: "no access token at all", c: edit(func(c *grant.Credential) { c.Tokens.Access.Value = grant.Secret{} }), a: calm, do: engine.Take, row: engine.RowTake},

		{name: "force refreshes", c: living(), a: forced, do: engine.Take, row: engine.RowTake},
		{name: "force is met by a newer generation", c: living(), a: with(func(a *engine.Ask) { a.Force, a.First = true, 6 }), do: engine.Serve, row: engine.RowNewer},
		{name: "a newer generation needs no min-ttl", c: edit(left(2 * min)), a: with(func(a *engine.Ask) { a.First, a.MinTTL = 6, 30*min }), do: engine.Serve, row: engine.RowNewer},
		{name: "the refused generation will not do", c: living(), a: with(func(a *engine.Ask) { a.After = 7 }), do: engine.Take, row: engine.RowTake},
		{name: "one above the refused generation will", c: living(), a: with(func(a *engine.Ask) { a.After = 6 }), do: engine.Serve, row: engine.RowLife},

		{name: "2a: a running refresh will end the token", c: edit(lease(80*sec), doubt(1, 10*sec, 10*sec)), a: calm, b: revoking, do: engine.Wait, row: engine.RowRevoking, next: 140 * sec},
		{name: "elsewhere the token is served meanwhile", c: edit(lease(80*sec), doubt(1, 10*sec, 10*sec)), a: calm, do: engine.Serve, row: engine.RowLife},
		{name: "a doubt may have ended a revocable token", c: edit(doubt(1, 10*sec, 10*sec)), a: calm, b: revoking, do: engine.Wait, row: engine.RowDoubtLater, next: 110 * sec},
		{name: "a rejection may have ended a revocable token", c: edit(state(grant.NeedsConsent)), a: calm, b: revoking, do: engine.Refuse, row: engine.RowNeedsConsent},
		{name: "a doubt about another token is none", c: edit(func(c *grant.Credential) { c.Doubt = &grant.Doubt{Spends: "other", Sends: 3} }), a: forced, do: engine.Take, row: engine.RowTake},

		{name: "2b: recover in the grace although the token lives", c: edit(doubt(1, 3*min, 3*min)), a: calm, b: valid10, do: engine.Recover, row: engine.RowGraceNow},
		{name: "2b does not apply under a foreign lease", c: edit(doubt(1, 10*sec, 10*sec), lease(80*sec)), a: calm, b: valid10, do: engine.Serve, row: engine.RowLife},
		{name: "2b applies with a kept reply", c: edit(doubt(1, 3*min, 3*min), raw), a: calm, b: valid10, do: engine.Recover, row: engine.RowGraceNow},
		{name: "2b does not apply after a rejection", c: edit(doubt(1, 3*min, 3*min), state(grant.NeedsConsent)), a: calm, b: valid10, do: engine.Serve, row: engine.RowLife},

		{name: "needs consent, but the token lives", c: edit(state(grant.NeedsConsent)), a: calm, do: engine.Serve, row: engine.RowLife},
		{name: "needs consent", c: edit(state(grant.NeedsConsent), expired), a: calm, do: engine.Refuse, row: engine.RowNeedsConsent},
		{name: "force does not override needs consent", c: edit(state(grant.NeedsConsent)), a: forced, do: engine.Refuse, row: engine.RowNeedsConsent},

		{name: "another's lease runs", c: edit(expired, lease(30*sec), doubt(1, min, min)), a: calm, do: engine.Wait, row: engine.RowLease, next: 90 * sec},
		{name: "it runs to its end and the skew", c: edit(expired, lease(-60*sec), doubt(1, min, min)), a: with(func(a *engine.Ask) { a.Watched = min }), do: engine.Wait, row: engine.RowLease},
		{name: "and not longer", c: edit(expired, lease(-61*sec), doubt(1, 151*sec, 151*sec)), a: calm, do: engine.Recover, row: engine.RowDoubtNow},
		{name: "on one clock there is no skew", c: edit(expired, lease(-sec), doubt(1, 3*min, 3*min)), a: calm, sameHost: true, do: engine.Recover, row: engine.RowDoubtNow},
		{name: "our own lease is none", c: edit(expired, lease(30*sec), doubt(1, 3*min, 3*min)), a: with(func(a *engine.Ask) { a.Self = "other" }), do: engine.Recover, row: engine.RowDoubtNow},
		{name: "watched for its life and ten seconds", c: edit(expired, lease(80*sec), doubt(1, 3*min, 3*min)), a: with(func(a *engine.Ask) { a.Watched = 100 * sec }), do: engine.Recover, row: engine.RowDoubtNow},
		{name: "a second less watched", c: edit(expired, lease(80*sec), doubt(1, 3*min, 3*min)), a: with(func(a *engine.Ask) { a.Watched = 99 * sec }), do: engine.Wait, row: engine.RowLease, next: 140 * sec},
		{name: "a lease that ends impossibly late", c: edit(expired, lease(151*sec), doubt(1, min, min)), a: with(func(a *engine.Ask) { a.Watched = min }), do: engine.Wait, row: engine.RowClockFault},
		{name: "and is watched out all the same", c: edit(expired, lease(time.Hour), doubt(1, 3*min, 3*min)), a: with(func(a *engine.Ask) { a.Watched = 100 * sec }), do: engine.Recover, row: engine.RowDoubtNow},
		{name: "the latest possible end is no fault", c: edit(expired, lease(150*sec), doubt(1, min, min)), a: with(func(a *engine.Ask) { a.Watched = min }), do: engine.Wait, row: engine.RowLease, next: 210 * sec},

		{name: "a kept reply", c: edit(expired, raw, doubt(1, time.Hour, time.Hour)), a: calm, do: engine.Refuse, row: engine.RowRaw},
		{name: "inside a grace it is asked for again", c: edit(expired, raw, doubt(1, 3*min, 3*min)), a: calm, b: valid10, do: engine.Recover, row: engine.RowGraceNow},
		{name: "after the grace it stands", c: edit(expired, raw, doubt(1, time.Hour, time.Hour)), a: calm, b: valid10, do: engine.Refuse, row: engine.RowRaw},
		{name: "a kept reply is no matter where reuse is safe", c: edit(expired, raw, doubt(1, min, min)), a: calm, b: safe, do: engine.Take, row: engine.RowTake},

		{name: "grace, valid sibling: at once", c: edit(expired, doubt(1, sec, sec)), a: calm, b: valid10, do: engine.Recover, row: engine.RowGraceNow},
		{name: "but not before calm", c: edit(expired, doubt(1, sec, sec)), a: with(func(a *engine.Ask) { a.Watched = 10 * sec }), b: valid10, do: engine.Wait, row: engine.RowGraceLater, next: 20 * sec},
		{name: "on one host calm is none", c: edit(expired, doubt(1, sec, sec)), a: with(func(a *engine.Ask) { a.Watched = 0 }), b: valid10, sameHost: true, do: engine.Recover, row: engine.RowGraceNow},
		{name: "grace, replacing sibling: quiet first", c: edit(expired, doubt(1, min, min)), a: calm, b: repl10, do: engine.Wait, row: engine.RowGraceLater, next: min},
		{name: "quiet is not doubled inside a grace", c: edit(expired, doubt(3, 5*min, 2*min)), a: calm, b: repl10, do: engine.Recover, row: engine.RowGraceNow},
		{name: "a short grace has no time for quiet", c: edit(expired, doubt(1, min, min)), a: calm, b: repl2, do: engine.Recover, row: engine.RowGraceNow},
		{name: "the grace ends half a skew early", c: edit(expired, doubt(1, 9*min+30*sec, 9*min+30*sec)), a: calm, b: valid10, do: engine.Recover, row: engine.RowGraceNow},
		{name: "a grace that has passed is fatal", c: edit(expired, doubt(3, 9*min+31*sec, 7*min)), a: calm, b: valid10, do: engine.Wait, row: engine.RowDoubtLater, next: min},

		{name: "fatal: a living token is served", c: edit(doubt(1, 5*min, 5*min)), a: calm, do: engine.Serve, row: engine.RowLife},
		{name: "force does not override doubt", c: edit(doubt(1, min, min)), a: forced, do: engine.Wait, row: engine.RowDoubtLater, next: min},
		{name: "quiet after the first send", c: edit(expired, doubt(1, 119*sec, 119*sec)), a: calm, do: engine.Wait, row: engine.RowDoubtLater, next: sec},
		{name: "quiet has passed", c: edit(expired, doubt(1, 120*sec, 120*sec)), a: calm, do: engine.Recover, row: engine.RowDoubtNow},
		{name: "doubled after the second", c: edit(expired, doubt(2, 10*min, 3*min)), a: calm, do: engine.Wait, row: engine.RowDoubtLater, next: min},
		{name: "again after the third", c: edit(expired, doubt(3, 10*min, 8*min)), a: calm, do: engine.Recover, row: engine.RowDoubtNow},
		{name: "an hour at most", c: edit(expired, doubt(40, 9*time.Hour, 59*min)), a: calm, do: engine.Wait, row: engine.RowDoubtLater, next: min},
		{name: "calm comes on top", c: edit(expired, doubt(1, 2*min, 2*min)), a: with(func(a *engine.Ask) { a.Watched = 0 }), do: engine.Wait, row: engine.RowDoubtLater, next: 30 * sec},
		{name: "a holder that is gone needs no quiet", c: edit(expired, lease(80*sec), doubt(1, sec, sec)), a: with(func(a *engine.Ask) { a.HolderGone = true }), sameHost: true, do: engine.Recover, row: engine.RowDoubtNow},
		{name: "but the sends before it do", c: edit(expired, lease(80*sec), doubt(2, min, sec)), a: with(func(a *engine.Ask) { a.HolderGone = true }), sameHost: true, do: engine.Wait, row: engine.RowDoubtLater, next: 119 * sec},
		{name: "a holder that lives may have the reply in its hands", c: edit(expired, lease(-sec), doubt(1, 3*min, 3*min)), a: with(func(a *engine.Ask) { a.HolderAlive = true }), sameHost: true, do: engine.Wait, row: engine.RowDoubtLater, next: 57 * min},
		{name: "for an hour at most", c: edit(expired, lease(-sec), doubt(1, time.Hour, time.Hour)), a: with(func(a *engine.Ask) { a.HolderAlive = true }), sameHost: true, do: engine.Recover, row: engine.RowDoubtNow},
		{name: "a token from the future is worth nothing", c: edit(left(24*time.Hour), func(c *grant.Credential) { c.Tokens.ObtainedAt = noon.Add(71 * sec) }), a: calm, do: engine.Take, row: engine.RowTake},
		{name: "clocks differ by the skew and a little", c: edit(left(24*time.Hour), func(c *grant.Credential) { c.Tokens.ObtainedAt = noon.Add(70 * sec) }), a: calm, do: engine.Serve, row: engine.RowLife},
		{name: "nobody is gone who has released", c: edit(expired, doubt(1, min, min)), a: with(func(a *engine.Ask) { a.HolderGone = true }), sameHost: true, do: engine.Wait, row: engine.RowDoubtLater, next: min},
		{name: "safe: doubt is no matter", c: edit(expired, doubt(5, sec, sec)), a: calm, b: safe, do: engine.Take, row: engine.RowTake},
	}
	reached := map[engine.Row]bool{}
	for _, tt := range tests {
		tt.a.Now = noon
		if tt.b == (grant.Behaviour{}) {
			tt.b = strict
		}
		got := engine.Next(tt.c, tt.a, tt.b, engine.DefaultTiming(tt.sameHost))
		reached[got.Row] = true
		if got.Do != tt.do || got.Row != tt.row {
			t.Errorf("%s: %v by row %v, want %v by row %v", tt.name, got.Do, got.Row, tt.do, tt.row)
			continue
		}
		if tt.do == engine.Wait && tt.row != engine.RowClockFault && !got.Next.Equal(noon.Add(tt.next)) {
			t.Errorf("%s: next look %v after noon, want %v", tt.name, got.Next.Sub(noon), tt.next)
		}
	}
	for r := range engine.Rows {
		if !reached[r] {
			t.Errorf("no case reaches row %v", r)
		}
	}
}

// TestResolve is the conflict rule, in its order.
func TestResolve(t *testing.T) {
	t.Parallel()
	k := edit(func(c *grant.Credential) {
		c.Generation, c.Writer = 8, "w8"
		c.Tokens.Refresh = grant.NewSecret("rt8")
		c.Tokens.ObtainedAt, c.Tokens.Access.Generation = noon, 8
		c.Spent = []string{digest()}
	})
	unrotated := k.Clone()
	unrotated.Tokens.Refresh = grant.NewSecret("rt7")
	// A sign-in over the consent of the records below.
	signIn := k.Clone()
	signIn.Consent, signIn.Replaces = "c2", k.Consent
	resigned := signIn.Clone() // at a provider that answers the same refresh token
	resigned.Tokens.Refresh, resigned.Spent = grant.NewSecret("rt7"), nil
	set := func(gen uint64, writer, refresh string, at time.Duration) func(*grant.Credential) {
		return func(c *grant.Credential) {
			c.Generation, c.Writer, c.Tokens.Refresh, c.Tokens.ObtainedAt = gen, writer, grant.NewSecret(refresh), noon.Add(at)
		}
	}
	tests := []struct {
		name string
		k, s grant.Credential
		want engine.Resolution
		gen  uint64
	}{
		{"our own write", k, edit(set(8, "w8", "rt8", 0)), engine.Saved, 8},
		{"our own write of a token that did not rotate", unrotated, edit(set(8, "w8", "rt7", 0)), engine.Saved, 8},
		{"our own write wins over another consent", k, edit(set(8, "w8", "rt8", 0), func(c *grant.Credential) { c.Consent = "c2" }), engine.Saved, 8},
		{"its token is there by another way", k, edit(set(9, "x", "rt8", 0)), engine.Saved, 9},
		{"its token was spent since", k, edit(set(9, "x", "rt9", 0), func(c *grant.Credential) { c.Spent = []string{grant.NewSecret("rt8").Digest()} }), engine.Saved, 9},
		{"a token that did not rotate proves nothing", unrotated, edit(set(7, "x", "rt7", 0)), engine.Write, 8},
		{"nor does its digest among the spent", unrotated, edit(set(7, "x", "rt7", 0), func(c *grant.Credential) { c.Spent = []string{digest()} }), engine.Write, 8},
		{"another consent stays", k, edit(set(2, "x", "rt1", 0), func(c *grant.Credential) { c.Consent = "c2" }), engine.Foreign, 2},
		{"a logout stays", k, edit(set(7, "x", "rt7", 0), state(grant.Retired)), engine.Stale, 7},
		{"the consent that it was given over goes, also when it has moved on", signIn, edit(set(11, "x", "rt11", time.Hour)), engine.Write, 12},
		{"and when its token came again", resigned, edit(set(7, "x", "rt7", 0)), engine.Write, 8},
		{"a consent after that one stays", signIn, edit(set(8, "x", "rtx", 0), func(c *grant.Credential) { c.Consent = "c9" }), engine.Foreign, 8},
		{"a logout after it stays", signIn, edit(set(7, "x", "rt7", 0), state(grant.Retired), func(c *grant.Credential) { c.Consent = "c9" }), engine.Stale, 7},
		{"the logout that it was given over goes", signIn, edit(set(7, "x", "rt7", 0), state(grant.Retired)), engine.Write, 8},
		{"an older record with a lease", k, edit(lease(time.Hour)), engine.Write, 8},
		{"an older record in doubt", k, edit(doubt(4, 0, 0)), engine.Write, 8},
		{"an older record that needs consent", k, edit(state(grant.NeedsConsent)), engine.Write, 8},
		{"a sibling that was answered earlier", k, edit(set(8, "x", "rt8b", -time.Second)), engine.Write, 9},
		{"a sibling that was answered later", k, edit(set(8, "x", "rt8b", time.Second)), engine.Stale, 8},
		{"a newer record", k, edit(set(9, "x", "rt9", -time.Hour)), engine.Stale, 9},
	}
	for _, tt := range tests {
		got, next := engine.Resolve(tt.k, tt.s)
		if got != tt.want || next.Generation != tt.gen {
			t.Errorf("%s: %v, generation %d; want %v, %d", tt.name, got, next.Generation, tt.want, tt.gen)
		}
		if got == engine.Write && (next.Writer != "w8" || next.Lease != nil || next.Doubt != nil || next.Tokens.Access.Generation != next.Generation) {
			t.Errorf("%s: what is written is not the candidate: %+v", tt.name, next)
		}
	}
}
