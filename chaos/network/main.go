//go:build linux

// Command network stands toxiproxy, and servers that speak nonsense, between
// the real evergrant and a simulated provider, heals the network, refreshes
// again, and lets the provider's ledger judge. It writes one row per fault and
// provider and exits with 1 when a promise did not hold.
//
//	network -evergrant BINARY -toxiproxy BINARY [-short] [-out FILE] [-only TEXT]
//
// chaos/network/install prints the path of toxiproxy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"evergrant/chaos/row"
)

// part is the name of this table in the report.
const part = "network"

type harness struct {
	evergrant, toxiproxyPath string
	out, only                string
	short                    bool
	trials, workers          int

	dir, caFile string
	papers      *papers
}

func main() {
	h := &harness{}
	flag.StringVar(&h.evergrant, "evergrant", "", "path of the evergrant binary")
	flag.StringVar(&h.toxiproxyPath, "toxiproxy", "", "path of toxiproxy's server (default: in the cache)")
	flag.StringVar(&h.out, "out", "", "file to which the rows are appended")
	flag.StringVar(&h.only, "only", "", "only faults whose name holds this text")
	flag.BoolVar(&h.short, "short", false, "3 trials of each instead of 30, two kinds of provider instead of three")
	flag.IntVar(&h.workers, "workers", 12, "trials at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := h.session(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos/network:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

func (h *harness) session(ctx context.Context) (ok bool, err error) {
	if h.evergrant == "" || h.workers < 1 {
		return false, errors.New("want -evergrant PATH and at least one worker")
	}
	if h.toxiproxyPath == "" {
		if h.toxiproxyPath, err = cached(); err != nil {
			return false, err
		}
	}
	h.trials = 30
	if h.short {
		h.trials = 3
	}
	if h.dir, err = os.MkdirTemp("", "evergrant-network"); err != nil {
		return false, err
	}
	defer os.RemoveAll(h.dir)
	if h.papers, err = newPapers(); err != nil {
		return false, err
	}
	h.caFile = filepath.Join(h.dir, "ca.pem")
	if err := os.WriteFile(h.caFile, h.papers.ca.pem, 0o600); err != nil {
		return false, err
	}
	start := time.Now()
	rows, err := h.all(ctx)
	if err != nil {
		return false, err
	}
	ok = show(rows, time.Since(start))
	if h.out != "" {
		err = row.Append(h.out, rows...)
	}
	return ok, err
}

// cached is where chaos/network/install puts toxiproxy.
func cached() (string, error) {
	dir := os.Getenv("EVERGRANT_CACHE")
	if dir == "" {
		caches, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(caches, "evergrant-e2e")
	}
	path := filepath.Join(dir, "toxiproxy-v2.12.0", "toxiproxy")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("toxiproxy is not in the cache: %w; run chaos/network/install", err)
	}
	return path, nil
}

// task is one trial of one row.
type task struct {
	at       int // index of the row
	provider provider
	fault    fault
	dir      string
}

// all runs every trial, several at once: most of them wait.
func (h *harness) all(ctx context.Context) ([]row.Row, error) {
	kinds := providers()
	if h.short {
		kinds = kinds[:2]
	}
	var rows []row.Row
	var tasks []task
	for _, p := range kinds {
		for _, f := range faults() {
			if !strings.Contains(f.name, h.only) {
				continue
			}
			for range h.trials {
				tasks = append(tasks, task{len(rows), p, f, filepath.Join(h.dir, strconv.Itoa(len(tasks)))})
			}
			rows = append(rows, row.Row{Part: part, Name: f.name, Store: "file", Provider: p.name, Note: f.note})
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan task)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range h.workers {
		workers.Go(func() {
			for t := range queue {
				v, err := h.insist(ctx, t)
				if err != nil {
					cancel(fmt.Errorf("%s, %s: %w", t.fault.name, t.provider.name, err))
				}
				mu.Lock()
				enter(&rows[t.at], v)
				mu.Unlock()
			}
		})
	}
	for _, t := range tasks {
		if ctx.Err() != nil {
			break
		}
		queue <- t
	}
	close(queue)
	workers.Wait()
	return rows, context.Cause(ctx)
}

// tries bounds how often a trial is repeated whose fault was not met.
const tries = 4

// insist repeats a trial until its fault was met. What a try found that did not
// meet it counts all the same.
func (h *harness) insist(ctx context.Context, t task) (all []verdict, err error) {
	for n := range tries {
		v, err := h.try(ctx, fmt.Sprintf("%s-%d", t.dir, n), t.provider, t.fault)
		if errors.Is(err, errStuck) && ctx.Err() == nil {
			v, err = verdict{unmet: errStuck.Error()}, nil
		}
		if err != nil {
			return all, err
		}
		if all = append(all, v); v.unmet == "" {
			break
		}
	}
	return all, nil
}

// enter adds the tries of one trial to its row.
func enter(r *row.Row, all []verdict) {
	if len(all) == 0 {
		return
	}
	r.Trials++
	for _, v := range all {
		r.Refreshes += v.refreshes
		r.P1Violations += v.p1
		r.Leaks += v.leaks
		r.Broken = append(r.Broken, v.broken...)
		if v.lost != "" {
			r.Losses++
			row.Add(&r.LossReasons, v.lost)
		}
		if v.unmet != "" {
			r.Discarded++
			if v.lost != "" {
				r.Broken = append(r.Broken, "lost without the fault: "+v.unmet)
			}
			continue
		}
		r.Faults++
		if v.by != "" && v.lost == "" {
			row.Add(&r.RecoveredBy, v.by)
		}
	}
	if last := all[len(all)-1]; last.unmet != "" {
		r.Broken = append(r.Broken, fmt.Sprintf("the fault was not met in %d tries: %s", len(all), last.unmet))
	}
}

// show prints what was found, and reports whether every promise held.
func show(rows []row.Row, took time.Duration) bool {
	ok, trials, losses, discarded := true, 0, 0, 0
	for _, r := range rows {
		trials, losses, discarded = trials+r.Trials, losses+r.Losses, discarded+r.Discarded
		fate := "lost " + strconv.Itoa(r.Losses)
		for by, n := range r.RecoveredBy {
			fate += fmt.Sprintf(", %d %s", n, by)
		}
		fmt.Printf("%-22s %-50s %3d trials: %s\n", r.Provider, r.Name, r.Trials, fate)
		for _, v := range r.Violations() {
			ok = false
			fmt.Printf("    BROKEN: %s\n", v)
		}
	}
	fmt.Printf("network: %d kinds, %d trials, %d tries discarded, %d lost, in %.0f s\n", len(rows), trials, discarded, losses, took.Seconds())
	return ok
}
