// Package stdout is the sink that prints the access token and a newline, and
// nothing else, so that a shell can capture it.
package stdout

import (
	"context"
	"fmt"
	"io"

	"evergrant/internal/grant"
)

// Sink writes to one stream.
type Sink struct{ w io.Writer }

// New returns a sink that prints on w. A second delivery is a second line.
func New(w io.Writer) *Sink { return &Sink{w} }

// Deliver writes the token and a newline in one write.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Deliverable(); err != nil {
		return err
	}
	if _, err := io.WriteString(s.w, t.Value.Reveal()+"\n"); err != nil {
		return fmt.Errorf("writing the token to standard output: %w", err)
	}
	return nil
}

var _ grant.Sink = (*Sink)(nil)
