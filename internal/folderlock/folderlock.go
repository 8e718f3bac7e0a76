// Package folderlock keeps to the lock folders by which another program guards
// its files: whoever makes the folder holds the lock, keeps its time stamp fresh,
// and removes it. That is how the npm package proper-lockfile works, and so how
// Claude Code guards the renewal of its login: with .oauth_refresh.lock in its
// folder and a lock beside the folder, both touched every five seconds.
package folderlock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const (
	// Stale is the age at which a lock that nobody touches is left over from a
	// process that died.
	Stale = time.Minute
	// poll is the pause between two looks.
	poll = 200 * time.Millisecond
)

// ErrHeld: another process kept a lock for longer than the caller would wait.
var ErrHeld = errors.New("lock is held")

// Wait returns once nobody holds any of the locks, after at most that time. It
// makes and removes nothing.
func Wait(ctx context.Context, locks []string, most time.Duration) error {
	return until(ctx, most, func() (string, error) {
		for _, path := range locks {
			if st, err := os.Lstat(path); err == nil && !stale(st) {
				return path, nil
			}
		}
		return "", nil
	})
}

// Take takes the locks in their order, after at most that time, and gives back
// those that it has while it waits for another, so that two who wait never wait
// for each other. release removes them. They are not touched: what is done under
// them must take less than [Stale].
//
// A lock whose folder nobody here may make, and that is not there, is left out:
// the program that it guards against runs as the same user.
func Take(ctx context.Context, locks []string, most time.Duration) (release func(), err error) {
	var held []taken
	err = until(ctx, most, func() (busy string, err error) {
		if held, busy, err = takeAll(locks); busy != "" || err != nil {
			giveBack(held)
			held = nil
		}
		return busy, err
	})
	if err != nil {
		return nil, err
	}
	return func() { giveBack(held) }, nil
}

// taken is a lock of this process. Its folder and that one's time are remembered,
// because a process that was stopped for too long must not remove its successor's.
type taken struct {
	path   string
	folder fs.FileInfo
}

func takeAll(locks []string) (held []taken, busy string, err error) {
	for _, path := range locks {
		t, state, err := take(path)
		switch {
		case err != nil:
			return held, "", err
		case state == others:
			return held, path, nil
		case state == ours:
			held = append(held, t)
		}
	}
	return held, "", nil
}

// state says whose a lock is.
type state uint8

const (
	others state = iota
	ours
	nobodys // and nobody can take it
)

func take(path string) (taken, state, error) {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if st, serr := os.Lstat(path); serr == nil && st.IsDir() && stale(st) {
			err = takeOver(path)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return taken{}, others, nil
	case err != nil:
		if _, serr := os.Lstat(path); errors.Is(serr, fs.ErrNotExist) {
			return taken{}, nobodys, nil
		}
		return taken{}, others, fmt.Errorf("cannot make the lock %s: %w", path, bare(err))
	}
	st, err := os.Lstat(path)
	if err != nil {
		return taken{}, others, nil // taken away at once: look again
	}
	return taken{path, st}, ours, nil
}

// takeOver makes the lock in the place of one that was seen to be left over, or
// returns [fs.ErrExist]. Several processes may have seen it, and one of them may
// have taken it over by now, so what stands there is moved aside, which only one can
// do, and looked at again. Its age decides: a new folder often gets the number of
// one that was removed. A fresh one goes back to its holder: only who makes the lock
// in that very moment holds it as well.
func takeOver(path string) error {
	aside := path + "." + rand.Text()
	if err := os.Rename(path, aside); err != nil {
		return os.Mkdir(path, 0o700) // it is gone, or nobody here may move it
	}
	if st, err := os.Lstat(aside); err == nil && stale(st) && os.Remove(aside) == nil {
		return os.Mkdir(path, 0o700)
	}
	if _, err := os.Lstat(path); err == nil || os.Rename(aside, path) != nil {
		_ = os.Remove(aside)
	}
	return fs.ErrExist
}

func giveBack(held []taken) {
	for _, t := range held {
		st, err := os.Lstat(t.path)
		if err == nil && os.SameFile(st, t.folder) && st.ModTime().Equal(t.folder.ModTime()) {
			_ = os.Remove(t.path)
		}
	}
}

func stale(st fs.FileInfo) bool { return time.Since(st.ModTime()) > Stale }

// until repeats try until it names no lock that is held.
func until(ctx context.Context, most time.Duration, try func() (busy string, err error)) error {
	for start := time.Now(); ; {
		busy, err := try()
		switch {
		case err != nil:
			return err
		case busy == "":
			return nil
		case time.Since(start) >= most:
			return fmt.Errorf("%w: %s, for %v", ErrHeld, busy, most)
		}
		timer := time.NewTimer(poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func bare(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
