package grant

import "time"

// Reuse is what a provider does to a spent refresh token that is presented
// again. The zero value is the worst case, for providers that we do not know.
type Reuse uint8

const (
	// ReuseFatal revokes the family at once (RFC 9700 §4.14), or is unknown.
	ReuseFatal Reuse = iota
	// ReuseGrace tolerates it for [Behaviour.Grace] after the first use.
	ReuseGrace
	// ReuseSafe never minds: no rotation, or old tokens stay valid.
	ReuseSafe
)

func (r Reuse) String() string {
	return [...]string{"fatal", "grace", "safe"}[min(r, ReuseSafe)]
}

// Sibling is what a second answer inside the grace does to the first one. The
// zero value is the worst case.
type Sibling uint8

const (
	SiblingReplaces Sibling = iota // the first answer's tokens die
	SiblingSame                    // the same tokens are answered again
	SiblingValid                   // new tokens, and the first ones stay valid
)

func (s Sibling) String() string {
	return [...]string{"replaces", "same", "valid"}[min(s, SiblingValid)]
}

// Behaviour is what the protocol must know of a provider. It is preset data;
// the zero value is the most cautious reading of an unknown provider that
// does not rotate, so set Rotates unless it is known not to.
type Behaviour struct {
	Rotates bool
	Reuse   Reuse
	Grace   time.Duration // from the first use; only with ReuseGrace
	Sibling Sibling
	// RevokesAccess: a refresh ends the access token issued before it.
	RevokesAccess bool
	// Life is assumed for an access token whose reply names none; 0: unknown.
	Life time.Duration
}
