package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"evergrant/internal/grant"
)

// assumedLife is the life of an access token of which neither reply nor preset
// says anything (RFC 6749 §5.1 leaves it to documentation).
const assumedLife = time.Hour

// save makes the reply durable before anybody gets the access token: spill,
// then Swap until the lease ends. The caller's cancellation no longer counts;
// it only makes the rescue block come sooner.
func (a *attempt) save(ctx context.Context, ts grant.TokenSet) (Outcome, error) {
	k := a.success(ts)
	dctx := context.WithoutCancel(ctx)
	unsaved := &UnsavedError{Spilled: true}
	if err := a.cfg.Spill.Put(dctx, k); err != nil {
		unsaved.Spilled = false
		a.warn("the reply could not be spilled to this machine's disk before saving: " + err.Error())
	}
	s, err := a.put(ctx, k, unsaved)
	switch {
	case errors.Is(err, errAgain): // the stored record stays and is newer
		return Outcome{}, err
	case err != nil:
		a.refreshed, a.rotated = true, rotated(k)
		return a.outcome(k), err
	}
	if s.Writer != k.Writer {
		return Outcome{}, errAgain // saved by another way; serve what is there
	}
	a.refreshed, a.rotated = true, rotated(s)
	a.setMark(dctx, s)
	if s.Tokens.Access.Value.IsZero() {
		s.Tokens.Access = k.Tokens.Access // the store had no room for it
	}
	return a.deliver(s)
}

// deliver looks at the clock once more. Our own fresh token is delivered by
// our own clock; only if saving took its life, another refresh is due.
func (a *attempt) deliver(k grant.Credential) (Outcome, error) {
	a.refreshes++
	a.inDoubt = nil
	switch access := k.Tokens.Access; {
	case access.Value.IsZero():
		return Outcome{}, fmt.Errorf("%w; its refresh token is saved", ErrUnusable)
	case access.Expiry.After(a.now()):
		return a.outcome(k), nil
	case a.refreshes > 1:
		return Outcome{}, fmt.Errorf("%w: the provider's tokens end before they can be delivered (this one at %s)", ErrUnusable, stamp(access.Expiry))
	}
	return Outcome{}, errAgain
}

// success is the record after a refresh.
func (a *attempt) success(ts grant.TokenSet) grant.Credential {
	k, old := a.rec.Clone(), a.rec.Tokens
	if ts.Refresh.IsZero() {
		ts.Refresh = old.Refresh // RFC 6749 §6: the presented one stays
	}
	if ts.RefreshExpiry.IsZero() && ts.Refresh.Equal(old.Refresh) {
		ts.RefreshExpiry = old.RefreshExpiry
	}
	ts.Access = a.dated(ts)
	if len(ts.Access.Scope) == 0 {
		ts.Access.Scope = old.Access.Scope // RFC 6749 §5.1: as before
	}
	k.Generation++
	ts.Access.Grant, ts.Access.Generation = a.id, k.Generation
	k.Tokens = ts
	note := ""
	if a.rec.Doubt != nil && a.rec.Doubt.Sends > 1 {
		note = "recovered from doubt"
	}
	k.Lease, k.Doubt, k.Raw = nil, nil, grant.Secret{}
	k.State, k.Reason = grant.Live, ""
	k.Writer = a.cfg.NewID()
	k.AddEvent(a.event(grant.EventRefreshed, note))
	return k
}

// dated is the access token of a reply with an end of life, or none at all.
func (c *call) dated(ts grant.TokenSet) grant.AccessToken {
	access := ts.Access
	switch {
	case access.Value.IsZero():
		return grant.AccessToken{}
	case access.Expiry.IsZero():
		life := c.cfg.Behaviour.Life
		if life <= 0 {
			life = assumedLife
		}
		access.Expiry, access.ExpiryAssumed = ts.ObtainedAt.Add(life), true
	}
	return access
}

// put swaps k into the store, again and again to the end of the lease (and for
// Settle at least, if the process was paused), by the conflict rule. It returns
// the stored record, errAgain when that one is not ours and stays, or unsaved,
// with the last cause that a store gave.
func (a *attempt) put(ctx context.Context, k grant.Credential, unsaved *UnsavedError) (grant.Credential, error) {
	pause := backoff{next: a.t.RetryMin, most: a.t.RetryMax}
	ver, next := a.ver, k
	budget, begun := max(a.t.Lease-a.elapsed(a.start), a.t.Settle), a.now()
	rescue, durable := a.rescuer(k, unsaved), true
	refusals := 0 // tries of which the store said that they wrote nothing
	// A store that is slow is given what its lease took, twice, and longer with
	// each try: it is to be written, not only asked.
	patience := max(a.t.Request/2, 2*a.took)
	for {
		bound := budget - a.elapsed(begun)
		if third := bound - a.t.Lease/3; third > 0 && !unsaved.Rescued {
			bound = third // the rescue block is not to be late
		}
		newVer, err := a.trySwap(ctx, ver, next, min(patience, bound), !unsaved.Rescued)
		if err == nil {
			a.watch(newVer)
			a.dropSpill(context.WithoutCancel(ctx), k)
			return next, nil
		}
		if errors.Is(err, grant.ErrTooLarge) && !next.Tokens.Access.Value.IsZero() {
			next = a.lighter(next)
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) {
			patience *= 2
		}
		if errors.Is(err, grant.ErrConflict) {
			res, s, lerr := a.conflict(ctx, k, max(min(patience, bound), a.t.Request/2))
			switch {
			case lerr != nil:
				err = lerr
			case res == Write && s.ver == ver:
				err = fmt.Errorf("%w: the store refuses to write over the version that it shows", grant.ErrNotWritten)
			case res == Write:
				ver, next = s.ver, s.cred
				continue
			case res == Saved && s.cred.Writer == k.Writer && !durable:
				ver, next, durable = s.ver, s.cred, true // ours, and to be written once more
				continue
			default:
				return a.settled(ctx, k, s.cred, res)
			}
		}
		durable = durable && !errors.Is(err, grant.ErrNotDurable)
		left := budget - a.elapsed(begun)
		if definite(err) && !ranOut(err) {
			refusals++
		}
		rescue(ctx, left, refusals)
		unsaved.Err = telling(unsaved.Err, err)
		if left <= 0 {
			return k, unsaved
		}
		a.cfg.Logger.Info("saving failed, trying again", "grant", a.id, "cause", err)
		d := pause.pause(a.cfg.Jitter())
		if third := left - a.t.Lease/3; third > 0 {
			d = min(d, third) // never sleep over the rescue
		}
		sleepOrSignal(ctx, d)
		rescue(ctx, left, refusals)
	}
}

// manyRefusals is how often a store that answers has to say no to one save before
// that is taken for its last word.
const manyRefusals = 3

// rescuer prints k as the copy of last resort, once: in the last third of the
// lease, or as soon as a Swap has failed and a signal has come, or when the store
// has refused often enough. Saving is tried on all the same.
func (a *attempt) rescuer(k grant.Credential, unsaved *UnsavedError) func(context.Context, time.Duration, int) {
	done := false
	return func(ctx context.Context, left time.Duration, refusals int) {
		if done || !cancelled(ctx) && left > a.t.Lease/3 && refusals < manyRefusals {
			return
		}
		done = true
		if err := a.cfg.Rescue(k); err != nil {
			a.warn("the rescue block could not be printed: " + err.Error())
			return
		}
		unsaved.Rescued = true
	}
}

// telling is which of two failures says why: a try that only ran out of its time
// says less than one before it that was answered.
func telling(before, err error) error {
	if before != nil && ranOut(err) {
		return before
	}
	return err
}

// ranOut reports a try that its own time, or a signal, has ended.
func ranOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// sleepOrSignal pauses in a save, which nothing ends; a signal that comes now
// ends the pause.
func sleepOrSignal(ctx context.Context, d time.Duration) {
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	_ = sleep(ctx, d)
}

// trySwap bounds one Swap, so that a store that hangs cannot keep the rescue
// block from being printed in time, nor go on after the lease. A try that is
// hasty, because that block is not out, ends soon once the caller has cancelled.
func (a *attempt) trySwap(ctx context.Context, ver grant.Version, next grant.Credential, bound time.Duration, hasty bool) (grant.Version, error) {
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(bound, time.Millisecond))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if hasty && cancelled(ctx) {
			time.AfterFunc(a.t.Request/10, cancel)
		}
	})
	defer stop()
	return a.cfg.Store.Swap(try, a.id, ver, next)
}

// conflict loads what stands in the way of k. With Write, the snapshot holds
// the record to swap and the version to swap it on.
func (a *attempt) conflict(ctx context.Context, k grant.Credential, bound time.Duration) (Resolution, snapshot, error) {
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	defer cancel()
	s, ver, err := a.cfg.Store.Load(try, a.id)
	if errors.Is(err, grant.ErrNotFound) {
		return Write, snapshot{cred: k}, nil // the record was deleted: create it
	}
	if err != nil {
		return 0, snapshot{}, err
	}
	res, next := Resolve(k, s)
	a.warnSibling(k, s, res)
	return res, snapshot{cred: next, ver: ver}, nil
}

// warnSibling says that a token set goes over a doubt that is younger than it:
// another run presented the same token meanwhile, and its lost answer may have
// put this one out.
func (c *call) warnSibling(k, s grant.Credential, res Resolution) {
	b := c.cfg.Behaviour
	if res == Write && k.Consent == s.Consent && s.InDoubt() && s.Doubt.Last.After(k.Tokens.ObtainedAt) && b.Reuse == grant.ReuseGrace && b.Sibling == grant.SiblingReplaces {
		c.warn("another run presented the same refresh token before this result was saved; if that one was answered too, this token does not work any more")
	}
}

// settled ends a save whose stored record stays.
func (a *attempt) settled(ctx context.Context, k, s grant.Credential, res Resolution) (grant.Credential, error) {
	ctx = context.WithoutCancel(ctx)
	if a.arrives && res != Saved {
		return s, errAgain // the sign-in goes over whatever is there
	}
	switch res {
	case Saved:
		a.dropSpill(ctx, k)
		return s, nil
	case Foreign:
		a.warn("somebody signed in anew while this refresh ran; its result stays sealed on this machine and the new sign-in is used")
		return s, errAgain
	}
	a.dropSpill(ctx, k)
	return s, errAgain
}

// cancelled reports a signal, as opposed to a deadline of the caller's own.
func cancelled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }
