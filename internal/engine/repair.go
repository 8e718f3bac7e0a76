package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"evergrant/internal/grant"
)

// A repair is a person's word where the protocol stops. Each is one Swap that
// records itself in the grant's story.

// Offer puts an unsaved record, such as a rescue block's, back into the store
// by the conflict rule: an old record over a newer one changes nothing.
func (e *Engine) Offer(ctx context.Context, k grant.Credential) (Resolution, error) {
	c := e.newCall(k.Grant, Request{})
	if err := c.readMark(ctx); err != nil {
		return 0, err
	}
	for {
		s, err := c.load(ctx)
		if err != nil {
			return 0, err
		}
		if !s.absent && s.cred.Bind != k.Bind {
			return 0, fmt.Errorf("%w: %s", ErrBound, bindDifference(s.cred.Bind, k.Bind))
		}
		res, _, err := c.offer(ctx, s, k)
		switch {
		case err == nil && res != Foreign:
			c.dropSpill(ctx, k)
			return res, nil
		case !errors.Is(err, grant.ErrConflict):
			return res, storeError(err)
		}
	}
}

// ErrKnownToken: the refresh token that was given is, or was, one of this
// grant. Adopting it again would spend it twice.
var ErrKnownToken = errors.New("this refresh token is already known to the grant")

// Adopt starts a new consent from a refresh token that came from outside,
// over whatever record there is; it waits for no lease, because results of the
// older consent never overwrite the newer one. A token that the grant knows is
// refused (ErrKnownToken), and so is one that another grant of the store has
// presented or was given ([*ElsewhereError]), unless that grant has only been begun
// with it.
func (e *Engine) Adopt(ctx context.Context, id grant.ID, seed grant.Secret) error {
	if seed.IsZero() {
		return ErrNoToken
	}
	c, tried := e.newCall(id, Request{}), false
	err := c.amend(ctx, true, func(s snapshot) (grant.Credential, error) {
		switch known := s.cred.Knows(seed.Digest()); {
		case known && tried:
			return grant.Credential{}, errDone // an earlier Swap of ours landed
		case known:
			return grant.Credential{}, ErrKnownToken
		}
		other := (*ElsewhereError)(nil)
		if err := c.vetOrigin(ctx, seed); errors.As(err, &other) && !other.Unspent {
			return grant.Credential{}, err
		}
		tried = true
		return c.newConsent(s, seed), nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// errDone: a repeated edit finds its work done.
var errDone = errors.New("done already")

// Rebind moves the grant to the engine's token URL and client id.
func (e *Engine) Rebind(ctx context.Context, id grant.ID) error {
	c := e.newCall(id, Request{})
	return c.amend(ctx, false, func(s snapshot) (grant.Credential, error) {
		next := c.repaired(s, "bound to "+c.cfg.Bind.TokenURL)
		next.Bind, next.Provider = c.cfg.Bind, c.cfg.Provider
		return next, nil
	})
}

// ErrNotInDoubt: there is no doubt to end.
var ErrNotInDoubt = errors.New("grant is not in doubt")

// RetryInDoubt lets the next call present the token in doubt without waiting
// out the quiet time. The doubt, and the count of its sends, stays.
func (e *Engine) RetryInDoubt(ctx context.Context, id grant.ID) error {
	c := e.newCall(id, Request{})
	return c.amend(ctx, false, func(s snapshot) (grant.Credential, error) {
		if !s.cred.InDoubt() {
			return grant.Credential{}, ErrNotInDoubt
		}
		next := c.repaired(s, "the token in doubt may be tried now")
		next.Doubt.Last = time.Time{}
		return next, nil
	})
}

// AcceptRollback lowers the high-water mark to what the store holds.
func (e *Engine) AcceptRollback(ctx context.Context, id grant.ID) error {
	c := e.newCall(id, Request{})
	s, err := c.load(ctx)
	if err != nil {
		return err
	}
	if !s.absent {
		if err := c.amend(ctx, false, func(s snapshot) (grant.Credential, error) {
			return c.repaired(s, "a rolled-back store was accepted"), nil
		}); err != nil {
			return err
		}
	}
	m := grant.Mark{Consent: s.cred.Consent, Generation: s.cred.Generation}
	if err := c.cfg.Marks.SetMark(ctx, id, m); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// ErrNoRaw: the record keeps no unreadable reply.
var ErrNoRaw = errors.New("no unreadable reply is kept")

// TakeRaw hands the kept unreadable reply to keep, which must make it durable,
// and then removes it from the record. The doubt stays.
func (e *Engine) TakeRaw(ctx context.Context, id grant.ID, keep func(grant.Secret) error) error {
	c, kept := e.newCall(id, Request{}), false
	err := c.amend(ctx, false, func(s snapshot) (grant.Credential, error) {
		switch {
		case s.cred.Raw.IsZero() && kept:
			return grant.Credential{}, errDone
		case s.cred.Raw.IsZero():
			return grant.Credential{}, ErrNoRaw
		}
		if err := keep(s.cred.Raw); err != nil {
			return grant.Credential{}, err
		}
		kept = true
		next := c.repaired(s, "the unreadable reply was taken out")
		next.Raw = grant.Secret{}
		return next, nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

func (c *call) repaired(s snapshot, note string) grant.Credential {
	next := s.cred.Clone()
	next.Writer = c.cfg.NewID()
	next.AddEvent(c.event(grant.EventRepaired, note))
	return next
}

// amend swaps an edit until it meets no conflict.
func (c *call) amend(ctx context.Context, create bool, edit func(snapshot) (grant.Credential, error)) error {
	if err := c.readMark(ctx); err != nil {
		return err
	}
	for {
		s, err := c.load(ctx)
		if err != nil {
			return err
		}
		if s.absent && !create {
			return grant.ErrNotFound
		}
		next, err := edit(s)
		if err != nil {
			return err
		}
		_, err = c.swap(ctx, s.ver, next, c.t.Settle)
		switch {
		case err == nil:
			c.setMark(ctx, next)
			return nil
		case !errors.Is(err, grant.ErrConflict):
			return storeError(err)
		}
	}
}

func storeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}
