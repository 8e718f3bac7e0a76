// Package githubenv is the sink that exports the access token as a variable
// to the later steps of a GitHub Actions job.
package githubenv

import (
	"context"
	"fmt"

	"evergrant/internal/grant"
	"evergrant/internal/workflow"
)

// Sink appends to the file that the runner named in GITHUB_ENV.
type Sink struct {
	name, path string
	mask       *workflow.Masker
}

// Open checks the name of the variable and that the file at path, the value of
// GITHUB_ENV, can be appended to.
func Open(name, path string, mask *workflow.Masker) (*Sink, error) {
	if err := workflow.ValidVariable(name); err != nil {
		return nil, err
	}
	if err := workflow.CheckFile("GITHUB_ENV", path); err != nil {
		return nil, err
	}
	return &Sink{name, path, mask}, nil
}

// Deliver masks the token in the job's log and then sets the variable. A later
// delivery wins over an earlier one: the runner reads the file in order.
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
	if err := workflow.Append(s.path, s.name, t.Value); err != nil {
		return fmt.Errorf("setting the variable %s: %w", s.name, err)
	}
	return nil
}

var _ grant.Sink = (*Sink)(nil)
