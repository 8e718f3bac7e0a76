//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/grant"
)

// speedUp divides the times for which a failing store is asked again, which
// are sized for stores that recover.
const speedUp = "20"

// smallDisk is a tmpfs that can be filled to the last page and made read-only.
type smallDisk struct{ dir string }

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	d := &smallDisk{dir: filepath.Join(t.TempDir(), "disk")}
	must(t, os.Mkdir(d.dir, 0o700))
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Fatalf("mounting a tmpfs: %v; this needs root or user namespaces", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting the tmpfs: %v", err)
		}
	})
	return d
}

func (d *smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes every page that is left.
func (d *smallDisk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for {
		if _, err := f.Write(page); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (d *smallDisk) free(t *testing.T) {
	t.Helper()
	must(t, os.Remove(d.ballast()))
}

func (d *smallDisk) remount(t *testing.T, flags uintptr) {
	t.Helper()
	must(t, syscall.Mount("", d.dir, "", syscall.MS_REMOUNT|flags, ""))
}

// TestFullDisk fills the disk before the call, and in the worst moment: when
// the provider has rotated and the answer is on its way.
func TestFullDisk(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		s, d := newStrict(t), newSmallDisk(t)
		b := s.box(t)
		b.store = filepath.Join(d.dir, "store")
		family := s.consent(t, b)
		first := b.deliver(t, "--force", "g")
		_, presented := s.standing(t, family)

		must(t, d.fill())
		b.fails(t, 6, "--force", "--speed-up", speedUp, "g")
		if _, n := s.standing(t, family); n != presented {
			t.Fatal("the store cannot be written, and the token was presented")
		}
		d.free(t)
		s.goesOn(t, b, family, first.Generation+1)
		part("%-19s store full before the call: exit 6, nothing presented; freed: goes on", "full disk")
	})
	t.Run("store", func(t *testing.T) {
		s, d := newStrict(t), newSmallDisk(t)
		b := s.box(t)
		b.store = filepath.Join(d.dir, "store")
		family := s.consent(t, b)
		first := b.deliver(t, "--force", "g")

		s.fillUnderway(t, b, d)
		d.free(t)
		s.putBack(t, b, family, first.Generation+1)
		part("%-19s store full when the reply came: delivered, exit 7, spilled; freed: the next call puts it back", "full disk")
	})
	t.Run("everything", func(t *testing.T) {
		s, d := newStrict(t), newSmallDisk(t)
		b := s.box(t)
		b.store, b.home = filepath.Join(d.dir, "store"), d.dir
		key := b.run(t, "key", "new")
		if key.code != 0 {
			t.Fatalf("making a key\n%v", key)
		}
		b.set("EVERGRANT_KEY", strings.TrimSpace(key.stdout))
		b.secrets = append(b.secrets, strings.TrimSpace(key.stdout))
		family := s.consent(t, b)
		first := b.deliver(t, "--force", "g")

		r := s.fillUnderway(t, b, d)
		d.free(t)
		rescue := b.command(t.Context(), "rescue")
		rescue.Stdin = strings.NewReader(asLog(r.stderr))
		if got := b.finish(t, rescue); got.code != 0 {
			t.Fatalf("rescue from the log\n%v", got)
		}
		s.goesOn(t, b, family, first.Generation+2)
		part("%-19s every folder full when the reply came: delivered, exit 7, rescue block in the log; rescue: goes on", "full disk")
	})
}

// fillUnderway fills the disk between the provider's rotation and the reply.
// The lease, in which saving is tried again and again, is shortened.
func (s *strict) fillUnderway(t *testing.T, b *box, d *smallDisk) result {
	t.Helper()
	var once sync.Once
	var filling error
	s.between.hold(func() { once.Do(func() { filling = d.fill() }) })
	defer s.between.hold(nil)
	r, got := b.try(t, "--force", "--speed-up", speedUp, "g")
	must(t, filling)
	if r.code != 7 || !s.provider.AccessValid(grant.NewSecret(got.token)) {
		t.Fatalf("want exit 7 and a living access token delivered\n%v", r)
	}
	return r
}

// putBack expects that the next call needs no new token: the spill has it.
func (s *strict) putBack(t *testing.T, b *box, family string, generation uint64) {
	t.Helper()
	_, presented := s.standing(t, family)
	d := b.deliver(t, "--min-ttl", "1m", "g")
	if _, n := s.standing(t, family); n != presented || d.Generation != generation || d.Action != "served" {
		t.Fatalf("the spilled generation %d was not put back: report %+v, %d presentations more", generation, d.report, n-presented)
	}
	s.goesOn(t, b, family, generation+1)
}

// goesOn expects one more refresh to work, with no token ever shown twice.
func (s *strict) goesOn(t *testing.T, b *box, family string, generation uint64) {
	t.Helper()
	d := b.deliver(t, "--force", "g")
	f, presented := s.standing(t, family)
	if !f.Alive || d.Generation != generation || presented != len(f.Refreshes) {
		t.Fatalf("generation %d, want %d; family alive %v; %d presentations for %d rotations",
			d.Generation, generation, f.Alive, presented, len(f.Refreshes))
	}
}

// asLog makes a CI log of what a process printed.
func asLog(text string) string {
	var log strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintf(&log, "%s  %s", time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"), line)
	}
	return log.String()
}

// TestReadOnly remounts the store read-only: a living token is still served,
// and nothing is spent that could not be saved.
func TestReadOnly(t *testing.T) {
	s, d := newStrict(t), newSmallDisk(t)
	b := s.box(t)
	b.store = filepath.Join(d.dir, "store")
	family := s.consent(t, b)
	first := b.deliver(t, "--force", "g")
	_, presented := s.standing(t, family)

	d.remount(t, syscall.MS_RDONLY)
	if served := b.deliver(t, "--min-ttl", "1m", "g"); served.Action != "served" || served.token != first.token {
		t.Fatalf("a living token in a read-only store: report %+v", served.report)
	}
	b.fails(t, 6, "--force", "--speed-up", speedUp, "g")
	fresh := s.box(t)
	fresh.store = b.store
	second := s.consent(t, fresh)
	fresh.fails(t, 6, "--speed-up", speedUp, "another")
	if _, n := s.standing(t, family); n != presented {
		t.Fatal("the store cannot be written, and the token was presented")
	}
	if _, n := s.standing(t, second); n != 0 {
		t.Fatal("the store cannot be written, and the token of a new grant was presented")
	}
	d.remount(t, 0)
	s.goesOn(t, b, family, first.Generation+1)
	part("%-19s living token served; --force and a new grant: exit 6, nothing presented; writable again: goes on", "read-only mount")
}
