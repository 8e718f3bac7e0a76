package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestUnspent holds "lease released, the doubt before this send restored;
// again with backoff within --wait".
func TestUnspent(t *testing.T) {
	t.Parallel()
	scenario(t, "the record is as it was", strict, func(t *testing.T, w *world) {
		before := w.keep()
		w.replies = []reply{{err: unspent(0)}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "unspent", err, engine.ErrUnreachable)
		w.wantStored("unspent restores the record", before)
		if w.stored().Writer == before.Writer {
			t.Errorf("a new content keeps an old Writer")
		}
	})
	scenario(t, "an earlier doubt comes back as it was", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded, doubted(2, time.Hour))
		w.replies = []reply{{err: unspent(0)}}
		_, err := w.access(engine.Request{Wait: 31 * time.Second})
		if err == nil {
			t.Errorf("unspent gave a token")
		}
		w.wantSent("one send was unspent", "rt7")
		w.wantStored("unspent restores the earlier doubt", before)
	})
	scenario(t, "a dead holder's lease comes back with it", strict, func(t *testing.T, w *world) {
		w.sameHost, w.gone = true, func(h string) bool { return h == "stranger" }
		before := w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		w.replies = []reply{{err: unspent(0)}}
		_, err := w.access(engine.Request{})
		wantErr(t, "unspent", err, engine.ErrUnreachable)
		w.wantStored("that a holder is gone is worth knowing", before)
	})
	scenario(t, "again, with doubled pauses", strict, func(t *testing.T, w *world) {
		w.keep()
		counted := reply{err: unspent(0), during: func() {
			if s := w.stored().Doubt.Sends; s != 1 {
				t.Errorf("an unspent send is still counted: %d", s)
			}
		}}
		w.replies = []reply{counted, counted, counted}
		out, err := w.access(engine.Request{Force: true, Wait: 2 * time.Second})
		w.wantServed("unspent, then granted", out, err, "at8", true)
		var at []time.Duration
		for _, p := range w.sent {
			at = append(at, p.at)
		}
		const ms = time.Millisecond
		if want := []time.Duration{0, 350 * ms, 950 * ms, 2050 * ms}; !slices.Equal(at, want) {
			t.Errorf("unspent is tried again at %v, want %v", at, want)
		}
		if n := len(w.stored().Spent); n != 2 {
			t.Errorf("a token presented four times is %d of the spent digests, want one beside rt6", n-1)
		}
	})
	scenario(t, "Wait bounds the pauses", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = slices.Repeat([]reply{{err: unspent(0)}}, 9)
		_, err := w.access(engine.Request{Force: true, Wait: time.Second})
		wantErr(t, "unspent for longer than Wait", err, engine.ErrUnreachable)
		wantNext(t, "unspent for longer than Wait", err, time.Now().Add(time.Second))
		w.wantSent("pauses of 250 and 500 ms fit into a second", "rt7", "rt7", "rt7")
	})
	scenario(t, "as the provider asks", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: unspent(7 * time.Second)}}
		out, err := w.access(engine.Request{Force: true, Wait: 10 * time.Second})
		w.wantServed("Retry-After", out, err, "at8", true)
		if at := w.sent[1].at; at != 7100*time.Millisecond {
			t.Errorf("Retry-After of 7 s: tried again after %v", at)
		}
	})
	scenario(t, "later than Wait", strict, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: unspent(time.Hour)}}
		_, err := w.access(engine.Request{Force: true, Wait: time.Minute})
		wantErr(t, "Retry-After beyond Wait", err, engine.ErrUnreachable)
		wantNext(t, "Retry-After beyond Wait", err, time.Now().Add(time.Hour))
		if w.since() != 100*time.Millisecond {
			t.Errorf("Retry-After beyond Wait: it waited %v in vain", w.since())
		}
	})
	for name, fail := range map[string]error{"any error": errors.New("no such host"), "a RefreshError": unspent(0)} {
		scenario(t, "no connection: "+name, strict, func(t *testing.T, w *world) {
			w.keep()
			w.connects = []dial{{err: fail}}
			out, err := w.access(engine.Request{Force: true, Wait: time.Second})
			w.wantServed("a connection that fails is unspent", out, err, "at8", true)
			w.wantIO("step 2: no lease before the connection",
				"mark, load, list, connect, load, list, connect, swap lease, send rt7, put, swap save, remove, set mark, close")
		})
	}
}

// TestRefused holds "released likewise, no automatic retry".
func TestRefused(t *testing.T) {
	t.Parallel()
	scenario(t, "by an answer", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded)
		w.replies = []reply{{err: refused()}}
		_, err := w.access(engine.Request{Wait: time.Hour})
		wantErr(t, "refused", err, engine.ErrRefused)
		w.wantSent("refused is not tried again", "rt7")
		w.wantStored("refused changes nothing", before)
	})
	scenario(t, "while connecting", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded)
		w.connects = []dial{{err: &grant.RefreshError{Fate: grant.Refused, Status: 407}}}
		_, err := w.access(engine.Request{Wait: time.Hour})
		wantErr(t, "refused", err, engine.ErrRefused)
		w.wantStored("refused changes nothing", before)
		w.wantIO("refused is not tried again", "mark, load, list, connect")
	})
}

// TestRejected holds "Load; if the generation moved, decide again by Next; else
// NeedsConsent with a reason".
func TestRejected(t *testing.T) {
	t.Parallel()
	scenario(t, "it is believed", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded)
		w.replies = []reply{{err: rejected()}}
		_, err := w.access(engine.Request{Wait: time.Hour})
		wantErr(t, "rejected", err, grant.ErrNeedsConsent)
		c := w.stored()
		last := c.Events[len(c.Events)-1]
		if c.State != grant.NeedsConsent || c.Lease != nil || c.Doubt != nil || !strings.Contains(c.Reason, "invalid_grant") || last.What != grant.EventNeedsConsent {
			t.Errorf("rejected: state %v, lease %v, doubt %v, reason %q, event %q", c.State, c.Lease, c.Doubt, c.Reason, last.What)
		}
		if c.Generation != before.Generation || !c.Tokens.Refresh.Equal(before.Tokens.Refresh) || !c.Tokens.Access.Value.Equal(before.Tokens.Access.Value) {
			t.Errorf("rejected: the evidence is gone")
		}
		if !strings.Contains(err.Error(), c.Reason) {
			t.Errorf("rejected: the error %q does not say why", err)
		}
		_, err = w.access(engine.Request{Force: true, Wait: time.Hour})
		wantErr(t, "after a rejection", err, grant.ErrNeedsConsent)
		w.wantSent("a rejected token is never sent again", "rt7")
	})
	for name, change := range map[string]func(w *world, c *grant.Credential){
		"a newer generation": func(w *world, c *grant.Credential) { w.advance(8, "X")(c) },
		"another consent": func(w *world, c *grant.Credential) {
			w.advance(8, "X")(c)
			c.Consent = "consent-2"
		},
		"another consent of an equal generation": func(w *world, c *grant.Credential) {
			w.advance(7, "X")(c)
			c.Consent = "consent-2"
		},
	} {
		scenario(t, "the chain moved on: "+name, strict, func(t *testing.T, w *world) {
			w.keep(accessEnded)
			w.replies = []reply{{err: rejected(), during: func() { w.stranger(func(c *grant.Credential) { change(w, c) }) }}}
			out, err := w.access(engine.Request{})
			w.wantServed("the answer was about the past", out, err, "atX", false)
			if s := w.stored().State; s != grant.Live {
				t.Errorf("the answer was about the past, and the state is %v", s)
			}
			w.wantSent("the answer was about the past", "rt7")
		})
	}
	scenario(t, "the chain moved on between Load and Swap", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: rejected()}}
		w.onSwap = func(kind string, n int) fault {
			if kind == grant.EventNeedsConsent && n == 1 {
				return fault{before: func() { w.stranger(w.advance(8, "X")) }}
			}
			return fault{}
		}
		out, err := w.access(engine.Request{})
		w.wantServed("the answer was about the past", out, err, "atX", false)
	})
	scenario(t, "the grant was logged out meanwhile", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: rejected(), during: func() { w.stranger(func(c *grant.Credential) { c.State, c.Lease = grant.Retired, nil }) }}}
		_, err := w.access(engine.Request{})
		wantErr(t, "rejected after a logout", err, engine.ErrRetired)
		if s := w.stored().State; s != grant.Retired {
			t.Errorf("rejected after a logout: state %v", s)
		}
	})
	scenario(t, "the store is out for a while", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: rejected()}}
		w.onLoad = func(n int) error {
			if n > 1 && w.since() < 50*time.Second {
				return errLost
			}
			return nil
		}
		_, err := w.access(engine.Request{})
		wantErr(t, "Load is repeated for a minute", err, grant.ErrNeedsConsent)
		if s := w.stored().State; s != grant.NeedsConsent {
			t.Errorf("Load is repeated for a minute: state %v", s)
		}
	})
	scenario(t, "the store is out for longer", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: rejected()}}
		w.onLoad = func(n int) error {
			if n > 1 {
				return errLost
			}
			return nil
		}
		_, err := w.access(engine.Request{})
		wantErr(t, "the provider's word holds although the store was not told", err, grant.ErrNeedsConsent, errLost)
		if d := w.since(); d < 59*time.Second || d > 61*time.Second {
			t.Errorf("Load after a rejection is repeated for %v, want a minute", d)
		}
		if s := w.stored().State; s != grant.Live {
			t.Errorf("NeedsConsent was written without another look")
		}
	})
	scenario(t, "the write is lost once", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: rejected()}}
		w.onSwap = func(kind string, n int) fault { return fault{lose: kind == grant.EventNeedsConsent && n == 1} }
		_, err := w.access(engine.Request{})
		wantErr(t, "rejected", err, grant.ErrNeedsConsent)
		if s := w.stored().State; s != grant.NeedsConsent {
			t.Errorf("rejected: state %v", s)
		}
	})
	for name, tt := range map[string]struct {
		b      grant.Behaviour
		served bool
	}{"served with a warning": {strict, true}, "unknown where a refresh ends it": {revoking, false}} {
		scenario(t, "its living access token: "+name, tt.b, func(t *testing.T, w *world) {
			w.keep()
			w.replies = []reply{{err: rejected()}}
			_, err := w.access(engine.Request{Force: true})
			wantErr(t, "rejected", err, grant.ErrNeedsConsent)
			out, err := w.access(engine.Request{MinTTL: 10 * time.Minute})
			if !tt.served {
				wantErr(t, "rejected with RevokesAccess", err, grant.ErrNeedsConsent)
				return
			}
			w.wantServed("rejected", out, err, "at7", false)
			wantWarning(t, "rejected", out, "sign in again")
			if out.State != grant.NeedsConsent || !strings.Contains(out.Reason, "invalid_grant") {
				t.Errorf("rejected: the outcome says %v, %q", out.State, out.Reason)
			}
		})
	}
	for name, tt := range map[string]struct {
		edit  func(*grant.Credential)
		words string
	}{
		"an earlier reply was lost": {doubted(1, time.Hour), "earlier reply was lost"},
		"the consent ended":         {func(c *grant.Credential) { c.Tokens.RefreshExpiry = time.Now().Add(-time.Hour) }, "consent ended"},
		"neither":                   {func(*grant.Credential) {}, "never sent before"},
	} {
		scenario(t, "why: "+name, strict, func(t *testing.T, w *world) {
			w.keep(accessEnded, tt.edit)
			w.replies = []reply{{err: rejected()}}
			_, err := w.access(engine.Request{Wait: time.Minute})
			wantErr(t, "rejected", err, grant.ErrNeedsConsent)
			if r := w.stored().Reason; !strings.Contains(r, tt.words) {
				t.Errorf("rejected: reason %q, want one with %q", r, tt.words)
			}
		})
	}
}

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
	scenario(t, "in a grace no second send follows it in a later call", valid10, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{unreadable(w), unreadable(w)}
		_, err := w.access(engine.Request{Wait: time.Hour})
		wantErr(t, "row 5", err, grant.ErrInDoubt)
		if n := len(w.sent); n > 2 {
			t.Errorf("row 5: %d sends, at most the two of one lease", n)
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
	short.Grace = time.Minute // counts to 30 s, by half of the skew
	for name, tt := range map[string]struct {
		b     grant.Behaviour
		takes time.Duration
		err   error
	}{
		"replaces":                {repl10, 0, lostReply()},
		"fatal":                   {strict, 0, lostReply()},
		"the grace is over":       {short, 30*time.Second + time.Millisecond, lostReply()},
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
		w.replies = []reply{{err: lostReply(), takes: 30 * time.Second}}
		out, err := w.access(engine.Request{Force: true})
		w.wantServed("the grace counts from the first counting Swap", out, err, "at8", true)
	})
	scenario(t, "the second is unspent", valid10, func(t *testing.T, w *world) {
		w.keep()
		w.replies = []reply{{err: lostReply()}, {err: unspent(time.Hour)}}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "the second is unspent", err, engine.ErrUnreachable)
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
