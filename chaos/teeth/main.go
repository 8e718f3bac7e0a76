// Command teeth shows that the chaos harness finds what it looks for: it plants
// one fault after another in a copy of the source, builds the binary from it,
// and wants the harness to turn red.
//
//	teeth -root FOLDER -chaos BINARY [-network BINARY -toxiproxy BINARY]
//	      [-hydra BINARY -hydra-server BINARY] [-only TEXT] [-rows FILE]
//
// chaos/run builds and starts it. Faults of a harness that is not given are left
// out. The source itself is not touched: the copies
// are laid over it by go build -overlay.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"evergrant/chaos/row"
)

// tools are the programs that a run of this one uses.
type tools struct {
	root, dir, only                               string
	chaos, network, toxiproxy, hydra, hydraServer string
}

func main() {
	var t tools
	flag.StringVar(&t.root, "root", ".", "the module's folder")
	flag.StringVar(&t.chaos, "chaos", "", "the built harness")
	flag.StringVar(&t.network, "network", "", "the built harness of networks")
	flag.StringVar(&t.toxiproxy, "toxiproxy", "", "toxiproxy's server")
	flag.StringVar(&t.hydra, "hydra", "", "the built harness of ory/hydra")
	flag.StringVar(&t.hydraServer, "hydra-server", "", "hydra itself")
	flag.StringVar(&t.only, "only", "", "only faults whose name holds this text")
	rows := flag.String("rows", "", "file to which the rows are added")
	flag.Parse()
	if t.chaos == "" {
		fmt.Fprintln(os.Stderr, "teeth: -chaos is needed; chaos/run gives it")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := t.all(ctx, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "teeth:", err)
		os.Exit(1)
	}
}

// has reports whether the harness that must find the fault is there.
func (t tools) has(f planted) bool {
	switch f.by {
	case network:
		return t.network != ""
	case hydra:
		return t.hydra != ""
	}
	return true
}

// look is a call of the harness that must find the fault in a binary.
func (t tools) look(ctx context.Context, f planted, binary string) *exec.Cmd {
	rows := filepath.Join(t.dir, "rows")
	switch f.by {
	case network:
		return exec.CommandContext(ctx, t.network, "-short", "-evergrant", binary, "-toxiproxy", t.toxiproxy, "-out", rows, "-only", f.parts)
	case hydra:
		return exec.CommandContext(ctx, t.hydra, "-short", "-evergrant", binary, "-hydra", t.hydraServer, "-out", rows)
	}
	return exec.CommandContext(ctx, t.chaos, "-short", "-store", or(f.store, "file"), "-binary", binary, "-rows", rows, "-parts", f.parts)
}

func (t tools) all(ctx context.Context, rows string) (err error) {
	if t.root, err = filepath.Abs(t.root); err != nil {
		return err
	}
	if t.dir, err = os.MkdirTemp("", "evergrant-teeth."); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	var missed []string
	for _, f := range faults() {
		if !t.has(f) || !strings.Contains(f.name, t.only) {
			continue
		}
		found, err := t.bite(ctx, f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		r := row.Row{Part: "teeth", Name: f.name, Store: or(f.store, "file"), Provider: "all", Trials: 1,
			Note: "planted in a copy of " + f.file + "; the harness's part: " + or(string(f.by), f.parts)}
		if found == "" {
			missed = append(missed, f.name)
			r.Broken = []string{"the harness did not find a planted fault"}
		} else {
			r.Faults, r.RecoveredBy = 1, map[string]int{"found: " + found: 1}
		}
		fmt.Printf("teeth: %-40s %s\n", f.name, or(found, "NOT FOUND"))
		if rows != "" {
			if err := row.Append(rows, r); err != nil {
				return err
			}
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("the harness did not find: %s", strings.Join(missed, "; "))
	}
	return nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// bite builds a binary with the fault and returns the first red line that says
// what it should, without the harness's prefix.
func (t tools) bite(ctx context.Context, f planted) (found string, err error) {
	binary, err := f.build(ctx, t.root, t.dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := t.look(ctx, f, binary)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("the harness did not end: %w", ctx.Err())
	}
	for line := range strings.Lines(string(out)) {
		for _, mark := range []string{"RED", "chaos: RED", "BROKEN:"} {
			if red, ok := strings.CutPrefix(strings.TrimSpace(line), mark); ok && strings.Contains(red, f.finds) && err != nil {
				return strings.TrimSpace(red), nil
			}
		}
	}
	fmt.Printf("%s", out)
	return "", nil
}

func (f planted) build(ctx context.Context, root, dir string) (string, error) {
	path := filepath.Join(root, filepath.FromSlash(f.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), f.old); n != 1 {
		return "", fmt.Errorf("%s holds the text to be changed %d times, not once: adapt the planted fault", f.file, n)
	}
	copied := filepath.Join(dir, "copy.go")
	if err := os.WriteFile(copied, []byte(strings.Replace(string(text), f.old, f.new, 1)), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: copied}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "evergrant")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-trimpath", "-buildvcs=false", "-o", binary, "./cmd/evergrant")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building it: %w\n%s", err, out)
	}
	return binary, nil
}
