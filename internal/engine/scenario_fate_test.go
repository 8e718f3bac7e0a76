package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/store/mem"
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
	scenario(t, "cancelled in the pause", strict, func(t *testing.T, w *world) {
		before := w.keep()
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		w.replies = []reply{{err: unspent(30 * time.Second)}}
		_, err := w.accessCtx(ctx, engine.Request{Force: true, Wait: time.Minute})
		wantErr(t, "cancelled in the pause", err, context.Canceled)
		if w.since() != time.Second {
			t.Errorf("cancelled in the pause: it took %v to notice", w.since()-time.Second)
		}
		w.wantStored("cancelled in the pause", before)
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
	scenario(t, "the record was deleted meanwhile", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: rejected(), during: func() { w.records = mem.New() }}}
		_, err := w.access(engine.Request{Wait: time.Hour})
		wantErr(t, "rejected without a record", err, engine.ErrStore, grant.ErrNotFound)
		if g := w.stored().Generation; g != 0 {
			t.Errorf("rejected without a record: one of generation %d was made", g)
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
		"neither":                   {func(*grant.Credential) {}, "somebody else spent it"},
		"the first token":           {func(c *grant.Credential) { c.Tokens.Access = grant.AccessToken{} }, "no refresh token of this client"},
	} {
		scenario(t, "why: "+name, strict, func(t *testing.T, w *world) {
			w.keep(accessEnded, tt.edit)
			w.replies = []reply{{err: rejected()}}
			_, err := w.access(engine.Request{Wait: time.Minute})
			wantErr(t, "rejected", err, grant.ErrNeedsConsent)
			r := w.stored().Reason
			if !strings.Contains(r, tt.words) {
				t.Errorf("rejected: reason %q, want one with %q", r, tt.words)
			}
			if name != "the first token" && strings.Contains(r, "of this client") {
				t.Errorf("rejected: reason %q of a token that another refresh returned", r)
			}
		})
	}
}
