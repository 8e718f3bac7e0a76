package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

// condition is what a script may ask besides testscript's own: root, whether it may
// give files to others and mount disks.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "mounts":
		return mounts(), nil
	}
	return false, errors.New("there is no such condition")
}

// mounts reports whether this process may mount a disk: a container's root often may not.
func mounts() bool {
	dir, err := os.MkdirTemp("", "mounts")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	return runtime.GOOS == "linux" && exec.Command("mount", smallAt(dir)...).Run() == nil && exec.Command("umount", dir).Run() == nil
}

func smallAt(dir string) []string {
	return []string{"-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", dir}
}

// cmdDisk is "disk small FOLDER", "disk fill FOLDER" or "disk closed VAR": a small disk
// of its own is mounted at the folder (see mounts); all that is left of it is taken; an
// empty folder of the system, in which nobody of this user's rights makes files, is put
// into VAR.
func cmdDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: disk small|fill FOLDER, or disk closed VAR")
	}
	switch args[0] {
	case "small":
		mountSmall(ts, ts.MkAbs(args[1]))
	case "fill":
		fill(ts, filepath.Join(ts.MkAbs(args[1]), "ballast"))
	case "closed":
		ts.Setenv(args[1], closedFolder(ts))
	default:
		ts.Fatalf("disk %s is unknown", args[0])
	}
}

// smallDisk is the size of a small disk, in bytes: room for records, and not for a
// test that never fills it.
const smallDisk = 256 << 10

func mountSmall(ts *testscript.TestScript, dir string) {
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(exec.Command("mount", smallAt(dir)...).Run())
	ts.Defer(func() { ts.Check(exec.Command("umount", dir).Run()) })
}

func fill(ts *testscript.TestScript, ballast string) {
	f, err := os.Create(ballast)
	ts.Check(err)
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for range 2 * smallDisk / len(page) {
		if _, err := f.Write(page); err != nil {
			return
		}
	}
	ts.Fatalf("%s is on no small disk", ballast)
}

// closedFolder is an empty folder that is the system's. Linux has some in which even
// root makes no file.
func closedFolder(ts *testscript.TestScript) string {
	var known []string
	for _, pattern := range []string{"/sys/class/*", "/sys/kernel/*", "/sys/module/*/holders", "/var/empty"} {
		found, err := filepath.Glob(pattern)
		ts.Check(err)
		known = append(known, found...)
	}
	i := slices.IndexFunc(known, func(dir string) bool {
		st, err := os.Stat(dir)
		if err != nil || !st.IsDir() || st.Mode().Perm() != 0o755 {
			return false
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			return false
		}
		made, err := os.MkdirTemp(dir, "evergrant")
		if err == nil {
			ts.Check(os.Remove(made))
		}
		return err != nil
	})
	if i < 0 {
		ts.Fatalf("there is no folder here in which nobody may write")
	}
	return known[i]
}
