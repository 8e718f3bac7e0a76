//go:build amd64 || arm64

package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Disk is a tmpfs that can be filled to the last page and made read-only.
type Disk struct{ Dir string }

// NewDisk mounts one of so many bytes at dir, which is made. That needs root,
// also root of a user namespace.
func NewDisk(dir string, size int) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return nil, fmt.Errorf("mounting a small disk needs root or a user namespace (unshare --user --map-root-user --mount): %w", err)
	}
	return &Disk{dir}, nil
}

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Fill takes every page that is left.
func (d *Disk) Fill() error {
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

// Drain gives the pages back.
func (d *Disk) Drain() error { return os.Remove(d.ballast()) }

// Freeze makes it read-only; Thaw takes that back.
func (d *Disk) Freeze() error { return d.remount(syscall.MS_RDONLY) }

// Thaw makes it writable again.
func (d *Disk) Thaw() error { return d.remount(0) }

func (d *Disk) remount(flags uintptr) error {
	// While a file is open for writing it is busy; nobody keeps one open for long.
	var err error
	for range 1000 {
		if err = syscall.Mount("", d.Dir, "", syscall.MS_REMOUNT|flags, ""); !errors.Is(err, syscall.EBUSY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remounting a small disk: %w", err)
	}
	return nil
}

// Close unmounts it, whoever uses it.
func (d *Disk) Close() error { return syscall.Unmount(d.Dir, syscall.MNT_DETACH) }
