package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestWaiting holds row 4 and how long a call waits.
func TestWaiting(t *testing.T) {
	t.Parallel()
	scenario(t, "until the holder is done", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		time.AfterFunc(25*time.Second, func() { w.stranger(w.advance(8, "X")) })
		out, err := w.access(engine.Request{Force: true, Wait: time.Minute})
		w.wantServed("row 4", out, err, "atX", false)
		w.wantSent("row 4: another's lease runs")
		if d := w.since(); d < 25*time.Second || d > 35*time.Second {
			t.Errorf("row 4: served after %v, want within a poll of 25 s", d)
		}
		if n := strings.Count(w.log.String(), "msg=waiting"); n != 1 {
			t.Errorf("row 4: what is waited for is said %d times, want once", n)
		}
		if w.count("connect") > 0 || w.count("load") > 8 {
			t.Errorf("row 4: %d connections and %d Loads while waiting", w.count("connect"), w.count("load"))
		}
	})
	scenario(t, "no longer than Wait", strict, func(t *testing.T, w *world) {
		c := w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		_, err := w.access(engine.Request{Wait: 40 * time.Second})
		wantErr(t, "row 4", err, engine.ErrLeased)
		wantNext(t, "row 4: the lease's end and the skew", err, c.Lease.Until.Add(time.Minute))
		if d := w.since(); d != 40*time.Second {
			t.Errorf("row 4: waited %v, want 40 s", d)
		}
		w.wantStored("waiting changes nothing", c)
	})
	scenario(t, "a living token is served meanwhile", strict, func(t *testing.T, w *world) {
		w.keep(leased(80*time.Second), doubted(1, 0))
		out, err := w.access(engine.Request{MinTTL: time.Minute, Wait: time.Minute})
		w.wantServed("row 2", out, err, "at7", false)
		if w.since() != 0 {
			t.Errorf("row 2: served after %v", w.since())
		}
	})
	for name, edits := range map[string][]func(*grant.Credential){
		"with a send counted": {leased(80 * time.Second), doubted(1, 0)}, "with none": {leased(80 * time.Second)},
	} {
		scenario(t, "but not one that the refresh will end, "+name, revoking, func(t *testing.T, w *world) {
			w.keep(func(c *grant.Credential) {
				for _, e := range edits {
					e(c)
				}
			})
			time.AfterFunc(5*time.Second, func() { w.stranger(w.advance(8, "X")) })
			out, err := w.access(engine.Request{MinTTL: time.Minute, Wait: time.Minute})
			w.wantServed("row 2a", out, err, "atX", false)
		})
	}
	scenario(t, "a lease that ran out is taken over after skew and quiet", strict, func(t *testing.T, w *world) {
		c := w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		c.Lease.Until = time.Now().Add(20 * time.Second) // 30 s after it ended, quiet is what is left
		w.stranger(func(s *grant.Credential) { s.Lease = c.Lease })
		out, err := w.access(engine.Request{Wait: 3 * time.Minute})
		w.wantServed("takeover", out, err, "at8", true)
		if at := w.sent[0].at; at < 2*time.Minute || at > 2*time.Minute+time.Second {
			t.Errorf("takeover: sent after %v, want quiet (2 min)", at)
		}
	})
	scenario(t, "the skew comes on top of the lease", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(20*time.Second), doubted(1, time.Hour))
		out, err := w.access(engine.Request{Wait: 3 * time.Minute})
		w.wantServed("takeover", out, err, "at8", true)
		if at := w.sent[0].at; at < 80*time.Second || at > 82*time.Second {
			t.Errorf("takeover: sent after %v, want lease and skew (80 s)", at)
		}
	})
	scenario(t, "a lease that ends impossibly late is watched out", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(24*time.Hour), doubted(1, time.Hour))
		out, err := w.access(engine.Request{Wait: 3 * time.Minute})
		w.wantServed("clock fault", out, err, "at8", true)
		wantWarning(t, "clock fault, said once", out, "clock")
		if at := w.sent[0].at; at < 100*time.Second || at > 111*time.Second {
			t.Errorf("clock fault: sent after %v, want TTL and 10 s of watching", at)
		}
	})
	scenario(t, "a holder that is gone is over at once", strict, func(t *testing.T, w *world) {
		w.sameHost, w.gone = true, func(h string) bool { return h == "stranger" }
		w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		out, err := w.access(engine.Request{})
		w.wantServed("the holder is gone", out, err, "at8", true)
		if w.sent[0].at != 0 {
			t.Errorf("the holder is gone: sent after %v", w.sent[0].at)
		}
	})
	scenario(t, "calm starts anew when the store does not answer", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, doubted(1, time.Hour))
		out := time.Duration(0)
		w.onLoad = func(n int) error {
			if n == 5 {
				out = w.since()
				return errLost
			}
			return nil
		}
		got, err := w.access(engine.Request{Wait: 5 * time.Minute})
		w.wantServed("calm", got, err, "at8", true)
		if out < 5*time.Second {
			t.Fatalf("the outage came after %v, too early to tell", out)
		}
		if gap := w.sent[0].at - out; gap < 30*time.Second {
			t.Errorf("calm: sent %v after an outage, want 30 s at least", gap)
		}
	})
	scenario(t, "calm starts anew with each version", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, doubted(1, time.Hour))
		time.AfterFunc(20*time.Second, func() { w.stranger(func(*grant.Credential) {}) })
		got, err := w.access(engine.Request{Wait: 5 * time.Minute})
		w.wantServed("calm", got, err, "at8", true)
		if at := w.sent[0].at; at < 50*time.Second {
			t.Errorf("calm: sent %v after the start, want 30 s after the change at 20 s", at)
		}
	})
	scenario(t, "one host needs no calm", strict, func(t *testing.T, w *world) {
		w.sameHost = true
		w.keep(accessEnded, doubted(1, time.Hour))
		got, err := w.access(engine.Request{})
		w.wantServed("SameHost", got, err, "at8", true)
	})
	for _, sameHost := range []bool{false, true} {
		scenario(t, fmt.Sprintf("ten forced calls at once, same host %v", sameHost), strict, func(t *testing.T, w *world) {
			w.sameHost = sameHost
			w.keep()
			outs, errs := make([]engine.Outcome, 10), make([]error, 10)
			var all sync.WaitGroup
			for i := range outs {
				all.Go(func() { outs[i], errs[i] = w.access(engine.Request{Force: true, Wait: 3 * time.Minute}) })
			}
			all.Wait()
			refreshed := 0
			for i, out := range outs {
				if errs[i] != nil || w.name(out.Access.Value) != "at8" {
					t.Errorf("P3: call %d got %q, %v", i, w.name(out.Access.Value), errs[i])
				}
				if out.Refreshed {
					refreshed++
				}
			}
			w.wantSent("P3: ten forced calls are one refresh", "rt7")
			if refreshed != 1 {
				t.Errorf("P3: %d calls say that they refreshed", refreshed)
			}
		})
	}
}

// TestRefusingStore holds that a store that is away is waited for, and one that
// refuses is not, unless a token is out.
func TestRefusingStore(t *testing.T) {
	t.Parallel()
	denied := fmt.Errorf("git store: no such repository: %w", grant.ErrDenied)
	ask := engine.Request{Wait: 10 * time.Minute}
	scenario(t, "refused at once", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.onLoad = func(int) error { return denied }
		_, err := w.access(ask)
		wantErr(t, "a refusal", err, engine.ErrStore, grant.ErrDenied)
		if w.since() != 0 || !strings.Contains(err.Error(), "no such repository") {
			t.Errorf("a refusal is told after %v: %v", w.since(), err)
		}
		w.wantIO("a refusal", "mark, load")
	})
	scenario(t, "refused while another's lease is waited for", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded, leased(80*time.Second), doubted(1, 0))
		w.onLoad = func(n int) error { return map[bool]error{true: denied}[n > 3] }
		_, err := w.access(ask)
		wantErr(t, "a refusal", err, engine.ErrStore, grant.ErrDenied)
		if n := w.count("load"); n != 4 {
			t.Errorf("%d Loads, want none after the refusal", n)
		}
	})
	scenario(t, "away for a while", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.onLoad = func(int) error { return map[bool]error{true: errLost}[w.since() < time.Minute] }
		out, err := w.access(ask)
		w.wantServed("an outage", out, err, "at8", true)
	})
	scenario(t, "refused for a while, with a token out", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: &grant.RefreshError{Err: errLost}}}
		w.onLoad = func(n int) error { return map[bool]error{true: denied}[n > 1 && w.since() < time.Minute] }
		out, err := w.access(ask)
		w.wantServed("a token is out", out, err, "at8", true)
		w.wantSent("a token is out", "rt7", "rt7")
	})
	scenario(t, "refused while a save meets another's record", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{during: func() { w.stranger(func(*grant.Credential) {}) }}}
		w.onLoad = func(n int) error { return map[bool]error{true: denied}[n > 1 && w.since() < time.Minute] }
		out, err := w.access(ask)
		w.wantServed("a save goes on", out, err, "at8", true)
		w.wantSpills("a save goes on", 0)
	})
	scenario(t, "refused after a rejection", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: &grant.RefreshError{Fate: grant.Rejected, Code: "invalid_grant"}}}
		w.onLoad = func(n int) error { return map[bool]error{true: denied}[n > 1 && w.since() < 20*time.Second] }
		_, err := w.access(ask)
		wantErr(t, "a rejection is recorded all the same", err, grant.ErrNeedsConsent)
		if s := w.stored().State; s != grant.NeedsConsent {
			t.Errorf("the record's state is %v", s)
		}
	})
}

// TestAsk holds "the access token meets the ask".
func TestAsk(t *testing.T) {
	t.Parallel()
	scenario(t, "after", strict, func(t *testing.T, w *world) {
		w.keep()
		out, err := w.access(engine.Request{After: 7})
		w.wantServed("the refused generation will not do", out, err, "at8", true)
		out, err = w.access(engine.Request{After: 7})
		w.wantServed("a later one does", out, err, "at8", false)
		w.wantSent("--after 7 twice is one refresh", "rt7")
	})
	scenario(t, "after a generation that the store has never had", strict, func(t *testing.T, w *world) {
		w.keep()
		_, err := w.access(engine.Request{After: 9})
		wantErr(t, "--after above the store", err, engine.ErrRolledBack)
		w.wantSent("--after above the store")
	})
	scenario(t, "more life than the provider issues", strict, func(t *testing.T, w *world) {
		w.keep()
		ask := engine.Request{MinTTL: 10 * time.Hour, Wait: time.Minute}
		out, err := w.access(ask)
		w.wantServed("min-ttl is capped", out, err, "at8", true)
		if !out.TTLMet {
			t.Errorf("min-ttl is capped, and not met")
		}
		out, err = w.access(ask)
		w.wantServed("min-ttl is capped", out, err, "at8", false)
		w.wantSent("min-ttl above the life is no refresh at every call", "rt7")
	})
	scenario(t, "a provider that issues too little", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{set: func(ts *grant.TokenSet) { ts.Access.Expiry = ts.ObtainedAt.Add(90 * time.Second) }}}
		out, err := w.access(engine.Request{MinTTL: 30 * time.Minute, Wait: time.Minute})
		w.wantServed("no loop", out, err, "at8", true)
		w.wantSent("no loop", "rt7")
	})
	scenario(t, "the clock is looked at once more before serving", strict, func(t *testing.T, w *world) {
		w.keep()
		w.stranger(w.advance(8, "X"))
		paused := false
		w.onLoad = func(int) error {
			if !paused {
				paused = true
				time.Sleep(10 * time.Second) // a Load so slow that the record may have moved on
			}
			return nil
		}
		out, err := w.access(engine.Request{})
		w.wantServed("a slow Load", out, err, "atX", false)
		if n := w.count("load"); n != 2 {
			t.Errorf("a record that is 10 s old is served after %d Loads, want another look", n)
		}
	})
	scenario(t, "best effort", strict, func(t *testing.T, w *world) {
		w.keep(leased(80*time.Second), doubted(1, 0))
		ask := engine.Request{MinTTL: 50 * time.Minute, Wait: time.Second}
		_, err := w.access(ask)
		wantErr(t, "without best effort", err, engine.ErrLeased)
		ask.BestEffort = true
		out, err := w.access(ask)
		w.wantServed("best effort", out, err, "at7", false)
		wantWarning(t, "best effort", out, "best effort")
		if out.TTLMet {
			t.Errorf("best effort claims that the life asked for is met")
		}
	})
	for name, tt := range map[string]struct {
		edit func(*grant.Credential)
		ask  engine.Request
		fail error
	}{
		"a token that has ended":            {accessEnded, engine.Request{}, grant.ErrNeedsConsent},
		"the refused generation":            {func(*grant.Credential) {}, engine.Request{After: 7}, grant.ErrNeedsConsent},
		"the token of a retired grant":      {func(c *grant.Credential) { c.State = grant.Retired }, engine.Request{}, engine.ErrRetired},
		"an access token that is not there": {func(c *grant.Credential) { c.Tokens.Access.Value = grant.Secret{} }, engine.Request{}, grant.ErrNeedsConsent},
	} {
		scenario(t, "best effort never delivers "+name, strict, func(t *testing.T, w *world) {
			w.keep(ended, tt.edit)
			tt.ask.BestEffort = true
			_, err := w.access(tt.ask)
			wantErr(t, "best effort", err, tt.fail)
			w.wantSent("best effort")
		})
	}
	scenario(t, "a refresh that ends a running token", revoking, func(t *testing.T, w *world) {
		c := w.keep()
		_, err := w.access(engine.Request{MinTTL: 50 * time.Minute, NoRevokeRunning: true, Wait: time.Hour})
		wantErr(t, "NoRevokeRunning", err, engine.ErrWouldRevoke)
		wantNext(t, "NoRevokeRunning", err, c.Tokens.Access.Expiry)
		w.wantIO("NoRevokeRunning", "mark, load, list")
		out, err := w.access(engine.Request{MinTTL: 50 * time.Minute})
		w.wantServed("RevokesAccess", out, err, "at8", true)
		wantWarning(t, "RevokesAccess: it says whose token ends", out, "generation 7")
		if !out.NextRefreshEnds {
			t.Errorf("RevokesAccess: the outcome does not say that the next refresh ends the token")
		}
	})
	scenario(t, "a token that has ended is no running token", revoking, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		out, err := w.access(engine.Request{NoRevokeRunning: true})
		w.wantServed("NoRevokeRunning", out, err, "at8", true)
		wantWarning(t, "NoRevokeRunning", out, "")
	})
	scenario(t, "elsewhere no token is ended", strict, func(t *testing.T, w *world) {
		w.keep()
		out, err := w.access(engine.Request{Force: true, NoRevokeRunning: true})
		w.wantServed("NoRevokeRunning", out, err, "at8", true)
		wantWarning(t, "NoRevokeRunning", out, "")
		if out.NextRefreshEnds {
			t.Errorf("the outcome says that the next refresh ends the token")
		}
	})
}
