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
// provider anything. Where nothing was left, it says and needs nothing.
func (a *app) actionPost(ctx context.Context) error {
	if !spilled(filepath.Join(a.env.get("RUNNER_TEMP"), "evergrant", "spill")) {
		return nil
	}
	env := a.env
	if err := a.offerSpilled(ctx); err != nil {
		return a.failStep(env, nil, err)
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

// offerSpilled offers each record of the step's grant to the store.
func (a *app) offerSpilled(ctx context.Context) error {
	step, err := a.beginStep()
	if err != nil {
		return err
	}
	o, args, err := step.options()
	if err != nil {
		return err
	}
	p, err := o.store.resolve(a)
	if err != nil {
		return err
	}
	if !p.location.Keeps() {
		return nil
	}
	preset := ""
	if o.client.provider != "" {
		found, err := lookup(o.client.provider)
		if err != nil {
			return err
		}
		preset = found.Name
	}
	if a.grant, err = grantName(a.env, args, preset); err != nil {
		return err
	}
	records, unread := p.spill.List(ctx, a.grant)
	var failed error
	for _, c := range records {
		if err := a.offerRecord(ctx, p, c); err != nil {
			failed = errors.Join(failed, err)
		}
	}
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
