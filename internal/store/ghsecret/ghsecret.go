// Package ghsecret keeps one grant's record in one GitHub Actions secret.
//
// A secret can be written and not read: a job gets the value that it had when
// the run was queued (or, of an environment, when the job began), in a variable.
// So a Load gives that snapshot, or what this process has written since. There
// is no compare-and-swap; the last writer wins. Properties say so, and the
// engine wants the caller's word that nobody else writes.
//
// # Whether the snapshot is still what the secret holds
//
// GitHub tells when a secret was last written, in whole seconds of its clock.
// Each record that is written here carries, under its seal and its proof, what
// that clock said just before: the member "written". The snapshot is current if
// the secret was last written within [slack] of that, and not later. To make this
// exact, a Swap asks GitHub for the time after it has written, and writes again,
// a moment later, until
//
//   - the secret's time is within slack of the record's own, so that the record
//     is taken for current by whoever gets it, and
//   - it is later than the record before it plus slack, so that nobody who got
//     that one takes it for current.
//
// A save is written at once and then once more, so that it is durable first.
// Before each write the time is compared with the one last seen: what somebody
// else wrote is not overwritten as far as GitHub's answers can tell, and a
// write between that look and ours is lost. A queued run with an old snapshot
// sends nothing.
//
// A bare token in place of a record is where a grant starts. It carries no time,
// so it counts only while the secret was never written again since it was made.
//
// Comparing the time with that of the run was rejected: a job's own token cannot
// always ask for it, and what a re-run gets is documented nowhere.
//
// What a process has written it also leaves in a file on its machine, sealed as
// it is: a later step of the same job, whose snapshot is old then, finds the
// current record there, by the same rule.
//
// # Write access
//
// It is proven by writing and deleting a secret of another name beside it, once
// in a process and before the secret itself is touched.
package ghsecret

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// MaxRecord is the largest encoded record in bytes.
const MaxRecord = githubapi.MaxValue

// slack is by how much the time of a write, as GitHub tells it, may be later than
// the time in the record: both have whole seconds, and the write takes a while.
const slack = 2 * time.Second

// Config says where the store is. All but API and Now are required; Snapshot may
// be zero, which is what a job gets whose secret does not exist.
type Config struct {
	Secret githubapi.Secret
	API    string // base address of the API; it belongs to the place's name
	Client *githubapi.Client
	Codec  *record.Codec // must have a sealing key
	// Variable is the name of the variable that the snapshot came in, for errors.
	Variable string
	Snapshot grant.Secret
	// Journal is a file on this machine that holds the record written last, sealed,
	// so that later steps of a job, whose snapshot is then old, go on from it. "":
	// this process only.
	Journal string
	Now     func() time.Time // nil: time.Now
}

// Store is a [grant.Store] of one grant in one secret. It is safe for concurrent
// use.
type Store struct {
	secret   githubapi.Secret
	client   *githubapi.Client
	codec    *record.Codec
	variable string
	snapshot grant.Secret
	journal  string
	now      func() time.Time

	mu     sync.Mutex
	known  *state        // what the secret holds, as far as this process knows; nil: not looked yet
	unsure *state        // the last write whose outcome is unknown
	proven bool          // that the secrets can be written
	shift  time.Duration // from GitHub's Date to the clock of its secrets
}

// Open prepares the store; it asks nothing of GitHub.
func Open(c Config) (*Store, error) {
	codec, err := c.Codec.Authenticated("ghsecret:" + c.Secret.Place(c.API))
	if err != nil {
		return nil, fmt.Errorf("store ghsecret: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{secret: c.Secret, client: c.Client, codec: codec, variable: c.Variable, snapshot: c.Snapshot, journal: c.Journal, now: c.Now}, nil
}

// Properties implements [grant.Store].
func (s *Store) Properties() grant.Properties {
	return grant.Properties{Snapshot: true, Durable: true, MaxRecord: MaxRecord}
}

// Load implements [grant.Store]. A snapshot that is not what the secret holds any
// more is [grant.ErrUnreadable]; a token that may not ask is [grant.ErrDenied].
func (s *Store) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	c, v, err := s.load(ctx, id)
	if err != nil {
		return grant.Credential{}, "", fmt.Errorf("store ghsecret: %w", err)
	}
	return c, v, nil
}

func (s *Store) load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	if err := check(ctx, id); err != nil {
		return grant.Credential{}, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.look(ctx, id)
	if err != nil {
		return grant.Credential{}, "", err
	}
	if at.landed {
		s.known, s.unsure = s.unsure, nil
		at = *s.known
	}
	switch {
	case at.version == "":
		return grant.Credential{}, "", grant.ErrNotFound
	case at.cred.Grant != id:
		return grant.Credential{}, "", unreadable("the secret %s holds the record of grant %q", s.secret, at.cred.Grant)
	}
	return at.cred.Clone(), at.version, nil
}

func check(ctx context.Context, id grant.ID) error {
	if _, err := grant.ParseID(string(id)); err != nil {
		return unwritten{err}
	}
	return ctx.Err()
}

// writtenMember is the JSON pointer of the record's member that says when it was
// written.
const writtenMember = "/written"

// encode returns the stored form of a record, and what it is for this process.
func (s *Store) encode(c grant.Credential, written time.Time) (grant.Secret, state, error) {
	stamped := c.Clone()
	if stamped.Extra == nil {
		stamped.Extra = make(map[string]string)
	}
	stamped.Extra[writtenMember] = strconv.Quote(written.Format(time.RFC3339))
	text, err := s.codec.Encode(stamped)
	if err != nil {
		return grant.Secret{}, state{}, err
	}
	return grant.NewSecret(string(text)), state{text: text, cred: unstamped(c), version: versionOf(text), written: written, own: true}, nil
}

// decode is the way back.
func (s *Store) decode(id grant.ID, text []byte) (state, error) {
	c, err := s.codec.Decode(id, text)
	if err != nil {
		return state{}, err
	}
	quoted, err := strconv.Unquote(c.Extra[writtenMember])
	if err != nil {
		return state{}, unreadable("it does not say when it was written")
	}
	written, err := time.Parse(time.RFC3339, quoted)
	if err != nil {
		return state{}, unreadable("it does not say when it was written")
	}
	return state{cred: unstamped(c), version: versionOf(text), written: written}, nil
}

// unstamped is the record without what belongs to this store alone.
func unstamped(c grant.Credential) grant.Credential {
	c = c.Clone()
	delete(c.Extra, writtenMember)
	if len(c.Extra) == 0 {
		c.Extra = nil
	}
	return c
}

// versionOf names a stored form. No two seals are equal, so it never repeats.
func versionOf(text []byte) grant.Version {
	sum := sha256.Sum256(text)
	return grant.Version(hex.EncodeToString(sum[:16]))
}

// definiteError is an error of this store whose text says all, and which counts
// as one of grant's sentinels.
type definiteError struct {
	text  string
	means error
}

func (e *definiteError) Error() string { return e.text }
func (e *definiteError) Unwrap() error { return e.means }

func unreadable(format string, args ...any) error {
	return &definiteError{fmt.Sprintf(format, args...), grant.ErrUnreadable}
}

// errStale marks a [definiteError] about what somebody else has written.
var errStale = fmt.Errorf("%w: the secret was written by somebody else", grant.ErrUnreadable)

func stale(format string, args ...any) error {
	return &definiteError{fmt.Sprintf(format, args...), errStale}
}

// unwritten is [grant.ErrNotWritten] whose text is the cause alone.
type unwritten struct{ error }

func (u unwritten) Unwrap() []error { return []error{grant.ErrNotWritten, u.error} }

// cannotAsk is an answer of the API that trying again does not mend, as a Load
// reports it: [grant.ErrDenied], whose text is the cause alone.
type cannotAsk struct{ error }

func (c cannotAsk) Unwrap() []error { return []error{grant.ErrDenied, c.error} }

// lasting reports an error of the API that somebody has to mend.
func lasting(err error) bool {
	var refusal *githubapi.Error
	return errors.As(err, &refusal) && refusal.Lasting()
}
