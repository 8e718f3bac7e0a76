package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"
	"unsafe"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestOrder holds the order of all input and output of one call.
func TestOrder(t *testing.T) {
	t.Parallel()
	force := engine.Request{Force: true}
	scenario(t, "one refresh", strict, func(_ *testing.T, w *world) {
		w.keep()
		out, err := w.access(force)
		w.wantServed("steps 1 to 7", out, err, "at8", true)
		w.wantIO("steps 1 to 7", "mark, load, list, connect, swap lease, send rt7, put, swap save, remove, set mark, close")
	})
	scenario(t, "a token that is served costs no connection and no write", strict, func(_ *testing.T, w *world) {
		w.keep()
		out, err := w.access(engine.Request{MinTTL: 30 * time.Minute})
		w.wantServed("row 2", out, err, "at7", false)
		w.wantIO("row 2", "mark, load, list")
	})
	scenario(t, "a start", strict, func(_ *testing.T, w *world) {
		out, err := w.access(engine.Request{Seed: w.token("rt0")})
		w.wantServed("starting", out, err, "at1", true)
		w.wantIO("starting", "mark, load, list, swap adopted, set mark, load, list, connect, swap lease, send rt0, put, swap save, remove, set mark, close")
	})
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"unspent":  {unspent(time.Hour), "swap release"},
		"refused":  {refused(), "swap release"},
		"rejected": {rejected(), "load, swap needs consent"},
		"in doubt": {lostReply(), "swap in doubt"},
	} {
		scenario(t, "a failure: "+name, strict, func(_ *testing.T, w *world) {
			w.keep(accessEnded)
			w.replies = []reply{{err: tt.err}}
			if out, err := w.access(engine.Request{}); err == nil {
				w.t.Errorf("step 5: served %q", w.name(out.Access.Value))
			}
			story := "mark, load, list, connect, swap lease, send rt7, " + tt.want + ", close"
			if name == "in doubt" || name == "rejected" {
				story += ", load, list" // and another decision
			}
			w.wantIO("step 5", story)
		})
	}
}

// TestLease holds step 3: what becomes of a lease that is not definite.
func TestLease(t *testing.T) {
	t.Parallel()
	force := engine.Request{Force: true}
	scenario(t, "unknown, and settled by repeating it", strict, func(_ *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault { return fault{lose: kind == "lease" && n <= 3} }
		out, err := w.access(force)
		w.wantServed("unknown lease", out, err, "at8", true)
		w.wantIO("unknown lease", "mark, load, list, connect, swap lease, swap lease, swap lease, swap lease, send rt7, put, swap save, remove, set mark, close")
	})
	scenario(t, "unknown, and written all the same", strict, func(_ *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault { return fault{drop: kind == "lease" && n == 1} }
		out, err := w.access(force)
		w.wantServed("unknown lease", out, err, "at8", true)
		w.wantIO("the Writer tells that the lease is ours", "mark, load, list, connect, swap lease, swap lease, load, send rt7, put, swap save, remove, set mark, close")
	})
	scenario(t, "the store loses every write", strict, func(t *testing.T, w *world) {
		before := w.keep()
		w.onSwap = func(kind string, _ int) fault { return fault{lose: true} }
		_, err := w.access(force)
		wantErr(t, "a lease that is not definite", err, engine.ErrStore)
		w.wantSent("a lease that is not definite sends nothing")
		if d := w.since(); d > 61*time.Second {
			t.Errorf("settling and releasing took %v, each may take 30 s", d)
		}
		w.wantStored("nothing was written", before)
	})
	scenario(t, "given up, it is released so that it cannot land later", strict, func(t *testing.T, w *world) {
		before := w.keep()
		w.onSwap = func(kind string, _ int) fault {
			if kind == "lease" {
				return fault{late: 40 * time.Second}
			}
			return fault{}
		}
		_, err := w.access(force)
		wantErr(t, "a lease that is not definite", err, engine.ErrStore)
		w.wantSent("a lease that is not definite sends nothing")
		w.wantStored("the released record is the old one", before)
		time.Sleep(time.Minute)
		if w.count("lease lands late") > 0 || w.count("late lease conflicts") == 0 {
			t.Errorf("giving up an unknown lease: it landed afterwards")
		}
		w.wantStored("a late lease conflicts", before)
	})
	scenario(t, "given up after it landed, it is released on its own version", strict, func(t *testing.T, w *world) {
		before := w.keep()
		w.onLoad = func(n int) error {
			if n > 1 && w.since() < 30*time.Second {
				return errLost
			}
			return nil
		}
		w.onSwap = func(kind string, _ int) fault { return fault{drop: kind == "lease"} }
		_, err := w.access(force)
		wantErr(t, "a lease that is not definite", err, engine.ErrStore)
		w.wantSent("a lease that is not definite sends nothing")
		w.wantStored("a lease that landed is released", before)
	})
	scenario(t, "definitely not written", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(string, int) fault { return fault{err: grant.ErrNotWritten} }
		_, err := w.access(engine.Request{Force: true, Wait: time.Minute})
		wantErr(t, "a definite error", err, engine.ErrStore, grant.ErrNotWritten)
		w.wantIO("a definite error ends at once", "mark, load, list, connect, swap lease, close")
		if w.since() != 0 {
			t.Errorf("a definite error took %v", w.since())
		}
	})
	scenario(t, "somebody else was faster", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			if n > 1 {
				return fault{}
			}
			return fault{before: func() { w.stranger(w.advance(8, "X")) }}
		}
		out, err := w.access(force)
		w.wantServed("a lease that conflicts", out, err, "atX", false)
		w.wantSent("a lease that conflicts sends nothing")
	})
	scenario(t, "what it says", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{during: func() {
			c := w.stored()
			if l := c.Lease; l.Holder != "job-1" || !l.Until.Equal(w.start.Add(90*time.Second)) || l.TTL != 90*time.Second {
				t.Errorf("step 3: the lease is %+v", *l)
			}
			if d := c.Doubt; d.Sends != 1 || !d.First.Equal(w.start) || !d.Last.Equal(w.start) {
				t.Errorf("step 3: the doubt is %+v", *d)
			}
			if e := c.Events[len(c.Events)-1]; e.What != grant.EventAttempt || e.By != "this run" || !e.At.Equal(w.start) {
				t.Errorf("step 3: the event is %+v", e)
			}
		}}}
		out, err := w.access(force)
		w.wantServed("step 3", out, err, "at8", true)
	})
}

// TestWindow holds "sends nothing in the lease's last 50 s", by the larger of
// monotonic and wall time.
func TestWindow(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		delay time.Duration
		sends bool
	}{
		"at its last moment":     {40 * time.Second, true},
		"a millisecond after it": {40*time.Second + time.Millisecond, false},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			before := w.keep()
			w.replies = []reply{{early: func() { time.Sleep(tt.delay) }}}
			_, err := w.access(engine.Request{Force: true})
			if tt.sends {
				w.wantSent("inside the window", "rt7")
				return
			}
			wantErr(t, "outside the window", err, engine.ErrUnreachable)
			w.wantSent("outside the window")
			w.wantStored("outside the window the doubt is restored", before)
		})
	}
	for name, jump := range map[string]struct{ mono, wall time.Duration }{
		"the machine was suspended: only its wall clock went on": {0, 41 * time.Second},
		"the wall clock was set back":                            {41 * time.Second, -time.Hour},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.keep()
			wall := time.Duration(0)
			w.now = func() time.Time { return w.wallJumped(wall) }
			w.replies = []reply{{early: func() { time.Sleep(jump.mono); wall = jump.wall }}}
			_, err := w.access(engine.Request{Force: true})
			wantErr(t, "the larger of both clocks", err, engine.ErrUnreachable)
			w.wantSent("the larger of both clocks")
		})
	}
	scenario(t, "a connection that waited for the lease is opened again", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault {
			if kind == "lease" {
				return fault{before: func() { time.Sleep(5*time.Second + time.Millisecond) }}
			}
			return fault{}
		}
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("step 2", out, err, "at8", true)
		w.wantIO("a stale connection", "mark, load, list, connect, swap lease, close, connect, send rt7, put, swap save, remove, set mark, close")
	})
	scenario(t, "a younger connection is used", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = func(kind string, n int) fault { return fault{before: func() { time.Sleep(5 * time.Second / 2) }} }
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("step 2", out, err, "at8", true)
		w.wantIO("a young connection", "mark, load, list, connect, swap lease, send rt7, put, swap save, remove, set mark, close")
	})
	scenario(t, "it cannot be opened again", strict, func(t *testing.T, w *world) {
		before := w.keep()
		w.connects = []dial{{}, {err: errors.New("connection refused")}}
		w.onSwap = func(kind string, n int) fault { return fault{before: func() { time.Sleep(6 * time.Second) }} }
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "step 2", err, engine.ErrUnreachable)
		w.wantSent("no connection")
		w.wantStored("a failed connect is unspent", before)
	})
	scenario(t, "a grace that ends while connecting", valid10, func(t *testing.T, w *world) {
		// The grace counts to 30 s before its end: 35 s from now. Calm takes 30.
		c := w.keep(accessEnded, doubted(10, 10*time.Minute-30*time.Second-35*time.Second))
		w.connects = []dial{{takes: 8 * time.Second}}
		_, err := w.access(engine.Request{Wait: 31 * time.Second})
		wantErr(t, "step 2: a decision is made again after connecting", err, grant.ErrInDoubt)
		wantNext(t, "a grace that has passed is fatal", err, c.Doubt.Last.Add(time.Hour))
		w.wantSent("step 2: a decision is made again after connecting")
		if w.count("connect") != 1 || w.count("swap lease") != 0 {
			t.Errorf("step 2: %d connections and %d leases, want one and none", w.count("connect"), w.count("swap lease"))
		}
	})
	scenario(t, "connecting takes too long", strict, func(t *testing.T, w *world) {
		w.keep()
		w.connects = []dial{{takes: time.Hour}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "connect has ten seconds", err, engine.ErrUnreachable)
		w.wantIO("connect has ten seconds", "mark, load, list, connect")
		if w.since() != 10*time.Second {
			t.Errorf("connect took %v, want 10 s", w.since())
		}
	})
}

// wallJumped is the time by a clock whose wall part has jumped and whose
// monotonic part has not, which no function of package time can make. It rests
// on the layout of time.Time, and checks by what comes out that it does so
// rightly.
func (w *world) wallJumped(by time.Duration) time.Time {
	w.t.Helper()
	at := w.monotonic.Add(w.since())
	by += w.start.Sub(w.monotonic.Round(0)).Truncate(time.Second)
	moved := at
	*(*uint64)(unsafe.Pointer(&moved)) += uint64(int64(by/time.Second) << 30)
	if moved.Sub(at) != 0 || moved.Round(0).Sub(at.Round(0)) != by {
		w.t.Fatalf("a wall clock moved by %v reads %v, and its monotonic clock %v", by, moved.Round(0).Sub(at.Round(0)), moved.Sub(at))
	}
	return moved
}

// TestCancellation holds "cancelled before the first byte: release; from the
// first byte on the caller's cancellation no longer counts".
func TestCancellation(t *testing.T) {
	t.Parallel()
	scenario(t, "before the first byte", strict, func(t *testing.T, w *world) {
		before := w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		w.replies = []reply{{early: cancel}}
		_, err := w.accessCtx(ctx, engine.Request{Force: true, Wait: time.Minute})
		wantErr(t, "cancelled before the first byte", err, context.Canceled)
		w.wantSent("cancelled before the first byte")
		w.wantStored("cancelled before the first byte: the lease is released", before)
	})
	scenario(t, "in a look, while another holds the lease", strict, func(t *testing.T, w *world) {
		w.keep(leased(time.Minute))
		ctx, cancel := context.WithCancel(context.Background())
		w.onLoad = func(n int) error {
			if n > 1 {
				cancel()
				return ctx.Err()
			}
			return nil
		}
		_, err := w.accessCtx(ctx, engine.Request{Force: true, Wait: time.Minute})
		wantErr(t, "cancelled in a look", err, engine.ErrLeased)
		wantErr(t, "cancelled in a look", err, context.Canceled)
		w.wantSent("cancelled in a look")
	})
	scenario(t, "while the lease is taken", strict, func(t *testing.T, w *world) {
		before := w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		w.onSwap = func(kind string, n int) fault {
			if kind == "lease" {
				return fault{before: cancel, drop: true}
			}
			return fault{}
		}
		_, err := w.accessCtx(ctx, engine.Request{Force: true})
		wantErr(t, "cancelled while the lease is taken", err, context.Canceled)
		w.wantSent("cancelled while the lease is taken")
		w.wantStored("cancelled while the lease is taken", before)
	})
	scenario(t, "the lease landed and its answer was lost", strict, func(t *testing.T, w *world) {
		before := w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		w.onSwap = func(kind string, n int) fault {
			if kind == "lease" {
				time.AfterFunc(time.Second, cancel)
				return fault{drop: true}
			}
			return fault{}
		}
		w.onLoad = func(n int) error {
			if n > 1 && ctx.Err() == nil {
				return errLost
			}
			return nil
		}
		_, err := w.accessCtx(ctx, engine.Request{Force: true})
		wantErr(t, "cancelled with an unknown lease", err, context.Canceled)
		w.wantSent("cancelled with an unknown lease")
		w.wantStored("cancelled with an unknown lease: it is released with a context of its own", before)
	})
	scenario(t, "after the first byte", strict, func(t *testing.T, w *world) {
		w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		w.replies = []reply{{during: cancel}}
		out, err := w.accessCtx(ctx, engine.Request{Force: true})
		w.wantServed("cancelled after the first byte", out, err, "at8", true)
		w.wantIO("cancelled after the first byte", "mark, load, list, connect, swap lease, send rt7, put, swap save, remove, set mark, close")
		wantWarning(t, "cancelled after the first byte", out, "")
		if len(w.rescued) > 0 {
			t.Errorf("cancelled after the first byte: a rescue block although the first Swap succeeded")
		}
	})
	scenario(t, "after the first byte, and the reply is lost", strict, func(t *testing.T, w *world) {
		w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		w.replies = []reply{{during: cancel, err: lostReply()}}
		_, err := w.accessCtx(ctx, engine.Request{Force: true, Wait: time.Hour})
		wantErr(t, "cancelled and lost", err, grant.ErrInDoubt, context.Canceled)
		if c := w.stored(); c.Lease != nil || !c.InDoubt() {
			t.Errorf("cancelled and lost: lease %v, in doubt %v, want none and doubt", c.Lease, c.InDoubt())
		}
	})
	scenario(t, "after the first byte, no second send in the grace", valid10, func(t *testing.T, w *world) {
		w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		w.replies = []reply{{during: cancel, err: lostReply()}}
		_, err := w.accessCtx(ctx, engine.Request{Force: true, Wait: time.Hour})
		wantErr(t, "cancelled and lost", err, grant.ErrInDoubt)
		w.wantSent("whoever was cancelled sends nothing more", "rt7")
		if n := w.count("swap lease"); n != 1 {
			t.Errorf("whoever was cancelled counts no second send, but tried %d", n-1)
		}
	})
	scenario(t, "after a rejection, which is believed all the same", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		ctx, cancel := context.WithCancel(context.Background())
		w.replies = []reply{{during: cancel, err: rejected()}}
		if _, err := w.accessCtx(ctx, engine.Request{}); err == nil {
			t.Errorf("a rejection gave a token")
		}
		if c := w.stored(); c.State != grant.NeedsConsent || c.Lease != nil {
			t.Errorf("cancelled and rejected: state %v, lease %v", c.State, c.Lease)
		}
	})
	scenario(t, "while waiting", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(5*time.Second, cancel)
		_, err := w.accessCtx(ctx, engine.Request{Wait: time.Hour})
		wantErr(t, "cancelled while waiting", err, context.Canceled)
		if w.since() != 5*time.Second {
			t.Errorf("cancelled while waiting: it took %v to notice", w.since()-5*time.Second)
		}
	})
}
