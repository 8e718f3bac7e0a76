package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestStart holds "Starting, and starting anew".
func TestStart(t *testing.T) {
	t.Parallel()
	scenario(t, "the seed is adopted once", strict, func(t *testing.T, w *world) {
		seed := w.token("rt0")
		w.replies = []reply{{during: func() {
			c := w.stored()
			if c.Generation != 1 || c.Consent == "" || c.Provider != "preset" || c.Bind != w.bind || c.Grant != acme ||
				!slices.Equal(c.Seeds, []string{seed.Digest()}) || c.Events[0].What != grant.EventAdopted {
				t.Errorf("starting: the record is of generation %d, consent %q, provider %q, bind %+v, seeds %v", c.Generation, c.Consent, c.Provider, c.Bind, c.Seeds)
			}
		}}}
		out, err := w.access(engine.Request{Seed: seed})
		w.wantServed("starting", out, err, "at1", true)
		out, err = w.access(engine.Request{Seed: seed, Force: true})
		w.wantServed("the seed keeps its first value for ever", out, err, "at2", true)
		wantWarning(t, "the seed keeps its first value for ever", out, "")
		w.wantSent("an old value is never taken for news", "rt0", "rt1")
		if w.mark.Generation != 3 {
			t.Errorf("the mark is at %d, want 3", w.mark.Generation)
		}
	})
	scenario(t, "the consent ended and the seed is the old one", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded, ended)
		for _, known := range []string{"seed", "rt6", "rt7"} {
			_, err := w.access(engine.Request{Seed: w.token(known), Force: true})
			wantErr(t, "a known seed is no news: "+known, err, grant.ErrNeedsConsent)
		}
		w.wantStored("a known seed is no news", before)
		w.wantSent("a known seed is no news")
	})
	scenario(t, "the consent ended and the seed is new", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded, ended, func(c *grant.Credential) { c.Raw = w.token("raw") }, doubted(1, 0))
		out, err := w.access(engine.Request{Seed: w.token("fresh")})
		w.wantServed("a new consent", out, err, "at8", true)
		w.wantSent("a new consent", "fresh")
		c := w.stored()
		if c.Consent == before.Consent || c.Generation != 9 || c.State != grant.Live || c.Reason != "" || !c.Raw.IsZero() || c.Doubt != nil || len(c.Seeds) != 2 {
			t.Errorf("a new consent: %q, generation %d, state %v, reason %q, doubt %v, %d seeds", c.Consent, c.Generation, c.State, c.Reason, c.Doubt, len(c.Seeds))
		}
	})
	scenario(t, "a living token of the ended consent does not keep the new one out", strict, func(t *testing.T, w *world) {
		w.keep(ended)
		out, err := w.access(engine.Request{Seed: w.token("fresh")})
		w.wantServed("a new consent", out, err, "at8", true)
	})
	scenario(t, "a living record and an unknown seed", strict, func(t *testing.T, w *world) {
		before := w.keep()
		out, err := w.access(engine.Request{Seed: w.token("unknown")})
		w.wantServed("the record is served", out, err, "at7", false)
		wantWarning(t, "and said", out, "repair --adopt")
		w.wantStored("the record is served", before)
	})
	scenario(t, "a retired grant and an unknown seed", strict, func(t *testing.T, w *world) {
		w.keep(func(c *grant.Credential) { c.State = grant.Retired })
		_, err := w.access(engine.Request{Seed: w.token("unknown"), Force: true})
		wantErr(t, "row 1", err, engine.ErrRetired)
		w.wantIO("row 1", "mark, load, list")
	})
	scenario(t, "no-create", strict, func(t *testing.T, w *world) {
		_, err := w.access(engine.Request{Seed: w.token("rt0"), NoCreate: true})
		wantErr(t, "--no-create", err, grant.ErrNotFound)
		w.wantIO("--no-create", "mark, load, list")
	})
	scenario(t, "nothing to start from", strict, func(t *testing.T, w *world) {
		_, err := w.access(engine.Request{})
		wantErr(t, "no record and no seed", err, engine.ErrNoToken)
		w.wantIO("no record and no seed", "mark, load, list")
	})
	scenario(t, "two creators at once", strict, func(t *testing.T, w *world) {
		seed := w.token("rt0")
		outs, errs := make([]engine.Outcome, 2), make([]error, 2)
		var all sync.WaitGroup
		for i := range outs {
			all.Go(func() { outs[i], errs[i] = w.access(engine.Request{Seed: seed, Wait: time.Minute}) })
		}
		all.Wait()
		for i, out := range outs {
			if errs[i] != nil || w.name(out.Access.Value) != "at1" {
				t.Errorf("creator %d got %q, %v", i, w.name(out.Access.Value), errs[i])
			}
		}
		w.wantSent("two creators, one start", "rt0")
		if c := w.stored(); c.Generation != 2 || len(c.Seeds) != 1 {
			t.Errorf("two creators: generation %d, %d seeds", c.Generation, len(c.Seeds))
		}
	})
	scenario(t, "the creation's answer is lost", strict, func(t *testing.T, w *world) {
		w.onSwap = func(kind string, n int) fault { return fault{drop: kind == grant.EventAdopted && n == 1} }
		out, err := w.access(engine.Request{Seed: w.token("rt0")})
		w.wantServed("an unknown creation is settled", out, err, "at1", true)
		if c := w.stored(); c.Generation != 2 || len(c.Seeds) != 1 {
			t.Errorf("an unknown creation is settled: generation %d, %d seeds", c.Generation, len(c.Seeds))
		}
	})
	scenario(t, "nothing can be written", strict, func(t *testing.T, w *world) {
		w.onSwap = func(string, int) fault { return fault{err: grant.ErrNotWritten} }
		_, err := w.access(engine.Request{Seed: w.token("rt0")})
		wantErr(t, "a start that cannot be written", err, engine.ErrStore, grant.ErrNotWritten)
		w.wantIO("a start that cannot be written", "mark, load, list, swap adopted")
	})
}

// TestVetting holds what stops a call before anything is sent.
func TestVetting(t *testing.T) {
	t.Parallel()
	elsewhere := func(c *grant.Credential) { c.Bind.TokenURL = "https://other.example/token" }
	tests := []struct {
		name   string
		absent bool
		edit   func(*grant.Credential)
		mark   grant.Mark
		ask    engine.Request
		want   error
		words  string
	}{
		{name: "below the mark", mark: grant.Mark{Consent: "consent-1", Generation: 9}, want: engine.ErrRolledBack, words: "generation 9"},
		{name: "below the mark, and the token lives", mark: grant.Mark{Generation: 8}, want: engine.ErrRolledBack},
		{name: "absent, with a mark", absent: true, mark: grant.Mark{Generation: 3}, want: engine.ErrRolledBack, words: "no record"},
		{name: "below --min-generation", ask: engine.Request{MinGeneration: 8}, want: engine.ErrRolledBack, words: "generation 8"},
		{name: "absent, with --min-generation", absent: true, ask: engine.Request{MinGeneration: 1}, want: engine.ErrRolledBack},
		{name: "absent, with --after", absent: true, ask: engine.Request{After: 1}, want: engine.ErrRolledBack},
		{name: "another token URL", edit: elsewhere, want: engine.ErrBound, words: "https://other.example/token"},
		{name: "another client", edit: func(c *grant.Credential) { c.Bind.ClientID = "client-2" }, want: engine.ErrBound, words: `"client-2"`},
		{name: "another token URL, and the token lives", edit: func(c *grant.Credential) { elsewhere(c); accessLeft(50 * time.Minute)(c) }, want: engine.ErrBound},
	}
	for _, tt := range tests {
		scenario(t, tt.name, strict, func(t *testing.T, w *world) {
			if !tt.absent {
				if tt.edit == nil {
					tt.edit = func(*grant.Credential) {}
				}
				w.keep(tt.edit)
			}
			w.mark = tt.mark
			tt.ask.Seed, tt.ask.Force = w.token("fresh"), true
			_, err := w.access(tt.ask)
			wantErr(t, "nothing is sent", err, tt.want)
			if err != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("the error %q does not name %s", err, tt.words)
			}
			w.wantIO("nothing is sent", "mark, load, list")
			if w.mark != tt.mark {
				t.Errorf("the mark moved from %+v to %+v", tt.mark, w.mark)
			}
		})
	}
	first := func(edits ...func(*grant.Credential)) func(*world) {
		return func(w *world) {
			seed := w.token("rt0")
			edits = append([]func(*grant.Credential){func(c *grant.Credential) {
				c.Tokens, c.Seeds, c.Spent = grant.TokenSet{Refresh: seed, ObtainedAt: time.Now()}, []string{seed.Digest()}, nil
				c.Bind.ClientID = "mistyped"
			}}, edits...)
			w.keep(edits...)
		}
	}
	for name, tt := range map[string]struct {
		keep  func(*world)
		seed  string
		fixed bool
	}{
		"it never yielded a token and the caller holds its seed": {first(), "rt0", true},
		"the caller holds another seed":                          {first(), "other", false},
		"the caller holds none":                                  {first(), "", false},
		"it was sent and nobody knows more":                      {first(doubted(1, time.Hour)), "rt0", false},
		"it is being sent":                                       {first(leased(time.Minute)), "rt0", false},
		"a reply is kept":                                        {first(func(c *grant.Credential) { c.Raw = grant.NewSecret("x") }), "rt0", false},
		"it was rejected":                                        {first(ended), "rt0", false},
		"it yielded a token": {first(func(c *grant.Credential) {
			c.Tokens.Access = grant.AccessToken{Value: grant.NewSecret("x"), Expiry: time.Now().Add(-time.Hour)}
		}), "rt0", false},
	} {
		scenario(t, "a first call with a mistyped client, then the right one: "+name, strict, func(t *testing.T, w *world) {
			tt.keep(w)
			before := w.stored()
			ask := engine.Request{}
			if tt.seed != "" {
				ask.Seed = w.token(tt.seed)
			}
			out, err := w.access(ask)
			if !tt.fixed {
				wantErr(t, "bound elsewhere", err, engine.ErrBound)
				w.wantStored("bound elsewhere", before)
				w.wantSent("bound elsewhere")
				return
			}
			w.wantServed("a mistyped first call can be corrected", out, err, "at8", true)
			w.wantSent("a mistyped first call can be corrected", "rt0")
			if c := w.stored(); c.Bind != w.bind || c.Consent == before.Consent || c.Generation != 9 {
				t.Errorf("a mistyped first call: bind %+v, consent %q, generation %d", c.Bind, c.Consent, c.Generation)
			}
		})
	}
	scenario(t, "at the mark", strict, func(t *testing.T, w *world) {
		w.keep()
		w.mark = grant.Mark{Consent: "consent-1", Generation: 7}
		out, err := w.access(engine.Request{Force: true, MinGeneration: 7, After: 7})
		w.wantServed("at the mark", out, err, "at8", true)
	})
	scenario(t, "the mark cannot be read", strict, func(t *testing.T, w *world) {
		w.keep()
		w.markErr = errDisk
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "a mark that cannot be read", err, engine.ErrStore, errDisk)
		w.wantIO("nothing is sent", "mark")
	})
	scenario(t, "a store that rolls back while the call waits", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		w.mark = grant.Mark{Consent: "consent-1", Generation: 7}
		time.AfterFunc(5*time.Second, func() {
			w.stranger(func(c *grant.Credential) { c.Generation, c.Lease, c.Doubt = 5, nil, nil })
		})
		_, err := w.access(engine.Request{Wait: time.Minute})
		wantErr(t, "each Load is vetted", err, engine.ErrRolledBack)
		w.wantSent("each Load is vetted")
	})
	scenario(t, "an unreadable record", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded)
		w.onLoad = func(int) error { return fmt.Errorf("file: %w", grant.ErrUnreadable) }
		_, err := w.access(engine.Request{Seed: w.token("fresh"), Force: true, Wait: time.Hour})
		wantErr(t, "unreadable is not absent", err, grant.ErrUnreadable)
		w.wantIO("unreadable is not absent", "mark, load")
		if err := w.engine().Adopt(t.Context(), acme, w.token("fresh")); !errors.Is(err, grant.ErrUnreadable) {
			t.Errorf("Adopt over an unreadable record: %v", err)
		}
		w.onLoad = nil
		w.wantStored("unreadable is never overwritten", before)
	})
	scenario(t, "the store of this host does not answer", strict, func(t *testing.T, w *world) {
		w.sameHost = true
		w.onLoad = func(int) error { return errDisk }
		_, err := w.access(engine.Request{Seed: w.token("rt0"), Wait: time.Hour})
		wantErr(t, "unavailable is not absent", err, engine.ErrStore, errDisk)
		w.wantIO("a store of this host is asked once", "mark, load")
	})
	scenario(t, "a shared store does not answer for a while", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onLoad = func(int) error {
			if w.since() < 20*time.Second {
				return errLost
			}
			return nil
		}
		out, err := w.access(engine.Request{Wait: time.Minute})
		w.wantServed("within Wait", out, err, "at7", false)
	})
	scenario(t, "a shared store does not answer for longer", strict, func(t *testing.T, w *world) {
		w.onLoad = func(int) error { return errLost }
		_, err := w.access(engine.Request{Seed: w.token("rt0"), Wait: 20 * time.Second})
		wantErr(t, "unavailable is not absent", err, engine.ErrStore, errLost)
		if d := w.since(); d < 10*time.Second || d > 20*time.Second {
			t.Errorf("an unavailable store is asked for %v, want up to Wait", d)
		}
		if n := w.count("swap adopted"); n > 0 {
			t.Errorf("unavailable is not absent: %d writes", n)
		}
	})
	scenario(t, "a shared store hangs", strict, func(t *testing.T, w *world) {
		w.onLoad = func(int) error { return errHang }
		_, err := w.access(engine.Request{Seed: w.token("rt0"), Wait: 20 * time.Second})
		wantErr(t, "the time of a hung Load counts", err, engine.ErrStore, context.DeadlineExceeded)
		if d := w.since(); d != 40*time.Second || w.count("load") != 1 {
			t.Errorf("a store that hangs is given up after %v and %d Loads, want Wait and a Request (40 s) and one", d, w.count("load"))
		}
	})
	scenario(t, "a shared store hangs and mends", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onLoad = func(n int) error {
			if n == 1 {
				time.Sleep(15 * time.Second)
				return errLost
			}
			return nil
		}
		out, err := w.access(engine.Request{Wait: 20 * time.Second})
		w.wantServed("within Wait", out, err, "at7", false)
	})
	for name, behind := range map[string]time.Duration{"for a while": 20 * time.Second, "for ever": time.Hour} {
		scenario(t, "a replica is behind "+name, strict, func(t *testing.T, w *world) {
			w.keep()
			w.onLoad = func(n int) error {
				switch {
				case n > 200:
					return grant.ErrUnreadable // ends a call that does not pause
				case w.since() < behind:
					return grant.ErrNotFound
				}
				return nil
			}
			out, err := w.access(engine.Request{Seed: w.token("seed"), Wait: time.Minute})
			if behind < time.Minute {
				w.wantServed("a conflict with what is not shown", out, err, "at7", false)
			} else {
				wantErr(t, "a store that contradicts itself", err, engine.ErrStore)
			}
			if n := w.count("load"); n > 30 {
				t.Errorf("%d Loads within a minute: no pause between them", n)
			}
			w.wantSent("a conflict with what is not shown")
		})
	}
}
