package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/workflow"
)

// actionPost runs after the job, also when it failed or was cancelled: it takes
// records that the main step could not save to the store. It never asks the
// provider anything. Where nothing was left, it says and needs nothing. Before
// that it ends the process that keeps the token fresh, if there is one.
func (a *app) actionPost(ctx context.Context) error {
	env := a.env
	// First: what the process in the background cannot save is a spill then.
	lost, kept := a.endKeeper()
	if lost || spilled(filepath.Join(env.get("RUNNER_TEMP"), "evergrant", "spill")) {
		if err := a.offerSpilled(ctx); err != nil {
			if kept != nil {
				a.console.warnf("%v", kept)
			}
			return a.failStep(env, nil, err)
		}
	}
	if lost && kept == nil {
		kept = a.judgeRecord(ctx)
	}
	if kept != nil {
		return a.failStep(env, nil, kept)
	}
	return nil
}

// judgeRecord looks at the record where the process in the background has left no
// word: if that has presented the refresh token, and the answer is nowhere, somebody must
// hear of it now. A lease is waited for, because another job may be refreshing.
func (a *app) judgeRecord(ctx context.Context) error {
	p, _, err := a.stepStore()
	if err != nil || !p.location.Keeps() {
		return err
	}
	st, err := p.open()
	if err != nil {
		return err
	}
	t := a.timing(p)
	c, _, err := st.Load(ctx, a.grant)
	for over := a.now().Add(t.Lease + t.Settle); err == nil && c.Lease != nil && c.Lease.Until.After(a.now()) && a.now().Before(over) && wait(ctx, t.PollMax); {
		c, _, err = st.Load(ctx, a.grant)
	}
	switch {
	case err != nil:
		return &codedError{code: exitStore, err: fmt.Errorf("grant %s: whether the process in the background has left the login whole cannot be seen: %w", a.grant, err)}
	case c.InDoubt():
		return &codedError{code: exitInDoubt, err: fmt.Errorf("grant %s: %w: a refresh token was presented at %s, and its answer is in no store and not on this machine", a.grant, grant.ErrInDoubt, stamp(c.Doubt.Last)),
			hint: "the next run tries again where the provider allows it; if it then asks for a person, sign in again. Steps must not empty RUNNER_TEMP"}
	}
	return nil
}

// spilled reports whether any grant of this job may have a record below dir. A
// folder that cannot be read may have one.
func spilled(dir string) bool {
	stores, err := os.ReadDir(dir)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	for _, s := range stores {
		files, err := os.ReadDir(filepath.Join(dir, s.Name()))
		if err != nil && s.IsDir() {
			return true
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".spill") {
				return true
			}
		}
	}
	return false
}

// stepStore is the store of the step's grant, and names that grant.
func (a *app) stepStore() (p place, o refreshOptions, err error) {
	step, err := a.beginStep()
	if err != nil {
		return p, o, err
	}
	o, args, err := step.options()
	if err != nil {
		return p, o, err
	}
	if p, err = o.store.resolve(a); err != nil || !p.location.Keeps() {
		return p, o, err
	}
	preset := ""
	if o.client.provider != "" {
		found, err := lookup(o.client.provider)
		if err != nil {
			return p, o, err
		}
		preset = found.Name
	}
	a.grant, err = grantName(a.env, args, preset)
	return p, o, err
}

// offerSpilled offers each record of the step's grant to the store.
func (a *app) offerSpilled(ctx context.Context) error {
	p, o, err := a.stepStore()
	if err != nil || !p.location.Keeps() {
		return err
	}
	records, unread := p.spill.List(ctx, a.grant)
	var failed error
	for _, c := range records {
		if err := a.offerRecord(ctx, p, c); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	a.heardLater(ctx, p, o.notify, records, failed)
	switch {
	case unread != nil && failed != nil:
		a.console.warnf("%v", unread)
	case unread != nil:
		return &codedError{code: exitStore, err: fmt.Errorf("an unsaved record on this machine cannot be read: %w", unread),
			hint: "it is sealed: give the key that the step had"}
	}
	return failed
}

// offerRecord puts one record back. What the store does not take is printed as a
// rescue block, unless the main step has done so.
func (a *app) offerRecord(ctx context.Context, p place, c grant.Credential) error {
	resolution, err := a.insist(ctx, p, c)
	switch {
	case err == nil && resolution == engine.Write:
		told := fmt.Sprintf("%s: generation %d, which was not saved when the step ended, is in the store now", c.Grant, c.Generation)
		a.console.notef("%s", told)
		a.summarise(a.env, workflow.Plain(told), nil)
		return nil
	case err == nil && resolution == engine.Foreign:
		a.console.warnf("grant %s: somebody signed in anew meanwhile, and that goes on; the record of the older sign-in stays sealed on this machine", c.Grant)
		return nil
	case err == nil: // it was there already, or something newer is
		return nil
	}
	k, cause := kept{block: true}, err
	if a.step.announced(c) {
		k.earlier = true
		a.console.notef("%s: the rescue block of generation %d is in the log of the step itself", c.Grant, c.Generation)
	} else if k, err = a.lastResort(p, c); err != nil {
		a.console.warnf("grant %s: %v", c.Grant, err)
	}
	k.path = "" // the runner empties its folder
	return &unsavedError{fmt.Errorf("grant %s: generation %d is still not in the store: %s", c.Grant, c.Generation, cause), k}
}

// insist offers a record until the store has taken it, has something newer, or
// the time in which the runner lets a cancelled job end is well begun.
func (a *app) insist(ctx context.Context, p place, c grant.Credential) (engine.Resolution, error) {
	t := a.timing(p)
	begun, pause := a.now(), t.RetryMin
	for {
		if err := a.step.checkJob(p.location.Place()); err != nil {
			return 0, err
		}
		s, err := a.connect(c.Grant, p, target{name: c.Provider, bind: c.Bind}, true)
		if err != nil {
			return 0, err // there is no git, or no such folder can be made
		}
		// A signal does not end an offer that is under way.
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.Request)
		resolution, err := s.engine.Offer(try, c)
		cancel()
		if err == nil || definite(err) || ctx.Err() != nil || a.now().Sub(begun) > t.Settle {
			return resolution, err
		}
		a.console.notef("%s: the store does not take the record, trying again: %v", c.Grant, err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, t.RetryMax)
	}
}

// definite reports an error that trying again does not mend.
func definite(err error) bool {
	for _, is := range []error{grant.ErrUnreadable, grant.ErrDenied, grant.ErrNotWritten, grant.ErrTooLarge, engine.ErrBound, engine.ErrRolledBack} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
