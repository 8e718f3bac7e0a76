package workflow

import (
	"context"
	"fmt"

	"evergrant/internal/grant"
)

// Sink sets one name in a file that the runner reads after the step: what the
// sinks for variables and for outputs have in common.
type Sink struct {
	what, name, path string
	mask             *Masker
}

// NewSink returns a sink that appends to the file at path. What it sets, such
// as "variable", is for errors; name and path have been checked.
func NewSink(what, name, path string, mask *Masker) *Sink {
	return &Sink{what, name, path, mask}
}

// Deliver masks the token in the job's log and then sets it. A later delivery
// wins over an earlier one: the runner reads the file in order.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Deliverable(); err != nil {
		return err
	}
	if err := s.mask.Mask(t.Value); err != nil {
		return err
	}
	if err := Append(s.path, s.name, t.Value); err != nil {
		return fmt.Errorf("setting the %s %s: %w", s.what, s.name, err)
	}
	return nil
}

var _ grant.Sink = (*Sink)(nil)
