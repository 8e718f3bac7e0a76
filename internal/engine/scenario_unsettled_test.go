package engine_test

import (
	"context"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// TestGivingUpAfterDefiniteError: an error that says "this Swap wrote nothing"
// says nothing about an earlier try of unknown outcome, so the lease is not
// definite and must be released.
func TestGivingUpAfterDefiniteError(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]error{"not written": grant.ErrNotWritten, "too large": grant.ErrTooLarge} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			before := w.keep()
			w.onSwap = func(kind string, n int) fault {
				switch {
				case kind != "lease":
					return fault{}
				case n == 1:
					return fault{late: 40 * time.Second}
				}
				return fault{err: later}
			}
			_, err := w.access(engine.Request{Force: true})
			wantErr(t, "a lease that is not definite", err, engine.ErrStore)
			time.Sleep(time.Minute)
			w.wantSent("a lease that is not definite sends nothing")
			w.wantStored("giving up an unknown lease: it must not land later", before)
		})
	}
}

// TestSpillKeepsMark: a record that is put back moves the high-water mark up,
// never down: the mark is read before it is moved.
func TestSpillKeepsMark(t *testing.T) {
	t.Parallel()
	unsaved := func(w *world, k grant.Credential) grant.Credential {
		w.advance(8, "X")(&k)
		k.Writer = "unsaved-X"
		return k
	}
	scenario(t, "from this machine's spill", strict, func(t *testing.T, w *world) {
		k := unsaved(w, w.keep(accessEnded))
		w.spills[k.Writer] = k
		w.mark = grant.Mark{Consent: "consent-1", Generation: 20}
		_, err := w.access(engine.Request{Force: true})
		wantErr(t, "a store that was rolled back", err, engine.ErrRolledBack)
		w.wantSent("below the mark nothing is sent")
		if w.mark.Generation != 20 {
			t.Errorf("the mark was lowered to %d", w.mark.Generation)
		}
	})
	scenario(t, "from a rescue block", strict, func(t *testing.T, w *world) {
		k := unsaved(w, w.keep(accessEnded))
		w.mark = grant.Mark{Consent: "consent-1", Generation: 20}
		res, err := w.engine().Offer(t.Context(), k)
		if w.mark.Generation != 20 {
			t.Errorf("the mark was lowered to %d (%v, %v)", w.mark.Generation, res, err)
		}
		_, err = w.access(engine.Request{Force: true})
		wantErr(t, "a store that was rolled back", err, engine.ErrRolledBack)
		w.wantSent("below the mark nothing is sent")
	})
}

// TestSignalInPause: a signal that comes between two failed Swaps is followed
// by the rescue block at once, and not after the pause or another Swap: ten
// seconds after the signal a runner kills the process.
func TestSignalInPause(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]fault{"the store goes on failing": {lose: true}, "the store hangs": {hang: true}} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.keep()
			const signal = 27 * time.Second
			w.onSwap = func(kind string, _ int) fault {
				switch {
				case kind != "save":
					return fault{}
				case w.since() < signal:
					return fault{lose: true}
				}
				return after
			}
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(signal, cancel)
			out, err := w.accessCtx(ctx, engine.Request{Force: true})
			w.wantUnsaved("unsaved", out, err, true, true)
			if len(w.rescued) != 1 || w.rescued[0].at != signal {
				t.Errorf("%d rescue blocks after a signal, want one and at once", len(w.rescued))
			}
		})
	}
}
