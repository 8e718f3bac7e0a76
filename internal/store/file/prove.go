package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"

	"github.com/gofrs/flock"
)

// probeName begins the name of the file on which write access is proven, each time
// another one: proofs at once must not share a lock that each of them takes away.
const probeName = ".evergrant-probe-"

// probeSize is more than a record has, in bytes, so that a full disk is noticed.
const probeSize = 16 << 10

// Prove implements [grant.Prover]: beside the records it takes a lock, which must
// keep a second taker out, replaces a file as a Swap does, and takes both away. Where
// the folder is not there yet it makes one beside it, and takes it away.
func (s *Store) Prove(ctx context.Context, id grant.ID) error {
	if _, err := s.path(ctx, id); err != nil {
		return err
	}
	err := checkExists(s.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = s.proveFolder()
	case err == nil:
		err = s.proveRecord(ctx)
	}
	if err != nil {
		return fmt.Errorf("file store: %w", err)
	}
	return nil
}

func checkExists(dir string) error {
	_, err := os.Stat(dir)
	return err
}

// proveFolder proves that the first record can make the folder.
func (s *Store) proveFolder() error {
	at, err := existing(s.dir)
	if err != nil {
		return notWritten(err)
	}
	dir, err := os.MkdirTemp(at, ".evergrant-probe-")
	if err != nil {
		return notWritten(fmt.Errorf("no folder can be made in %s: %w", at, withoutPath(err)))
	}
	return os.Remove(dir)
}

func (s *Store) proveRecord(ctx context.Context) error {
	path := filepath.Join(s.dir, probeName+rand.Text()[:12])
	lock, err := s.lock(ctx, path+lockSuffix)
	if err != nil {
		return notWritten(err)
	}
	defer func() {
		_ = os.Remove(path)
		_ = os.Remove(path + lockSuffix)
		_ = lock.Close()
	}()
	second := flock.New(path+lockSuffix, flock.SetFlag(os.O_RDWR|noFollow), flock.SetPermissions(0o600))
	taken, err := second.TryLock()
	_ = second.Close()
	if err == nil && taken {
		return fmt.Errorf("%w: the lock in %s was given to two", grant.ErrNotExclusive, s.dir)
	}
	for _, fill := range []byte{'1', '2'} {
		b := bytes.Repeat([]byte{fill}, probeSize)
		if err := atomicfile.Write(path, b, 0o600); err != nil {
			return notWritten(err)
		}
		back, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(back, b) {
			return notWritten(fmt.Errorf("what is written to %s does not come back", path))
		}
	}
	if err := os.Remove(path); err != nil {
		return notWritten(fmt.Errorf("%s cannot be taken away: %w", path, withoutPath(err)))
	}
	return nil
}
