//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describe says on what and of what the measurements are. out names the page,
// and with it the folder of the harness's sources; foreign says whether foreign
// servers took part, git whether a git store did.
func describe(binary, out string, foreign, git bool) ([]string, error) {
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return nil, err
	}
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return nil, err
	}
	fs, err := fileSystem(os.TempDir())
	if err != nil {
		return nil, err
	}
	stat, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	version, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", binary, err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	lines := []string{
		fmt.Sprintf("%s, %d cores, %.0f GiB of memory", cpu(), runtime.NumCPU(), float64(memory.Totalram)*float64(memory.Unit)/(1<<30)),
		fmt.Sprintf("%s %s, %s; the stores on %s unless a row says otherwise", text(kernel.Sysname[:]), text(kernel.Release[:]), runtime.GOARCH, fs),
		fmt.Sprintf("%s (%.1f MiB, static, stripped), built by %s", strings.TrimSpace(first), float64(stat.Size())/(1<<20), runtime.Version()),
	}
	if git {
		version, err := exec.CommandContext(ctx, "git", "version").Output()
		if err != nil {
			return nil, fmt.Errorf("git version: %w", err)
		}
		lines = append(lines, strings.TrimSpace(string(version)))
	}
	if peers := peers(filepath.Dir(filepath.Dir(out))); foreign && peers != "" {
		lines = append(lines, "peers: "+peers)
	}
	return lines, nil
}

func text(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // where it says nothing, the architecture has to do
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// fileSystem names the one that holds dir, from /proc/self/mounts: the longest
// mount point above it.
func fileSystem(dir string) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	best, name := "", "an unknown file system"
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		at := strings.TrimSuffix(f[1], "/")
		if (dir == f[1] || strings.HasPrefix(dir, at+"/")) && len(f[1]) >= len(best) {
			best, name = f[1], f[2]
		}
	}
	return name, nil
}

// peers lists the foreign programs with the versions that are pinned.
func peers(root string) string {
	var all []string
	if b, err := os.ReadFile(filepath.Join(root, "chaos", "network", "install")); err == nil {
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "version="); ok {
				all = append(all, "toxiproxy "+v)
			}
		}
	}
	if b, err := os.ReadFile(filepath.Join(root, "chaos", "hydra", "tool", "go.mod")); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require ")); len(f) >= 2 && f[0] == "github.com/ory/hydra/v2" {
				all = append(all, "ory/hydra "+f[1])
			}
		}
	}
	return strings.Join(all, ", ")
}
