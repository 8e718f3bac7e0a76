package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/store/mem"
)

// lastEvent checks that a repair is recorded in the grant's story.
func (w *world) lastEvent(rule, what string) {
	w.t.Helper()
	c := w.stored()
	if e := c.Events[len(c.Events)-1]; e.What != what || e.By != "this run" || !e.At.Equal(time.Now()) {
		w.t.Errorf("%s: the last event is %+v, want %q", rule, e, what)
	}
}

// TestAdopt holds "one Swap with a new Consent, generation + 1, lease and doubt
// cleared; no waiting for a lease".
func TestAdopt(t *testing.T) {
	t.Parallel()
	scenario(t, "over a lease", strict, func(t *testing.T, w *world) {
		before := w.keep(leased(80*time.Second), doubted(3, 0), ended, func(c *grant.Credential) { c.Raw = w.token("raw") })
		w.mark = grant.Mark{Consent: "consent-1", Generation: 7}
		if err := w.engine().Adopt(t.Context(), acme, w.token("fresh")); err != nil {
			t.Fatalf("Adopt: %v", err)
		}
		w.wantIO("Adopt", "mark, load, swap adopted, set mark")
		c := w.stored()
		switch {
		case w.since() != 0:
			t.Errorf("Adopt waited %v for a lease", w.since())
		case c.Consent == before.Consent || c.Generation != 8 || c.Lease != nil || c.Doubt != nil || !c.Raw.IsZero():
			t.Errorf("Adopt: consent %q, generation %d, lease %v, doubt %v", c.Consent, c.Generation, c.Lease, c.Doubt)
		case w.name(c.Tokens.Refresh) != "fresh" || !c.Tokens.Access.Value.IsZero() || c.State != grant.Live || c.Reason != "":
			t.Errorf("Adopt: token %q, state %v, reason %q", w.name(c.Tokens.Refresh), c.State, c.Reason)
		case !slices.Contains(c.Seeds, w.token("fresh").Digest()) || !slices.Contains(c.Seeds, w.token("seed").Digest()):
			t.Errorf("Adopt: not all seeds are known")
		}
		w.lastEvent("Adopt", grant.EventAdopted)
	})
	scenario(t, "while a refresh runs", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() {
			if err := w.engine().Adopt(context.Background(), acme, w.token("fresh")); err != nil {
				t.Errorf("Adopt: %v", err)
			}
		}}}
		out, err := w.access(engine.Request{Force: true})
		if err != nil {
			t.Fatalf("a refresh over which somebody signed in: %v", err)
		}
		w.wantSent("the older consent's result does not win", "rt7", "fresh")
		wantWarning(t, "the older consent's result stays sealed", out, "signed in anew")
	})
	for _, known := range []string{"seed", "rt6", "rt7"} {
		scenario(t, "a known token: "+known, strict, func(t *testing.T, w *world) {
			before := w.keep()
			err := w.engine().Adopt(t.Context(), acme, w.token(known))
			wantErr(t, "Adopt", err, engine.ErrKnownToken)
			w.wantStored("Adopt", before)
		})
	}
	scenario(t, "no token", strict, func(t *testing.T, w *world) {
		wantErr(t, "Adopt", w.engine().Adopt(t.Context(), acme, grant.Secret{}), engine.ErrNoToken)
	})
	scenario(t, "no record, with a mark", strict, func(t *testing.T, w *world) {
		w.mark = grant.Mark{Consent: "consent-1", Generation: 20}
		if err := w.engine().Adopt(t.Context(), acme, w.token("fresh")); err != nil {
			t.Fatalf("Adopt: %v", err)
		}
		if g := w.stored().Generation; g != 21 || w.mark.Generation != 21 {
			t.Errorf("Adopt: generation %d, mark %d, want 21: generations never restart", g, w.mark.Generation)
		}
	})
	scenario(t, "the answer is lost, and the record moved on", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			switch {
			case kind == grant.EventAdopted && n == 1:
				return fault{drop: true}
			case kind == grant.EventAdopted:
				return fault{before: func() { w.stranger(func(*grant.Credential) {}) }}
			}
			return fault{}
		}
		if err := w.engine().Adopt(t.Context(), acme, w.token("fresh")); err != nil {
			t.Errorf("Adopt that landed: %v", err)
		}
		if g := w.stored().Generation; g != 8 {
			t.Errorf("Adopt that landed: generation %d, want one new consent", g)
		}
	})
	scenario(t, "nothing can be written", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(string, int) fault { return fault{err: grant.ErrNotWritten} }
		wantErr(t, "Adopt", w.engine().Adopt(t.Context(), acme, w.token("fresh")), engine.ErrStore, grant.ErrNotWritten)
	})
}

// TestRepairs holds the other words of a person.
func TestRepairs(t *testing.T) {
	t.Parallel()
	keepNothing := func(grant.Secret) error { return nil }
	scenario(t, "none of them creates a record", strict, func(t *testing.T, w *world) {
		e := w.engine()
		for name, err := range map[string]error{
			"Rebind": e.Rebind(t.Context(), acme), "RetryInDoubt": e.RetryInDoubt(t.Context(), acme), "TakeRaw": e.TakeRaw(t.Context(), acme, keepNothing),
		} {
			wantErr(t, name, err, grant.ErrNotFound)
		}
	})
	scenario(t, "rebind", strict, func(t *testing.T, w *world) {
		before := w.keep(doubted(2, time.Minute), func(c *grant.Credential) {
			c.Bind, c.Provider = grant.Binding{TokenURL: "https://old.example/token", ClientID: "old"}, "old"
		})
		if err := w.engine().Rebind(t.Context(), acme); err != nil {
			t.Fatalf("Rebind: %v", err)
		}
		w.lastEvent("Rebind", grant.EventRepaired)
		want := before.Clone()
		want.Bind, want.Provider, want.Events = w.bind, "preset", w.stored().Events
		w.wantStored("Rebind changes nothing else", want)
		out, err := w.access(engine.Request{})
		w.wantServed("after Rebind", out, err, "at7", false)
	})
	scenario(t, "retry in doubt", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded, doubted(5, time.Second))
		if err := w.engine().RetryInDoubt(t.Context(), acme); err != nil {
			t.Fatalf("RetryInDoubt: %v", err)
		}
		w.lastEvent("RetryInDoubt", grant.EventRepaired)
		if d := w.stored().Doubt; d == nil || d.Sends != 5 || !d.First.Equal(before.Doubt.First) {
			t.Errorf("RetryInDoubt: the doubt is %+v, want its count kept", d)
		}
		w.replies = []reply{{during: func() {
			if s := w.stored().Doubt.Sends; s != 6 {
				t.Errorf("RetryInDoubt: send %d, want 6", s)
			}
		}}}
		out, err := w.access(engine.Request{Wait: 31 * time.Second})
		w.wantServed("repair --retry-in-doubt means now", out, err, "at8", true)
		wantErr(t, "no doubt", w.engine().RetryInDoubt(t.Context(), acme), engine.ErrNotInDoubt)
	})
	scenario(t, "accept a rollback", strict, func(t *testing.T, w *world) {
		w.keep()
		w.mark = grant.Mark{Consent: "consent-0", Generation: 20}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "below the mark", err, engine.ErrRolledBack)
		if err := w.engine().AcceptRollback(t.Context(), acme); err != nil {
			t.Fatalf("AcceptRollback: %v", err)
		}
		w.lastEvent("AcceptRollback", grant.EventRepaired)
		if w.mark != (grant.Mark{Consent: "consent-1", Generation: 7}) {
			t.Errorf("AcceptRollback: the mark is %+v", w.mark)
		}
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("after AcceptRollback", out, err, "at8", true)
	})
	scenario(t, "accept that a record is gone", strict, func(t *testing.T, w *world) {
		w.mark = grant.Mark{Consent: "consent-0", Generation: 20}
		if err := w.engine().AcceptRollback(t.Context(), acme); err != nil {
			t.Fatalf("AcceptRollback: %v", err)
		}
		if w.mark != (grant.Mark{}) {
			t.Errorf("AcceptRollback: the mark is %+v", w.mark)
		}
		out, err := w.access(engine.Request{Seed: w.token("rt0")})
		w.wantServed("after AcceptRollback", out, err, "at1", true)
	})
	scenario(t, "accept a rollback, and the mark cannot be moved", strict, func(t *testing.T, w *world) {
		w.keep()
		w.setErr = errDisk
		wantErr(t, "AcceptRollback", w.engine().AcceptRollback(t.Context(), acme), engine.ErrStore, errDisk)
	})
	scenario(t, "an edit meets a stranger's", strict, func(t *testing.T, w *world) {
		w.keep(doubted(1, 0))
		w.onSwap = func(kind string, n int) fault {
			if n > 1 {
				return fault{}
			}
			return fault{before: func() { w.stranger(func(c *grant.Credential) { c.Doubt.Sends = 9 }) }}
		}
		if err := w.engine().RetryInDoubt(t.Context(), acme); err != nil {
			t.Fatalf("RetryInDoubt: %v", err)
		}
		if d := w.stored().Doubt; d.Sends != 9 || !d.Last.IsZero() {
			t.Errorf("an edit is made anew after a conflict: %+v", d)
		}
	})
	scenario(t, "take the kept reply, and keeping it fails", strict, func(t *testing.T, w *world) {
		before := w.keep(doubted(1, 0), func(c *grant.Credential) { c.Raw = w.token("raw") })
		err := w.engine().TakeRaw(t.Context(), acme, func(grant.Secret) error { return errDisk })
		wantErr(t, "TakeRaw", err, errDisk)
		w.wantStored("TakeRaw: nothing changed", before)
	})
	scenario(t, "take the kept reply", strict, func(t *testing.T, w *world) {
		w.keep(doubted(1, 0), func(c *grant.Credential) { c.Raw = w.token("raw") })
		kept := 0
		if err := w.engine().TakeRaw(t.Context(), acme, func(grant.Secret) error { kept++; return nil }); err != nil {
			t.Fatalf("TakeRaw: %v", err)
		}
		w.lastEvent("TakeRaw", grant.EventRepaired)
		if c := w.stored(); !c.Raw.IsZero() || !c.InDoubt() || kept != 1 {
			t.Errorf("TakeRaw: raw %v, doubt %v, kept %d times", !c.Raw.IsZero(), c.Doubt, kept)
		}
		wantErr(t, "TakeRaw again", w.engine().TakeRaw(t.Context(), acme, keepNothing), engine.ErrNoRaw)
	})
}

// TestOffer holds the conflict rule for a rescue block.
func TestOffer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		store  func(w *world, c *grant.Credential) // nil: no record
		want   engine.Resolution
		gen    uint64
		spills int
	}{
		"no record":          {nil, engine.Write, 8, 0},
		"an older record":    {func(*world, *grant.Credential) {}, engine.Write, 8, 0},
		"over a lease":       {func(_ *world, c *grant.Credential) { leased(time.Minute)(c); doubted(2, 0)(c) }, engine.Write, 8, 0},
		"over NeedsConsent":  {func(_ *world, c *grant.Credential) { ended(c) }, engine.Write, 8, 0},
		"a newer record":     {func(w *world, c *grant.Credential) { w.advance(9, "S")(c) }, engine.Stale, 9, 0},
		"a retired grant":    {func(_ *world, c *grant.Credential) { c.State = grant.Retired }, engine.Stale, 7, 0},
		"another consent":    {func(_ *world, c *grant.Credential) { c.Consent = "consent-2" }, engine.Foreign, 7, 1},
		"it is there":        {func(w *world, c *grant.Credential) { w.advance(8, "X")(c) }, engine.Saved, 8, 0},
		"it was spent since": {func(w *world, c *grant.Credential) { w.advance(9, "S")(c); c.AddSpent(w.token("rtX").Digest()) }, engine.Saved, 9, 0},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			k := w.keep()
			if tt.store == nil {
				w.records = mem.New()
			} else {
				w.stranger(func(c *grant.Credential) { tt.store(w, c) })
			}
			w.advance(8, "X")(&k)
			k.Writer = "unsaved-X"
			w.spills[k.Writer] = k
			before := w.stored()
			got, err := w.engine().Offer(t.Context(), k)
			if err != nil || got != tt.want {
				t.Errorf("Offer: %v, %v; want %v", got, err, tt.want)
			}
			w.wantSpills("Offer", tt.spills)
			c := w.stored()
			if c.Generation != tt.gen {
				t.Errorf("Offer: generation %d is stored, want %d", c.Generation, tt.gen)
			}
			if tt.want == engine.Write && (w.name(c.Tokens.Refresh) != "rtX" || c.Lease != nil || c.Doubt != nil || w.mark.Generation != 8) {
				t.Errorf("Offer: %q, lease %v, doubt %v, mark %d", w.name(c.Tokens.Refresh), c.Lease, c.Doubt, w.mark.Generation)
			}
			if tt.want != engine.Write {
				w.wantStored("an old block over a newer record changes nothing", before)
			}
		})
	}
	scenario(t, "a record that is bound elsewhere", strict, func(t *testing.T, w *world) {
		k := w.keep()
		w.advance(8, "X")(&k)
		k.Bind.ClientID = "client-2"
		_, err := w.engine().Offer(t.Context(), k)
		wantErr(t, "Offer", err, engine.ErrBound)
	})
	scenario(t, "the answer is lost", strict, func(t *testing.T, w *world) {
		k := w.keep()
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.onSwap = func(_ string, n int) fault { return fault{drop: n == 1} }
		if got, err := w.engine().Offer(t.Context(), k); err != nil || got != engine.Write {
			t.Errorf("Offer: %v, %v", got, err)
		}
	})
	scenario(t, "the store is out", strict, func(t *testing.T, w *world) {
		k := w.keep()
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.onSwap = storeOut("save")
		_, err := w.engine().Offer(t.Context(), k)
		wantErr(t, "Offer", err, engine.ErrStore)
	})
}

// TestNew holds what an engine is refused for.
func TestNew(t *testing.T) {
	t.Parallel()
	scenario(t, "wiring", strict, func(t *testing.T, w *world) {
		for name, spoil := range map[string]func(*engine.Config){
			"no store": func(c *engine.Config) { c.Store = nil }, "no spill": func(c *engine.Config) { c.Spill = nil },
			"no marks": func(c *engine.Config) { c.Marks = nil }, "no rescue": func(c *engine.Config) { c.Rescue = nil },
			"no holder": func(c *engine.Config) { c.Holder = nil },
			"a timing out of order": func(c *engine.Config) {
				c.Timing = engine.DefaultTiming(false)
				c.Timing.Lease = time.Second
			},
		} {
			cfg := w.config()
			spoil(&cfg)
			if _, err := engine.New(cfg); err == nil {
				t.Errorf("New takes a config with %s", name)
			}
		}
		w.weak = true
		_, err := engine.New(w.config())
		wantErr(t, "a store that is not atomic", err, engine.ErrNotAtomic)
		cfg := w.config()
		cfg.SingleWriter = true
		if _, err := engine.New(cfg); err != nil {
			t.Errorf("a declared single writer: %v", err)
		}
		w.weak = false
		cfg = w.config()
		cfg.Refresher = nil
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatalf("repairs need no refresher: %v", err)
		}
		if _, err := e.Access(t.Context(), acme, engine.Request{}); err == nil {
			t.Errorf("Access without a refresher succeeds")
		}
	})
	scenario(t, "errors name the grant", strict, func(t *testing.T, w *world) {
		_, err := w.access(engine.Request{})
		if err == nil || err.Error() != "grant acme/claude: "+engine.ErrNoToken.Error() {
			t.Errorf("the error is %q", err)
		}
		text := (&engine.WaitError{Next: noon, Err: engine.ErrLeased}).Error()
		if text != engine.ErrLeased.Error()+"; next try at 2026-03-01T12:00:00Z" {
			t.Errorf("a WaitError says %q", text)
		}
		if !errors.Is(&engine.WaitError{Err: engine.ErrLeased}, engine.ErrLeased) || (&engine.WaitError{Err: engine.ErrLeased}).Error() != engine.ErrLeased.Error() {
			t.Errorf("a WaitError without a moment says %q", (&engine.WaitError{Err: engine.ErrLeased}).Error())
		}
	})
}

// TestTiming holds the relations that the protocol rests on.
func TestTiming(t *testing.T) {
	t.Parallel()
	for _, sameHost := range []bool{false, true} {
		for _, n := range []int{1, 10, 60, 1000} {
			full, d := engine.DefaultTiming(sameHost), engine.DefaultTiming(sameHost).Scale(n)
			if err := d.Check(); err != nil {
				t.Errorf("the defaults divided by %d: %v", n, err)
			}
			for name, pair := range map[string][2]time.Duration{
				"lease": {full.Lease, d.Lease}, "tail": {full.Tail, d.Tail}, "skew": {full.Skew, d.Skew}, "quiet": {full.Quiet, d.Quiet},
				"quiet max": {full.QuietMax, d.QuietMax}, "calm": {full.Calm, d.Calm}, "connect": {full.Connect, d.Connect},
				"request": {full.Request, d.Request}, "settle": {full.Settle, d.Settle}, "reload": {full.Reload, d.Reload},
				"watch margin": {full.WatchMargin, d.WatchMargin}, "stale": {full.StaleConn, d.StaleConn},
				"poll min": {full.PollMin, d.PollMin}, "poll max": {full.PollMax, d.PollMax},
				"retry min": {full.RetryMin, d.RetryMin}, "retry max": {full.RetryMax, d.RetryMax},
			} {
				if pair[1] != pair[0]/time.Duration(n) {
					t.Errorf("Scale(%d) makes %s %v of %v", n, name, pair[1], pair[0])
				}
			}
		}
	}
	shared, host := engine.DefaultTiming(false), engine.DefaultTiming(true)
	if shared.Skew != time.Minute || shared.Calm != 30*time.Second || host.Skew != 0 || host.Calm != 0 {
		t.Errorf("skew and calm are %v and %v, on one host %v and %v", shared.Skew, shared.Calm, host.Skew, host.Calm)
	}
	for name, spoil := range map[string]func(*engine.Timing){
		"a negative duration":                func(t *engine.Timing) { t.Calm = -1 },
		"no connect":                         func(t *engine.Timing) { t.Connect = 0 },
		"no request":                         func(t *engine.Timing) { t.Request = 0 },
		"no poll":                            func(t *engine.Timing) { t.PollMin = 0 },
		"polls out of order":                 func(t *engine.Timing) { t.PollMax = t.PollMin - 1 },
		"no retry":                           func(t *engine.Timing) { t.RetryMin = 0 },
		"retries out of order":               func(t *engine.Timing) { t.RetryMax = t.RetryMin - 1 },
		"no window after connecting":         func(t *engine.Timing) { t.Tail = t.Lease - t.Connect + 1 },
		"no time for the reply and the save": func(t *engine.Timing) { t.Tail = t.Request + t.Lease/4 - 1 },
		"no third to save in":                func(t *engine.Timing) { t.Connect = t.Lease*2/3 - 2*t.Request + 1; t.Settle = 0 },
		"settling beyond the window":         func(t *engine.Timing) { t.Settle = t.Lease - t.Tail - t.StaleConn + 1 },
		"a quiet time above its own ceiling": func(t *engine.Timing) { t.QuietMax = t.Quiet - 1 },
	} {
		d := engine.DefaultTiming(false)
		spoil(&d)
		if d.Check() == nil {
			t.Errorf("Check lets %s pass", name)
		}
	}
	for name, tt := range map[string]struct {
		b    grant.Behaviour
		want time.Duration
	}{
		"fatal": {strict, 20 * time.Second}, "a long grace": {valid10, 20 * time.Second}, "a grace whose sibling replaces": {
			grant.Behaviour{Reuse: grant.ReuseGrace, Grace: 30 * time.Second}, 20 * time.Second},
		"half of a short grace": {grant.Behaviour{Reuse: grant.ReuseGrace, Grace: 30 * time.Second, Sibling: grant.SiblingSame}, 15 * time.Second},
	} {
		if got := engine.RequestTimeout(tt.b, engine.DefaultTiming(false)); got != tt.want {
			t.Errorf("a request may take %v with %s, want %v", got, name, tt.want)
		}
	}
}

// TestAdoptOfAnotherGrants: a repair starts no second grant with one token either.
func TestAdoptOfAnotherGrants(t *testing.T) {
	t.Parallel()
	scenario(t, "another grant has it", strict, func(t *testing.T, w *world) {
		w.keep()
		e := w.over(func(grant.Store) grant.Store { return &listingStore{scriptedStore: &scriptedStore{w}} })
		var other *engine.ElsewhereError
		if err := e.Adopt(t.Context(), "acme/second", w.stored().Tokens.Refresh); !errors.As(err, &other) || other.Grant != acme {
			t.Errorf("error %v, want that it is one of %s", err, acme)
		}
		if _, _, err := w.records.Load(t.Context(), "acme/second"); !errors.Is(err, grant.ErrNotFound) {
			t.Errorf("the second grant: %v", err)
		}
	})
}
