//go:build linux

// Command report measures and writes docs/performance.md: bench/run, the
// engine's own benchmarks and bench/scale, with their goals and spread. Nothing
// in the page is typed by hand.
//
//	go run ./bench/report [-n ROUNDS] [-dir FOLDER] [-out FILE]
//
// It runs at the root of the source tree, for about five minutes. A goal that
// is missed is printed in the page and is no failure; a measurement whose
// output is not understood is one.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"evergrant/bench/figure"
)

// repeats is how often each benchmark of the engine runs, for its spread.
const repeats = "10"

type session struct {
	rounds   int
	dir, out string
	work     string
}

func main() {
	s := &session{}
	flag.IntVar(&s.rounds, "n", 60, "rounds of bench/run")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "folder for the stores: its file system is measured")
	flag.StringVar(&s.out, "out", "docs/performance.md", "the page")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := s.report(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/report:", err)
		os.Exit(1)
	}
}

func (s *session) report(ctx context.Context) (err error) {
	if s.work, err = os.MkdirTemp("", "evergrant-report"); err != nil {
		return err
	}
	defer os.RemoveAll(s.work)
	p := page{command: fmt.Sprintf("go run ./bench/report -n %d", s.rounds), day: time.Now().UTC().Format(time.DateOnly)}
	text, err := s.output(ctx, []string{fmt.Sprintf("BENCH_N=%d", s.rounds), "BENCH_DIR=" + s.dir}, "bash", "bench/run")
	if err != nil {
		return err
	}
	if p.processes, err = parseProcesses(text); err != nil {
		return fmt.Errorf("bench/run: %w", err)
	}
	text, err = s.output(ctx, nil, "go", "test", "-run", "^$", "-bench", ".", "-benchtime", "200ms", "-count", repeats, "./internal/engine")
	if err != nil {
		return err
	}
	if p.calls, err = parseBenchmarks(text); err != nil {
		return fmt.Errorf("go test -bench: %w", err)
	}
	if p.scale, err = s.scale(ctx); err != nil {
		return err
	}
	return os.WriteFile(s.out, []byte(p.markdown()), 0o644)
}

// scale builds what bench/scale needs, as it is released, and runs it.
func (s *session) scale(ctx context.Context) ([]figure.Figure, error) {
	evergrant, scale, out := filepath.Join(s.work, "evergrant"), filepath.Join(s.work, "scale"), filepath.Join(s.work, "scale.jsonl")
	for path, pkg := range map[string]string{evergrant: "./cmd/evergrant", scale: "./bench/scale"} {
		if _, err := s.output(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg); err != nil {
			return nil, err
		}
	}
	if _, err := s.output(ctx, nil, scale, "-evergrant", evergrant, "-dir", s.dir, "-out", out); err != nil {
		return nil, err
	}
	f, err := os.Open(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return figure.Read(f)
}

// output runs a command, lets its words be seen, and returns its stdout.
func (s *session) output(ctx context.Context, env []string, argv ...string) (string, error) {
	fmt.Fprintln(os.Stderr, "bench/report:", strings.Join(argv, " "))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(stdout.String()))
	}
	return stdout.String(), nil
}
