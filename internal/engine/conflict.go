package engine

import (
	"slices"

	"evergrant/internal/grant"
)

// Resolution is what the conflict rule says of an unsaved record.
type Resolution uint8

const (
	// Saved: the stored record is or contains the candidate.
	Saved Resolution = iota
	// Foreign: the stored record belongs to another consent and stays; the
	// candidate stays sealed where it is.
	Foreign
	// Stale: the stored record is newer and stays; the candidate can go.
	Stale
	// Write: the candidate goes over the stored record, on its version.
	Write
)

func (r Resolution) String() string {
	return [...]string{"saved", "foreign", "stale", "write"}[min(r, Write)]
}

// Resolve is the conflict rule: candidate k, the result of a refresh, meets
// the stored record s. With Write, the returned record is the one to swap; it
// keeps k's Writer, by which a later look recognises it.
func Resolve(k, s grant.Credential) (Resolution, grant.Credential) {
	switch {
	case k.Consent != s.Consent && k.Replaces != "" && k.Replaces == s.Consent:
		return Write, over(k, s) // k's consent was given over this very one
	case s.Writer == k.Writer || rotated(k) && holdsOrSpent(s, k.Tokens.Refresh.Digest()):
		return Saved, s
	case s.State == grant.Retired:
		return Stale, s // logout revoked the family
	case s.Consent != k.Consent:
		return Foreign, s
	case s.Generation < k.Generation:
		k.Bind = s.Bind // a repair may have moved the chain since
		return Write, k
	case s.Generation == k.Generation && k.Tokens.ObtainedAt.After(s.Tokens.ObtainedAt):
		// Siblings of one grace: the later answer is the one that lives on.
		k.Bind = s.Bind
		return Write, over(k, s)
	}
	return Stale, s
}

// over is k with a generation that s does not have. It keeps k's Writer.
func over(k, s grant.Credential) grant.Credential {
	k = k.Clone()
	k.Generation = max(k.Generation, s.Generation+1)
	k.Tokens.Access.Generation = k.Generation
	return k
}

// rotated reports whether k's refresh token is a new one. Only then does the
// token say whether s contains k: a token that did not rotate is in both.
func rotated(k grant.Credential) bool {
	return !slices.Contains(k.Spent, k.Tokens.Refresh.Digest())
}

func holdsOrSpent(s grant.Credential, digest string) bool {
	return s.Tokens.Refresh.Digest() == digest || slices.Contains(s.Spent, digest)
}
