package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/store/mem"
)

func storeOut(kinds ...string) func(string, int) fault {
	return func(kind string, _ int) fault { return fault{lose: slices.Contains(kinds, kind)} }
}

func (w *world) wantUnsaved(rule string, out engine.Outcome, err error, spilled, rescued bool) {
	w.t.Helper()
	var u *engine.UnsavedError
	if !errors.As(err, &u) {
		w.t.Errorf("%s: error %v, want an UnsavedError", rule, err)
		return
	}
	if u.Spilled != spilled || u.Rescued != rescued || u.Err == nil {
		w.t.Errorf("%s: spilled %v, rescued %v, because %v; want %v, %v", rule, u.Spilled, u.Rescued, u.Err, spilled, rescued)
	}
	w.wantServed(rule+": the Outcome is good", out, nil, "at8", true)
	if !out.Rotated || out.Access.Generation != 8 {
		w.t.Errorf("%s: rotated %v, generation %d", rule, out.Rotated, out.Access.Generation)
	}
}

func (w *world) wantSpills(rule string, n int) {
	w.t.Helper()
	if len(w.spills) != n {
		w.t.Errorf("%s: %d spills, want %d", rule, len(w.spills), n)
	}
}

// TestSave holds step 6, "save first", and the conflict rule in a save.
func TestSave(t *testing.T) {
	t.Parallel()
	force := engine.Request{Force: true}
	scenario(t, "what is saved", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded, func(c *grant.Credential) { c.Raw = grant.Secret{} })
		out, err := w.access(force)
		w.wantServed("step 6", out, err, "at8", true)
		c := w.stored()
		switch {
		case c.Generation != 8 || c.Tokens.Access.Generation != 8 || c.Tokens.Access.Grant != acme:
			t.Errorf("step 6: generation %d, of the access token %d", c.Generation, c.Tokens.Access.Generation)
		case c.Lease != nil || c.Doubt != nil || c.State != grant.Live || c.Reason != "":
			t.Errorf("step 6: lease %v, doubt %v, state %v, reason %q", c.Lease, c.Doubt, c.State, c.Reason)
		case w.name(c.Tokens.Refresh) != "rt8" || !c.Tokens.ObtainedAt.Equal(w.start):
			t.Errorf("step 6: refresh token %q, obtained at %v", w.name(c.Tokens.Refresh), c.Tokens.ObtainedAt)
		case c.Consent != before.Consent || !maps.Equal(c.Extra, before.Extra) || !slices.Equal(c.Seeds, before.Seeds):
			t.Errorf("step 6: the rest of the record changed")
		case c.Events[len(c.Events)-1].What != grant.EventRefreshed:
			t.Errorf("step 6: the last event is %q", c.Events[len(c.Events)-1].What)
		}
		w.wantSpills("step 6: the spill goes", 0)
		if w.mark != (grant.Mark{Consent: before.Consent, Generation: 8}) {
			t.Errorf("the high-water mark is %+v", w.mark)
		}
	})
	scenario(t, "the spill holds what is to be saved", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, _ int) fault {
			return fault{before: func() {
				if kind != "save" {
					return
				}
				w.wantSpills("spill, then Swap", 1)
				for _, k := range w.spills {
					if w.name(k.Tokens.Refresh) != "rt8" || k.Generation != 8 {
						t.Errorf("the spill holds %q of generation %d", w.name(k.Tokens.Refresh), k.Generation)
					}
				}
			}}
		}
		out, err := w.access(force)
		w.wantServed("step 6", out, err, "at8", true)
	})
	scenario(t, "an earlier try of its own landed", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault { return fault{drop: kind == "save" && n == 1} }
		out, err := w.access(force)
		w.wantServed("the Writer tells that the save is ours", out, err, "at8", true)
		w.wantIO("the Writer tells that the save is ours",
			"mark, load, list, connect, swap lease, send rt7, put, swap save, swap save, load, remove, set mark, close")
	})
	scenario(t, "over another's lease", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			return fault{before: func() {
				if kind == "save" && n == 1 {
					w.stranger(func(c *grant.Credential) {
						leased(time.Minute)(c)
						doubted(2, 0)(c)
						ended(c)
					})
				}
			}}
		}
		out, err := w.access(force)
		w.wantServed("K wins over any lease, doubt or NeedsConsent", out, err, "at8", true)
		if c := w.stored(); c.Generation != 8 || c.Lease != nil || c.Doubt != nil || c.State != grant.Live {
			t.Errorf("K wins: generation %d, lease %v, doubt %v, state %v", c.Generation, c.Lease, c.Doubt, c.State)
		}
		w.wantSpills("K wins", 0)
	})
	scenario(t, "under a newer generation", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() { w.stranger(w.advance(9, "X")) }}}
		out, err := w.access(force)
		w.wantServed("S stays and is served", out, err, "atX", false)
		if c := w.stored(); c.Generation != 9 {
			t.Errorf("a newer generation was overwritten by %d", c.Generation)
		}
		w.wantSpills("S stays, the spill goes", 0)
		w.wantSent("S stays", "rt7")
	})
	scenario(t, "under another consent", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() {
			w.stranger(func(c *grant.Credential) {
				w.advance(8, "X")(c)
				c.Consent = "consent-2"
			})
		}}}
		out, err := w.access(force)
		w.wantServed("another consent stays", out, err, "atX", false)
		wantWarning(t, "another consent stays, said once", out, "signed in anew")
		w.wantSpills("K stays sealed in the spill", 1)
		if c := w.stored(); c.Consent != "consent-2" {
			t.Errorf("another consent was overwritten")
		}
	})
	for name, tt := range map[string]struct {
		at     time.Duration // of the stranger's answer, after the start
		access string
		gen    uint64
	}{
		"a sibling that was answered earlier": {-time.Second, "at8", 9},
		"a sibling that was answered later":   {time.Second, "atX", 8},
	} {
		scenario(t, name, repl10, func(t *testing.T, w *world) {
			w.keep()
			w.replies = []reply{{during: func() {
				w.stranger(func(c *grant.Credential) {
					w.advance(8, "X")(c)
					c.Tokens.ObtainedAt = w.start.Add(tt.at)
				})
			}}}
			out, err := w.access(force)
			w.wantServed("the later ObtainedAt wins", out, err, tt.access, tt.access == "at8")
			if out.Access.Generation != tt.gen || w.stored().Generation != tt.gen {
				t.Errorf("the later ObtainedAt wins: generation %d, stored %d, want %d", out.Access.Generation, w.stored().Generation, tt.gen)
			}
			w.wantSpills("settled", 0)
		})
	}
	scenario(t, "over a younger send of a sibling that replaces", repl10, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() {
			w.stranger(func(c *grant.Credential) { c.Lease = nil; c.Doubt.Sends, c.Doubt.Last = 2, time.Now().Add(time.Second) })
		}}}
		out, err := w.access(force)
		w.wantServed("K wins", out, err, "at8", true)
		wantWarning(t, "a sibling may have put this token out", out, "another run presented the same refresh token")
	})
	scenario(t, "the grant was logged out meanwhile", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() { w.stranger(func(c *grant.Credential) { c.State, c.Lease = grant.Retired, nil }) }}}
		_, err := w.access(force)
		wantErr(t, "a logout stays", err, engine.ErrRetired)
		if s := w.stored().State; s != grant.Retired {
			t.Errorf("a logout was overwritten: %v", s)
		}
	})
	scenario(t, "the record was deleted meanwhile", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() { w.records = mem.New() }}}
		out, err := w.access(force)
		w.wantServed("a deleted record is created", out, err, "at8", true)
		if c := w.stored(); c.Generation != 8 || w.name(c.Tokens.Refresh) != "rt8" {
			t.Errorf("a deleted record is created: generation %d", c.Generation)
		}
	})
	scenario(t, "the record is unreadable meanwhile", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() {
			w.stranger(func(c *grant.Credential) { c.Lease = nil })
			w.onLoad = func(int) error { return grant.ErrUnreadable }
		}}}
		out, err := w.access(force)
		w.wantUnsaved("an unreadable record is never overwritten", out, err, true, true)
		wantErr(t, "an unreadable record is never overwritten", err, grant.ErrUnreadable)
		if g := w.stored().Generation; g != 7 {
			t.Errorf("an unreadable record was overwritten by generation %d", g)
		}
	})
	scenario(t, "the store comes back at the end of the lease", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, _ int) fault { return fault{lose: kind == "save" && w.since() < 75*time.Second} }
		out, err := w.access(force)
		w.wantServed("saving goes on to the end of the lease", out, err, "at8", true)
		if len(w.rescued) != 1 {
			t.Errorf("in the last third the rescue block is printed once, not %d times", len(w.rescued))
		}
		w.wantSpills("saved in the end", 0)
	})
	scenario(t, "the process was paused for longer than its lease", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{takes: 10 * time.Minute}}
		w.onSwap = func(kind string, n int) fault { return fault{lose: kind == "save" && n <= 3} }
		out, err := w.access(force)
		w.wantServed("a paused process saves all the same", out, err, "at8", true)
		if g := w.stored().Generation; g != 8 {
			t.Errorf("a paused process saved generation %d", g)
		}
	})
	scenario(t, "the spill fails", strict, func(t *testing.T, w *world) {
		w.keep()
		w.spillPut = errDisk
		out, err := w.access(force)
		w.wantServed("a spill that fails does not stop the save", out, err, "at8", true)
		wantWarning(t, "a spill that fails", out, "spilled")
		if g := w.stored().Generation; g != 8 {
			t.Errorf("a spill that fails: generation %d is stored", g)
		}
	})
	scenario(t, "the mark fails", strict, func(t *testing.T, w *world) {
		w.keep()
		w.setErr = errDisk
		out, err := w.access(force)
		w.wantServed("a mark that cannot be moved is no failure", out, err, "at8", true)
		wantWarning(t, "a mark that cannot be moved", out, "high-water mark")
	})
}

// TestRescue holds step 8 and "once one has come, it prints the rescue block as
// soon as the first Swap fails".
func TestRescue(t *testing.T) {
	t.Parallel()
	force := engine.Request{Force: true}
	const sec = time.Second
	lost := fault{lose: true}
	tests := []struct {
		name     string
		save     fault
		cancel   time.Duration // after the start; 0: never
		deadline time.Duration
		from, to time.Duration // when the block is printed
	}{
		{name: "in the last third", save: lost, from: 60 * sec, to: 60 * sec},
		{name: "in the last third, and the store hangs", save: fault{hang: true}, from: 60 * sec, to: 70 * sec},
		{name: "three times nothing is written for certain: early", save: fault{err: errDeclined}, from: 850 * time.Millisecond, to: 850 * time.Millisecond},
		{name: "a store that says no because its try ran out is no refusal", save: fault{err: fmt.Errorf("%w: %w", grant.ErrNotWritten, context.DeadlineExceeded)},
			from: 60 * sec, to: 60 * sec},
		{name: "cancelled before: at once", save: lost, cancel: 50 * time.Millisecond, from: 100 * time.Millisecond, to: 100 * time.Millisecond},
		{name: "cancelled before, and the store hangs", save: fault{hang: true}, cancel: 50 * time.Millisecond, from: 100 * time.Millisecond, to: 2100 * time.Millisecond},
		{name: "cancelled while the store hangs", save: fault{hang: true}, cancel: 3 * sec, from: 3 * sec, to: 5 * sec},
		{name: "a deadline alone is no signal", save: lost, deadline: 5 * sec, from: 60 * sec, to: 60 * sec},
	}
	for _, tt := range tests {
		scenario(t, tt.name, strict, func(t *testing.T, w *world) {
			w.keep()
			w.onSwap = func(kind string, _ int) fault {
				if kind == "save" {
					return tt.save
				}
				return fault{}
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if tt.cancel > 0 {
				time.AfterFunc(tt.cancel, cancel)
			}
			if tt.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				defer cancel()
			}
			out, err := w.accessCtx(ctx, force)
			w.wantUnsaved("unsaved", out, err, true, true)
			if d := w.since(); d < 89*sec || d > 110*sec { // a pause and a hanging try may begin just before its end
				t.Errorf("saving went on for %v, want to the end of the lease (90 s)", d)
			}
			if len(w.rescued) != 1 {
				t.Fatalf("the rescue block was printed %d times, want once", len(w.rescued))
			}
			p := w.rescued[0]
			if p.at < tt.from || p.at > tt.to {
				t.Errorf("the rescue block was printed after %v, want %v to %v", p.at, tt.from, tt.to)
			}
			if w.name(p.cred.Tokens.Refresh) != "rt8" || p.cred.Generation != 8 {
				t.Errorf("the rescue block holds %q of generation %d", w.name(p.cred.Tokens.Refresh), p.cred.Generation)
			}
			w.wantSpills("unsaved", 1)
			if w.mark.Generation != 0 {
				t.Errorf("the mark moved to %d without a definite Swap", w.mark.Generation)
			}
		})
	}
	scenario(t, "a block that cannot be printed", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap, w.blockErr, w.spillPut = storeOut("save"), errors.New("stderr is closed"), errDisk
		out, err := w.access(force)
		w.wantUnsaved("neither spill nor block", out, err, false, false)
		wantWarning(t, "neither spill nor block", out, "could not be printed")
		if len(w.rescued) != 1 {
			t.Errorf("printing was tried %d times, want once", len(w.rescued))
		}
	})
	scenario(t, "the spill failed, the block is there", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap, w.spillPut = storeOut("save"), errDisk
		out, err := w.access(force)
		w.wantUnsaved("only the block", out, err, false, true)
	})
}

// errDeclined is a definite refusal, as a forge's hook gives it.
var errDeclined = fmt.Errorf("hook declined: %w", grant.ErrNotWritten)

// TestWhyUnsaved holds that the end of a budget is not told for the reason.
func TestWhyUnsaved(t *testing.T) {
	t.Parallel()
	scenario(t, "a save that was refused, and whose last try ran out", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			switch {
			case kind != "save":
				return fault{}
			case n <= 2:
				return fault{err: errDeclined}
			}
			return fault{hang: true}
		}
		out, err := w.access(engine.Request{Force: true})
		w.wantUnsaved("the reason", out, err, true, true)
		wantErr(t, "the reason", err, errDeclined, grant.ErrNotWritten)
		if errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hook declined") {
			t.Errorf("the reason: %v", err)
		}
	})
	scenario(t, "an outage after the refusal is the later reason", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			return fault{err: map[bool]error{true: errDeclined}[kind == "save" && n == 1], lose: kind == "save"}
		}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "the reason", err, errLost)
	})
	scenario(t, "a store that hangs from the start", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, _ int) fault { return fault{hang: kind == "save"} }
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "no reason is known but the time", err, context.DeadlineExceeded)
	})
	scenario(t, "a lease whose last try ran out", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			return fault{lose: kind == "lease" && n == 1, hang: kind == "lease" && n > 1}
		}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "the reason", err, engine.ErrStore, errLost)
		w.wantSent("no lease, no send")
	})
}

// TestSpill holds "a process whose machine holds a spilled record offers it to
// the store after each successful Load, before it decides".
func TestSpill(t *testing.T) {
	t.Parallel()
	scenario(t, "it goes back before anything is decided", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.onSwap = storeOut("save")
		out, err := w.access(engine.Request{})
		w.wantUnsaved("unsaved", out, err, true, true)
		var k grant.Credential
		for _, k = range w.spills {
		}
		w.onSwap = nil
		out, err = w.access(engine.Request{MinTTL: 30 * time.Minute})
		w.wantServed("the spill goes back", out, err, "at8", false)
		w.wantSent("the spill goes back and nothing is sent", "rt7")
		if d := granttest.Diff(w.stored(), k); d != "" {
			t.Errorf("the spill goes back as it is, Writer included: differs at %s", d)
		}
		w.wantSpills("the spill goes", 0)
		if w.mark.Generation != 8 {
			t.Errorf("the mark is at %d after the spill went back", w.mark.Generation)
		}
	})
	scenario(t, "while waiting for another, too", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		time.AfterFunc(10*time.Second, func() {
			k := w.stored()
			w.advance(8, "X")(&k)
			k.Writer = "unsaved-8"
			w.mu.Lock()
			defer w.mu.Unlock()
			w.spills[k.Writer] = k
		})
		out, err := w.access(engine.Request{Wait: 3 * time.Minute})
		w.wantServed("after each Load", out, err, "atX", false)
		w.wantSent("a token that a spill knows better is not sent")
		if d := w.since(); d > 25*time.Second {
			t.Errorf("the spill was offered after %v", d)
		}
	})
	scenario(t, "several, oldest first, whatever their order", strict, func(t *testing.T, w *world) {
		k := w.keep(accessEnded)
		for gen, name := range map[uint64]string{8: "X", 9: "Y", 10: "Z"} {
			w.advance(gen, name)(&k)
			k.Writer = "unsaved-" + name
			w.spills[k.Writer] = k.Clone()
		}
		// As the chain was: each spent the one before.
		x, y, z := w.spills["unsaved-X"], w.spills["unsaved-Y"], w.spills["unsaved-Z"]
		x.Spent = []string{w.token("rt7").Digest()}
		y.Spent = append(slices.Clone(x.Spent), x.Tokens.Refresh.Digest())
		z.Spent = append(slices.Clone(y.Spent), y.Tokens.Refresh.Digest())
		w.spills = map[string]grant.Credential{x.Writer: x, y.Writer: y, z.Writer: z}
		out, err := w.access(engine.Request{})
		w.wantServed("several spills", out, err, "atZ", false)
		w.wantSpills("several spills", 0)
		if n := w.count("swap save"); n != 3 {
			t.Errorf("several spills: %d Swaps, want one each, the oldest first", n)
		}
	})
	for name, tt := range map[string]struct {
		store  func(w *world, c *grant.Credential)
		access string
		spills int
		warn   string
	}{
		"it is older than the record": {func(w *world, c *grant.Credential) { w.advance(9, "S")(c) }, "atS", 0, ""},
		"it is of another consent": {func(w *world, c *grant.Credential) {
			c.Consent = "consent-2"
		}, "at7", 1, "earlier consent"},
		"it is in the record already": {func(w *world, c *grant.Credential) {
			w.advance(9, "S")(c)
			c.AddSpent(w.token("rtX").Digest())
		}, "atS", 0, ""},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			k := w.keep()
			w.stranger(func(c *grant.Credential) { tt.store(w, c) })
			w.advance(8, "X")(&k)
			k.Writer = "unsaved-X"
			w.spills[k.Writer] = k
			before := w.stored()
			out, err := w.access(engine.Request{})
			w.wantServed("the conflict rule", out, err, tt.access, false)
			w.wantStored("the conflict rule: S stays", before)
			w.wantSpills("the conflict rule", tt.spills)
			wantWarning(t, "the conflict rule", out, tt.warn)
		})
	}
	scenario(t, "a stranger writes meanwhile", strict, func(t *testing.T, w *world) {
		k := w.keep(accessEnded)
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.spills[k.Writer] = k
		w.onSwap = func(kind string, n int) fault {
			return fault{before: func() {
				if n == 1 {
					w.stranger(leased(time.Minute))
				}
			}}
		}
		out, err := w.access(engine.Request{})
		w.wantServed("the conflict rule is applied again", out, err, "atX", false)
		if c := w.stored(); c.Lease != nil || c.Generation != 8 {
			t.Errorf("the conflict rule is applied again: generation %d, lease %v", c.Generation, c.Lease)
		}
	})
	scenario(t, "another one cannot be read", strict, func(t *testing.T, w *world) {
		k := w.keep(accessEnded)
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.spills[k.Writer], w.listErr = k, errDisk
		out, err := w.access(engine.Request{})
		w.wantServed("those that could be read are offered", out, err, "atX", false)
		wantWarning(t, "one that cannot be read", out, "cannot be read")
	})
	scenario(t, "it cannot be put back", strict, func(t *testing.T, w *world) {
		k := w.keep(accessEnded)
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.spills[k.Writer] = k
		w.onSwap = storeOut("save")
		_, err := w.access(engine.Request{Force: true, Wait: time.Minute})
		wantErr(t, "a spill that cannot be put back stops the call", err, engine.ErrStore)
		w.wantSent("a token that a spill knows better is not sent")
		w.wantSpills("a spill that cannot be put back stays", 1)
	})
	scenario(t, "the record is absent", strict, func(t *testing.T, w *world) {
		k := w.keep()
		w.records = mem.New()
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.spills[k.Writer] = k
		_, err := w.access(engine.Request{NoCreate: true, Seed: w.token("rt0")})
		wantErr(t, "--no-create forbids it", err, grant.ErrNotFound)
		out, err := w.access(engine.Request{Seed: w.token("rt0")})
		w.wantServed("the spill goes before the seed", out, err, "atX", false)
		w.wantSent("the spill goes before the seed")
	})
}
