package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// Limit bounds all notices of one call together. A claim and a hook's answer have
	// half of it each, so that what could not be sent can be given back.
	Limit = 10 * time.Second
	// again is how long a receiver rests after a notice to it has failed; see Owe. A
	// process that goes on asks nobody in this time, unless something changes.
	again = 15 * time.Minute
)

// Notifier tells the receivers of one grant. It is safe for concurrent use.
type Notifier struct {
	Hooks []*Hook
	Book  *Book  // required with Hooks
	Issue *Issue // nil: none
	// Limit is [Limit] if 0; tests have less.
	Limit time.Duration

	mu      sync.Mutex
	told    situation // of which all is told
	failed  situation // of which something is not,
	resting time.Time // and nothing is told before
}

// situation is what decides, roughly, whether there is something to tell.
type situation struct {
	condition  Condition
	generation uint64
	consent    string
	days       int
}

func situationOf(f Facts) situation {
	s := situation{condition: f.Condition, consent: f.Consent}
	if f.Condition == Unsaved {
		s.generation = f.Generation
	}
	if !f.Ends.IsZero() {
		for _, d := range thresholds() {
			if f.Ends.Sub(f.Now) <= time.Duration(d)*day {
				s.days = d
			}
		}
	}
	return s
}

// Tell tells what is due, and returns a sentence for each receiver that could not
// be told. It takes [Limit] at most, whatever ctx says: a call that was
// cancelled has something to tell as well. A process that calls again and again
// asks nobody while nothing changes.
func (n *Notifier) Tell(ctx context.Context, f Facts) []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := situationOf(f)
	if f.Condition == Unknown || now == n.told || now == n.failed && f.Now.Before(n.resting) {
		return nil
	}
	limit := n.Limit
	if limit == 0 {
		limit = Limit
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	errs := make([]error, len(n.Hooks)+1)
	var all sync.WaitGroup
	for i, h := range n.Hooks {
		all.Go(func() { errs[i] = n.hook(ctx, h, f, limit/2) })
	}
	if n.Issue != nil {
		all.Go(func() { errs[len(n.Hooks)] = n.Issue.tell(ctx, f, limit/10) })
	}
	all.Wait()
	return n.heed(now, f.Now, errs)
}

// heed remembers when to ask again, and returns what a person should read.
func (n *Notifier) heed(of situation, now time.Time, errs []error) []error {
	var failed []error
	taken := false
	for _, err := range errs {
		if taken = taken || errors.Is(err, errTaken); err != nil && !errors.Is(err, errTaken) {
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) > 0:
		n.failed, n.resting = of, now.Add(again)
	case taken: // who has the claim may die of it
		n.failed, n.resting = of, now.Add(claimLife)
	default:
		n.told = of
	}
	return failed
}

// most is how many notices one call can owe a receiver: that all is well again,
// and that it ends soon.
const most = 2

// hook claims and sends what is due, one notice after the other.
func (n *Notifier) hook(ctx context.Context, h *Hook, f Facts, wait time.Duration) error {
	for range most {
		was := n.Book.Told(h.key())
		notice, next := Next(was, f)
		if notice == nil {
			return nil
		}
		if err := within(ctx, wait, func(ctx context.Context) error { return n.Book.Claim(ctx, h.key(), notice.Kind, was) }); err != nil {
			return err
		}
		// What cannot be noted of it now is told twice rather than never.
		if err := within(ctx, wait, func(ctx context.Context) error { return h.Send(ctx, notice) }); err != nil {
			_ = n.Book.Owe(ctx, h.key(), notice.Kind, owing(was, notice))
			return fmt.Errorf("the notice to %s was not sent: %w", h, err)
		}
		_ = n.Book.Settle(ctx, h.key(), next)
	}
	return nil
}

func within(ctx context.Context, d time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}
