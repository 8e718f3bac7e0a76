package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestInDoubt holds "lease released, Doubt stays, Last unmoved".
func TestInDoubt(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{"a lost reply": lostReply(), "an error that is no RefreshError": errors.New("odd")} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			before := w.keep(accessEnded)
			w.replies = []reply{{err: fail, takes: 15 * time.Second}}
			_, err := w.access(engine.Request{Wait: time.Minute})
			wantErr(t, "in doubt", err, grant.ErrInDoubt)
			wantNext(t, "in doubt", err, w.start.Add(2*time.Minute))
			if w.since() != 15*time.Second {
				t.Errorf("in doubt: it waited %v although Wait cannot suffice", w.since()-15*time.Second)
			}
			c := w.stored()
			want := before.Clone()
			want.Doubt = &grant.Doubt{Spends: before.Tokens.Refresh.Digest(), Sends: 1, First: w.start, Last: w.start}
			want.Spent, want.Events = c.Spent, c.Events
			w.wantStored("in doubt: no lease, one send, Last unmoved", want)
			if last := c.Events[len(c.Events)-1]; last.What != grant.EventInDoubt {
				t.Errorf("in doubt: the last event is %q", last.What)
			}
			w.wantSent("in doubt", "rt7")
		})
	}
	scenario(t, "a living token is served with a warning", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply()}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "in doubt", err, grant.ErrInDoubt)
		out, err := w.access(engine.Request{MinTTL: 10 * time.Minute})
		w.wantServed("in doubt", out, err, "at7", false)
		wantWarning(t, "in doubt", out, "in doubt")
		w.wantSent("the retry is put off while the access token is good", "rt7")
	})
	scenario(t, "an ordinary refresh by another is no reason for a warning", strict, func(t *testing.T, w *world) {
		w.keep(leased(80*time.Second), doubted(1, 0))
		out, err := w.access(engine.Request{MinTTL: 10 * time.Minute})
		w.wantServed("another's lease runs", out, err, "at7", false)
		wantWarning(t, "another's lease runs", out, "")
	})
	scenario(t, "a refresh whose lease ran out is one", strict, func(t *testing.T, w *world) {
		w.keep(leased(-2*time.Minute), doubted(1, 210*time.Second))
		out, err := w.access(engine.Request{MinTTL: 10 * time.Minute})
		w.wantServed("another's lease ran out", out, err, "at7", false)
		wantWarning(t, "another's lease ran out", out, "in doubt")
	})
	scenario(t, "where reuse is safe there is no doubt to warn of", safe, func(t *testing.T, w *world) {
		w.keep(doubted(1, time.Hour))
		out, err := w.access(engine.Request{MinTTL: 10 * time.Minute})
		w.wantServed("safe", out, err, "at7", false)
		wantWarning(t, "safe", out, "")
	})
	scenario(t, "a living token that a refresh ends is not", revoking, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply()}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "in doubt", err, grant.ErrInDoubt)
		_, err = w.access(engine.Request{MinTTL: 10 * time.Minute})
		wantErr(t, "in doubt with RevokesAccess", err, grant.ErrInDoubt)
		out, err := w.access(engine.Request{MinTTL: 10 * time.Minute, BestEffort: true})
		w.wantServed("best effort", out, err, "at7", false)
		wantWarning(t, "best effort", out, "best effort")
	})
	scenario(t, "where reuse is safe it is handled as unspent", safe, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: lostReply()}, {err: lostReply(), during: func() {
			if s := w.stored().Doubt.Sends; s != 1 {
				t.Errorf("safe: %d sends are counted, want the running one", s)
			}
		}}}
		out, err := w.access(engine.Request{Wait: time.Second})
		w.wantServed("safe", out, err, "at8", true)
		w.wantSent("safe", "rt7", "rt7", "rt7")
	})
	scenario(t, "where reuse is safe the record is restored", safe, func(t *testing.T, w *world) {
		before := w.keep(accessEnded)
		w.replies = []reply{{err: lostReply()}}
		_, err := w.access(engine.Request{})
		wantErr(t, "safe", err, engine.ErrUnreachable)
		w.wantStored("safe", before)
	})
	scenario(t, "each send doubles the quiet time", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = slices.Repeat([]reply{{err: lostReply()}}, 7)
		out, err := w.access(engine.Request{Wait: 24 * time.Hour})
		w.wantServed("an answer ends the doubt", out, err, "at8", true)
		for i, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
			gap := w.sent[i+1].at - w.sent[i].at
			if gap < want*time.Minute || gap > want*time.Minute+time.Second {
				t.Errorf("P1: send %d came %v after the one before, want %d min", i+2, gap, want)
			}
		}
		if c := w.stored(); c.Doubt != nil || c.Lease != nil {
			t.Errorf("a success leaves doubt %v and lease %v", c.Doubt, c.Lease)
		}
	})
	scenario(t, "somebody else's record stays", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: lostReply(), during: func() { w.stranger(w.advance(8, "X")) }}}
		out, err := w.access(engine.Request{})
		w.wantServed("a lease that was taken over is not released", out, err, "atX", false)
		if c := w.stored(); c.Doubt != nil || c.Generation != 8 {
			t.Errorf("in doubt: the newer record was changed: generation %d, doubt %v", c.Generation, c.Doubt)
		}
	})
	scenario(t, "the release is lost once and dropped once", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: lostReply()}}
		w.onSwap = func(kind string, n int) fault {
			return fault{lose: kind == grant.EventInDoubt && n == 1, drop: kind == grant.EventInDoubt && n == 2}
		}
		_, err := w.access(engine.Request{})
		wantErr(t, "in doubt", err, grant.ErrInDoubt)
		if c := w.stored(); c.Lease != nil || !c.InDoubt() {
			t.Errorf("in doubt: lease %v, doubt %v", c.Lease, c.Doubt)
		}
	})
	scenario(t, "a lease that cannot be released runs out", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: lostReply()}}
		w.onSwap = func(kind string, n int) fault { return fault{lose: kind == grant.EventInDoubt} }
		out, err := w.access(engine.Request{})
		if err == nil {
			t.Errorf("in doubt, and served %q", w.name(out.Access.Value))
		}
		wantWarning(t, "a lease that cannot be released", out, "runs out by itself")
		if d := w.since(); d > 31*time.Second {
			t.Errorf("releasing took %v, at most 30 s are allowed", d)
		}
	})
}

// TestRaw holds "Raw kept: Refuse; a success, a new consent or rescue --raw
// clears it. Not for safe".
func TestRaw(t *testing.T) {
	t.Parallel()
	unreadable := func(w *world) reply {
		return reply{err: &grant.RefreshError{Status: 200, Raw: w.token("raw"), Err: errors.New("half a reply")}}
	}
	scenario(t, "it is kept and stops every send", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{unreadable(w)}
		_, err := w.access(engine.Request{Wait: time.Hour, Force: true})
		wantErr(t, "an unreadable reply", err, grant.ErrInDoubt)
		c := w.stored()
		if w.name(c.Raw) != "raw" || c.Lease != nil || !c.InDoubt() || c.Events[len(c.Events)-1].What != grant.EventUnreadable {
			t.Errorf("an unreadable reply: raw %q, lease %v, doubt %v, event %q", w.name(c.Raw), c.Lease, c.Doubt, c.Events[len(c.Events)-1].What)
		}
		time.Sleep(24 * time.Hour)
		_, err = w.access(engine.Request{Wait: time.Hour, Force: true})
		wantErr(t, "row 5", err, grant.ErrInDoubt)
		w.wantSent("row 5: a kept reply stops every send", "rt7")
	})
	for name, tt := range map[string]struct {
		before, after int // bytes around the place that matters
		tooLarge      int // Swaps for which the store has no room
	}{
		"of one too large for the store, the beginning": {100, 60_000, 2},
		"of one that matters at its end, that":          {60_000, 100, 2},
		"of one for which there is hardly room, a bit":  {60_000, 100, 6},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.keep(accessEnded)
			const member = `"refresh_token":"`
			raw := w.token(strings.Repeat("é", tt.before/2) + member + strings.Repeat("é", tt.after/2))
			w.replies = []reply{{err: &grant.RefreshError{Status: 200, Raw: raw, Err: errors.New("half a reply")}}}
			w.onSwap = func(kind string, n int) fault {
				if kind == grant.EventUnreadable && n <= tt.tooLarge {
					return fault{err: grant.ErrTooLarge}
				}
				return fault{}
			}
			out, err := w.access(engine.Request{Force: true})
			wantErr(t, "an unreadable reply", err, grant.ErrInDoubt)
			wantWarning(t, "a part of it", out, "too large for the store")
			c := w.stored()
			kept := c.Raw.Reveal()
			if len(kept) > grant.MaxRaw>>tt.tooLarge || !strings.Contains(kept, member) || !utf8.ValidString(kept) || c.Lease != nil || !c.InDoubt() {
				t.Errorf("%d bytes are kept, lease %v, doubt %v", len(kept), c.Lease, c.Doubt)
			}
			if w.since() > time.Second {
				t.Errorf("it took %v", w.since())
			}
		})
	}
	scenario(t, "taken out, the doubt goes on, and a success clears everything", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, doubted(1, time.Hour), func(c *grant.Credential) { c.Raw = w.token("raw") })
		if err := w.engine().TakeRaw(t.Context(), acme, func(s grant.Secret) error {
			if w.name(s) != "raw" {
				t.Errorf("TakeRaw hands out something else")
			}
			return nil
		}); err != nil {
			t.Fatalf("TakeRaw: %v", err)
		}
		if c := w.stored(); !c.Raw.IsZero() || c.Doubt == nil || c.Doubt.Sends != 1 {
			t.Errorf("TakeRaw leaves raw %v, doubt %v", !c.Raw.IsZero(), c.Doubt)
		}
		out, err := w.access(engine.Request{Wait: time.Minute})
		w.wantServed("after rescue --raw", out, err, "at8", true)
	})
	scenario(t, "where reuse is safe a success clears it", safe, func(t *testing.T, w *world) {
		w.keep(accessEnded, doubted(1, 0), func(c *grant.Credential) { c.Raw = w.token("raw") })
		out, err := w.access(engine.Request{})
		w.wantServed("row 5 does not apply to safe", out, err, "at8", true)
		if !w.stored().Raw.IsZero() {
			t.Errorf("a success leaves Raw")
		}
	})
	scenario(t, "inside a grace it is asked for again", valid10, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{unreadable(w), unreadable(w), unreadable(w)}
		out, err := w.access(engine.Request{Wait: time.Hour})
		w.wantServed("row 6 before row 5", out, err, "at8", true)
		if !w.stored().Raw.IsZero() {
			t.Errorf("a success leaves Raw")
		}
	})
	scenario(t, "and after the grace it stands", valid10, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		for range 1000 {
			w.replies = append(w.replies, unreadable(w))
		}
		_, err := w.access(engine.Request{Wait: time.Hour})
		wantErr(t, "row 5", err, grant.ErrInDoubt)
		if last := w.sent[len(w.sent)-1].at; last > 10*time.Minute || w.stored().Raw.IsZero() {
			t.Errorf("row 5: last send after %v, raw kept %v", last, !w.stored().Raw.IsZero())
		}
	})
}

// TestGraceRetry holds "the holder itself retries at once in the same lease".
func TestGraceRetry(t *testing.T) {
	t.Parallel()
	same10 := valid10
	same10.Sibling = grant.SiblingSame
	for name, b := range map[string]grant.Behaviour{"same": same10, "valid": valid10} {
		scenario(t, "sibling "+name, b, func(t *testing.T, w *world) {
			w.keep()
			var until time.Time
			w.replies = []reply{{err: lostReply(), during: func() { until = w.stored().Lease.Until }}, {during: func() {
				c := w.stored()
				if c.Lease == nil || !c.Lease.Until.Equal(until) || c.Doubt.Sends != 2 || !c.Doubt.First.Equal(w.start) || !c.Doubt.Last.Equal(time.Now()) {
					t.Errorf("the second send: lease %+v, doubt %+v", c.Lease, c.Doubt)
				}
			}}}
			out, err := w.access(engine.Request{Force: true})
			w.wantServed("a lost reply inside a grace", out, err, "at8", true)
			w.wantIO("two sends, two counting Swaps, one lease",
				"mark, load, list, connect, swap lease, send rt7, swap lease, close, connect, send rt7, put, swap save, remove, set mark, close")
			if n := w.stored().Events; n[len(n)-1].Note != "recovered from doubt" {
				t.Errorf("the story does not say that the grant recovered: %q", n[len(n)-1].Note)
			}
		})
	}
	short := valid10
	short.Grace = 30 * time.Second // counts to three quarters, for the holder itself: its clock alone counts
	for name, tt := range map[string]struct {
		b     grant.Behaviour
		takes time.Duration
		err   error
	}{
		"replaces":                {repl10, 0, lostReply()},
		"fatal":                   {strict, 0, lostReply()},
		"the grace is over":       {short, 22500*time.Millisecond + time.Millisecond, lostReply()},
		"the token was unspent":   {valid10, 0, unspent(time.Hour)},
		"the request was refused": {valid10, 0, refused()},
		"the token was rejected":  {valid10, 0, rejected()},
	} {
		scenario(t, "not when "+name, tt.b, func(t *testing.T, w *world) {
			w.keep()
			w.replies = []reply{{err: tt.err, takes: tt.takes}}
			if out, err := w.access(engine.Request{Force: true}); err == nil {
				t.Errorf("served %q", w.name(out.Access.Value))
			}
			w.wantSent("no second send in the lease", "rt7")
		})
	}
	scenario(t, "a moment before the grace is over", short, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply(), takes: 22500 * time.Millisecond}}
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("the grace counts from the first counting Swap", out, err, "at8", true)
	})
	scenario(t, "the second is unspent", valid10, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply()}, {err: unspent(time.Hour)}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "the second is unspent", err, engine.ErrUnreachable)
		wantErr(t, "the first is not forgotten", err, grant.ErrInDoubt)
		c := w.stored()
		if c.Lease != nil || c.Doubt == nil || c.Doubt.Sends != 1 || !c.Doubt.Last.Equal(w.start) {
			t.Errorf("the second is unspent: lease %v, doubt %+v, want the doubt of the first", c.Lease, c.Doubt)
		}
	})
	scenario(t, "not counted, not sent", valid10, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply()}}
		w.onSwap = func(kind string, n int) fault { return fault{lose: kind == "lease" && n > 1} }
		out, err := w.access(engine.Request{Force: true})
		if err == nil {
			t.Errorf("served %q", w.name(out.Access.Value))
		}
		w.wantSent("every send is preceded by a Swap that counts it", "rt7")
		if c := w.stored(); c.Lease != nil || !c.InDoubt() || c.Doubt.Sends != 1 {
			t.Errorf("not counted: lease %v, doubt %+v", c.Lease, c.Doubt)
		}
	})
	scenario(t, "counted, unknown and landed: it is released too", valid10, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply(), takes: 15 * time.Second}}
		w.onSwap = func(kind string, n int) fault {
			switch {
			case kind == "lease" && n == 2:
				return fault{late: time.Millisecond}
			case kind == "lease" && n > 2:
				return fault{lose: true}
			}
			return fault{}
		}
		_, err := w.access(engine.Request{Force: true})
		if err == nil {
			t.Errorf("in doubt, and served")
		}
		if c := w.stored(); c.Lease != nil || !c.InDoubt() {
			t.Errorf("lease %v, doubt %+v; want no lease, and doubt", c.Lease, c.Doubt)
		}
	})
	for _, sameHost := range []bool{false, true} {
		scenario(t, fmt.Sprintf("a provider that loses every reply is not asked without a pause, same host %v", sameHost), valid10, func(t *testing.T, w *world) {
			w.sameHost = sameHost
			w.keep()
			w.replies = slices.Repeat([]reply{{err: lostReply()}}, 1000)
			_, err := w.access(engine.Request{Force: true, Wait: 5 * time.Minute})
			wantErr(t, "every reply is lost", err, grant.ErrInDoubt)
			if n := len(w.sent); n < 4 || n > 80 {
				t.Errorf("every reply is lost: %d sends in 5 min, want a few", n)
			}
		})
	}
	scenario(t, "a successor recovers although the token lives", valid10, func(t *testing.T, w *world) {
		w.keep(doubted(1, time.Minute))
		out, err := w.access(engine.Request{MinTTL: time.Minute, Wait: time.Minute})
		w.wantServed("2b", out, err, "at8", true)
		if at := w.sent[0].at; at < 30*time.Second || at > 31*time.Second {
			t.Errorf("2b: recovered after %v, want calm (30 s)", at)
		}
	})
	scenario(t, "or serves it when Wait is too short for that", valid10, func(t *testing.T, w *world) {
		w.keep(doubted(1, time.Minute))
		out, err := w.access(engine.Request{MinTTL: time.Minute, Wait: 10 * time.Second})
		w.wantServed("2b", out, err, "at7", false)
		w.wantSent("2b: not before calm")
	})
}
