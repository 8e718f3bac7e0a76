package engine_test

import (
	"slices"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestReplyShapes holds what a success makes of an incomplete reply.
func TestReplyShapes(t *testing.T) {
	t.Parallel()
	brief := strict
	brief.Life = 15 * time.Minute
	month := 720 * time.Hour
	tests := []struct {
		name    string
		b       grant.Behaviour
		set     func(w *world, ts *grant.TokenSet)
		refresh string
		rotated bool
		ends    time.Duration // of the consent, after the start; 0: unknown
		life    time.Duration
		assumed bool
		scope   []string
	}{
		{name: "no refresh token: the old one stays, with its end", b: strict,
			set:     func(_ *world, ts *grant.TokenSet) { ts.Refresh, ts.RefreshExpiry = grant.Secret{}, time.Time{} },
			refresh: "rt7", ends: month, life: time.Hour, scope: []string{"read"}},
		{name: "the same refresh token again: likewise", b: strict,
			set:     func(w *world, ts *grant.TokenSet) { ts.Refresh, ts.RefreshExpiry = w.token("rt7"), time.Time{} },
			refresh: "rt7", ends: month, life: time.Hour, scope: []string{"read"}},
		{name: "the same refresh token with another end", b: strict,
			set: func(w *world, ts *grant.TokenSet) {
				ts.Refresh, ts.RefreshExpiry = w.token("rt7"), w.start.Add(time.Hour)
			},
			refresh: "rt7", ends: time.Hour, life: time.Hour, scope: []string{"read"}},
		{name: "a new refresh token without an end: unknown", b: strict,
			set:     func(_ *world, ts *grant.TokenSet) { ts.RefreshExpiry = time.Time{} },
			refresh: "rt8", rotated: true, life: time.Hour, scope: []string{"read"}},
		{name: "no expires_in: an hour is assumed", b: strict,
			set:     func(_ *world, ts *grant.TokenSet) { ts.Access.Expiry = time.Time{} },
			refresh: "rt8", rotated: true, ends: month, life: time.Hour, assumed: true, scope: []string{"read"}},
		{name: "no expires_in: the preset's life is assumed", b: brief,
			set:     func(_ *world, ts *grant.TokenSet) { ts.Access.Expiry = time.Time{} },
			refresh: "rt8", rotated: true, ends: month, life: 15 * time.Minute, assumed: true, scope: []string{"read"}},
		{name: "no scope: as before", b: strict,
			set:     func(_ *world, ts *grant.TokenSet) { ts.Access.Scope = nil },
			refresh: "rt8", rotated: true, ends: month, life: time.Hour, scope: []string{"read"}},
		{name: "another scope", b: strict,
			set:     func(_ *world, ts *grant.TokenSet) { ts.Access.Scope = []string{"write"} },
			refresh: "rt8", rotated: true, ends: month, life: time.Hour, scope: []string{"write"}},
	}
	for _, tt := range tests {
		scenario(t, tt.name, tt.b, func(t *testing.T, w *world) {
			w.keep()
			w.replies = []reply{{set: func(ts *grant.TokenSet) { tt.set(w, ts) }}}
			out, err := w.access(engine.Request{Force: true})
			w.wantServed(tt.name, out, err, "at8", true)
			c := w.stored()
			ends := time.Time{}
			if tt.ends > 0 {
				ends = w.start.Add(tt.ends)
			}
			switch a := c.Tokens.Access; {
			case w.name(c.Tokens.Refresh) != tt.refresh || out.Rotated != tt.rotated:
				t.Errorf("stored %q, rotated %v; want %q, %v", w.name(c.Tokens.Refresh), out.Rotated, tt.refresh, tt.rotated)
			case !c.Tokens.RefreshExpiry.Equal(ends) || !out.ConsentEnds.Equal(ends):
				t.Errorf("the consent ends %v, said to the caller: %v, want %v", c.Tokens.RefreshExpiry, out.ConsentEnds, ends)
			case c.Tokens.Life() != tt.life || a.ExpiryAssumed != tt.assumed:
				t.Errorf("life %v, assumed %v; want %v, %v", c.Tokens.Life(), a.ExpiryAssumed, tt.life, tt.assumed)
			case !slices.Equal(a.Scope, tt.scope):
				t.Errorf("scope %v, want %v", a.Scope, tt.scope)
			case c.Generation != 8 || !out.GoodUntil.Equal(a.Expiry):
				t.Errorf("generation %d, good until %v", c.Generation, out.GoodUntil)
			}
		})
	}
	scenario(t, "a token that did not rotate is saved over a stranger's lease", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{set: func(ts *grant.TokenSet) { ts.Refresh = grant.Secret{} }, during: func() { w.stranger(leased(time.Minute)) }}}
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("an unrotated token proves nothing", out, err, "at8", true)
		if g := w.stored().Generation; g != 8 {
			t.Errorf("an unrotated token proves nothing: generation %d is stored", g)
		}
	})
	scenario(t, "a token that did not rotate, and an earlier try landed", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{set: func(ts *grant.TokenSet) { ts.Refresh = grant.Secret{} }}}
		w.onSwap = func(kind string, n int) fault { return fault{drop: kind == "save" && n == 1} }
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("the Writer tells that the save is ours", out, err, "at8", true)
	})
	scenario(t, "no access token: it is saved, and useless", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{set: func(ts *grant.TokenSet) { ts.Access.Value = grant.Secret{} }}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "no access token", err, engine.ErrUnusable)
		c := w.stored()
		if c.Generation != 8 || w.name(c.Tokens.Refresh) != "rt8" || !c.Tokens.Access.Value.IsZero() || c.Lease != nil || c.Doubt != nil {
			t.Errorf("a bad member never costs the refresh token: generation %d, %q", c.Generation, w.name(c.Tokens.Refresh))
		}
		out, err := w.access(engine.Request{})
		w.wantServed("the next call goes on", out, err, "at9", true)
		w.wantSent("the next call goes on", "rt7", "rt8")
	})
	soon := func(ts *grant.TokenSet) { ts.Access.Expiry = ts.ObtainedAt.Add(50 * time.Millisecond) }
	scenario(t, "saving took the token's life: one more refresh", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{set: soon}}
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("at delivery the clock is looked at once more", out, err, "at9", true)
		w.wantSent("one more refresh", "rt7", "rt8")
	})
	scenario(t, "tokens that always end too soon", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = slices.Repeat([]reply{{set: soon}}, 9)
		_, err := w.access(engine.Request{Force: true, Wait: time.Hour})
		wantErr(t, "tokens that always end too soon", err, engine.ErrUnusable)
		w.wantSent("one more refresh and no third", "rt7", "rt8")
		if c := w.stored(); c.Generation != 9 || w.name(c.Tokens.Refresh) != "rt9" {
			t.Errorf("what came is saved all the same: generation %d", c.Generation)
		}
	})
}

// TestLists holds the limits of the record's lists.
func TestLists(t *testing.T) {
	t.Parallel()
	scenario(t, "twenty refreshes", strict, func(t *testing.T, w *world) {
		w.keep()
		for range 20 {
			if _, err := w.access(engine.Request{Force: true}); err != nil {
				t.Fatalf("a refresh: %v", err)
			}
		}
		c := w.stored()
		if c.Generation != 27 || len(c.Events) != grant.MaxEvents || len(c.Spent) != grant.MaxSpent || len(c.Seeds) != 1 {
			t.Errorf("generation %d, %d events, %d spent, %d seeds", c.Generation, len(c.Events), len(c.Spent), len(c.Seeds))
		}
		for i, digest := range c.Spent {
			if want := w.token([]string{"rt19", "rt20", "rt21", "rt22", "rt23", "rt24", "rt25", "rt26"}[i]).Digest(); digest != want {
				t.Errorf("spent %d of the last eight is another one", i)
			}
		}
		if e := c.Events[len(c.Events)-1]; e.What != grant.EventRefreshed || e.By != "this run" {
			t.Errorf("the last event is %+v", e)
		}
	})
}
