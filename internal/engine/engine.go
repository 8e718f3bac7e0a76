package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"evergrant/internal/grant"
)

// Engine keeps the grants of one store alive at one provider. It is safe for
// concurrent use as far as its Store, Refresher, Spill and Marks are.
type Engine struct {
	cfg Config
	t   Timing
}

// New checks the wiring. A store that is not atomic is refused (ErrNotAtomic)
// unless the caller declared a single writer. Without a Refresher only the
// repairs work.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil || cfg.Spill == nil || cfg.Marks == nil || cfg.Rescue == nil || cfg.Holder == nil {
		return nil, errors.New("engine: store, spill, marks, rescue and holder are required")
	}
	p := cfg.Store.Properties()
	if !p.Atomic && !cfg.SingleWriter {
		return nil, fmt.Errorf("%w: two writers would spend one token; use another store, or declare --single-writer", ErrNotAtomic)
	}
	if cfg.Timing == (Timing{}) {
		cfg.Timing = DefaultTiming(p.SameHost)
	}
	if err := cfg.Timing.Check(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Jitter == nil {
		cfg.Jitter = mathrand.Float64
	}
	if cfg.NewID == nil {
		cfg.NewID = rand.Text
	}
	if cfg.HolderGone == nil {
		cfg.HolderGone = func(string) bool { return false }
	}
	if cfg.HolderAlive == nil {
		cfg.HolderAlive = func(string) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: cfg, t: cfg.Timing}, nil
}

// RequestTimeout is how long a request to a provider with this behaviour may
// take: where a lost reply can be asked for again inside a grace, half of the
// grace is kept for doing so.
func RequestTimeout(b grant.Behaviour, t Timing) time.Duration {
	if b.Reuse == grant.ReuseGrace && b.Sibling != grant.SiblingReplaces && b.Grace > 0 {
		return min(t.Request, b.Grace/2)
	}
	return t.Request
}

// Access gets an access token that meets the request, refreshing only if it
// must. ctx counts until the first byte of a request has left; after that the
// refresh is finished and saved whatever happens to ctx.
//
// Errors wrap the sentinels of this package and of grant; those that time
// mends are a [*WaitError]. With an [*UnsavedError] the Outcome is good.
func (e *Engine) Access(ctx context.Context, id grant.ID, r Request) (Outcome, error) {
	if e.cfg.Refresher == nil {
		return Outcome{}, errors.New("engine: no refresher")
	}
	c := e.newCall(id, r)
	out, err := c.run(ctx)
	out.Warnings = c.warnings
	if err != nil {
		return out, fmt.Errorf("grant %s: %w", id, err)
	}
	return out, nil
}

// call is one Access: what this process has seen and how long it may wait.
type call struct {
	*Engine
	id   grant.ID
	r    Request
	self string

	seen    bool   // first is set
	first   uint64 // generation in the first Load
	version grant.Version
	since   time.Time // version has been seen since, in a store that answers

	mark     grant.Mark
	left     time.Duration // of Request.Wait
	poll     backoff       // between Loads while waiting
	retry    backoff       // between attempts
	said     map[string]bool
	warnings []string

	origin             *ElsewhereError // a grant that has seen Request.Seed
	unread             error           // a spill that cannot be read
	kept               *snapshot       // a spill that the store does not take, as it would be stored
	inDoubt            error           // why the fate of a token that this call sent is unknown
	own                grant.Doubt     // the doubt that this call began, with its own sends alone
	good               bool            // the token meets the ask; only a recovery comes first
	refreshed, rotated bool            // by this call
	refreshes          int
}

func (e *Engine) newCall(id grant.ID, r Request) *call {
	return &call{
		Engine: e, id: id, r: r, self: e.cfg.Holder(), left: r.Wait,
		poll:  backoff{next: e.t.PollMin, most: e.t.PollMax},
		retry: backoff{next: e.t.RetryMin, most: e.t.RetryMax},
		said:  map[string]bool{},
	}
}

func (c *call) run(ctx context.Context) (Outcome, error) {
	if err := c.readMark(ctx); err != nil {
		return Outcome{}, err
	}
	var waited *Step // what this call waits for, and the record that says so
	var waitedAt snapshot
	var late *grant.Version // what a look has shown that took too long to be served from
	for {
		s, err := c.look(ctx)
		if err != nil && waited != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			// The call's time ended in a look, and what it waited for is known.
			return c.giveUp(waitedAt, *waited, err)
		}
		if err != nil {
			return c.fromSpill(c.sent(err))
		}
		if !s.cred.InDoubt() {
			c.inDoubt = nil // somebody has settled it
		}
		waited = nil
		step := Next(s.cred, c.ask(s), c.cfg.Behaviour, c.t)
		c.cfg.Logger.Debug("decided", "grant", c.id, "generation", s.cred.Generation, "row", step.Row.String(), "do", step.Do.String())
		switch step.Do {
		case Serve:
			// This process was paused, and the record may have moved on; or the
			// store is slow, and shows the same once more.
			if c.elapsed(s.at) > c.t.StaleConn && (late == nil || *late != s.ver) {
				late = &s.ver
				continue
			}
			return c.serve(s), nil
		case Refuse:
			return c.bestEffort(s, refusal(s.cred, step))
		case Wait:
			if err := c.wait(ctx, s, step); err != nil {
				return c.giveUp(s, step, err)
			}
			waited, waitedAt = &step, s
		case Take, Recover:
			if c.good = step.Good; c.unread != nil {
				return c.instead(s, fmt.Errorf("%w: a spilled record on this machine, which may be the newest, cannot be read: %w", ErrStore, c.unread))
			}
			if err := c.mayRevoke(s); err != nil {
				return c.instead(s, err)
			}
			out, err := c.attempt(ctx, s)
			if errors.Is(err, errAgain) {
				continue
			}
			if unsaved := (*UnsavedError)(nil); err == nil || errors.As(err, &unsaved) {
				return out, err
			}
			if !errors.Is(err, grant.ErrInDoubt) {
				err = c.sent(err)
			}
			return c.instead(s, err)
		}
	}
}

// instead of the error of a recovery that came first, a token that meets the ask
// is served; the next caller goes on with the recovery.
func (c *call) instead(s snapshot, err error) (Outcome, error) {
	if ok, _ := meets(s.cred, c.ask(s), c.t); ok && c.good && !errors.Is(err, ErrUnusable) && !errors.Is(err, context.Canceled) {
		c.warn("the access token is served, and the refresh token could not be recovered now: " + err.Error())
		return c.serve(s), nil
	}
	return c.bestEffort(s, err)
}

// fromSpill serves the token of a spilled record that the store does not take,
// where it meets the ask. Nothing is sent: another machine may not know of it.
func (c *call) fromSpill(err error) (Outcome, error) {
	if c.kept == nil || !errors.Is(err, ErrStore) || c.vet(*c.kept) != nil {
		return Outcome{}, err
	}
	a := c.ask(*c.kept)
	a.First = max(a.First, c.kept.cred.Generation) // it is no answer to this call: its life decides
	if ok, _ := meets(c.kept.cred, a, c.t); !ok || c.kept.cred.State != grant.Live {
		return c.bestEffort(*c.kept, err)
	}
	c.warn("the access token is served from this machine: " + err.Error())
	return c.serve(*c.kept), nil
}

// errAgain asks for another look and another decision.
var errAgain = errors.New("look again")

func (c *call) now() time.Time { return c.cfg.Now() }

// elapsed is the time since start by the larger of the monotonic and the wall
// clock: a suspended machine's monotonic clock stands still.
func (c *call) elapsed(start time.Time) time.Duration {
	now := c.now()
	return max(now.Sub(start), now.Round(0).Sub(start.Round(0)))
}

func (c *call) ask(s snapshot) Ask {
	a := Ask{
		Now: c.now(), MinTTL: c.r.MinTTL, First: c.first, After: c.r.After, Force: c.r.Force,
		Self: c.self, Watched: c.now().Sub(c.since), OwnDoubt: c.owns(s.cred.Doubt),
	}
	if l := s.cred.Lease; l != nil && l.Holder != c.self {
		a.HolderGone = c.cfg.HolderGone(l.Holder)
		a.HolderAlive = !a.HolderGone && c.cfg.HolderAlive(l.Holder)
	}
	return a
}

// serve delivers the stored access token.
func (c *call) serve(s snapshot) Outcome {
	switch {
	case s.cred.State == grant.NeedsConsent:
		c.warn("the access token is served until it ends, but a person has to sign in again: " + s.cred.Reason)
	case c.doubtful(s):
		c.warn("the access token is served, but the fate of the refresh token is in doubt since " + stamp(s.cred.Doubt.First))
	}
	return c.outcome(s.cred)
}

// doubtful reports a doubt that nobody is at: while another's lease runs, its
// counted send is no more than an ordinary refresh.
func (c *call) doubtful(s snapshot) bool {
	leased, _ := foreignLease(s.cred, c.ask(s), c.t)
	return s.cred.InDoubt() && !leased && c.cfg.Behaviour.Reuse != grant.ReuseSafe
}

func (c *call) outcome(k grant.Credential) Outcome {
	access := k.Tokens.Access
	if fromTheFuture(k.Tokens, c.now(), c.t) {
		c.warn("the token was obtained in the future, by this machine's clock: that clock, or the one of the run that obtained it, is wrong")
		access.Expiry = c.now().Add(k.Tokens.Life())
	}
	return Outcome{
		Access: access, Refreshed: c.refreshed, Rotated: c.rotated,
		Life: k.Tokens.Life(), TTLMet: access.Expiry.Sub(c.now()) >= wantedLife(c.r.MinTTL, k.Tokens),
		GoodUntil: access.Expiry, NextRefreshEnds: c.cfg.Behaviour.RevokesAccess,
		ConsentEnds: k.Tokens.RefreshExpiry, State: k.State, Reason: k.Reason,
	}
}

// bestEffort turns an error into a living token, where the caller prefers one.
func (c *call) bestEffort(s snapshot, err error) (Outcome, error) {
	a := s.cred.Tokens.Access
	if !c.r.BestEffort || a.Value.IsZero() || !a.Expiry.After(c.now()) || s.cred.Generation <= c.r.After ||
		s.cred.State == grant.Retired {
		return Outcome{}, err
	}
	c.warn("best effort: a living access token is served although " + err.Error())
	out := c.outcome(s.cred)
	return out, nil
}

func refusal(k grant.Credential, step Step) error {
	switch step.Row {
	case RowRetired:
		return ErrRetired
	case RowNeedsConsent:
		return fmt.Errorf("%w: %s", grant.ErrNeedsConsent, k.Reason)
	}
	return fmt.Errorf("%w: a reply that may hold the next token could not be read and is kept in the record; see rescue --raw", grant.ErrInDoubt)
}

// wait pauses until the step may have changed, or returns errWaited.
func (c *call) wait(ctx context.Context, s snapshot, step Step) error {
	d := c.poll.pause(c.cfg.Jitter())
	if !step.Next.IsZero() {
		// All who wait know the same moment; they need not wake in the same one.
		until := step.Next.Sub(c.now()) + time.Millisecond + time.Duration(c.cfg.Jitter()*float64(c.t.PollMin))
		if (step.Row == RowDoubtLater || step.Row == RowGraceLater) && until > c.left {
			return errWaited
		}
		d = min(d, max(until, time.Millisecond))
	}
	if c.left <= 0 {
		return errWaited
	}
	c.announce(s, step)
	d = min(d, c.left)
	c.left -= d
	return sleep(ctx, d)
}

// errWaited: the caller's Wait is used up, or cannot suffice.
var errWaited = errors.New("waited long enough")

func (c *call) announce(s snapshot, step Step) {
	if key := step.Row.String(); !c.said[key] {
		c.said[key] = true
		attrs := []any{"grant", c.id, "for", waitsFor(step.Row)}
		if l := s.cred.Lease; l != nil && (step.Row == RowLease || step.Row == RowRevoking || step.Row == RowClockFault) {
			attrs = append(attrs, "holder", l.Holder)
		}
		if !step.Next.IsZero() {
			attrs = append(attrs, "until", stamp(step.Next))
		}
		c.cfg.Logger.Info("waiting", attrs...)
	}
	if step.Row == RowClockFault {
		c.warn("a lease ends later than any correct clock could say: this machine's clock or its holder's is wrong")
	}
}

func waitsFor(r Row) string {
	switch r {
	case RowLease, RowRevoking, RowClockFault:
		return "another holder's refresh"
	}
	return "the moment at which a token of unknown fate may be tried again"
}

// giveUp says why the call waited in vain. A good token that only a recovery
// stood before is served: the next caller goes on with the recovery.
func (c *call) giveUp(s snapshot, step Step, err error) (Outcome, error) {
	switch {
	case step.Row == RowLease || step.Row == RowRevoking || step.Row == RowClockFault:
		return c.bestEffort(s, &WaitError{Next: step.Next, Err: because(ErrLeased, err)})
	case step.Good:
		return c.serve(s), nil
	case errors.Is(err, errWaited):
		err = c.whyInDoubt(s)
		if step.Calm && c.r.Wait < c.t.Calm {
			err = fmt.Errorf("%w, and its recovery must watch the store for %v first: give --wait %v or more", cmp.Or(err, errNoReply), c.t.Calm, c.t.Calm+c.t.PollMax)
		}
	}
	return c.bestEffort(s, &WaitError{Next: step.Next, Err: because(grant.ErrInDoubt, err)})
}

// whyInDoubt is what became of the last send, as far as this call or the
// record knows.
func (c *call) whyInDoubt(s snapshot) error {
	if c.inDoubt != nil {
		return c.inDoubt
	}
	for _, e := range slices.Backward(s.cred.Events) {
		if e.What == grant.EventInDoubt || e.What == grant.EventUnreadable {
			return errors.New(e.Note)
		}
	}
	if l := s.cred.Lease; l != nil && c.cfg.HolderAlive(l.Holder) {
		return errors.New("its holder still runs on this machine")
	}
	return nil
}

// errNoReply stands for a cause that nobody has told.
var errNoReply = errors.New("a reply was lost")

// owns reports a doubt of which every send is this call's own.
func (c *call) owns(d *grant.Doubt) bool {
	return d != nil && d.Sends > 0 && d.Spends == c.own.Spends && d.Sends == c.own.Sends && d.First.Equal(c.own.First)
}

// sent adds to an error what must not be forgotten: that a token is out.
func (c *call) sent(err error) error {
	if c.inDoubt == nil {
		return err
	}
	return fmt.Errorf("%w: %w; then: %w", grant.ErrInDoubt, c.inDoubt, err)
}

// because joins what a failure means and why it came.
func because(what, why error) error {
	if why == nil || errors.Is(why, errWaited) {
		return what
	}
	return fmt.Errorf("%w: %w", what, why)
}

// warn says a sentence to the caller once per call.
func (c *call) warn(text string) {
	if !c.said[text] {
		c.said[text] = true
		c.warnings = append(c.warnings, text)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// backoff doubles a pause up to a ceiling and spreads it by a quarter.
type backoff struct{ next, most time.Duration }

func (b *backoff) pause(jitter float64) time.Duration {
	d := b.next
	b.next = min(2*b.next, b.most)
	return d - time.Duration(float64(d)/4*jitter)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
