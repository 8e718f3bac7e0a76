package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

var errStill = errors.New("the provider cannot be reached")

// revoking answers a revocation, and notes what was revoked.
func (w *world) revoking(says engine.Revocation, err error, during func()) func(context.Context, grant.Secret) (engine.Revocation, error) {
	return func(_ context.Context, s grant.Secret) (engine.Revocation, error) {
		w.note("revoke %s", w.name(s))
		if during != nil {
			during()
		}
		return says, err
	}
}

// TestRetire holds "takes the lease first, so that no refresh runs meanwhile",
// and that a retired record is worth nothing.
func TestRetire(t *testing.T) {
	t.Parallel()
	scenario(t, "revoked", strict, func(t *testing.T, w *world) {
		before := w.keep(doubted(2, time.Hour))
		out, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, func() {
			if l := w.stored().Lease; l == nil || l.Spends != w.token("rt7").Digest() {
				t.Errorf("while the token is revoked, the lease is %v", l)
			}
			if _, err := w.access(engine.Request{Force: true}); !errors.Is(err, engine.ErrLeased) {
				t.Errorf("a refresh meanwhile: %v", err)
			}
		}))
		if err != nil || out.Revocation != engine.Revoked || out.Before {
			t.Fatalf("Retire: %+v, %v", out, err)
		}
		w.wantSent("a logout presents nothing")
		c := w.stored()
		switch {
		case c.State != grant.Retired || c.Reason == "" || c.Lease != nil || c.Doubt != nil || c.Generation != 7:
			t.Errorf("state %v, reason %q, lease %v, doubt %v, generation %d", c.State, c.Reason, c.Lease, c.Doubt, c.Generation)
		case !c.Tokens.Refresh.IsZero() || !c.Tokens.Access.Value.IsZero():
			t.Error("the retired record still has tokens")
		case !slices.Contains(c.Spent, w.token("rt7").Digest()) || c.Consent == before.Consent || c.Replaces != before.Consent:
			t.Errorf("spent %q, consent %q over %q", c.Spent, c.Consent, c.Replaces)
		}
		w.lastEvent("Retire", grant.EventRetired)
		_, err = w.access(engine.Request{Seed: w.token("rt7")})
		wantErr(t, "the end", err, engine.ErrRetired)
		out, err = w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		if err != nil || !out.Before || out.Revocation != engine.NotRevoked || w.count("revoke rt7") != 1 {
			t.Errorf("again: %+v, %v", out, err)
		}
	})
	scenario(t, "nobody knows whether it was revoked", strict, func(t *testing.T, w *world) {
		w.keep()
		out, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.RevokedPerhaps, nil, nil))
		if c := w.stored(); err != nil || out.Revocation != engine.RevokedPerhaps || c.State != grant.Retired || c.Tokens.Refresh.IsZero() || !c.Tokens.Access.Value.IsZero() {
			t.Fatalf("Retire: %+v, %v", out, err)
		}
		_, err = w.access(engine.Request{})
		wantErr(t, "the end", err, engine.ErrRetired)
		out, err = w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		if c := w.stored(); err != nil || !out.Before || out.Revocation != engine.Revoked || !c.Tokens.Refresh.IsZero() {
			t.Errorf("asked again: %+v, %v", out, err)
		}
	})
	scenario(t, "it was certainly not revoked", strict, func(t *testing.T, w *world) {
		before := w.keep()
		_, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(0, errStill, nil))
		wantErr(t, "not revoked", err, errStill)
		w.wantStored("the grant goes on", before)
		out, err := w.access(engine.Request{})
		w.wantServed("the grant goes on", out, err, "at7", false)
	})
	scenario(t, "nobody is asked", strict, func(t *testing.T, w *world) {
		w.keep(func(c *grant.Credential) { c.Bind.ClientID = "client-2" })
		out, err := w.engine().Retire(t.Context(), acme, engine.Request{}, nil)
		if c := w.stored(); err != nil || out.Revocation != engine.NotRevoked || c.State != grant.Retired || !c.Tokens.Refresh.IsZero() {
			t.Errorf("Retire: %+v, %v", out, err)
		}
	})
	scenario(t, "a token that belongs elsewhere", strict, func(t *testing.T, w *world) {
		before := w.keep(func(c *grant.Credential) { c.Bind.TokenURL = "https://other.example/token" })
		_, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		wantErr(t, "nothing is sent", err, engine.ErrBound)
		w.wantStored("nothing is sent", before)
		if w.count("revoke rt7") != 0 {
			t.Error("the token was sent to another server")
		}
	})
	scenario(t, "while another refreshes", strict, func(t *testing.T, w *world) {
		w.keep(leased(80 * time.Second))
		_, err := w.engine().Retire(t.Context(), acme, engine.Request{Wait: 10 * time.Second}, w.revoking(engine.Revoked, nil, nil))
		wantErr(t, "another's lease", err, engine.ErrLeased)
		time.AfterFunc(20*time.Second, func() { w.stranger(w.advance(8, "8")) })
		out, err := w.engine().Retire(t.Context(), acme, engine.Request{Wait: time.Minute}, w.revoking(engine.Revoked, nil, nil))
		if err != nil || out.Revocation != engine.Revoked || w.count("revoke rt8") != 1 {
			t.Errorf("after it: %+v, %v", out, err)
		}
	})
	scenario(t, "what this machine holds back is newer", strict, func(t *testing.T, w *world) {
		k := w.keep()
		w.advance(8, "8")(&k)
		k.Writer = "spilled"
		w.spills["spilled"] = k
		old := k.Clone()
		old.Consent, old.Writer = "consent-0", "older"
		w.spills["older"] = old
		out, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		if err != nil || w.count("revoke rt8") != 1 || len(out.Warnings) == 0 {
			t.Errorf("Retire: %+v, %v", out, err)
		}
		w.wantSpills("nothing is left on this machine", 0)
	})
	scenario(t, "no record", strict, func(t *testing.T, w *world) {
		_, err := w.engine().Retire(t.Context(), acme, engine.Request{}, nil)
		wantErr(t, "no record", err, grant.ErrNotFound)
	})
	scenario(t, "the store cannot be written", strict, func(t *testing.T, w *world) {
		before := w.keep()
		w.onSwap = func(string, int) fault { return fault{err: grant.ErrNotWritten} }
		_, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		wantErr(t, "no lease, no revocation", err, engine.ErrStore)
		w.wantStored("no lease, no revocation", before)
		if w.count("revoke rt7") != 0 {
			t.Error("the token was revoked without a lease")
		}
	})
	scenario(t, "the store goes away between the two", strict, func(t *testing.T, w *world) {
		w.keep()
		w.onSwap = storeOut(grant.EventRetired)
		_, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		wantErr(t, "revoked and not retired", err, engine.ErrStore)
		w.onSwap = nil
		time.Sleep(3 * time.Minute) // the lease runs out
		out, err := w.engine().Retire(t.Context(), acme, engine.Request{}, w.revoking(engine.Revoked, nil, nil))
		if err != nil || w.stored().State != grant.Retired {
			t.Errorf("again: %+v, %v", out, err)
		}
	})
	scenario(t, "a signal after the revocation", strict, func(t *testing.T, w *world) {
		w.keep()
		ctx, cancel := context.WithCancel(t.Context())
		out, err := w.engine().Retire(ctx, acme, engine.Request{}, w.revoking(engine.Revoked, nil, cancel))
		if err != nil || w.stored().State != grant.Retired {
			t.Errorf("Retire: %+v, %v", out, err)
		}
	})
	scenario(t, "a late save of the old consent", strict, func(t *testing.T, w *world) {
		w.keep(leased(80 * time.Second))
		k := w.stored()
		w.advance(8, "8")(&k)
		k.Writer = "late"
		if _, err := w.engine().Retire(t.Context(), acme, engine.Request{Wait: 5 * time.Minute}, nil); err != nil {
			t.Fatal(err)
		}
		if res, err := w.engine().Offer(t.Context(), k); res != engine.Stale || err != nil || w.stored().State != grant.Retired {
			t.Errorf("Offer: %v, %v", res, err)
		}
	})
}
