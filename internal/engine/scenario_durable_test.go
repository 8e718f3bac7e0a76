package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// unsynced takes every record and, at the first try of each, says that it may
// not survive a power failure.
type unsynced struct {
	grant.Store
	mu    sync.Mutex
	tries map[string]int
	last  map[string]error // of the last Swap that took the record, by Writer
}

func (u *unsynced) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	v, err := u.Store.Swap(ctx, id, old, next)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		return v, err
	}
	u.tries[next.Writer]++
	if u.tries[next.Writer] == 1 {
		err = fmt.Errorf("%w: the folder could not be synced", grant.ErrNotDurable)
	}
	u.last[next.Writer] = err
	return v, err
}

// TestNotDurable: a record that is in place and not certain to be durable is
// written once more before anything rests on it.
func TestNotDurable(t *testing.T) {
	t.Parallel()
	scenario(t, "lease and save", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		cfg := w.config()
		u := &unsynced{Store: cfg.Store, tries: map[string]int{}, last: map[string]error{}}
		cfg.Store = u
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Access(t.Context(), acme, engine.Request{})
		w.wantServed("not durable at first", out, err, "at8", true)
		w.wantSent("not durable at first", "rt7")
		if len(u.last) != 2 {
			t.Errorf("%d records were written, want a lease and a save", len(u.last))
		}
		for writer, err := range u.last {
			if err != nil {
				t.Errorf("record %s rests on a write that may be lost: %v", writer, err)
			}
		}
		if len(w.spills) != 0 {
			t.Errorf("the spill stays after a durable save")
		}
	})
}
