//go:build linux

// Command report measures and writes docs/performance.md: bench/run, the
// engine's own benchmarks, bench/scale and bench/step, with their goals and spread. Nothing
// in the page is typed by hand.
//
//	go run ./bench/report [-n ROUNDS] [-dir FOLDER] [-out FILE] [-anyway]
//
// It runs at the root of the source tree, for about six minutes, and not on a
// machine whose load is above 2, unless -anyway is given; the page tells the
// load. A goal that
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
	"strconv"
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
	anyway   bool
}

func main() {
	s := &session{}
	flag.IntVar(&s.rounds, "n", 60, "rounds of bench/run")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "folder for the stores: its file system is measured")
	flag.StringVar(&s.out, "out", "docs/performance.md", "the page")
	flag.BoolVar(&s.anyway, "anyway", false, "measure although the machine is busy")
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
	load, err := machineLoad()
	if err != nil {
		return err
	}
	if err := quiet(load); err != nil && !s.anyway {
		return err
	}
	p := page{command: s.command(), load: [2]float64{load}, day: time.Now().UTC().Format(time.DateOnly)}
	text, err := s.output(ctx, []string{fmt.Sprintf("BENCH_N=%d", s.rounds), "BENCH_DIR=" + s.dir, "BENCH_STEP=no"}, "bash", "bench/run")
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
	if p.scale, err = s.figures(ctx, "./bench/scale"); err != nil {
		return err
	}
	if p.step, err = s.figures(ctx, "./bench/step", "-action", ".", "-n", strconv.Itoa((s.rounds+3)/4)); err != nil {
		return err
	}
	if p.load[1], err = machineLoad(); err != nil {
		return err
	}
	return os.WriteFile(s.out, []byte(p.markdown()), 0o644)
}

// command is how the page came to be, without the places on this machine.
func (s *session) command() string {
	text := fmt.Sprintf("go run ./bench/report -n %d", s.rounds)
	if s.anyway {
		text += " -anyway"
	}
	return text
}

// busy is the load above which figures say more about the machine than about
// the programs: two others that compute all the time.
const busy = 2.0

func quiet(load float64) error {
	if load > busy {
		return fmt.Errorf("the machine's load is %.2f, above %.0f: wait until it is quiet, or give -anyway", load, busy)
	}
	return nil
}

// machineLoad is the average over the last minute (proc_loadavg(5)).
func machineLoad() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	return parseLoad(string(text))
}

func parseLoad(text string) (float64, error) {
	first, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %w", err)
	}
	return n, nil
}

// figures builds a program that measures, and what it needs, as it is released,
// and runs it.
func (s *session) figures(ctx context.Context, program string, args ...string) ([]figure.Figure, error) {
	evergrant, measure, out := filepath.Join(s.work, "evergrant"), filepath.Join(s.work, filepath.Base(program)), filepath.Join(s.work, "figures.jsonl")
	for path, pkg := range map[string]string{evergrant: "./cmd/evergrant", measure: program} {
		if _, err := s.output(ctx, []string{"CGO_ENABLED=0"}, "go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg); err != nil {
			return nil, err
		}
	}
	if _, err := s.output(ctx, nil, append([]string{measure, "-evergrant", evergrant, "-dir", s.dir, "-out", out}, args...)...); err != nil {
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
