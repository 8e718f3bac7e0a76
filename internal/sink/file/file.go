// Package file is the sink that keeps the access token in a file of its own,
// for programs that read a token from a path.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// Sink replaces one file.
type Sink struct{ path string }

// Open checks that path can be written: its folder takes new files, and what
// is there now, if anything, is a regular file. A symbolic link is refused,
// because replacing it would surprise its owner and following it would let
// whoever made the link choose where the token goes.
func Open(path string) (*Sink, error) {
	if path == "" {
		return nil, errors.New("the path of the file is missing")
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("the file cannot be written: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%s is a symbolic link; name the file itself", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".evergrant-probe-*")
	if err != nil {
		return nil, fmt.Errorf("the folder of %s takes no new file: %w", path, errors.Unwrap(err))
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return nil, fmt.Errorf("the folder of %s cannot be used: %w", path, errors.Unwrap(err))
	}
	return &Sink{path}, nil
}

// Deliver replaces the file's content by exactly the token, with no newline,
// readable by its owner only. A reader sees the old token or the new one.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Deliverable(); err != nil {
		return err
	}
	return atomicfile.Write(s.path, []byte(t.Value.Reveal()), 0o600)
}

var _ grant.Sink = (*Sink)(nil)
