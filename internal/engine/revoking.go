package engine

import (
	"errors"
	"fmt"

	"evergrant/internal/grant"
)

// mayRevoke holds the caller's wish not to end a token that somebody uses.
func (c *call) mayRevoke(s snapshot) error {
	if c.r.NoRevokeRunning && c.revokes(s.cred) {
		return &WaitError{Next: s.cred.Tokens.Access.Expiry, Err: ErrWouldRevoke}
	}
	return nil
}

// revokes reports that a refresh ends an access token that lives.
func (c *call) revokes(k grant.Credential) bool {
	a := k.Tokens.Access
	return c.cfg.Behaviour.RevokesAccess && !a.Value.IsZero() && a.Expiry.After(c.now())
}

// warnRevoked tells of an access token that an answer ended, or may have ended.
func (c *call) warnRevoked(k grant.Credential, err error) {
	re := (*grant.RefreshError)(nil)
	verb := "ended"
	switch {
	case !c.revokes(k):
		return
	case err == nil:
	case errors.As(err, &re) && re.Fate != grant.InDoubt:
		return // nothing was acted upon
	default:
		verb = "may have ended"
	}
	c.warn(fmt.Sprintf("the refresh %s the access token of generation %d, which was good until %s, for whoever uses it",
		verb, k.Tokens.Access.Generation, stamp(k.Tokens.Access.Expiry)))
}
