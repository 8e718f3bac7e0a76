// Package dotenv is the sink that sets one variable in an environment file
// (.env), and leaves every other byte of the file as it is.
//
// The format has no standard, so only what its readers agree on is written:
// the bare value where it needs no quotes (docker --env-file does not remove
// quotes), else single quotes, else double quotes. A value that would need an
// escape is refused, because readers disagree on escapes.
package dotenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// maxFile bounds what is read into memory, in bytes.
const maxFile = 4 << 20

// Sink sets one variable in one file.
type Sink struct{ path, name string }

// Open checks the name and that the file can be read and replaced, or that its
// folder takes a new one. A symbolic link is refused, as are names that make a
// shell which reads the file run something else.
func Open(path, name string) (*Sink, error) {
	if path == "" {
		return nil, errors.New("the path of the environment file is missing")
	}
	if err := validName(name); err != nil {
		return nil, err
	}
	s := &Sink{path, name}
	if _, _, err := s.read(); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".evergrant-probe-*")
	if err != nil {
		return nil, fmt.Errorf("the folder of %s takes no new file: %w", path, errors.Unwrap(err))
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return nil, fmt.Errorf("the folder of %s cannot be used: %w", path, errors.Unwrap(err))
	}
	return s, nil
}

// Deliver sets the variable. Other evergrant processes that set variables in
// the same folder wait for each other where the system has folder locks; an
// editor that saves the file at the same moment is not kept out.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Deliverable(); err != nil {
		return err
	}
	value, err := quote(t.Value.Reveal())
	if err != nil {
		return err
	}
	unlock, err := lockFolder(filepath.Dir(s.path))
	if err != nil {
		return fmt.Errorf("locking the folder of %s: %w", s.path, err)
	}
	defer unlock()
	old, mode, err := s.read()
	if err != nil {
		return err
	}
	return atomicfile.Write(s.path, []byte(set(old, s.name, value)), mode)
}

// read returns the file's text and mode; an absent file is empty and private.
func (s *Sink) read() (string, fs.FileMode, error) {
	info, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", 0o600, nil
	case err != nil:
		return "", 0, fmt.Errorf("the environment file cannot be read: %w", err)
	case info.Mode()&fs.ModeSymlink != 0:
		return "", 0, fmt.Errorf("%s is a symbolic link; name the file itself", s.path)
	case !info.Mode().IsRegular():
		return "", 0, fmt.Errorf("%s is not a regular file", s.path)
	case info.Size() > maxFile:
		return "", 0, fmt.Errorf("%s is larger than %d MiB; that is no environment file", s.path, maxFile>>20)
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return "", 0, fmt.Errorf("the environment file cannot be read: %w", err)
	}
	return string(b), info.Mode().Perm(), nil
}

func validName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of the variable is missing: write dotenv:PATH#NAME")
	case !identifier(name):
		return fmt.Errorf("%q is not the name of a variable: letters, digits and _ only, not starting with a digit", name)
	case name == "PATH" || name == "BASH_ENV" || name == "ENV" || name == "NODE_OPTIONS" || strings.HasPrefix(name, "LD_"):
		return fmt.Errorf("variable %s is refused: it steers the programs that read the file", name)
	}
	return nil
}

func identifier(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
