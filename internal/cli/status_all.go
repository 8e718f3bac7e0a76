package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"evergrant/internal/config"
	"evergrant/internal/grant"
)

// notStarted is the state of a grant that the configuration has and its store has
// not.
const notStarted = "not started"

// lookConfigured looks at the grants of the configuration, wherever they are. What
// is given on the command line wins over it, for each of them.
func (a *app) lookConfigured(ctx context.Context, given *pflag.FlagSet) ([]grantStatus, error) {
	var all []grantStatus
	for _, g := range a.config.Grants {
		s, err := a.lookAtOne(ctx, g, given)
		if err != nil { // one store that is away hides no other grant
			if ctx.Err() != nil {
				return nil, fmt.Errorf("grant %s: %w", g.Name, err)
			}
			s = grantStatus{Grant: grant.ID(g.Name), State: unreadable, Reason: oneLine(inWords(err.Error())), why: err}
		}
		s.Events = nil
		all = append(all, s)
	}
	return all, nil
}

func (a *app) lookAtOne(ctx context.Context, g config.Grant, given *pflag.FlagSet) (grantStatus, error) {
	o, err := a.storeOf(g, given)
	if err != nil {
		return grantStatus{}, err
	}
	id := grant.ID(g.Name)
	p, err := o.resolve(a)
	if err != nil {
		return grantStatus{}, err
	}
	if !p.location.Keeps() || !p.location.Present() {
		return a.absent(ctx, p, id), nil
	}
	st, err := p.open()
	if err != nil {
		return grantStatus{}, err
	}
	s, err := a.look(ctx, st, p, id)
	if errors.Is(err, grant.ErrNotFound) {
		return a.absent(ctx, p, id), nil
	}
	return s, err
}
