// Command teeth shows that the chaos harness finds what it looks for: it plants
// one fault after another in a copy of the source, builds the binary from it,
// and wants the harness to turn red.
//
//	teeth -root FOLDER -chaos BINARY [-rows FILE]
//
// chaos/run builds and starts it. The source itself is not touched: the copies
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

// planted is a fault, and where the harness must find it.
type planted struct {
	name     string
	file     string // from the root
	old, new string // old occurs exactly once
	parts    string // of the harness
	finds    string // what a red line says
}

func faults() []planted {
	const save = "internal/engine/save.go"
	const spillFirst = "\tif err := a.cfg.Spill.Put(dctx, k); err != nil {\n\t\tunsaved.Spilled = false\n" +
		"\t\ta.warn(\"the reply could not be spilled to this machine's disk before saving: \" + err.Error())\n\t}\n"
	const saveThen = "\ts, err := a.put(ctx, k, unsaved)\n"
	const warns = "\ta.warn(out.Warnings)\n"
	return []planted{
		{
			name: "nothing is spilled before the Swap", file: save,
			old: "a.cfg.Spill.Put(dctx, k)", new: "error(nil)",
			parts: "disk", finds: "lost: store outage alone",
		},
		{
			name: "the save comes before the spill", file: save,
			old: spillFirst + saveThen, new: saveThen + spillFirst,
			parts: "kill", finds: "before it was spilled",
		},
		{
			name: "the spill is not synced", file: "internal/atomicfile/atomicfile.go",
			old: "\tif err := f.Sync(); err != nil {\n\t\treturn &ReplacedError{Path: path, Err: err}\n\t}\n", new: "",
			parts: "kill", finds: "does without spill: fsync spill",
		},
		{
			name: "a cancellation ends the save", file: save,
			old: "\tdctx := context.WithoutCancel(ctx)\n\tunsaved :=", new: "\tif ctx.Err() != nil {\n\t\treturn Outcome{}, ctx.Err()\n\t}\n\tdctx := context.WithoutCancel(ctx)\n\tunsaved :=",
			parts: "signals", finds: "lost: cancellation alone",
		},
		{
			name: "a conflict of the store is ignored", file: "internal/store/file/file.go",
			old: "case version(current) != old:", new: "case old == \"\" && version(current) != old:",
			parts: "race", finds: "that P1 does not allow",
		},
		{
			name: "a conflict is ignored, in rolling starts", file: "internal/store/file/file.go",
			old: "case version(current) != old:", new: "case old == \"\" && version(current) != old:",
			parts: "rolling", finds: "that P1 does not allow",
		},
		{
			name: "a token is in a warning", file: "internal/cli/refresh.go",
			old: warns, new: "\ta.warn([]string{out.Access.Value.Reveal()})\n",
			parts: "disk,leaks", finds: "leaks",
		},
		{
			name: "half a token is in a warning", file: "internal/cli/refresh.go",
			old: warns, new: "\tif v := out.Access.Value.Reveal(); v != \"\" {\n\t\ta.warn([]string{v[len(v)-13:]})\n\t}\n",
			parts: "disk,leaks", finds: "leaks",
		},
	}
}

func main() {
	root := flag.String("root", ".", "the module's folder")
	chaos := flag.String("chaos", "", "the built harness")
	rows := flag.String("rows", "", "file to which the rows are added")
	flag.Parse()
	if *chaos == "" {
		fmt.Fprintln(os.Stderr, "teeth: -chaos is needed; chaos/run gives it")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := all(ctx, *root, *chaos, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "teeth:", err)
		os.Exit(1)
	}
}

func all(ctx context.Context, root, chaos, rows string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "evergrant-teeth.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var missed []string
	for _, f := range faults() {
		found, err := f.bite(ctx, root, dir, chaos)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		r := row.Row{Part: "teeth", Name: f.name, Store: "file", Provider: "strict", Trials: 1,
			Note: "planted in a copy of " + f.file + "; the harness's part: " + f.parts}
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
func (f planted) bite(ctx context.Context, root, dir, chaos string) (found string, err error) {
	binary, err := f.build(ctx, root, dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chaos, "-short", "-binary", binary, "-rows", filepath.Join(dir, "rows"), "-parts", f.parts)
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
		if red, ok := strings.CutPrefix(strings.TrimSpace(line), "RED"); ok && strings.Contains(red, f.finds) && err != nil {
			return strings.TrimSpace(red), nil
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
