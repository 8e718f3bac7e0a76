// Package again repeats what may be done twice, with pauses that grow, as long
// as its context allows.
package again

import (
	"context"
	"time"
)

// Stop is the pause of a try that no other one helps.
const Stop time.Duration = -1

// Pauses are the first one and the longest; each is twice the one before. Both
// are required.
type Pauses struct{ First, Longest time.Duration }

// Try calls try until it succeeds, answers with a negative pause, or ctx would be
// over before the next one. With an error, try tells how long it wants to be
// left alone at least. The result is the error of the last try.
func (p Pauses) Try(ctx context.Context, try func(context.Context) (time.Duration, error)) error {
	for pause := p.First; ; pause = min(2*pause, p.Longest) {
		least, err := try(ctx)
		if err == nil || least < 0 || ctx.Err() != nil {
			return err
		}
		wait := max(pause, least)
		if end, bounded := ctx.Deadline(); bounded && wait >= time.Until(end) {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}
