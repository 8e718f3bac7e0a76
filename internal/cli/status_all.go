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

// lookConfigured looks at the grants of the configuration, wherever they are.
func (a *app) lookConfigured(ctx context.Context) ([]grantStatus, error) {
	var all []grantStatus
	for _, g := range a.config.Grants {
		s, err := a.lookAtOne(ctx, g)
		if errors.Is(err, grant.ErrNotFound) {
			s, err = grantStatus{Grant: grant.ID(g.Name), State: notStarted}, nil
		}
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

func (a *app) lookAtOne(ctx context.Context, g config.Grant) (grantStatus, error) {
	id, err := grantName(a.env, []string{g.Name}, "")
	if err != nil {
		return grantStatus{}, err
	}
	var o storeOptions
	flags := pflag.NewFlagSet(g.Name, pflag.ContinueOnError)
	o.register(flags)
	if err := a.apply(flags, g); err != nil {
		return grantStatus{}, err
	}
	p, err := o.resolve(a)
	if err != nil {
		return grantStatus{}, err
	}
	if !p.location.Keeps() || !p.location.Present() {
		return grantStatus{}, grant.ErrNotFound
	}
	st, err := p.open()
	if err != nil {
		return grantStatus{}, err
	}
	return a.look(ctx, st, p, id)
}
