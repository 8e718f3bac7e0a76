package engine

import (
	"context"
	"errors"
	"fmt"

	"evergrant/internal/grant"
)

// ElsewhereError says that another grant of the store has seen the refresh token
// that was to start this one: adopted it, presented it, or holds it. Of two grants
// that have one token, whichever refreshes second ends the login of both.
type ElsewhereError struct {
	Grant grant.ID // the other one
	// Unspent: that grant was started with it and has presented nothing yet.
	Unspent bool
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("the refresh token that was given is one of grant %s in the same store, and would be spent by two; nothing was sent", e.Grant)
}

// vetOrigin holds that one refresh token starts one grant of a store that can list
// its grants. It is asked where a grant starts, and nowhere else. It keeps a person's
// mistake from ending a login, and costs nobody a start: what cannot be listed or
// read, or takes longer than a request may, is passed over. Where refresh tokens do
// not rotate nothing is spent, and two grants may share one.
func (c *call) vetOrigin(ctx context.Context, seed grant.Secret) error {
	if !c.cfg.Behaviour.Rotates {
		return nil
	}
	if c.origin != nil { // known since an earlier look of this call
		return c.origin
	}
	lister, ok := c.cfg.Store.(grant.Lister)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.t.Request)
	defer cancel()
	for id, err := range lister.List(ctx) {
		if err != nil {
			c.cfg.Logger.Debug("the other grants are not known", "grant", c.id, "cause", err)
			return nil
		}
		if id == c.id {
			continue
		}
		k, _, err := c.cfg.Store.Load(ctx, id)
		if err == nil && k.Knows(seed.Digest()) {
			c.origin = &ElsewhereError{Grant: id, Unspent: unspent(k, seed)}
			return c.origin
		}
	}
	return nil
}

// startsElsewhere reports that a new start of a grant whose consent has ended is
// left out, because its token is another grant's: the grant goes on as it is.
func (c *call) startsElsewhere(s snapshot, err error) bool {
	other := (*ElsewhereError)(nil)
	if !errors.As(err, &other) || s.absent || s.cred.Bind != c.cfg.Bind {
		return false
	}
	c.warn(fmt.Sprintf("the refresh token that was given is one of grant %s, so it starts nothing here", other.Grant))
	return true
}
