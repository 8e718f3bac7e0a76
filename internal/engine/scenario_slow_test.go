package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// slowStore takes a while for each call, and does nothing when its context ends first.
type slowStore struct {
	grant.Store
	load, swap time.Duration
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowStore) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	if err := pause(ctx, s.load); err != nil {
		return grant.Credential{}, "", err
	}
	return s.Store.Load(ctx, id)
}

func (s *slowStore) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	if err := pause(ctx, s.swap); err != nil {
		return "", err
	}
	return s.Store.Swap(ctx, id, old, next)
}

// over is an engine on another store than the world's own.
func (w *world) over(wrap func(grant.Store) grant.Store) *engine.Engine {
	w.t.Helper()
	cfg := w.config()
	cfg.Store = wrap(cfg.Store)
	e, err := engine.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// TestSlowStore: a store that takes its time is read, and written "to the end of the
// lease": it gets what its lease took, whatever the caller's context says.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	scenario(t, "its record is served", strict, func(t *testing.T, w *world) {
		w.keep()
		e := w.over(func(s grant.Store) grant.Store { return &slowStore{s, 6 * time.Second, 0} })
		out, err := e.Access(t.Context(), acme, engine.Request{Wait: 3 * time.Minute})
		w.wantServed("a slow Load", out, err, "at7", false)
		if w.loads != 2 {
			t.Errorf("%d loads, want 2: the second shows the same", w.loads)
		}
	})
	for name, tt := range map[string]struct {
		swap    time.Duration
		signal  bool          // while the request is under way
		timeout time.Duration // of the call; 0: none
		blocks  int
	}{
		"12 s for a write":            {12 * time.Second, false, 0, 0},
		"25 s for a write":            {25 * time.Second, false, 0, 0},
		"3 s, and a signal":           {3 * time.Second, true, 0, 1},
		"3 s, and the call's timeout": {3 * time.Second, false, 6 * time.Second, 0},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.keep(accessEnded)
			ctx, cancel := context.WithCancel(t.Context())
			if tt.timeout > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), tt.timeout)
			}
			defer cancel()
			w.replies = []reply{{takes: 4 * time.Second, during: func() {
				if tt.signal {
					cancel()
				}
			}}}
			e := w.over(func(s grant.Store) grant.Store { return &slowStore{s, 0, tt.swap} })
			out, err := e.Access(ctx, acme, engine.Request{Wait: 3 * time.Minute})
			w.wantServed("a slow Swap", out, err, "at8", true)
			w.wantSpills("what is saved", 0)
			if len(w.rescued) != tt.blocks || w.stored().Generation != 8 {
				t.Errorf("%d rescue blocks, want %d; generation %d is stored", len(w.rescued), tt.blocks, w.stored().Generation)
			}
		})
	}
	scenario(t, "it contradicts itself", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		tries := 0
		w.onSwap = func(kind string, _ int) fault {
			if kind != "save" {
				return fault{}
			}
			tries++
			return fault{err: grant.ErrConflict}
		}
		out, err := w.access(engine.Request{})
		if unsaved := (*engine.UnsavedError)(nil); !errors.As(err, &unsaved) || !unsaved.Rescued || !unsaved.Spilled {
			t.Errorf("served %q, error %v", w.name(out.Access.Value), err)
		}
		if tries > 30 || w.since() < 80*time.Second || len(w.rescued) != 1 || w.rescued[0].at > 10*time.Second {
			t.Errorf("%d tries in %v, blocks %v", tries, w.since(), w.rescued)
		}
	})
}

// narrowStore has no room for an access token.
type narrowStore struct{ grant.Store }

func (s narrowStore) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	if next.Generation > 7 && !next.Tokens.Access.Value.IsZero() {
		return "", grant.ErrTooLarge
	}
	return s.Store.Swap(ctx, id, old, next)
}

// TestNoRoom: a store with too little room for the access token keeps the chain.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	narrow := func(s grant.Store) grant.Store { return narrowStore{s} }
	scenario(t, "to save it", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		out, err := w.over(narrow).Access(t.Context(), acme, engine.Request{})
		w.wantServed("it is delivered all the same", out, err, "at8", true)
		wantWarning(t, "no room", out, "too large for the store")
		if c := w.stored(); c.Generation != 8 || c.Lease != nil || c.InDoubt() || w.name(c.Tokens.Refresh) != "rt8" || !c.Tokens.Access.Value.IsZero() {
			t.Errorf("stored: generation %d, lease %v, refresh token %s", c.Generation, c.Lease, w.name(c.Tokens.Refresh))
		}
		w.wantSpills("it is saved", 0)
	})
	scenario(t, "to put it back", strict, func(t *testing.T, w *world) {
		k := w.keep(accessEnded)
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		w.spills[k.Writer] = k
		if _, err := w.over(narrow).Access(t.Context(), acme, engine.Request{}); err != nil {
			t.Error(err)
		}
		w.wantSent("the spilled token", "rtX")
		w.wantSpills("it is put back", 0)
	})
}

// TestUnsavedIsServed: what only this machine has of a grant is served where the store
// does not take it, if it meets the ask; put back, it is no newer than the call.
func TestUnsavedIsServed(t *testing.T) {
	t.Parallel()
	unsaved := func(w *world, left time.Duration) {
		k := w.keep(accessEnded)
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		k.Tokens.ObtainedAt = time.Now().Add(left - time.Hour)
		k.Tokens.Access.Expiry = time.Now().Add(left)
		w.spills[k.Writer] = k
	}
	for name, tt := range map[string]struct {
		left   time.Duration
		r      engine.Request
		broken bool
		access string // "": an error
	}{
		"life enough":                     {50 * time.Minute, engine.Request{MinTTL: 30 * time.Minute}, false, "atX"},
		"too little life":                 {3 * time.Minute, engine.Request{MinTTL: 30 * time.Minute}, false, "at8"},
		"forced":                          {50 * time.Minute, engine.Request{Force: true}, false, "at8"},
		"life enough, store broken":       {50 * time.Minute, engine.Request{MinTTL: 30 * time.Minute}, true, "atX"},
		"too little life, store broken":   {3 * time.Minute, engine.Request{MinTTL: 30 * time.Minute}, true, ""},
		"forced, store broken":            {50 * time.Minute, engine.Request{Force: true}, true, ""},
		"best effort, store broken":       {3 * time.Minute, engine.Request{MinTTL: 30 * time.Minute, BestEffort: true}, true, "atX"},
		"the API refused it, and broken":  {50 * time.Minute, engine.Request{After: 7, MinTTL: time.Minute}, true, "atX"},
		"another one rolled it back":      {50 * time.Minute, engine.Request{MinGeneration: 9}, true, ""},
		"the caller's is newer, and lost": {50 * time.Minute, engine.Request{After: 8}, true, ""},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			unsaved(w, tt.left)
			if tt.broken {
				w.onSwap = func(string, int) fault { return fault{err: grant.ErrNotWritten} }
			}
			out, err := w.access(tt.r)
			if tt.access == "" {
				wantErr(t, name, err, engine.ErrStore)
			} else if got := w.name(out.Access.Value); err != nil || got != tt.access {
				t.Errorf("served %q, error %v, want %q", got, err, tt.access)
			}
			if tt.broken {
				w.wantSent("a token that a spill knows better is not sent")
				w.wantSpills("it stays", 1)
			}
		})
	}
	scenario(t, "its run is saving it at this moment", strict, func(t *testing.T, w *world) {
		unsaved(w, 50*time.Minute)
		w.stranger(leased(time.Minute))
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("a forced call has what another got meanwhile", out, err, "atX", false)
	})
	scenario(t, "it was bound elsewhere by a repair", strict, func(t *testing.T, w *world) {
		unsaved(w, 50*time.Minute)
		w.bind = grant.Binding{TokenURL: "https://new.example/token", ClientID: "client-1"}
		if err := w.engine().Rebind(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		out, err := w.access(engine.Request{MinTTL: time.Minute})
		w.wantServed("a person's word stands", out, err, "atX", false)
		if w.stored().Bind != w.bind {
			t.Errorf("bound to %v", w.stored().Bind)
		}
	})
}

// TestGoodInGrace: P4. A recovery comes before a good token is served, and where it
// cannot be done now, the token is served all the same, at once.
func TestGoodInGrace(t *testing.T) {
	t.Parallel()
	down := slices.Repeat([]dial{{err: &grant.RefreshError{Fate: grant.Unspent, Err: errors.New("connection refused")}}}, 100)
	for name, do := range map[string]func(w *world){
		"the provider is down":    func(w *world) { w.connects = down },
		"the provider refuses":    func(w *world) { w.replies = []reply{{err: refused()}} },
		"the provider says later": func(w *world) { w.replies = []reply{{err: unspent(time.Hour)}} },
		"the reply is lost again": func(w *world) { w.replies = slices.Repeat([]reply{{err: lostReply()}}, 2) },
		"the store is read-only": func(w *world) {
			w.onSwap = func(string, int) fault { return fault{err: grant.ErrNotWritten} }
		},
		"a spill cannot be read": func(w *world) { w.listErr = errDisk },
	} {
		scenario(t, name, valid10, func(t *testing.T, w *world) {
			w.sameHost = true
			w.keep(doubted(1, time.Minute))
			do(w)
			out, err := w.access(engine.Request{MinTTL: 5 * time.Minute, Wait: 3 * time.Minute})
			w.wantServed("P4", out, err, "at7", false)
			wantWarning(t, "P4", out, "could not be recovered now")
			if w.since() > time.Second {
				t.Errorf("it took %v", w.since())
			}
		})
	}
	scenario(t, "interrupted", valid10, func(t *testing.T, w *world) {
		w.sameHost = true
		w.keep(doubted(1, time.Minute))
		ctx, cancel := context.WithCancel(t.Context())
		w.onSwap = func(kind string, _ int) fault { return fault{before: cancel} }
		if out, err := w.accessCtx(ctx, engine.Request{MinTTL: 5 * time.Minute}); err == nil && !out.Refreshed {
			t.Errorf("served %q to a caller who has gone", w.name(out.Access.Value))
		}
	})
}

// TestOwnDoubt: where all sends are the call's own, its clock alone counts, and no
// other machine can hold a reply: neither skew nor calm is taken off the grace.
func TestOwnDoubt(t *testing.T) {
	t.Parallel()
	for _, sibling := range []grant.Sibling{grant.SiblingSame, grant.SiblingValid, grant.SiblingReplaces} {
		for _, grace := range []time.Duration{20 * time.Second, 30 * time.Second, time.Minute} {
			b := grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: grace, Sibling: sibling}
			scenario(t, fmt.Sprint(sibling, " ", grace), b, func(t *testing.T, w *world) {
				w.keep(accessEnded)
				takes := min(engine.RequestTimeout(b, engine.DefaultTiming(false)), grace/2)
				w.replies = []reply{{err: lostReply(), takes: takes}}
				out, err := w.access(engine.Request{Wait: 3 * time.Minute})
				w.wantServed("a lost reply is covered", out, err, "at8", true)
				w.wantSent("at once", "rt7", "rt7")
				if at := w.sent[1].at; at > grace {
					t.Errorf("presented again after %v", at)
				}
			})
			scenario(t, fmt.Sprint("another's, ", sibling, " ", grace), b, func(t *testing.T, w *world) {
				w.keep(accessEnded, doubted(1, time.Second))
				if out, err := w.access(engine.Request{Wait: 20 * time.Second}); err == nil {
					t.Errorf("served %q", w.name(out.Access.Value))
				}
				w.wantSent("the other machine may have the reply")
			})
		}
	}
	scenario(t, "another has sent since", grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: time.Minute, Sibling: grant.SiblingReplaces}, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: lostReply()}}
		w.onSwap = func(kind string, n int) fault {
			if kind == grant.EventInDoubt {
				time.AfterFunc(time.Millisecond, func() {
					w.stranger(func(c *grant.Credential) { c.Doubt.Sends++; c.Doubt.Last = time.Now() })
				})
			}
			return fault{}
		}
		_, err := w.access(engine.Request{Wait: time.Minute})
		wantErr(t, "its quiet time", err, grant.ErrInDoubt)
		w.wantSent("once", "rt7")
	})
}

// TestDoubtFromTheFuture: a wrong clock makes no grace longer, and no quiet time shorter.
func TestDoubtFromTheFuture(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]grant.Behaviour{"fatal": strict, "grace": valid10} {
		scenario(t, name, b, func(t *testing.T, w *world) {
			w.keep(accessEnded, doubted(1, -24*time.Hour))
			out, err := w.access(engine.Request{Wait: 10 * time.Minute})
			w.wantServed("it is settled", out, err, "at8", true)
			if at := w.sent[0].at; at < 3*time.Minute || at > 4*time.Minute {
				t.Errorf("presented after %v, want skew and quiet time", at)
			}
		})
	}
}

// TestWaitBelowCalm: a call that cannot watch long enough says so.
func TestWaitBelowCalm(t *testing.T) {
	t.Parallel()
	scenario(t, "20 s", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, doubted(1, time.Hour))
		_, err := w.access(engine.Request{Wait: 20 * time.Second})
		wantErr(t, "calm", err, grant.ErrInDoubt)
		if want := "watch the store for 30s first: give --wait 40s or more"; !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v does not say %q", err, want)
		}
		out, err := w.access(engine.Request{Wait: 40 * time.Second})
		w.wantServed("with it", out, err, "at8", true)
	})
}

// TestFaultyLeaseIsWatchedOnce, though the provider says "later" meanwhile.
func TestFaultyLeaseIsWatchedOnce(t *testing.T) {
	t.Parallel()
	scenario(t, "429", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(24*time.Hour))
		w.replies = []reply{{err: unspent(0)}, {err: unspent(0)}}
		out, err := w.access(engine.Request{Wait: 10 * time.Minute})
		w.wantServed("watched", out, err, "at8", true)
		if len(w.sent) != 3 || w.sent[2].at-w.sent[0].at > 10*time.Second {
			t.Errorf("sent %v", w.sent)
		}
	})
}
