package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// claimed is the path of --token-file while a run has it. A file beside it is locked
// for as long as the run lives, and left behind by one that was killed: so a token that
// such a run has left is known from what is somebody else's.
type claimed struct {
	path string
	lock *flock.Flock
}

// claimTokenFile takes the path, and refuses one at which there is a file that no
// run has made. An empty one, as mktemp makes it, loses nothing.
func claimTokenFile(path string) (*claimed, error) {
	if path == "" {
		return nil, nil
	}
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".evergrant-run")
	_, err := os.Lstat(name)
	left := err == nil
	c := &claimed{path, flock.New(name, flock.SetPermissions(0o600))}
	switch got, err := c.lock.TryLock(); {
	case err != nil:
		return nil, usagef("--token-file: %s cannot be claimed: %v", shownPath(path), atomicfile.Bare(err)).hint("choose a folder of yours")
	case !got:
		return nil, usagef("--token-file: another evergrant run keeps its token in %s", shownPath(path)).hint("give each its own file")
	}
	if free(path, left) {
		return c, nil
	}
	if !left {
		_ = os.Remove(name)
	}
	_ = c.lock.Unlock()
	return nil, usagef("--token-file: %s is there already, and no evergrant run has made it; it would be overwritten, and removed at the end", shownPath(path)).
		hint("choose a path at which there is nothing")
}

// free reports whether nothing of anybody's is at path. left says that a run which
// was killed has had it: then a file as such a run makes it is no one's any more.
func free(path string, left bool) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return true // the sink says what is wrong, if it is more than absence
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return true // of the first, too, the sink says what is wrong
	}
	if !left || info.Size() > 1<<20 {
		return false
	}
	b, err := os.ReadFile(path)
	t := grant.AccessToken{Value: grant.NewSecret(string(b))}
	return err == nil && t.Deliverable() == nil && !strings.Contains(string(b), " ")
}

// release removes the token, if it is still the file that was written last, and gives
// the path back. wrote is nil where nothing was written.
func (c *claimed) release(wrote os.FileInfo) error {
	if c == nil {
		return nil
	}
	var failed error
	there, err := os.Lstat(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || wrote == nil:
	case err == nil && os.SameFile(there, wrote) && there.ModTime().Equal(wrote.ModTime()):
		failed = os.Remove(c.path) // it is of no use to anybody afterwards
	default:
		failed = fmt.Errorf("the file at %s is not the one that was written last: it stays", shownPath(c.path))
	}
	return errors.Join(failed, os.Remove(c.lock.Path()), c.lock.Unlock())
}
