package grant

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Sentinel errors of this module's contracts; test with [errors.Is].
var (
	// ErrNotFound: the store answered, and has no record of that grant.
	ErrNotFound = errors.New("no record of this grant")
	// ErrUnreadable: there is a record, and it cannot be read: damaged, of a
	// newer major version, sealed to another key, or not ours. It must never be
	// treated as absent and never be overwritten.
	ErrUnreadable = errors.New("record cannot be read")
	// ErrDenied: the store refuses to be asked by this caller, and will until
	// somebody mends something: no permission, no such repository, a host that is
	// not trusted. It says nothing of the record, which must not be treated as
	// absent. An outage is not one: a timeout, a lost connection, a server's 5xx,
	// a rate limit.
	ErrDenied = errors.New("the store refuses to be asked")
	// ErrConflict: the version is not current, and this Swap wrote nothing.
	ErrConflict = errors.New("record was changed by someone else")
	// ErrTooLarge: the record exceeds Properties.MaxRecord; nothing was written.
	ErrTooLarge = errors.New("record is too large for this store")
	// ErrNotWritten: this Swap wrote nothing, for a reason other than a
	// conflict, such as a folder that is not writable.
	ErrNotWritten = errors.New("nothing was written")
	// ErrNotDurable: this Swap's record is in place, and may not survive a power
	// failure. The outcome counts as unknown until a later Swap is durable.
	ErrNotDurable = errors.New("not certain to be durable")
	// ErrNotExclusive: a store whose Swap should keep two writers apart does not.
	ErrNotExclusive = errors.New("the store does not keep two writers apart")
	// ErrNeedsConsent: a person has to sign in again.
	ErrNeedsConsent = errors.New("needs a new consent")
	// ErrUnasked: a [Checker] got no answer that says anything of the place: an
	// outage, a lost connection, a rate limit.
	ErrUnasked = errors.New("it cannot be asked now")
	// ErrInDoubt: a reply was lost and the next try is not allowed yet.
	ErrInDoubt = errors.New("in doubt: a reply was lost")
)

// Store is the only durable place of a [Credential]. Implementations pass
// granttest.TestStore. It never retries and never decides.
type Store interface {
	// Load returns the record and its version. ErrNotFound and ErrUnreadable
	// are definite; any other error means that the store could not be asked. With
	// ErrDenied asking again is no use; without it the store may come back.
	Load(ctx context.Context, id ID) (Credential, Version, error)

	// Swap replaces the record if its version is old; old == "" creates.
	// ErrConflict says that this call wrote nothing (and says nothing about an
	// earlier call of unknown outcome). ErrTooLarge, ErrUnreadable and
	// ErrNotWritten say the same. Any other error means that the outcome is unknown, to be settled
	// by repeating the identical call. Once Swap has returned a version, the
	// record is durable as far as Properties.Durable goes. Versions never
	// repeat, and every new content carries a fresh Writer.
	Swap(ctx context.Context, id ID, old Version, next Credential) (Version, error)

	Properties() Properties
}

// Properties declare a store's weaknesses instead of hiding them.
type Properties struct {
	Atomic    bool // Swap compares and swaps; without it the engine wants a declared single writer
	Snapshot  bool // Load may return a state read some time ago
	Durable   bool // a swapped record survives a power failure
	SameHost  bool // all who reach the store share one clock and one process table
	MaxRecord int  // largest encoded record in bytes; 0: no limit
}

// Lister is an optional ability of a store, for status and the broker.
type Lister interface {
	// List yields the grants in the store. An error ends the sequence.
	List(ctx context.Context) iter.Seq2[ID, error]
}

// Prover is an optional ability of a store, for doctor.
type Prover interface {
	// Prove proves, on something beside the record of this grant, that Swap could
	// write it and that of two writers one loses. It leaves nothing behind that
	// anybody reads. [ErrNotExclusive] says that two writers are not kept apart;
	// otherwise its errors are those of Swap.
	Prove(ctx context.Context, id ID) error
}

// Refresher presents refresh tokens to one token endpoint as one client. It is
// built per grant and checked against its [Binding]. Only the engine calls it.
type Refresher interface {
	// Connect opens the connection of one attempt (DNS, TCP, TLS) and sends
	// nothing of the request, so that the gap between lease and first byte is
	// one write. Any error is [Unspent] by nature.
	Connect(ctx context.Context) (Connection, error)
}

// Connection makes at most one request, ever: one connection per attempt, and
// nothing beneath it resends.
type Connection interface {
	// Refresh presents c.Tokens.Refresh once. Just before the first byte it
	// calls gate; an error from gate means that nothing is sent. Until the
	// first byte ctx counts; from then on only the request timeout does: a
	// caller who gives up must not lose a reply.
	//
	// A failure is a *[RefreshError]. It is Unspent only when the request
	// cannot have been acted upon. A success whose reply was damaged but held a
	// complete refresh token is a success.
	Refresh(ctx context.Context, c Credential, gate func() error) (TokenSet, error)
	// Close ends the connection; it is safe to call twice.
	Close() error
}

// Fate is what a failed attempt says of the refresh token that it presented.
// The zero value is the cautious one.
type Fate uint8

const (
	// InDoubt: bytes left, and no whole, readable answer came.
	InDoubt Fate = iota
	// Unspent: it cannot have been acted upon.
	Unspent
	// Refused: a whole answer about the request, not the token.
	Refused
	// Rejected: a code that RFC 6749 §5.2 or the preset names for the token.
	Rejected
)

func (f Fate) String() string {
	return [...]string{"in doubt", "unspent", "refused", "rejected"}[min(f, Rejected)]
}

// RefreshError is a failed attempt. Its text carries no body, header or token.
type RefreshError struct {
	Fate       Fate
	Code       string        // the provider's error code, cleaned; "" if none
	Status     int           // HTTP status; 0 if no status line arrived
	RetryAfter time.Duration // as the provider asked; 0 if it did not
	// Raw is a reply that may hold a token and could not be read (only with
	// InDoubt), at most MaxRaw bytes.
	Raw Secret
	Err error // the cause, for the operator
}

func (e *RefreshError) Error() string {
	switch {
	case e.Code != "" && e.Err != nil:
		return fmt.Sprintf("token endpoint: %v (%s, HTTP %d): %v", e.Fate, e.Code, e.Status, e.Err)
	case e.Code != "":
		return fmt.Sprintf("token endpoint: %v (%s, HTTP %d)", e.Fate, e.Code, e.Status)
	case e.Err != nil && e.Status != 0:
		return fmt.Sprintf("token endpoint: %v (HTTP %d): %v", e.Fate, e.Status, e.Err)
	case e.Err != nil:
		return fmt.Sprintf("token endpoint: %v: %v", e.Fate, e.Err)
	}
	return fmt.Sprintf("token endpoint: %v (HTTP %d)", e.Fate, e.Status)
}

func (e *RefreshError) Unwrap() error { return e.Err }

// Sink is a write-only place for an access token. It never sees a refresh
// token. Deliver is called again with a newer token when there is one.
type Sink interface {
	Deliver(ctx context.Context, t AccessToken) error
}

// Checker is an optional ability of a [Sink]: before anything is spent it is asked
// what somebody has to mend.
type Checker interface {
	// Check says what keeps Deliver from succeeding, as far as that shows without
	// writing. With [ErrUnasked] it is not known: the place may be there when there is
	// a token.
	Check(ctx context.Context) error
}

// Spill keeps unsaved records on this machine, sealed and synced, until they
// are in the store: several per grant, each known by its Writer.
type Spill interface {
	// Put returns once the record is durable. Putting the same Writer again
	// replaces it.
	Put(ctx context.Context, c Credential) error
	// List returns the grant's records in no particular order. With an error,
	// the records that could be read are returned as well.
	List(ctx context.Context, id ID) ([]Credential, error)
	// Remove is no error when there is none.
	Remove(ctx context.Context, id ID, writer string) error
}

// Readier is an optional ability of a [Spill]: the engine asks before it takes
// a lease, so that a spill that cannot be written is found before anything is
// sent.
type Readier interface {
	// Ready proves that a record of this grant could be put now.
	Ready(ctx context.Context, id ID) error
}

// Mark is the high-water mark of a grant: the newest state that this machine
// knows to have been in the store. A store below it was rolled back.
type Mark struct {
	Consent    string
	Generation uint64
}

// Marks keeps high-water marks outside the store.
type Marks interface {
	// Mark returns the zero Mark when there is none.
	Mark(ctx context.Context, id ID) (Mark, error)
	// SetMark is called after a definite Swap only.
	SetMark(ctx context.Context, id ID, m Mark) error
}
