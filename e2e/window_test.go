//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// window is how long the only copy of a rotated token was in memory.
type window struct{ written, durable []time.Duration }

func (w window) String() string {
	return fmt.Sprintf("median %.2f ms, max %.2f (the file is complete after %.2f and %.2f), %d calls",
		millis(median(w.durable)), millis(slices.Max(w.durable)), millis(median(w.written)), millis(slices.Max(w.written)), len(w.durable))
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}

// measureWindow watches the folders of undisturbed calls. A spill is complete
// after the one write to its file. It is durable once its folder was synced,
// which nobody sees from outside; the next thing that the process does with
// the store is, so the figure is an upper bound.
func (k *killer) measureWindow(t *testing.T) window {
	t.Helper()
	w := newWatch(t, filepath.Join(k.b.stateDir(), "evergrant", "spill"), k.b.store)
	var seen window
	for range 40 {
		w.events(t) // forget what was before
		n := k.between.count()
		k.refresh(t)
		passedAt, _ := k.between.passed(n)
		var written, durable time.Time
		for _, e := range w.events(t) {
			switch {
			case e.at.Before(passedAt):
			case written.IsZero() && !e.inStore && e.mask&syscall.IN_MODIFY != 0:
				written = e.at
			case !written.IsZero() && durable.IsZero() && e.inStore:
				durable = e.at
			}
		}
		if written.IsZero() || durable.IsZero() {
			t.Fatal("no spill was written between the reply and the store's next use")
		}
		seen.written = append(seen.written, written.Sub(passedAt))
		seen.durable = append(seen.durable, durable.Sub(passedAt))
	}
	return seen
}

// watch is inotify(7) on some folders.
type watch struct {
	file   *os.File
	marker string
	marks  int
	store  string
	dirs   map[int32]string
	seen   chan event
}

type event struct {
	at      time.Time
	dir     string
	name    string
	inStore bool
	mask    uint32
}

func newWatch(t *testing.T, spill, store string) *watch {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	must(t, err)
	w := &watch{file: os.NewFile(uintptr(fd), "inotify"), marker: t.TempDir(), store: store,
		dirs: map[int32]string{}, seen: make(chan event, 1024)}
	t.Cleanup(func() { _ = w.file.Close() })
	for _, root := range []string{spill, store, w.marker} {
		must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			wd, err := syscall.InotifyAddWatch(fd, path, syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_OPEN|syscall.IN_MODIFY)
			w.dirs[int32(wd)] = path
			return err
		}))
	}
	go w.read()
	return w
}

func (w *watch) read() {
	defer close(w.seen)
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return // closed
		}
		at := time.Now()
		for b := buffer[:n]; len(b) >= syscall.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, length of the padded name.
			dir := w.dirs[int32(binary.NativeEndian.Uint32(b))]
			end := syscall.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name, _, _ := bytes.Cut(b[syscall.SizeofInotifyEvent:end], []byte{0})
			w.seen <- event{at: at, dir: dir, name: string(name), mask: binary.NativeEndian.Uint32(b[4:]),
				inStore: dir == w.store || strings.HasPrefix(dir, w.store+string(filepath.Separator))}
			b = b[end:]
		}
	}
}

// events returns everything that happened until now: a file of its own, made
// last, marks the end.
func (w *watch) events(t *testing.T) []event {
	t.Helper()
	w.marks++
	mark := fmt.Sprint(w.marks)
	must(t, os.WriteFile(filepath.Join(w.marker, mark), nil, 0o600))
	var all []event
	for e := range w.seen {
		if e.dir == w.marker {
			if e.name == mark {
				return all
			}
			continue
		}
		all = append(all, e)
	}
	t.Fatal("inotify ended")
	return nil
}
