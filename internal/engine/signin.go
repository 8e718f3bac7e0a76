package engine

import (
	"context"
	"errors"
	"fmt"

	"evergrant/internal/grant"
)

// ErrOtherAccount: somebody else signed in than the one whose grant lives.
var ErrOtherAccount = errors.New("another account than the grant's")

// Arrival is a sign-in that a person is about to make. [Engine.Expect] finds out
// beforehand whatever could keep its result from being saved, because a person
// should not have to sign in twice.
type Arrival struct {
	call    *call
	over    snapshot
	replace bool
}

// SignIn is what a sign-in yielded.
type SignIn struct {
	Tokens  grant.TokenSet // with a refresh token
	Account grant.Account
	Note    string // for the grant's story
}

// Expect prepares for a sign-in: the store answers, the spill can be written, and
// the record that is there may be written over. A grant that lives, or waits
// for a consent, at another endpoint or client is kept (ErrLiving) unless replace
// is set. Nothing is written, but what this machine held back for the store.
func (e *Engine) Expect(ctx context.Context, id grant.ID, replace bool) (*Arrival, error) {
	c := e.newCall(id, Request{})
	if err := c.readMark(ctx); err != nil {
		return nil, err
	}
	s, err := c.loadWithSpills(ctx)
	if err != nil {
		return nil, err
	}
	if !s.absent && s.cred.State != grant.Retired && s.cred.Bind != c.cfg.Bind && !replace {
		return nil, fmt.Errorf("%w: %s", ErrLiving, bindDifference(s.cred.Bind, c.cfg.Bind))
	}
	if err := c.spillReady(ctx); err != nil {
		return nil, err
	}
	return &Arrival{call: c, over: s, replace: replace}, nil
}

// Account is whose the grant is that lives there; zero: nobody's, or not known.
func (a *Arrival) Account() grant.Account {
	if a.over.absent || a.over.cred.State != grant.Live {
		return grant.Account{}
	}
	return a.over.cred.Account
}

// Save starts a new consent from the sign-in: spill, then Swap, as a refresh is
// saved, so that neither ctx nor an outage of the store loses it. Another account
// over a grant that lives is refused (ErrOtherAccount) and not kept, unless
// Expect was told to replace it. With an [*UnsavedError] the result is good, and
// in a spill or a rescue block only.
func (a *Arrival) Save(ctx context.Context, in SignIn) (Imported, error) {
	if in.Tokens.Refresh.IsZero() {
		return Imported{}, ErrNoToken
	}
	// The person took minutes, in which the record may have moved on.
	t, s := &attempt{call: a.call, start: a.call.now(), arrives: true}, a.over
	if now, err := a.call.peek(ctx); err == nil {
		s = now
	}
	spilled := grant.Credential{}
	for {
		if err := a.mayEnter(s, in.Account); err != nil {
			a.forget(ctx, spilled)
			return Imported{}, err
		}
		k, unsaved := a.call.signedIn(s, in), &UnsavedError{Spilled: true}
		if err := a.call.cfg.Spill.Put(context.WithoutCancel(ctx), k); err != nil {
			unsaved.Spilled = false
			a.call.warn("the sign-in could not be spilled to this machine's disk before saving: " + err.Error())
		}
		a.forget(ctx, spilled)
		spilled, t.ver = k, s.ver
		saved, err := t.put(ctx, k, unsaved)
		if err == nil {
			a.call.setMark(ctx, saved)
			return Imported{Generation: saved.Generation, Replaced: !s.absent}, nil
		}
		if !errors.Is(err, errAgain) {
			return Imported{Generation: k.Generation, Replaced: !s.absent}, err
		}
		// Somebody started another consent meanwhile. This one is the later.
		if s, err = a.call.peek(ctx); err != nil {
			unsaved.Err, unsaved.Rescued = err, a.call.cfg.Rescue(k) == nil
			return Imported{Generation: k.Generation, Replaced: true}, unsaved
		}
	}
}

// forget removes the spill of a record that another one took the place of.
func (a *Arrival) forget(ctx context.Context, k grant.Credential) {
	if k.Writer != "" {
		a.call.dropSpill(context.WithoutCancel(ctx), k)
	}
}

// peek loads the record once, whatever ctx says.
func (c *call) peek(ctx context.Context) (snapshot, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.t.Request/2)
	defer cancel()
	cred, ver, err := c.cfg.Store.Load(ctx, c.id)
	if err != nil && !errors.Is(err, grant.ErrNotFound) {
		return snapshot{}, err
	}
	return snapshot{cred, ver, err != nil, c.now()}, nil
}

// mayEnter keeps a grant that lives from changing hands by mistake.
func (a *Arrival) mayEnter(s snapshot, who grant.Account) error {
	if s.absent || s.cred.State != grant.Live || a.replace {
		return nil
	}
	same, known := s.cred.Account.Same(who)
	switch {
	case known && !same:
		return fmt.Errorf("%w: it is %s's, and the sign-in was %s's", ErrOtherAccount, s.cred.Account, who)
	case !known:
		a.call.warn("nobody can tell whether this is the same account as before: the provider did not say whose it is")
	}
	return nil
}

func (c *call) signedIn(s snapshot, in SignIn) grant.Credential {
	in.Tokens.Access = c.dated(in.Tokens)
	k := c.imported(s, in.Tokens, in.Note)
	k.Account = in.Account
	return k
}

// Warnings are what a person should know, one sentence each.
func (a *Arrival) Warnings() []string { return a.call.warnings }
