package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"evergrant/internal/grant"
)

// attempt is one lease and what is sent under it.
type attempt struct {
	*call
	conn   grant.Connection
	connAt time.Time
	start  time.Time     // just before the lease Swap: the window is counted from it
	took   time.Duration // of the lease Swap

	prior grant.Credential // content before the Swap that counted the latest send
	rec   grant.Credential // the record with our lease
	ver   grant.Version
	ours  []string // Writers of our lease Swaps, one of which may be in the store

	arrives bool // what is saved is a sign-in, and was no refresh
}

// attempt connects, takes the lease, sends one request and acts on its fate.
// errAgain asks for another decision.
func (c *call) attempt(ctx context.Context, s snapshot) (Outcome, error) {
	a := &attempt{call: c, prior: s.cred, ver: s.ver}
	if err := a.connect(ctx); err != nil {
		return Outcome{}, c.later(ctx, err)
	}
	defer func() { a.conn.Close() }()
	// Connecting took time, in which a grace or a calm may have ended.
	if step := Next(s.cred, c.ask(s), c.cfg.Behaviour, c.t); step.Do != Take && step.Do != Recover {
		return Outcome{}, errAgain
	}
	if err := c.spillReady(ctx); err != nil {
		return Outcome{}, err
	}
	if err := a.lease(ctx); err != nil {
		return Outcome{}, err
	}
	ts, err := a.send(ctx)
	var re *grant.RefreshError
	if errors.As(err, &re) && re.Fate == grant.InDoubt && a.retriesInLease(ctx) {
		a.inDoubt = re
		ts, err = a.send(ctx)
	}
	c.warnRevoked(s.cred, err)
	if err == nil {
		return a.save(ctx, ts)
	}
	return Outcome{}, a.fail(ctx, err)
}

// connect opens the connection of the attempt before the lease is taken, so
// that the gap between lease and first byte is one write.
func (a *attempt) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.t.Connect)
	defer cancel()
	conn, err := a.cfg.Refresher.Connect(ctx)
	if re := (*grant.RefreshError)(nil); err != nil && !errors.As(err, &re) {
		return &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	if err != nil {
		return err
	}
	a.conn, a.connAt = conn, a.now()
	return nil
}

// spillReady finds out before anything is sent whether a reply could be
// spilled.
func (c *call) spillReady(ctx context.Context) error {
	r, ok := c.cfg.Spill.(grant.Readier)
	if !ok {
		return nil
	}
	if err := r.Ready(ctx, c.id); err != nil {
		return fmt.Errorf("%w: nothing was sent, because a reply could not be kept on this machine: %w", ErrStore, err)
	}
	return nil
}

// lease takes the right to spend by a Swap that also counts the send. It is
// the proof that the store can be written, too.
func (a *attempt) lease(ctx context.Context) error {
	a.start = a.now()
	return a.take(ctx, a.counted(a.prior))
}

// take swaps in next, which has a Writer of its own, with our lease from the
// attempt's start.
func (a *attempt) take(ctx context.Context, next grant.Credential) error {
	next.Lease = &grant.Lease{Holder: a.self, Until: a.start.Add(a.t.Lease), TTL: a.t.Lease, Spends: next.Tokens.Refresh.Digest()}
	a.ours = append(a.ours, next.Writer)
	ver, err := a.swap(ctx, a.ver, next, a.t.Settle)
	switch {
	case err == nil:
		a.rec, a.ver, a.took = next, ver, a.elapsed(a.start)
		return nil
	case errors.Is(err, grant.ErrConflict):
		return errAgain
	case !definite(err):
		a.release(ctx, a.restored())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: the lease cannot be written, so nothing was sent: %w", ErrStore, err)
}

// counted returns the record in which one more send is counted: the intent
// counts, because after a crash nobody knows more.
func (a *attempt) counted(c grant.Credential) grant.Credential {
	next := c.Clone()
	next.Writer = a.cfg.NewID()
	now, digest, note := a.now(), next.Tokens.Refresh.Digest(), ""
	if next.InDoubt() {
		if a.owns(next.Doubt) {
			a.own.Sends++
		}
		next.Doubt.Sends++
		next.Doubt.Last = now
		note = fmt.Sprintf("send %d of a token in doubt", next.Doubt.Sends)
	} else {
		next.Doubt = &grant.Doubt{Spends: digest, Sends: 1, First: now, Last: now}
		a.own = *next.Doubt
	}
	next.AddSpent(digest)
	next.AddEvent(a.event(grant.EventAttempt, note))
	return next
}

// send makes the one request of a connection, inside the lease's window.
func (a *attempt) send(ctx context.Context) (grant.TokenSet, error) {
	if a.elapsed(a.connAt) > a.t.StaleConn {
		// An idle connection gets closed by the other side, and a write into
		// it would look like a lost reply.
		a.conn.Close()
		if err := a.connect(ctx); err != nil {
			return grant.TokenSet{}, err
		}
	}
	a.connAt = time.Time{} // one request per connection
	return a.conn.Refresh(ctx, a.rec, func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if used := a.elapsed(a.start); used > a.t.Lease-a.t.Tail {
			return fmt.Errorf("the sending window of the lease is over (%v used)", used.Round(time.Millisecond))
		}
		return nil
	})
}

// retriesInLease prepares a second send at once, where a grace makes that
// right, and counts it.
func (a *attempt) retriesInLease(ctx context.Context) bool {
	b := a.cfg.Behaviour
	if b.Sibling == grant.SiblingReplaces || ctx.Err() != nil ||
		!graceRuns(a.rec, Ask{Now: a.now(), OwnDoubt: a.owns(a.rec.Doubt)}, b, a.t) {
		return false
	}
	left := a.t.Lease - a.t.Tail - a.elapsed(a.start)
	next := a.counted(a.rec)
	a.ours = append(a.ours, next.Writer)
	ver, err := a.swap(ctx, a.ver, next, left/2)
	if err != nil {
		return false // not counted for certain, so not sent
	}
	a.prior, a.rec, a.ver = a.rec, next, ver
	return true
}

// fail acts on the fate of a token whose request failed.
func (a *attempt) fail(ctx context.Context, err error) error {
	re := (*grant.RefreshError)(nil)
	if !errors.As(err, &re) {
		re = &grant.RefreshError{Err: err} // in doubt
	}
	a.cfg.Logger.Debug("attempt failed", "grant", a.id, "fate", re.Fate.String(), "cause", re)
	switch {
	case re.Fate == grant.Unspent, re.Fate == grant.InDoubt && a.cfg.Behaviour.Reuse == grant.ReuseSafe:
		a.release(ctx, a.restored())
		return a.later(ctx, re)
	case re.Fate == grant.Refused:
		a.release(ctx, a.restored())
		return fmt.Errorf("%w: %w", ErrRefused, re)
	case re.Fate == grant.Rejected:
		return a.reject(ctx, re)
	}
	a.inDoubt = re
	next := a.doubted(re)
	a.release(ctx, next)
	if ctx.Err() != nil {
		at := recovery(next, Ask{Now: a.now(), OwnDoubt: a.owns(next.Doubt)}, a.cfg.Behaviour, a.t).Next
		return &WaitError{Next: at, Err: fmt.Errorf("%w: %w; %w", grant.ErrInDoubt, re, ctx.Err())}
	}
	return a.pauseInGrace(ctx, next)
}

// restored is the record as it was before the latest send was counted. A dead
// holder's lease comes back with it: that its process is gone is worth knowing.
// One that ends impossibly late does not: it would have to be watched again.
func (a *attempt) restored() grant.Credential {
	next := a.prior.Clone()
	if l := next.Lease; l != nil && (l.Holder == a.self || l.Until.After(a.now().Add(l.TTL+a.t.Skew))) {
		next.Lease = nil
	}
	own := a.own
	a.own = grant.Doubt{}
	if d := next.Doubt; d != nil && d.Spends == own.Spends && d.First.Equal(own.First) && d.Sends+1 == own.Sends {
		a.own = *d
	}
	next.Writer = a.cfg.NewID()
	return next
}

// doubted is the record after a lost reply: nobody's lease, everybody's doubt.
func (a *attempt) doubted(re *grant.RefreshError) grant.Credential {
	next := a.rec.Clone()
	next.Lease, next.Writer = nil, a.cfg.NewID()
	if re.Raw.IsZero() {
		next.AddEvent(a.event(grant.EventInDoubt, re.Error()))
		return next
	}
	next.Raw = re.Raw
	next.AddEvent(a.event(grant.EventUnreadable, re.Error()))
	return next
}

// release ends our lease, for at most Settle, whatever the caller's context
// says. A lease that cannot be released runs out by itself. Of an unreadable
// reply that is too large for the store, it keeps what fits.
func (a *attempt) release(ctx context.Context, next grant.Credential) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.t.Settle)
	defer cancel()
	pause := backoff{next: a.t.RetryMin, most: a.t.RetryMax}
	var why error
	for room := grant.MaxRaw; ; {
		ver, err := a.cfg.Store.Swap(ctx, a.id, a.ver, next)
		if err == nil {
			a.watch(ver)
			return
		}
		if errors.Is(err, grant.ErrTooLarge) && !next.Raw.IsZero() {
			room /= 2
			next.Raw, next.Writer = next.Raw.Excerpt(room, "refresh_token"), a.cfg.NewID()
			a.warn("the unreadable reply is too large for the store, which keeps a part of it")
			continue
		}
		if errors.Is(err, grant.ErrConflict) {
			cred, ver, lerr := a.cfg.Store.Load(ctx, a.id)
			switch {
			case lerr == nil && a.wrote(cred.Writer):
				a.ver = ver
				continue
			case lerr == nil || errors.Is(lerr, grant.ErrNotFound):
				return // released already, or somebody else's
			}
		}
		why = telling(why, err)
		if sleep(ctx, pause.pause(a.cfg.Jitter())) != nil {
			a.warn("the lease could not be released and runs out by itself: " + why.Error())
			return
		}
	}
}

// wrote reports whether a record of this content is one of our leases.
func (a *attempt) wrote(writer string) bool {
	for _, w := range a.ours {
		if w == writer {
			return true
		}
	}
	return false
}

// later pauses before an unspent token is tried again, within the caller's
// Wait and as the provider asked.
func (c *call) later(ctx context.Context, err error) error {
	if cancelled(ctx) {
		return ctx.Err()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w; %w", ErrUnreachable, err, ctx.Err())
	}
	var re *grant.RefreshError
	if errors.As(err, &re) && re.Fate == grant.Refused {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	d := c.retry.pause(c.cfg.Jitter())
	if re != nil {
		d = max(d, re.RetryAfter)
	}
	if d > c.left || c.good {
		return &WaitError{Next: c.now().Add(d), Err: fmt.Errorf("%w: %w", ErrUnreachable, err)}
	}
	c.cfg.Logger.Info("waiting", "grant", c.id, "for", "the provider", "cause", err, "pause", d.Round(time.Millisecond))
	c.left -= d
	if serr := sleep(ctx, d); serr != nil {
		return fmt.Errorf("%w: %w; %w", ErrUnreachable, err, serr)
	}
	return errAgain
}

// pauseInGrace keeps a provider that loses every reply from being asked
// without a pause: inside a grace, Next allows the next try at once.
func (a *attempt) pauseInGrace(ctx context.Context, c grant.Credential) error {
	if !graceRuns(c, Ask{Now: a.now(), OwnDoubt: a.owns(c.Doubt)}, a.cfg.Behaviour, a.t) {
		return errAgain
	}
	d := a.retry.pause(a.cfg.Jitter())
	if d > a.left || a.good {
		return &WaitError{Next: a.now().Add(d), Err: fmt.Errorf("%w: %w", grant.ErrInDoubt, a.inDoubt)}
	}
	a.left -= d
	if err := sleep(ctx, d); err != nil {
		return err
	}
	return errAgain
}

// reject believes the provider only after another look: if somebody else has
// moved the chain on, the answer was about the past.
func (a *attempt) reject(ctx context.Context, re *grant.RefreshError) error {
	a.inDoubt = nil // an answer ends it
	dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.t.Reload)
	defer cancel()
	pause := backoff{next: a.t.RetryMin, most: a.t.RetryMax}
	for {
		s, ver, err := a.cfg.Store.Load(dctx, a.id)
		if err == nil {
			if s.Generation != a.rec.Generation || s.Consent != a.rec.Consent || s.State != grant.Live {
				return errAgain
			}
			ver, err = a.cfg.Store.Swap(dctx, a.id, ver, a.rejected(s, re))
			if err == nil {
				a.watch(ver)
				return errAgain // Next serves a living token, or refuses
			}
		}
		if errors.Is(err, grant.ErrNotFound) || errors.Is(err, grant.ErrUnreadable) {
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
		if sleep(dctx, pause.pause(a.cfg.Jitter())) != nil {
			return fmt.Errorf("%w: %w; the store could not be told: %w", grant.ErrNeedsConsent, re, err)
		}
	}
}

func (a *attempt) rejected(s grant.Credential, re *grant.RefreshError) grant.Credential {
	next := s.Clone()
	next.State, next.Reason = grant.NeedsConsent, rejection(a.rec, re)
	next.Lease, next.Doubt, next.Writer = nil, nil, a.cfg.NewID()
	next.AddEvent(a.event(grant.EventNeedsConsent, next.Reason))
	return next
}

// rejection tells a person why, as far as the record knows.
func rejection(c grant.Credential, re *grant.RefreshError) string {
	if c.Doubt != nil && c.Doubt.Sends > 1 {
		return fmt.Sprintf("the provider answered %s to a refresh token whose earlier reply was lost (first sent %s)", re.Code, stamp(c.Doubt.First))
	}
	if ends := c.Tokens.RefreshExpiry; !ends.IsZero() && c.Doubt != nil && c.Doubt.Last.After(ends) {
		return fmt.Sprintf("the provider answered %s: the consent ended %s", re.Code, stamp(ends))
	}
	why := fmt.Sprintf("the provider answered %s to a refresh token that was never sent before: it was revoked, or somebody else spent it", re.Code)
	if c.Tokens.Access.Value.IsZero() { // it came from outside, and nothing has come of it
		why += ", or it is no refresh token of this client"
	}
	return why
}
