package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	carried  *carried  // the spill of a process in the background
	kept     kept      // of a record that the store did not take
	listener *listener // tells people; nil: there is nobody to be told
	unasked  error     // of a sink that may hold a token which a refresh ends, and that did not answer; nil: there is none
}

// kept is where a record is that the store did not take.
type kept struct {
	block   bool   // on standard error, as a rescue block
	earlier bool   // on that of an earlier step of the job
	path    string // on this machine's disk; "": it is not
}

// connect opens the place and builds the engine for one grant. t may be a
// target without a refresher, for the repairs that send nothing.
func (a *app) connect(id grant.ID, p place, t target, singleWriter bool) (*session, error) {
	st, err := p.open()
	if err != nil {
		return nil, err
	}
	return a.session(id, p, st, t, singleWriter)
}

// session builds the engine for one grant of an opened store.
func (a *app) session(id grant.ID, p place, st grant.Store, t target, singleWriter bool) (*session, error) {
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
		cfg.Spill, cfg.Marks = p.spill, p.marks
		if a.inBackground {
			s.carried = &carried{Folder: p.spill}
			cfg.Spill = s.carried
		}
		cfg.Rescue = func(c grant.Credential) (err error) {
			s.kept, err = a.lastResort(p, c)
			return err
		}
	}
	var err error
	if s.engine, err = engine.New(cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// timing is the protocol's durations for a place, divided by --speed-up.
func (a *app) timing(p place) engine.Timing {
	return engine.DefaultTiming(p.location.SameHost()).Scale(a.speedUp)
}

// lastResort prints the copy of last resort: a sealed block that any log can carry,
// or, on a local store without a key, where the spilled file lies, once it is
// certain that it does. Neither is left out by -q.
func (a *app) lastResort(p place, c grant.Credential) (k kept, err error) {
	path, absent := p.spill.Kept(c.Grant, c.Writer)
	k.path = path
	if !p.codec.Sealed() {
		if absent != nil {
			return k, fmt.Errorf("there is no sealing key for one, and no copy on this machine: %w", absent)
		}
		_, err = fmt.Fprintf(a.console, "evergrant: the record of grant %s is kept in %s until the store takes it\n", c.Grant, oneLine(path))
		return k, err
	}
	if a.inBackground && absent == nil {
		return k, nil // nobody reads what is said here; the post step looks at the disk
	}
	block, err := p.codec.Rescue(c)
	if err != nil {
		return k, fmt.Errorf("making the rescue block: %w", err)
	}
	_, err = fmt.Fprintf(a.console, "evergrant: the store does not take the record of grant %s; this sealed block is it, keep it:\n%s\n", c.Grant, trimNewlines(block))
	k.block = err == nil
	if k.block {
		a.step.rescued(c)
	}
	return k, err
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

// because says why a call ended early in the words of a person: by a signal, or
// because its time was over. What an error means stays what it is: a token that
// is in doubt is in doubt, whatever ended the waiting. Only an error that means
// nothing else becomes that reason.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	cause := context.Cause(ctx)
	if code, _ := classify(err); code == exitOther {
		return fmt.Errorf("ended without a result: %w", cause)
	}
	return &reworded{err, strings.ReplaceAll(err.Error(), ctx.Err().Error(), cause.Error())}
}

// reworded is an error with another text.
type reworded struct {
	error
	text string
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.error }

// within bounds a context by --timeout.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, errTimeout)
}
