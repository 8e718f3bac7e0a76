package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/holder"
)

// session is an engine for one grant with what surrounds it.
type session struct {
	id       grant.ID
	place    place
	store    grant.Store
	engine   *engine.Engine
	provider target
}

// connect opens the place and builds the engine for one grant. t may be a
// target without a refresher, for the repairs that send nothing.
func (a *app) connect(id grant.ID, p place, t target, singleWriter bool) (*session, error) {
	st, err := p.open()
	if err != nil {
		return nil, err
	}
	s := &session{id: id, place: p, store: st, provider: t}
	label := a.env.label()
	cfg := engine.Config{
		Store: st, Behaviour: t.behaviour, Provider: t.name, Bind: t.bind,
		Spill: nothing{}, Marks: nothing{}, Rescue: func(grant.Credential) error { return errNothingKept },
		Holder: func() string { return holder.New(label) }, By: label,
		SingleWriter: singleWriter, Timing: a.timing(p), Now: a.now, Logger: a.logger(),
	}
	if t.refresher != nil {
		cfg.Refresher = t.refresher
	}
	// Machines that were cloned from one running image share boot id and
	// process ids; on a store of one host there is one machine.
	if p.location.SameHost() {
		cfg.HolderGone, cfg.HolderAlive = holder.Gone, holder.Alive
	}
	if p.location.Keeps() {
		cfg.Spill, cfg.Marks, cfg.Rescue = p.spill, p.marks, a.rescuer(p)
	}
	if s.engine, err = engine.New(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// timing is the protocol's durations for a place, divided by --speed-up.
func (a *app) timing(p place) engine.Timing {
	return engine.DefaultTiming(p.location.SameHost()).Scale(a.speedUp)
}

// rescuer prints the copy of last resort: a sealed block that any log can
// carry, or, on a local store without a key, where the spilled file lies.
func (a *app) rescuer(p place) func(grant.Credential) error {
	return func(c grant.Credential) error {
		if !p.codec.Sealed() {
			a.console.notef("the record of grant %s is kept in %s until the store takes it", c.Grant, p.spill.Path(c.Grant, c.Writer))
			return nil
		}
		block, err := p.codec.Rescue(c)
		if err != nil {
			return fmt.Errorf("making the rescue block: %w", err)
		}
		_, err = fmt.Fprintf(a.console, "evergrant: the store does not take the record of grant %s; this sealed block is it, keep it:\n%s\n", c.Grant, trimNewlines(block))
		return err
	}
}

// errNothingKept answers for store none:, which promises nothing.
var errNothingKept = errors.New("store none: keeps nothing")

// nothing is the spill and the marks of store none:, whose grants start anew
// from their refresh token each time.
type nothing struct{}

func (nothing) Put(context.Context, grant.Credential) error                { return nil }
func (nothing) List(context.Context, grant.ID) ([]grant.Credential, error) { return nil, nil }
func (nothing) Remove(context.Context, grant.ID, string) error             { return nil }
func (nothing) Mark(context.Context, grant.ID) (grant.Mark, error)         { return grant.Mark{}, nil }
func (nothing) SetMark(context.Context, grant.ID, grant.Mark) error        { return nil }

// because puts the reason of a cancelled context in the place of the bare
// "context canceled", which says nothing to anybody.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("ended without a result: %w", context.Cause(ctx))
}

// within bounds a context by --timeout.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, errTimeout)
}
