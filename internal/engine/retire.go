package engine

import (
	"context"
	"errors"
	"fmt"

	"evergrant/internal/grant"
)

// Revocation is what became of a refresh token at the provider.
type Revocation uint8

// Outcomes. The zero value is the cautious one.
const (
	RevokedPerhaps Revocation = iota // it was asked, and no answer tells
	Revoked                          // it said so
	NotRevoked                       // it was not asked
)

func (r Revocation) String() string {
	return [...]string{"unknown", "yes", "no"}[min(r, NotRevoked)]
}

// Retirement is what [Engine.Retire] did.
type Retirement struct {
	Revocation Revocation
	Before     bool // it was retired already
	Warnings   []string
}

// Retire ends a grant. It takes the lease, so that no refresh runs meanwhile,
// has the refresh token revoked, and writes the record as retired, without
// tokens: where nobody knows whether the token was revoked, it is kept, so that
// another Retire can ask again. An error of revoke says that the token was not
// revoked for certain: then the grant goes on as before. A nil revoke asks
// nobody. wait bounds the waiting for another's lease.
func (e *Engine) Retire(ctx context.Context, id grant.ID, r Request, revoke func(context.Context, grant.Secret) (Revocation, error)) (Retirement, error) {
	c := e.newCall(id, r)
	out, err := c.retire(ctx, revoke)
	out.Warnings = c.warnings
	return out, err
}

func (c *call) retire(ctx context.Context, revoke func(context.Context, grant.Secret) (Revocation, error)) (Retirement, error) {
	if err := c.readMark(ctx); err != nil {
		return Retirement{}, err
	}
	for {
		s, err := c.loadWithSpills(ctx)
		switch {
		case err != nil:
			return Retirement{}, err
		case s.absent:
			return Retirement{}, grant.ErrNotFound
		}
		// Where nothing is sent, it does not matter where the token belongs.
		if err := c.vet(s); err != nil && !(revoke == nil && errors.Is(err, ErrBound)) {
			return Retirement{}, err
		}
		out := Retirement{Revocation: NotRevoked, Before: s.cred.State == grant.Retired}
		if out.Before && (s.cred.Tokens.Refresh.IsZero() || revoke == nil) {
			return out, nil
		}
		a := &attempt{call: c, prior: s.cred, ver: s.ver}
		switch err := a.hold(ctx, s); {
		case errors.Is(err, errAgain):
			continue
		case err != nil:
			return out, err
		}
		if revoke != nil {
			if out.Revocation, err = revoke(ctx, s.cred.Tokens.Refresh); err != nil {
				a.release(ctx, a.restored())
				return out, err
			}
		}
		return out, a.endGrant(ctx, out.Revocation)
	}
}

// hold takes the lease for something other than a refresh, so nothing is
// counted. While another's runs, it waits, and asks for another look.
func (a *attempt) hold(ctx context.Context, s snapshot) error {
	if runs, fault := foreignLease(s.cred, a.ask(s), a.t); runs {
		step := Step{Do: Wait, Row: RowLease, Next: leaseEnd(s.cred, a.t)}
		if fault {
			step = Step{Do: Wait, Row: RowClockFault}
		}
		if err := a.wait(ctx, s, step); err != nil {
			return &WaitError{Next: step.Next, Err: because(ErrLeased, err)}
		}
		return errAgain
	}
	a.start = a.now()
	next := a.prior.Clone()
	next.Writer = a.cfg.NewID()
	return a.take(ctx, next)
}

// endGrant writes the retired record, whatever ctx says: a revoked token must not
// stay behind as a living one. Its consent is a new one, so that what belongs to
// the old one, saved late, is told apart from a sign-in that comes after.
func (a *attempt) endGrant(ctx context.Context, r Revocation) error {
	next := a.rec.Clone()
	digest := next.Tokens.Refresh.Digest()
	next.Replaces, next.Consent, next.Writer = next.Consent, a.cfg.NewID(), a.cfg.NewID()
	next.State, next.Reason = grant.Retired, "logged out"
	next.Lease, next.Doubt, next.Raw = nil, nil, grant.Secret{}
	next.AddSpent(digest)
	if r == RevokedPerhaps {
		next.Reason = "logged out; whether the provider revoked the token is unknown"
		next.Tokens.Access = grant.AccessToken{}
	} else {
		next.Tokens = grant.TokenSet{ObtainedAt: next.Tokens.ObtainedAt}
	}
	next.AddEvent(a.event(grant.EventRetired, "revoked at the provider: "+r.String()))
	dctx := context.WithoutCancel(ctx)
	if _, err := a.swap(dctx, a.ver, next, max(a.t.Lease-a.elapsed(a.start), a.t.Settle)); err != nil {
		return fmt.Errorf("%w: the grant is not retired (revoked at the provider: %v): %w", ErrStore, r, err)
	}
	// What this machine holds back for the store is worth nothing now.
	if s, err := a.load(dctx); err == nil {
		_, _ = a.offerSpills(dctx, s)
	}
	return nil
}
