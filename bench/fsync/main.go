//go:build linux

// Command fsync measures what durability costs on one file system: writing,
// syncing and renaming a small file, and syncing its folder, step by step.
//
//	fsync DIR [ROUNDS]
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"evergrant/bench/sample"
)

func main() {
	if err := measure(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fsync:", err)
		os.Exit(1)
	}
}

// steps are the durations of one durable replacement.
type steps struct{ write, file, rename, folder []time.Duration }

func measure(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("want DIR [ROUNDS]")
	}
	rounds := 200
	if len(args) == 2 {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return fmt.Errorf("rounds must be a positive number, not %q", args[1])
		}
		rounds = n
	}
	dir, err := os.MkdirTemp(args[0], "fsync")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var s steps
	for range rounds {
		if err := s.replace(filepath.Join(dir, "record")); err != nil {
			return err
		}
	}
	fmt.Printf("one durable write of 2 KiB, %d rounds, ms:  %8s %8s %8s\n", rounds, "median", "p90", "max")
	for _, row := range []struct {
		name string
		took []time.Duration
	}{
		{"create and write", s.write}, {"fsync of the file", s.file},
		{"rename over the old one", s.rename}, {"fsync of the folder", s.folder},
	} {
		fmt.Printf("  %-42s %8.3f %8.3f %8.3f\n", row.name, sample.Millis(sample.Quantile(row.took, 0.5)),
			sample.Millis(sample.Quantile(row.took, 0.9)), sample.Millis(sample.Quantile(row.took, 1)))
	}
	return nil
}

func (s *steps) replace(path string) error {
	start := time.Now()
	lap := func(to *[]time.Duration) {
		now := time.Now()
		*to = append(*to, now.Sub(start))
		start = now
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 2048)); err != nil {
		return err
	}
	lap(&s.write)
	if err := f.Sync(); err != nil {
		return err
	}
	lap(&s.file)
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	lap(&s.rename)
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return err
	}
	lap(&s.folder)
	return nil
}
