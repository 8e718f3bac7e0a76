package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/tokensocket"
)

// keepPlace is where a process in the background keeps a job's token: a folder
// below RUNNER_TEMP that only its user can enter.
//
//	RUNNER_TEMP/evergrant/keep/ID/token       the current token, mode 0600
//	                              words.json  what the process has to say, see [lastWords]
//	                              sockets     a link, where the sockets are elsewhere
//	                              token.sock  package tokensocket
//	                              control     the post step says "end", and gets the last words
type keepPlace struct {
	folder  string
	sockets string // folder, or another one where folder's path is too long for a socket
}

func (p keepPlace) token() string   { return filepath.Join(p.folder, "token") }
func (p keepPlace) words() string   { return filepath.Join(p.folder, "words.json") }
func (p keepPlace) link() string    { return filepath.Join(p.folder, "sockets") }
func (p keepPlace) socket() string  { return filepath.Join(p.sockets, "token.sock") }
func (p keepPlace) control() string { return filepath.Join(p.sockets, "control") }
func (p keepPlace) id() string      { return filepath.Base(p.folder) }

func keepRoot(runnerTemp string) string { return filepath.Join(runnerTemp, "evergrant", "keep") }

// newKeepPlace makes the folders.
func newKeepPlace(runnerTemp string) (keepPlace, error) {
	root := keepRoot(runnerTemp)
	if err := atomicfile.MkdirAll(root, 0o700); err != nil {
		return keepPlace{}, fmt.Errorf("a folder for the token cannot be made: %w", err)
	}
	folder, err := os.MkdirTemp(root, "")
	if err != nil {
		return keepPlace{}, fmt.Errorf("a folder for the token cannot be made: %w", err)
	}
	p := keepPlace{folder, folder}
	if len(folder) <= tokensocket.LongestFolder {
		return p, nil
	}
	var failed error
	for _, top := range socketTops() {
		if len(top)+len("/evergrant-1234567890") > tokensocket.LongestFolder {
			failed = errors.Join(failed, fmt.Errorf("%s is too long for a socket in it: %d bytes are possible", top, tokensocket.LongestFolder))
			continue
		}
		if p.sockets, err = os.MkdirTemp(top, "evergrant-"); err != nil {
			failed, p.sockets = errors.Join(failed, err), folder
			continue
		}
		if err = os.Symlink(p.sockets, p.link()); err != nil {
			return keepPlace{}, errors.Join(fmt.Errorf("a folder for the sockets cannot be made: %w", err), p.remove())
		}
		return p, nil
	}
	return keepPlace{}, errors.Join(fmt.Errorf("RUNNER_TEMP is too long for a socket in it, and a folder elsewhere cannot be made: %w", failed), p.remove())
}

// socketTops are where the sockets are if RUNNER_TEMP is too long for them.
func socketTops() []string { return []string{os.TempDir(), "/tmp"} }

// keepPlaceOf finds the folders that newKeepPlace has made. The id comes from
// the job's state, and leads nowhere else.
func keepPlaceOf(runnerTemp, id string) (p keepPlace, found bool) {
	if strings.Trim(id, "0123456789") != "" || id == "" {
		return p, false
	}
	p.folder = filepath.Join(keepRoot(runnerTemp), id)
	if info, err := os.Lstat(p.folder); err != nil || !info.IsDir() {
		return p, false
	}
	p.sockets = p.folder
	if elsewhere, err := os.Readlink(p.link()); err == nil && madeForSockets(elsewhere) {
		p.sockets = elsewhere
	}
	return p, true
}

// madeForSockets reports a folder as newKeepPlace makes it: whoever has put another link
// there leads to nothing.
func madeForSockets(folder string) bool {
	number, named := strings.CutPrefix(filepath.Base(folder), "evergrant-")
	there := slices.ContainsFunc(socketTops(), func(top string) bool { return filepath.Join(top, filepath.Base(folder)) == folder })
	if !there || !named || strings.Trim(number, "0123456789") != "" {
		return false
	}
	info, err := os.Lstat(folder)
	return err == nil && info.Mode() == fs.ModeDir|0o700 && ours(info)
}

// remove takes away what the process has made, and nothing that somebody else
// has put beside it.
func (p keepPlace) remove() error {
	paths := []string{p.token(), p.socket(), p.control(), p.words(), p.link()}
	if p.sockets != p.folder {
		paths = append(paths, p.sockets)
	}
	var failed []error
	for _, path := range append(paths, p.folder) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
