// Command digests makes action/release.json, the table by which the Action knows
// the released programs, from a folder that packaging/snapshot has filled. It runs
// in the root of the source.
//
//	go run ./packaging/digests FOLDER                         prints the table
//	go run ./packaging/digests -write FILE FOLDER             writes it
//	go run ./packaging/digests -check FILE -tag TAG FOLDER    fails unless FILE is
//	                                                          that table, and TAG its version's
//
// The files are the same bytes wherever they are built from the same sources, with
// the same Go and the same time, and the table is no part of them. So it is made
// from a snapshot, committed, tagged, and checked against what a release has built,
// before anything is uploaded.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/cli"
	"evergrant/packaging"
)

// sums is the list of digests that lies beside the programs, in the form of sha256sum.
const sums = "SHA256SUMS"

// table is action/release.json.
type table struct {
	Version string           `json:"version"`
	Time    int64            `json:"time"`    // in Unix seconds, of every file in a package
	Sources string           `json:"sources"` // lower-case hex: what the programs were built from
	Files   string           `json:"files"`   // lower-case hex: the SHA-256 of SHA256SUMS, and so of every file
	Assets  map[string]asset `json:"assets"`  // by OS-ARCH
}

// asset is one released program.
type asset struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// names are the programs that a release has, by their target.
func names() map[string]string {
	all := map[string]string{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			target := system + "-" + arch
			all[target] = "evergrant-" + target
			if system == "windows" {
				all[target] += ".exe"
			}
		}
	}
	return all
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "digests: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("digests", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	write := flags.String("write", "", "the file to write")
	check := flags.String("check", "", "the file to compare")
	tag := flags.String("tag", "", "the tag that is released")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 || *write != "" && *check != "" || (*tag != "") != (*check != "") {
		return errors.New("needs a folder, and before it nothing, -write FILE, or -check FILE and -tag TAG")
	}
	if *tag != "" && *tag != "v"+cli.Version {
		return fmt.Errorf("the tag is %s, and internal/cli/version.go says %s. What to do: tag the commit that sets the version", *tag, cli.Version)
	}
	made, err := read(flags.Arg(0))
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	switch {
	case *write != "":
		return atomicfile.Write(*write, b, 0o644)
	case *check != "":
		return compare(*check, b, made)
	}
	_, err = stdout.Write(b)
	return err
}

// read makes the table of a folder. Every file is read, and is held to the folder's
// list, which people check theirs by.
func read(folder string) (table, error) {
	listed, err := list(filepath.Join(folder, sums))
	if err != nil {
		return table{}, err
	}
	digests, err := files(folder)
	if err != nil {
		return table{}, err
	}
	made := table{Version: cli.Version, Files: digests[sums], Assets: map[string]asset{}}
	delete(digests, sums)
	for target, name := range names() {
		digest, ok := digests[name]
		if !ok {
			return table{}, fmt.Errorf("the program for %s is not there: %s has no %s", target, folder, name)
		}
		made.Assets[target] = asset{Name: name, SHA256: digest}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if _, ok := digests[name]; !ok {
			return table{}, fmt.Errorf("%s has %s, which is not there", sums, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		if listed[name] != digests[name] {
			return table{}, fmt.Errorf("%s has the digest %s, and %s says %q", name, digests[name], sums, listed[name])
		}
	}
	if made.Time, err = at(filepath.Join(folder, "evergrant_"+cli.Version+"_linux_amd64.tar.gz")); err != nil {
		return table{}, err
	}
	made.Sources, err = packaging.Sources(".")
	return made, err
}

// files are the digests of what lies in a folder.
func files(folder string) (map[string]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		digests[e.Name()] = hex.EncodeToString(sum[:])
	}
	return digests, nil
}

// at is the time that an archive's files have, in Unix seconds. All archives of a
// release have the same.
func at(archive string) (int64, error) {
	f, err := os.Open(archive)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", archive, err)
	}
	first, err := tar.NewReader(z).Next()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", archive, err)
	}
	return first.ModTime.Unix(), nil
}

// list reads the digests of a folder by their files' names.
func list(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(b)) {
		digest, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || len(digest) != 2*sha256.Size {
			return nil, fmt.Errorf("%s: %q is no digest and name", path, line)
		}
		listed[name] = digest
	}
	return listed, nil
}

// compare fails unless the file at path has these bytes, and names what differs.
func compare(path string, want []byte, made table) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.Equal(b, want) {
		return nil
	}
	var there table
	if err := json.Unmarshal(b, &there); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var other []string
	if there.Version != made.Version {
		other = append(other, "version "+there.Version)
	}
	if there.Time != made.Time {
		other = append(other, "time")
	}
	if there.Sources != made.Sources {
		other = append(other, "sources")
	}
	if there.Files != made.Files {
		other = append(other, sums)
	}
	for _, target := range slices.Sorted(maps.Keys(made.Assets)) {
		if there.Assets[target] != made.Assets[target] {
			other = append(other, target)
		}
	}
	if len(other) == 0 {
		other = append(other, "its form")
	}
	return fmt.Errorf("%s is not the table of these files: %s. What to do: build with the Go version that it was made with, or make it anew and tag that", path, strings.Join(other, ", "))
}
