package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"evergrant/internal/grant"
)

// Config wires an [Engine] for the grants of one store at one provider.
// Store, Refresher, Spill, Marks, Rescue and Holder are required.
type Config struct {
	Store     grant.Store
	Refresher grant.Refresher
	Behaviour grant.Behaviour
	// Provider and Bind go into new records, and existing ones are held to Bind.
	Provider string
	Bind     grant.Binding

	Spill grant.Spill
	Marks grant.Marks
	// Rescue prints the sealed record where a person can find it, as the copy
	// of last resort. It is called at most once per attempt.
	Rescue func(grant.Credential) error
	// Holder names one attempt of this process, uniquely; see package holder.
	Holder func() string
	// HolderGone reports that the process of that holder certainly exists no
	// more. Nil: never known.
	HolderGone func(holder string) bool
	// HolderAlive reports that it certainly exists, on this machine. Nil: never
	// known. Set neither or both.
	HolderAlive func(holder string) bool
	// By labels this run in the grant's story, such as "github run 123".
	By string

	// SingleWriter is the caller's word that nobody else writes this store;
	// without it a store that is not atomic is refused.
	SingleWriter bool
	Timing       Timing           // zero: DefaultTiming for the store
	Now          func() time.Time // nil: time.Now
	Jitter       func() float64   // in [0,1), spreads pauses; nil: math/rand
	NewID        func() string    // unique ids of Writer and Consent; nil: crypto/rand
	Logger       *slog.Logger     // nil: discarded
}

// Request is what one caller asks for. The zero value asks for a token that
// lives at all.
type Request struct {
	// MinTTL is the life wanted, capped by what the provider issues; 0: alive.
	MinTTL time.Duration
	After  uint64 // only a token of a later generation will do
	Force  bool   // refresh even if enough life is left
	// Wait bounds waiting for others and for allowed moments, never an attempt.
	Wait time.Duration
	// BestEffort accepts a living token below MinTTL instead of an error.
	BestEffort bool
	// NoRevokeRunning refuses a refresh that ends a token still alive.
	NoRevokeRunning bool
	// Seed is a refresh token to start from; see the protocol, "Starting".
	Seed          grant.Secret
	NoCreate      bool
	MinGeneration uint64
}

// Outcome is what the caller got. It is meaningful with a nil error and with
// an [*UnsavedError].
type Outcome struct {
	Access    grant.AccessToken
	Refreshed bool // this call made the refresh; otherwise the token was served
	Rotated   bool // and the provider gave a new refresh token
	TTLMet    bool // the life asked for is met
	// Life is that of the access token as it was issued.
	Life time.Duration
	// GoodUntil is the access token's end of life; with NextRefreshEnds a
	// refresh by anyone ends it sooner.
	GoodUntil       time.Time
	NextRefreshEnds bool
	ConsentEnds     time.Time // zero: unknown
	State           grant.State
	Reason          string
	Warnings        []string // for people, one sentence each
}

// Sentinels of the engine; test with [errors.Is]. See also those of grant.
var (
	// ErrBound: the record belongs to another token URL or client id.
	ErrBound = errors.New("grant is bound elsewhere")
	// ErrRolledBack: the store is below the high-water mark.
	ErrRolledBack = errors.New("store was rolled back")
	// ErrAhead wraps ErrRolledBack: the caller knows of a later generation
	// (Request.After or Request.MinGeneration) than the store has.
	ErrAhead = fmt.Errorf("%w, or the generation that was named never existed", ErrRolledBack)
	// ErrNotAtomic: a store that does not compare and swap, and no word of a
	// single writer.
	ErrNotAtomic = errors.New("store is not atomic")
	// ErrLeased: another holder kept the lease for longer than Request.Wait.
	ErrLeased = errors.New("another holder has the lease")
	// ErrUnreachable: the provider cannot be reached or says "later".
	ErrUnreachable = errors.New("provider cannot be reached")
	// ErrRefused: the provider refused the request itself.
	ErrRefused = errors.New("provider refused the request")
	// ErrWouldRevoke: NoRevokeRunning forbids the refresh.
	ErrWouldRevoke = errors.New("a refresh would end a running token")
	// ErrRetired: the grant was logged out.
	ErrRetired = errors.New("grant is retired")
	// ErrStore: the store cannot be read or written; nothing was spent.
	ErrStore = errors.New("store failed")
	// ErrUnusable: the refresh succeeded and is saved, but its access token is
	// missing from the reply or ends before it can be delivered.
	ErrUnusable = errors.New("reply held no usable access token")
	// ErrNoToken: no record, and nothing to start from.
	ErrNoToken = errors.New("no record and no refresh token to start from")
)

// BoundError is ErrBound with both ends.
type BoundError struct{ Have, Want grant.Binding }

func (e *BoundError) Error() string {
	return fmt.Sprintf("%v: %s", ErrBound, bindDifference(e.Have, e.Want))
}

func (e *BoundError) Unwrap() error { return ErrBound }

// WaitError wraps an error that time mends: trying again at Next is right.
type WaitError struct {
	Next time.Time // zero: unknown, soon
	Err  error
}

func (e *WaitError) Error() string {
	if e.Next.IsZero() {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v; next try at %s", e.Err, e.Next.UTC().Format(time.RFC3339))
}

func (e *WaitError) Unwrap() error { return e.Err }

// UnsavedError says that the refresh succeeded and the record could not be
// saved in the store: it exists as a spill, a rescue block, or both. The
// [Outcome] beside it is good.
type UnsavedError struct {
	Spilled, Rescued bool
	Err              error // why the store could not be written
}

func (e *UnsavedError) Error() string {
	return fmt.Sprintf("refreshed, but not saved in the store: %v", e.Err)
}

func (e *UnsavedError) Unwrap() error { return e.Err }
