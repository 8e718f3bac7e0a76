package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestFuture: what a wrong clock wrote of a token's end is worth nothing.
func TestFuture(t *testing.T) {
	t.Parallel()
	ahead := func(d time.Duration) func(*grant.Credential) {
		return func(c *grant.Credential) {
			c.Tokens.ObtainedAt = time.Now().Add(d)
			c.Tokens.Access.Expiry = c.Tokens.ObtainedAt.Add(time.Hour)
		}
	}
	scenario(t, "a token obtained tomorrow is not served", strict, func(t *testing.T, w *world) {
		w.keep(ahead(24 * time.Hour))
		out, err := w.access(engine.Request{})
		w.wantServed("a clock a day off", out, err, "at8", true)
		w.wantSent("a clock a day off", "rt7")
	})
	scenario(t, "within what clocks differ it is", strict, func(t *testing.T, w *world) {
		w.keep(ahead(time.Minute))
		out, err := w.access(engine.Request{})
		w.wantServed("a clock a minute off", out, err, "at7", false)
		w.wantSent("a clock a minute off")
	})
	scenario(t, "best effort says so, and promises no more than its life", strict, func(t *testing.T, w *world) {
		w.keep(ahead(24*time.Hour), ended)
		out, err := w.access(engine.Request{BestEffort: true})
		w.wantServed("best effort", out, err, "at7", false)
		wantWarning(t, "best effort", out, "obtained in the future")
		if left := out.Access.Expiry.Sub(time.Now()); left > time.Hour {
			t.Errorf("the token is said to live for %v more, its whole life is an hour", left)
		}
	})
}

// TestUnreadSpill: a spill that cannot be read may hold the newest token, so
// the one before it is not spent.
func TestUnreadSpill(t *testing.T) {
	t.Parallel()
	scenario(t, "a living token is served", strict, func(t *testing.T, w *world) {
		w.keep()
		w.listErr = errDisk
		out, err := w.access(engine.Request{})
		w.wantServed("unread spill", out, err, "at7", false)
		wantWarning(t, "unread spill", out, "cannot be read")
	})
	scenario(t, "nothing is sent", strict, func(t *testing.T, w *world) {
		w.keep()
		w.listErr = errDisk
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "unread spill", err, engine.ErrStore, errDisk)
		w.wantSent("unread spill")
	})
}

// unready is a disk on which nothing could be spilled.
type unready struct{ grant.Spill }

func (unready) Ready(context.Context, grant.ID) error { return errDisk }

// TestReady: a reply that could not be kept is not asked for.
func TestReady(t *testing.T) {
	t.Parallel()
	scenario(t, "nothing is sent", strict, func(t *testing.T, w *world) {
		before := w.keep()
		cfg := w.config()
		cfg.Spill = unready{cfg.Spill}
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Access(t.Context(), acme, engine.Request{Force: true})
		wantErr(t, "spill not ready", err, engine.ErrStore, errDisk)
		w.wantSent("spill not ready")
		w.wantStored("spill not ready", before)
	})
}

// TestSentIsSaid: once a token is out, no later failure hides it.
func TestSentIsSaid(t *testing.T) {
	t.Parallel()
	scenario(t, "the store fails afterwards", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.sameHost = true
		w.replies = []reply{{err: lostReply()}}
		w.onLoad = func(int) error {
			if len(w.sent) > 0 {
				return errLost
			}
			return nil
		}
		_, err := w.access(engine.Request{Wait: time.Minute})
		wantErr(t, "sent, then the store failed", err, grant.ErrInDoubt, engine.ErrStore)
		w.wantSent("sent, then the store failed", "rt7")
	})
	scenario(t, "the caller gives up while it waits", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: lostReply()}}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := w.accessCtx(ctx, engine.Request{Wait: time.Hour})
		wantErr(t, "a deadline while waiting", err, grant.ErrInDoubt, context.DeadlineExceeded)
		if wait := (*engine.WaitError)(nil); !errors.As(err, &wait) || wait.Next.IsZero() {
			t.Errorf("no next moment in %v", err)
		}
	})
	scenario(t, "the cause is told", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.replies = []reply{{err: &grant.RefreshError{Status: 200, Err: errors.New("the answer is empty")}}}
		_, err := w.access(engine.Request{})
		wantErr(t, "cause", err, grant.ErrInDoubt)
		if err == nil || !strings.Contains(err.Error(), "the answer is empty") {
			t.Errorf("the line does not say what came: %v", err)
		}
	})
}

// TestUnproven: only a record whose token nobody can have spent is started
// anew elsewhere.
func TestUnproven(t *testing.T) {
	t.Parallel()
	fresh := func(c *grant.Credential) {
		c.Tokens.Access = grant.AccessToken{}
		c.Bind.ClientID = "mistyped"
	}
	for name, guard := range map[string]func(*grant.Credential){
		"in doubt": doubted(1, time.Minute), "leased": leased(time.Minute),
		"a kept reply": func(c *grant.Credential) { c.Raw = grant.NewSecret("x") },
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.keep(fresh, guard)
			_, err := w.access(engine.Request{Seed: w.token("rt7")})
			wantErr(t, "bound elsewhere", err, engine.ErrBound)
			w.wantSent("bound elsewhere")
		})
	}
	scenario(t, "never sent", strict, func(t *testing.T, w *world) {
		w.keep(fresh)
		out, err := w.access(engine.Request{Seed: w.token("rt7")})
		if err != nil || !out.Refreshed {
			t.Errorf("a mistyped first call cannot be corrected: %v", err)
		}
	})
}
