// Package file keeps records in a folder: one file per grant, a lock file
// beside it, and the promises of the file system in between.
//
// # On disk
//
//	acme+main.json   the record, mode 0600; see [grant.ID.Filename] for the name
//	acme+main.lock   empty, held by flock(2) during a Swap, never deleted
//	.acme+main.json.1f0e….tmp   a Swap in progress, or one that was killed
//
// A record file is one line of JSON:
//
//	{"file":1,"nonce":"<32 hex digits, new with each Swap>","record":<package record>}
//
// Its version is a digest of all its bytes. The nonce makes the same record,
// written again, another version, and the digest makes a file that was edited
// by hand another version.
//
// # Promises and limits
//
// Only a Swap that creates a record makes the folder. A store that had its
// folder once and has lost it fails, so that a volume which is not mounted is
// not taken for an empty store by whoever has it open.
//
// A Swap locks, reads, compares, writes a temporary file, syncs it, renames it
// over the record and syncs the folder. A crash between any two of these steps
// leaves the old record or the new one. A Load takes no lock: rename is atomic.
//
// The lock excludes those who use the same lock file. Whoever deletes it while
// a Swap runs lets a second Swap in; so it is never deleted, not even with its
// grant. flock is not dependable on network file systems, which are refused
// unless [Options.Shared] takes the responsibility.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
	"evergrant/internal/record"

	"github.com/gofrs/flock"
)

// MaxRecord is the largest encoded record in bytes. It is far above what the
// limits of a record's lists allow.
const MaxRecord = 1 << 20

const (
	recordSuffix = ".json"
	lockSuffix   = ".lock"

	// lockPoll is the pause between two tries to get a lock that somebody
	// holds, which lasts for two syncs of a local disk.
	lockPoll = 2 * time.Millisecond
	// staleTemp is the age at which a temporary file belongs to a Swap that was
	// killed. The lock says so already; the age protects a Swap that lost its
	// lock file to somebody's rm.
	staleTemp = 10 * time.Minute
	// sweepOneIn is how many Swaps share the cost of looking for such files,
	// which grows with the number of grants in the folder.
	sweepOneIn = 32
)

// Options of [Open].
type Options struct {
	// Shared allows a network file system, where others may have other clocks
	// and other processes: Properties.SameHost is false with it. It is the
	// caller's word that flock(2) works there for all who use the store.
	Shared bool
}

// Store is a [grant.Store] in a folder. It is safe for concurrent use, by
// goroutines and by processes.
type Store struct {
	dir    string
	codec  *record.Codec
	shared bool
	// seen: the folder has been there. From then on its absence is a failure,
	// such as a volume that went away, and nothing makes another in its place.
	seen atomic.Bool
}

// Open returns the store in dir and changes nothing: a folder that is not there
// holds no record, and the first Swap that creates one makes it, mode 0700. Open
// refuses a folder in which others may write, and, unless [Options.Shared], one
// on a network file system. Other people may list a folder that somebody made
// with mode 0755; the records in it stay 0600.
func Open(dir string, codec *record.Codec, o Options) (*Store, error) {
	if dir == "" {
		return nil, errors.New("file store: the folder's path is empty")
	}
	s := &Store{dir: dir, codec: codec, shared: o.Shared}
	there, err := existing(dir)
	if err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	if there == dir {
		s.seen.Store(true)
		err = checkFolder(dir, o.Shared)
	}
	if err == nil && !o.Shared {
		err = checkNetwork(dir, there)
	}
	if err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	return s, nil
}

// Properties implements [grant.Store].
func (s *Store) Properties() grant.Properties {
	return grant.Properties{Atomic: true, Durable: true, SameHost: !s.shared, MaxRecord: MaxRecord}
}

// Load implements [grant.Store]. A record file that is not what it should be
// — damaged, readable by others, somebody else's, a symbolic link — is
// [grant.ErrUnreadable]: that is definite, and must not be overwritten.
func (s *Store) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	path, err := s.path(ctx, id)
	if err != nil {
		return grant.Credential{}, "", err
	}
	b, err := s.read(path)
	if err != nil {
		return grant.Credential{}, "", fmt.Errorf("file store: grant %q: %w", id, err)
	}
	rec, err := unwrap(b)
	if err == nil {
		var c grant.Credential
		if c, err = s.codec.Decode(id, rec); err == nil {
			return c, version(b), nil
		}
	}
	return grant.Credential{}, "", fmt.Errorf("file store: grant %q: %w (%s)", id, err, path)
}

// Swap implements [grant.Store]. Errors from before the rename are definite:
// [grant.ErrNotWritten].
func (s *Store) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	path, err := s.path(ctx, id)
	if err != nil {
		return "", err
	}
	if next.Grant != id {
		return "", fmt.Errorf("file store: a record of grant %q cannot be kept as grant %q", next.Grant, id)
	}
	if !s.seen.Load() {
		if err := s.appear(old); err != nil {
			return "", fmt.Errorf("file store: grant %q: %w", id, err)
		}
	}
	lock, err := s.lock(ctx, strings.TrimSuffix(path, recordSuffix)+lockSuffix)
	if err != nil {
		return "", fmt.Errorf("file store: grant %q: %w", id, notWritten(err))
	}
	v, err := s.replace(path, old, next)
	if cerr := lock.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("%s was replaced, but its lock cannot be given back: %w", path, cerr)
	}
	if err != nil {
		return "", fmt.Errorf("file store: grant %q: %w", id, err)
	}
	return v, nil
}

// replace does the work of Swap; the caller holds the lock. It seals after it
// has compared: of many who want the same version, only one has to.
func (s *Store) replace(path string, old grant.Version, next grant.Credential) (grant.Version, error) {
	if rand.IntN(sweepOneIn) == 0 {
		s.sweep(filepath.Base(path))
	}
	current, err := s.read(path)
	switch {
	case errors.Is(err, grant.ErrNotFound):
		if old != "" {
			return "", grant.ErrConflict
		}
	case err != nil:
		return "", err
	case version(current) != old:
		return "", grant.ErrConflict
	}
	rec, err := s.codec.Encode(next)
	if err != nil {
		return "", err
	}
	if len(rec) > MaxRecord {
		return "", fmt.Errorf("%w: %d bytes, at most %d", grant.ErrTooLarge, len(rec), MaxRecord)
	}
	b := wrap(rec)
	err = atomicfile.Write(path, b, 0o600)
	var replaced *atomicfile.ReplacedError
	switch {
	case errors.As(err, &replaced):
		return "", fmt.Errorf("%w: %w", grant.ErrNotDurable, err)
	case err != nil:
		return "", notWritten(err)
	}
	return version(b), nil
}

// notWritten marks an error that came before anything was in place.
func notWritten(err error) error { return unwritten{err} }

// unwritten is [grant.ErrNotWritten] whose text is the cause alone, which says
// so in its own words.
type unwritten struct{ error }

func (u unwritten) Unwrap() []error { return []error{grant.ErrNotWritten, u.error} }

func (s *Store) path(ctx context.Context, id grant.ID) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("file store: grant %q: %w", id, err)
	}
	name, err := id.Filename()
	if err != nil {
		return "", fmt.Errorf("file store: %w", err)
	}
	return filepath.Join(s.dir, name+recordSuffix), nil
}

func (s *Store) lock(ctx context.Context, path string) (*flock.Flock, error) {
	l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("somebody else held it until we gave up: %w", err)
		case isLink(err):
			err = errors.New("it is a symbolic link; remove it")
		}
		return nil, fmt.Errorf("nothing was written: lock file %s: %w", path, withoutPath(err))
	}
	return l, nil
}

// sweep removes what killed Swaps of a record left behind. A failure is no
// reason to fail the Swap at hand: the file costs space and nothing else.
func (s *Store) sweep(base string) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if of, temp := atomicfile.Base(e.Name()); !temp || of != base {
			continue
		}
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > staleTemp {
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
}

// List implements [grant.Lister], in the order of the file names.
func (s *Store) List(ctx context.Context) iter.Seq2[grant.ID, error] {
	return func(yield func(grant.ID, error) bool) {
		entries, err := os.ReadDir(s.dir)
		if errors.Is(err, fs.ErrNotExist) && !s.seen.Load() {
			return
		}
		if err != nil {
			yield("", fmt.Errorf("file store: list %s: %w", s.dir, withoutPath(err)))
			return
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield("", fmt.Errorf("file store: list %s: %w", s.dir, err))
				return
			}
			name, ok := strings.CutSuffix(e.Name(), recordSuffix)
			if !ok {
				continue
			}
			if id, ok := grant.ParseFilename(name); ok && !yield(id, nil) {
				return
			}
		}
	}
}
