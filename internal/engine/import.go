package engine

import (
	"context"
	"errors"
	"fmt"

	"evergrant/internal/grant"
)

// ErrLiving: the grant exists, and what would replace it needs a person's word.
var ErrLiving = errors.New("grant exists already")

// Imported says what [Engine.Import] wrote.
type Imported struct {
	Generation uint64
	Replaced   bool // there was a record of an older consent
}

// Import starts a new consent from a token set that another program obtained: an
// access token that still lives is served, and nothing is spent. Like
// [Engine.Adopt] it waits for no lease, and refuses a refresh token that the grant
// knows (ErrKnownToken), or that another one of the store does ([*ElsewhereError]).
// A record whose consent has not ended, or that belongs to another endpoint or
// client, is kept (ErrLiving) unless replace is set. The note goes into the grant's
// story.
func (e *Engine) Import(ctx context.Context, id grant.ID, tokens grant.TokenSet, replace bool, note string) (Imported, error) {
	if tokens.Refresh.IsZero() {
		return Imported{}, ErrNoToken
	}
	c, tried := e.newCall(id, Request{}), false
	if err := c.readMark(ctx); err != nil {
		return Imported{}, err
	}
	var out Imported
	for {
		s, err := c.load(ctx)
		if err != nil {
			return Imported{}, err
		}
		// What this machine holds of the grant may be newer than the store.
		s, err = c.offerSpills(ctx, s)
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil {
			return Imported{}, err
		}
		if tried && s.cred.Knows(tokens.Refresh.Digest()) {
			return out, nil // an earlier Swap of ours landed
		}
		if err := c.mayImport(s, tokens, replace); err != nil {
			return Imported{}, err
		}
		if err := c.vetOrigin(ctx, tokens.Refresh); err != nil {
			return Imported{}, err
		}
		next := c.imported(s, tokens, note)
		tried, out = true, Imported{Generation: next.Generation, Replaced: !s.absent}
		_, err = c.swap(ctx, s.ver, next, c.t.Settle)
		switch {
		case err == nil:
			c.setMark(ctx, next)
			return out, nil
		case !errors.Is(err, grant.ErrConflict):
			return Imported{}, storeError(err)
		}
	}
}

func (c *call) mayImport(s snapshot, tokens grant.TokenSet, replace bool) error {
	switch {
	case s.absent:
		return nil
	case s.cred.Knows(tokens.Refresh.Digest()):
		return ErrKnownToken
	case replace:
		return nil
	case s.cred.State != grant.NeedsConsent:
		return fmt.Errorf("%w, with generation %d; its state is: %s", ErrLiving, s.cred.Generation, s.cred.State)
	case s.cred.Bind != c.cfg.Bind:
		return fmt.Errorf("%w: %s", ErrLiving, bindDifference(s.cred.Bind, c.cfg.Bind))
	}
	return nil
}

func (c *call) imported(s snapshot, tokens grant.TokenSet, note string) grant.Credential {
	next := c.newConsent(s, tokens.Refresh)
	next.Tokens = tokens
	next.Tokens.Access.Grant, next.Tokens.Access.Generation = c.id, next.Generation
	next.Events[len(next.Events)-1].Note = note
	return next
}
