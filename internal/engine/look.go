package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"evergrant/internal/grant"
)

// snapshot is a loaded record.
type snapshot struct {
	cred   grant.Credential
	ver    grant.Version
	absent bool
	at     time.Time // just before it was asked for
}

// look loads the record, puts back what this machine still holds of it,
// vets it, and starts the grant where it must be started.
func (c *call) look(ctx context.Context) (snapshot, error) {
	for refused := (*grant.Version)(nil); ; {
		s, err := c.loadWithSpills(ctx)
		if err != nil {
			return s, err
		}
		if err := c.vet(s); err != nil {
			return s, err
		}
		if !c.startsAnew(s) {
			return s, nil
		}
		err = c.adopt(ctx, s, c.r.Seed)
		if c.startsElsewhere(s, err) {
			return s, nil
		}
		if err != nil && !errors.Is(err, grant.ErrConflict) {
			return s, err
		} else if err != nil {
			if err := c.afterConflict(ctx, refused, s.ver); err != nil {
				return s, err
			}
			refused = &s.ver
		}
	}
}

// loadWithSpills loads the record once all that this machine holds of it is in it.
func (c *call) loadWithSpills(ctx context.Context) (snapshot, error) {
	for refused := (*grant.Version)(nil); ; {
		s, err := c.load(ctx)
		if err != nil {
			return s, err
		}
		seen := s.ver
		s, err = c.offerSpills(ctx, s)
		if !errors.Is(err, errAgain) {
			return s, err
		}
		if err := c.afterConflict(ctx, refused, seen); err != nil {
			return s, err
		}
		refused = &seen
	}
}

// afterConflict lets a conflict be followed by another look: at once where
// somebody else has moved the record, else after a pause that counts against
// Wait. A store that shows one version again and refuses it again contradicts
// itself: a replica that is behind does, for a while.
func (c *call) afterConflict(ctx context.Context, refused *grant.Version, seen grant.Version) error {
	if refused == nil || *refused != seen {
		return ctx.Err()
	}
	d := c.poll.pause(c.cfg.Jitter())
	if d > c.left {
		return fmt.Errorf("%w: it refuses to write over the version that it shows, again and again", ErrStore)
	}
	c.cfg.Logger.Info("waiting", "grant", c.id, "for", "the store to show the record that it has")
	c.left -= d
	return sleep(ctx, d)
}

// load asks the store until it answers. A store on this host that fails will
// not mend by itself, and a refusal nowhere, so these are asked once. But once a
// token is out, its fate is worth every try. The time of a try that fails counts
// against Wait, and one that hangs is ended a Request after it.
func (c *call) load(ctx context.Context) (snapshot, error) {
	for {
		at := c.now()
		cred, ver, err := c.loadWithin(ctx, max(c.left, 0)+c.t.Request)
		switch {
		case err == nil, errors.Is(err, grant.ErrNotFound):
			c.watch(ver)
			if !c.seen {
				c.seen, c.first = true, cred.Generation
			}
			return snapshot{cred, ver, err != nil, at}, nil
		case ctx.Err() != nil:
			return snapshot{}, ctx.Err()
		case errors.Is(err, grant.ErrUnreadable):
			return snapshot{}, err
		case errors.Is(err, grant.ErrDenied) && c.inDoubt == nil:
			return snapshot{}, storeError(err)
		}
		c.since = time.Time{} // the store did not answer: watching starts anew
		c.left -= c.elapsed(at)
		d := c.poll.pause(c.cfg.Jitter())
		if c.cfg.Store.Properties().SameHost || d > c.left {
			return snapshot{}, fmt.Errorf("%w: %w", ErrStore, err)
		}
		c.cfg.Logger.Info("waiting", "grant", c.id, "for", "the store", "cause", err)
		c.left -= d
		if err := sleep(ctx, d); err != nil {
			return snapshot{}, err
		}
	}
}

func (c *call) loadWithin(ctx context.Context, limit time.Duration) (grant.Credential, grant.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.cfg.Store.Load(ctx, c.id)
}

// watch notes since when this version has been seen without a break.
func (c *call) watch(v grant.Version) {
	if c.since.IsZero() || v != c.version {
		c.version, c.since = v, c.now()
		c.poll = backoff{next: c.t.PollMin, most: c.t.PollMax}
	}
}

// vet refuses a store that was rolled back and a record that belongs
// elsewhere. Nothing is sent for either.
func (c *call) vet(s snapshot) error {
	least, named := c.mark.Generation, max(c.r.MinGeneration, c.r.After)
	switch {
	case s.cred.Generation < named && named > least:
		return fmt.Errorf("%w: it has generation %d, and generation %d was named", ErrAhead, s.cred.Generation, named)
	case s.absent && least > 0:
		return fmt.Errorf("%w: it has no record, but generation %d was in it", ErrRolledBack, least)
	case s.absent:
		return nil
	case s.cred.Generation < least:
		return fmt.Errorf("%w: it has generation %d, but generation %d was in it", ErrRolledBack, s.cred.Generation, least)
	case s.cred.Bind != c.cfg.Bind && !c.unproven(s):
		return &BoundError{s.cred.Bind, c.cfg.Bind}
	}
	c.vetSeed(s)
	return nil
}

func bindDifference(have, want grant.Binding) string {
	if have.TokenURL != want.TokenURL {
		return fmt.Sprintf("its tokens belong to %s, this call would send them to %s", have.TokenURL, want.TokenURL)
	}
	return fmt.Sprintf("its tokens belong to client %q, this call is client %q", have.ClientID, want.ClientID)
}

// vetSeed warns of a seed that is neither the grant's own nor wanted.
func (c *call) vetSeed(s snapshot) {
	if s.cred.State == grant.Live && !c.r.Seed.IsZero() && !s.cred.Knows(c.r.Seed.Digest()) {
		c.warn("the refresh token that was given is not one of this grant (another account, another grant, or a new sign-in?); the record is used while its consent lives: repair --adopt takes the token at once")
	}
}

// unproven reports a record that never yielded a token, whose refresh token
// the caller holds and nobody can have spent: a first call with a mistyped
// client or URL leaves one. Starting anew costs nothing then.
func (c *call) unproven(s snapshot) bool {
	return unspent(s.cred, c.r.Seed)
}

// unspent reports that a record began with this refresh token and never sent it.
func unspent(k grant.Credential, seed grant.Secret) bool {
	return k.State == grant.Live && k.Tokens.Access.Value.IsZero() && k.Lease == nil && k.Doubt == nil && k.Raw.IsZero() &&
		!seed.IsZero() && k.Tokens.Refresh.Equal(seed)
}

// startsAnew reports whether the seed must be adopted: the store has no
// record, or an unproven one that belongs elsewhere, or its consent ended and
// the seed is a token never seen before.
func (c *call) startsAnew(s snapshot) bool {
	if s.absent || s.cred.Bind != c.cfg.Bind {
		return true
	}
	return s.cred.State == grant.NeedsConsent && !c.r.Seed.IsZero() && !s.cred.Knows(c.r.Seed.Digest())
}

// adopt starts a new consent from a refresh token that came from outside.
func (c *call) adopt(ctx context.Context, s snapshot, seed grant.Secret) error {
	switch {
	case s.absent && c.r.NoCreate:
		return fmt.Errorf("%w, and --no-create forbids to start one", grant.ErrNotFound)
	case seed.IsZero():
		return ErrNoToken
	}
	if err := c.vetOrigin(ctx, seed); err != nil {
		return err
	}
	next := c.newConsent(s, seed)
	_, err := c.swap(ctx, s.ver, next, c.t.Settle)
	if err == nil {
		c.setMark(ctx, next)
		return nil
	}
	if errors.Is(err, grant.ErrConflict) || ctx.Err() != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}

func (c *call) newConsent(s snapshot, seed grant.Secret) grant.Credential {
	next := s.cred.Clone()
	next.Grant, next.Provider, next.Bind = c.id, c.cfg.Provider, c.cfg.Bind
	next.Replaces, next.Account = next.Consent, grant.Account{}
	next.Consent, next.Writer = c.cfg.NewID(), c.cfg.NewID()
	next.Generation = max(next.Generation, c.mark.Generation) + 1
	next.Tokens = grant.TokenSet{Refresh: seed, ObtainedAt: c.now()}
	next.Lease, next.Doubt, next.Raw = nil, nil, grant.Secret{}
	next.State, next.Reason = grant.Live, ""
	if d := seed.Digest(); !slices.Contains(next.Seeds, d) {
		next.Seeds = append(next.Seeds, d)
	}
	next.AddEvent(c.event(grant.EventAdopted, ""))
	return next
}

func (c *call) event(what, note string) grant.Event {
	return grant.Event{At: c.now(), By: c.cfg.By, What: what, Note: note}
}

// offerSpills puts back what an earlier run on this machine could not save. A
// token that a spill knows better must not be spent, so a spill that cannot be
// put back stops the call.
func (c *call) offerSpills(ctx context.Context, s snapshot) (snapshot, error) {
	spills, err := c.cfg.Spill.List(ctx, c.id)
	c.kept = nil
	if c.unread = err; err != nil {
		c.warn("a spilled record cannot be read: " + err.Error())
	}
	if s.absent && c.r.NoCreate && len(spills) > 0 {
		return s, fmt.Errorf("%w, and --no-create forbids to start one from the spilled record on this machine", grant.ErrNotFound)
	}
	sort.Slice(spills, func(i, j int) bool {
		a, b := &spills[i], &spills[j]
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), a.Tokens.ObtainedAt.Compare(b.Tokens.ObtainedAt), cmp.Compare(a.Writer, b.Writer)) < 0
	})
	for _, k := range spills {
		offered, next, err := c.offer(ctx, s, k)
		switch {
		case err == nil && offered == Foreign:
			c.warn("a spilled record on this machine belongs to an earlier consent and stays sealed there")
		case err == nil:
			s = next
			c.dropSpill(ctx, k)
		case errors.Is(err, grant.ErrConflict):
			return s, errAgain
		case ctx.Err() != nil:
			return s, ctx.Err()
		default:
			c.kept = &next
			return s, fmt.Errorf("%w: a spilled record on this machine cannot be put back: %w", ErrStore, err)
		}
	}
	return s, nil
}

// offer applies the conflict rule to one unsaved record.
func (c *call) offer(ctx context.Context, s snapshot, k grant.Credential) (Resolution, snapshot, error) {
	res, next := Write, k
	if !s.absent {
		res, next = Resolve(k, s.cred)
		c.warnSibling(k, s.cred, res)
	}
	if res != Write {
		return res, s, nil
	}
	ver, err := c.swap(ctx, s.ver, next, c.t.Settle)
	if errors.Is(err, grant.ErrTooLarge) && !next.Tokens.Access.Value.IsZero() {
		next = c.lighter(next)
		ver, err = c.swap(ctx, s.ver, next, c.t.Settle)
	}
	if err != nil {
		return res, snapshot{cred: next, ver: s.ver, at: s.at}, err
	}
	// What an earlier run left is no answer to this call: its life decides. Of one
	// that is saving at this moment, it is.
	if saving, _ := foreignLease(s.cred, c.ask(s), c.t); !saving {
		c.first = max(c.first, next.Generation)
	}
	c.setMark(ctx, next)
	c.watch(ver)
	c.cfg.Logger.Info("an unsaved record was put back:", "grant", c.id, "generation", next.Generation)
	return res, snapshot{cred: next, ver: ver, at: c.now()}, nil
}

// lighter is a record without its access token, for a store that has no room for
// it: the chain is what must not be lost.
func (c *call) lighter(k grant.Credential) grant.Credential {
	c.warn("the access token is too large for the store, which keeps only the refresh token: each call refreshes")
	k = k.Clone()
	k.Tokens.Access = grant.AccessToken{}
	return k
}

func (c *call) dropSpill(ctx context.Context, k grant.Credential) {
	if err := c.cfg.Spill.Remove(ctx, c.id, k.Writer); err != nil {
		c.warn("a spilled record that is saved cannot be removed: " + err.Error())
	}
}

// swap settles the outcome of one Swap by repeating it, for at most budget.
// With ErrConflict the record is not ours; other definite errors of the Store's
// contract say that nothing was written; with any other the outcome is unknown.
func (c *call) swap(ctx context.Context, old grant.Version, next grant.Credential, budget time.Duration) (grant.Version, error) {
	start, unknown, durable := c.now(), false, true
	pause := backoff{next: c.t.RetryMin, most: c.t.RetryMax}
	var why error
	for {
		ver, err := c.swapWithin(ctx, old, next, budget-c.elapsed(start))
		switch {
		case err == nil:
			return ver, nil
		case errors.Is(err, grant.ErrConflict) && !unknown:
			return "", err
		case errors.Is(err, grant.ErrConflict):
			// An earlier try may be what we conflict with.
			cred, ver, lerr := c.cfg.Store.Load(ctx, c.id)
			if lerr == nil && cred.Writer == next.Writer {
				if durable {
					return ver, nil
				}
				old, durable = ver, true // ours, and to be written once more
				continue
			}
			if lerr == nil || errors.Is(lerr, grant.ErrNotFound) {
				return "", err
			}
			err = fmt.Errorf("who wrote the record is unknown: %w", lerr)
		case definite(err) && !unknown:
			return "", err
		default:
			unknown = true
			durable = durable && !errors.Is(err, grant.ErrNotDurable)
		}
		why = telling(why, err)
		d := pause.pause(c.cfg.Jitter())
		if c.elapsed(start)+d > budget || sleep(ctx, d) != nil {
			return "", unsettledError{why}
		}
	}
}

// swapWithin bounds one Swap, which may have to wait for a lock.
func (c *call) swapWithin(ctx context.Context, old grant.Version, next grant.Credential, limit time.Duration) (grant.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, max(limit, time.Millisecond))
	defer cancel()
	slow := time.AfterFunc(c.t.Connect/5, func() {
		c.cfg.Logger.Info("waiting", "grant", c.id, "for", "the store to take a record")
	})
	defer slow.Stop()
	return c.cfg.Store.Swap(ctx, c.id, old, next)
}

// unsettledError is an outcome that stayed unknown. What the last try says of
// itself must not be taken for the outcome, so a definite error is hidden.
type unsettledError struct{ last error }

func (e unsettledError) Error() string { return e.last.Error() }

func (e unsettledError) Unwrap() error {
	if definite(e.last) {
		return nil
	}
	return e.last
}

// definite reports an error that says "this Swap wrote nothing".
func definite(err error) bool {
	return errors.Is(err, grant.ErrConflict) || errors.Is(err, grant.ErrTooLarge) ||
		errors.Is(err, grant.ErrUnreadable) || errors.Is(err, grant.ErrNotWritten)
}

// readMark comes before the first Load: the mark moves after a definite Swap
// only, so it is never above what a later Load sees, but for a rollback. The
// other order would take a parallel refresh for one.
func (c *call) readMark(ctx context.Context) (err error) {
	if c.mark, err = c.cfg.Marks.Mark(ctx, c.id); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// setMark moves the high-water mark after a definite Swap.
func (c *call) setMark(ctx context.Context, k grant.Credential) {
	if k.Generation <= c.mark.Generation {
		return
	}
	c.mark = grant.Mark{Consent: k.Consent, Generation: k.Generation}
	if err := c.cfg.Marks.SetMark(context.WithoutCancel(ctx), c.id, c.mark); err != nil {
		c.warn("the high-water mark, which detects a store that was rolled back, could not be moved: " + err.Error())
	}
}
