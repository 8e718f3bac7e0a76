package spill_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/spill"
)

// What a kill leaves at each point of a Put: nothing, an empty file, any part of
// the record, all of it. Only the last is a record, and none is an error.
func TestKilledInTheWrite(t *testing.T) {
	t.Parallel()
	for name, sealed := range map[string]bool{"plain": false, "sealed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := spill.Open(t.TempDir(), codec(t, sealed))
			want := sample(acme, "w1")
			want.Reason = "es war der Schlüssel\n"
			must(t, f.Put(t.Context(), want))
			path := f.Path(acme, "w1")
			whole := content(t, path)
			for n := 0; n < len(whole); n++ {
				if n > 64 && n < len(whole)-64 {
					n += 16 // an odd step, so that it ends within every kind of value
				}
				zeros := make([]byte, min(len(whole)-n, 4096))
				for _, part := range [][]byte{whole[:n], slices.Concat(whole[:n], zeros)} {
					must(t, os.WriteFile(path, part, 0o600))
					if got := writers(t, f, acme); got != nil {
						t.Fatalf("%d of %d bytes are taken for %q", n, len(whole), got)
					}
					if !bytes.Equal(content(t, path), part) {
						t.Fatalf("%d of %d bytes: the young file did not stay as it was", n, len(whole))
					}
				}
			}
			must(t, os.WriteFile(path, whole, 0o600))
			creds, err := f.List(t.Context(), acme)
			if err != nil || len(creds) != 1 || creds[0].Reason != want.Reason {
				t.Errorf("the whole file: %d records, %v", len(creds), err)
			}
		})
	}
}

// A torn file, and the temporary file of a second Put, may hold secrets: they go
// when nobody can be writing them any more. What is whole stays at any age.
func TestLeftOversAreSwept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := spill.Open(dir, codec(t, false))
	must(t, f.Put(t.Context(), sample(acme, "whole")), f.Put(t.Context(), sample("acme/other", "whole")))
	whole := content(t, f.Path(acme, "whole"))
	temp := func(base string) string { return filepath.Join(dir, "."+filepath.Base(base)+".0123456789abcdef.tmp") }
	leftOvers := map[string][]byte{
		f.Path(acme, "empty"): nil, f.Path(acme, "half"): whole[:len(whole)/2], f.Path(acme, "zeros"): make([]byte, 4096),
		temp(f.Path(acme, "whole")): whole, temp(f.Path(acme, "half")): whole[:1],
	}
	foreign := map[string][]byte{
		temp(f.Path("acme/other", "whole")): whole, filepath.Join(dir, "acme+main.note"): nil, temp("acme+main.note"): nil,
		f.Path(acme, "garbled"): []byte(`{"evergrant":1,}`), f.Path("acme/other", "half"): whole[:1],
	}
	age := func(by time.Duration) {
		at := time.Now().Add(-by)
		for _, e := range entries(t, dir) {
			must(t, os.Chtimes(filepath.Join(dir, e), at, at))
		}
	}
	for _, files := range []map[string][]byte{leftOvers, foreign} {
		for path, b := range files {
			must(t, os.WriteFile(path, b, 0o600))
		}
	}
	for _, by := range []time.Duration{-time.Hour, 0, 9 * time.Minute} {
		age(by)
		before := entries(t, dir)
		if creds, err := f.List(t.Context(), acme); len(creds) != 1 || !oneLine(err, "garbled", f) {
			t.Errorf("aged %v: %d records, %v", by, len(creds), err)
		}
		if after := entries(t, dir); !slices.Equal(before, after) {
			t.Errorf("aged %v: %q are left of %q", by, after, before)
		}
	}
	age(11 * time.Minute)
	if creds, err := f.List(t.Context(), acme); len(creds) != 1 || !oneLine(err, "garbled", f) {
		t.Errorf("%d records, %v", len(creds), err)
	}
	for path := range leftOvers {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for path := range foreign {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("it did not stay: %v", err)
		}
	}
	if got := writers(t, f, "acme/other"); !slices.Equal(got, []string{"whole"}) {
		t.Errorf("the other grant lists %q", got)
	}
}

// oneLine says that err speaks of the file of that writer and of no other.
func oneLine(err error, writer string, f *spill.Folder) bool {
	return err != nil && !strings.Contains(err.Error(), "\n") && strings.Contains(err.Error(), f.Path(acme, writer))
}

// A file that is torn, of an older form, or a symbolic link gives way to a
// second Put of the same writer.
func TestPutAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := spill.Open(dir, codec(t, false))
	path := f.Path(acme, "w1")
	target := filepath.Join(t.TempDir(), "target")
	must(t, os.WriteFile(target, []byte("mine"), 0o600))
	for name, before := range map[string]func() error{
		"torn": func() error { return os.WriteFile(path, []byte(`{"ever`), 0o600) },
		"whole": func() error {
			c := sample(acme, "w1")
			c.Generation++
			return f.Put(context.Background(), c)
		},
		"link": func() error { return os.Symlink(target, path) },
	} {
		must(t, before(), f.Put(t.Context(), sample(acme, "w1")))
		if got := writers(t, f, acme); !slices.Equal(got, []string{"w1"}) {
			t.Errorf("%s: listed %q", name, got)
		}
		if names := entries(t, dir); len(names) != 1 {
			t.Errorf("%s: the folder holds %q", name, names)
		}
		must(t, f.Remove(t.Context(), acme, "w1"))
	}
	if string(content(t, target)) != "mine" {
		t.Error("the link was followed")
	}
}

// A record that is taken away while it is being synced, as a sweep would that
// met it half written, is put again. The removal may come too late to be
// noticed; it does not always.
func TestTakenWhileWritten(t *testing.T) {
	t.Parallel()
	f := spill.Open(t.TempDir(), codec(t, false))
	for i := range 1000 {
		writer := fmt.Sprint(i)
		taken := make(chan bool)
		go func() {
			for os.Remove(f.Path(acme, writer)) != nil {
			}
			close(taken)
		}()
		must(t, f.Put(t.Context(), sample(acme, writer)))
		creds, err := f.List(t.Context(), acme)
		must(t, err)
		if slices.ContainsFunc(creds, func(c grant.Credential) bool { return c.Writer == writer }) {
			select {
			case <-taken: // and yet it is there
				return
			default:
				<-taken
			}
		}
	}
	t.Error("a record that was taken away never came back")
}

const childDir = "EVERGRANT_TEST_SPILL_DIR"

// TestMain makes this binary, when it is asked to, a process that spills one
// record after the other and prints the writer of each that is durable.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	plain, err := record.NewCodec(grant.Secret{})
	for i := 0; err == nil; i++ {
		c := sample(acme, fmt.Sprintf("%d-%d", os.Getpid(), i))
		c.Raw = grant.NewSecret(strings.Repeat("x", 60000)) // a write of many pages
		if err = spill.Open(dir, plain).Put(context.Background(), c); err == nil {
			fmt.Println(c.Writer)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A process that is killed at any moment leaves every record that it called
// durable, at most one more, and nothing that is in the way.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := spill.Open(dir, codec(t, false))
	durable, more := map[string]bool{}, 0
	const kills = 12
	for round := range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			durable[lines.Text()] = true
			if n == round {
				must(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // it was killed
		creds, err := f.List(t.Context(), acme)
		must(t, err)
		listed := map[string]bool{}
		for _, c := range creds {
			listed[c.Writer] = true
		}
		for w := range durable {
			if !listed[w] {
				t.Errorf("round %d: %s was durable and is not listed", round, w)
			}
		}
		more = len(listed) - len(durable)
		if more > round+1 {
			t.Errorf("round %d: %d records more than were called durable", round, more)
		}
	}
	if len(durable) < kills {
		t.Errorf("only %d records were durable in %d rounds", len(durable), kills)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
