//go:build linux && (amd64 || arm64)

// Command chaos does to the real binary, as real processes, what machines do
// to programs, and lets the provider's ledger judge: it kills it at every
// system call, signals it, takes its disk away, and starts crowds of it. Each
// kind of fault becomes a line of JSON (package row).
//
// The exit code is 0 only if every promise held. chaos/run builds what it
// needs and starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"evergrant/chaos/rig"
	"evergrant/chaos/row"
	"evergrant/internal/grant"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// harness is one run of the parts.
type harness struct {
	short   bool
	binary  string
	store   rig.Store
	rows    string // file of JSON lines
	dir     string // for everything; removed by whoever made it
	hits    int    // how often each kill point is hit
	most    int    // trials of a row, whatever the form says; 0: no bound
	workers int
	rng     *rand.Rand
	canary  *rig.Canary
	out     io.Writer

	mu     sync.Mutex
	said   []byte // everything that was said, to be searched too
	broken []string
	shown  map[string]bool // the same
	names  atomic.Uint64
}

func run(args []string, stdout, stderr io.Writer) int {
	h := &harness{canary: rig.NewCanary(), out: stdout, shown: map[string]bool{}}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&h.short, "short", false, "the form of every day, in under three minutes")
	flags.StringVar(&h.binary, "binary", "", "the evergrant to test")
	flags.StringVar(&h.rows, "rows", "", "file to which the rows are added, as JSON lines")
	flags.IntVar(&h.workers, "workers", 0, "trials at once (default 2, on a git store 4, whose trials wait longer)")
	h.store = rig.Stores()[0]
	flags.Func("store", "the kind of store (default "+h.store.Name+")", func(name string) (err error) {
		h.store, err = rig.StoreNamed(name)
		return err
	})
	parts := flags.String("parts", "", "which parts to run (default all that the store has)")
	flags.IntVar(&h.most, "most", 0, "at most so many trials of each row, for a quick look")
	seed := flags.Uint64("seed", rand.Uint64(), "drives the random moments")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if h.binary == "" || h.rows == "" || h.workers < 0 || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "chaos: -binary and -rows are needed; chaos/run gives them")
		return 2
	}
	h.rng = rand.New(rand.NewPCG(*seed, 0))
	if h.workers == 0 {
		h.workers = 2
		if h.store.Git {
			h.workers = 4
		}
	}
	h.hits = h.number(3, 1)
	if h.store.Git {
		h.hits = 1 // there are many more points, each of which is dozens of processes
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	wanted := h.partNames()
	if *parts != "" {
		wanted = strings.Split(*parts, ",")
	}
	if err := h.parts(ctx, wanted); err != nil && !errors.Is(err, errEnough) {
		fmt.Fprintf(stderr, "chaos: %v (seed %d)\n", err, *seed)
		return 1
	}
	return h.judge(*seed)
}

// number is how many trials a row has in this form.
func (h *harness) number(long, short int) int {
	n := long
	if h.short {
		n = short
	}
	if h.most > 0 {
		n = min(n, h.most)
	}
	return n
}

// part is one kind of chaos, of a store that has it.
type part struct {
	name string
	of   func(rig.Store) bool
	do   func(*harness, context.Context) error
}

func allParts() []part {
	any := func(rig.Store) bool { return true }
	local := func(s rig.Store) bool { return s.Name != "git http" } // its disk is the machine's
	git := func(s rig.Store) bool { return s.Git }
	return []part{
		{"kill", any, (*harness).killPoints},
		{"signals", any, (*harness).signals},
		{"disk", local, (*harness).disks},
		{"outages", git, (*harness).outages},
		{"race", any, (*harness).races},
		{"rolling", func(s rig.Store) bool { return !s.Git }, (*harness).rollingStarts},
		{"leaks", any, (*harness).leaks},
	}
}

// partNames are the parts that the store has.
func (h *harness) partNames() (names []string) {
	for _, p := range allParts() {
		if p.of(h.store) {
			names = append(names, p.name)
		}
	}
	return names
}

func (h *harness) parts(ctx context.Context, wanted []string) error {
	dir, err := os.MkdirTemp("", "evergrant-chaos.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h.dir = dir
	for _, name := range wanted {
		known := false
		for _, p := range allParts() {
			if p.name != name || !p.of(h.store) {
				continue
			}
			known = true
			begun := time.Now()
			if err := p.do(h, ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			h.say("part %s took %.0f s", name, time.Since(begun).Seconds())
		}
		if !known {
			return fmt.Errorf("a %s store has no part %q; there are %s", h.store.Name, name, strings.Join(h.partNames(), ", "))
		}
	}
	return nil
}

func (h *harness) judge(seed uint64) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.broken) == 0 {
		fmt.Fprintln(h.out, "chaos: every promise held")
		return 0
	}
	fmt.Fprintf(h.out, "chaos: %d promises did not hold (seed %d):\n", len(h.broken), seed)
	for _, b := range h.broken {
		fmt.Fprintf(h.out, "  RED  %s\n", b)
	}
	return 1
}

// say prints one line of the summary.
func (h *harness) say(format string, args ...any) {
	line := fmt.Sprintf("chaos: "+format+"\n", args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, line...)
	_, _ = io.WriteString(h.out, line)
}

// enough is how many promises may fail to hold before the run ends: what
// follows would say the same again.
const enough = 40

var errEnough = fmt.Errorf("%d promises did not hold: that is enough to know", enough)

// red says at once that a promise did not hold; the same one once only.
func (h *harness) red(r row.Row, violation string) {
	line := r.Title() + ": " + violation
	h.mu.Lock()
	known := h.shown[line]
	if !known {
		h.shown[line], h.broken = true, append(h.broken, line)
	}
	h.mu.Unlock()
	if !known {
		h.say("RED  %s", line)
	}
}

// judgeSoFar says what a row breaks that is not complete yet.
func (h *harness) judgeSoFar(r row.Row) {
	r.Texts = max(r.Texts, 1) // what has not been tried and met yet may still be
	h.judgeRow(r)
}

// judgeRow says what a row breaks.
func (h *harness) judgeRow(r row.Row) {
	for _, v := range r.Violations() {
		h.red(r, v)
	}
}

// enough is errEnough once there is no point in going on.
func (h *harness) enough() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.broken) < enough {
		return nil
	}
	return errEnough
}

// keep writes rows to the file and judges them.
func (h *harness) keep(rows ...row.Row) error {
	for _, r := range rows {
		h.judgeRow(r)
	}
	if err := row.Append(h.rows, rows...); err != nil {
		return err
	}
	return h.enough()
}

// bench is one machine and one provider: what a worker needs.
type bench struct {
	dir      string
	box      *rig.Box
	provider *rig.Provider
}

func (h *harness) bench(ctx context.Context, make func(dir string) (*rig.Provider, error)) (*bench, error) {
	dir := filepath.Join(h.dir, fmt.Sprint(h.names.Add(1)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := make(dir)
	if err != nil {
		return nil, err
	}
	box, err := rig.NewBox(ctx, filepath.Join(dir, "box"), h.binary, h.canary, h.store)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &bench{dir, box, p}, nil
}

// close searches the machine for tokens before it goes.
func (b *bench) close() error {
	err := b.box.Search()
	b.box.Close()
	return errors.Join(err, b.provider.Close(), os.RemoveAll(b.dir))
}

func closeAll(benches []*bench) {
	for _, b := range benches {
		b.box.Close() // searched already, or the part has failed
		_ = b.provider.Close()
		_ = os.RemoveAll(b.dir)
	}
}

func (h *harness) strict(string) (*rig.Provider, error) { return rig.Strict(h.canary) }
func (h *harness) graceful(dir string) (*rig.Provider, error) {
	return rig.Graceful(dir, h.canary, grant.SiblingSame)
}

func (h *harness) replacing(dir string) (*rig.Provider, error) {
	return rig.Graceful(dir, h.canary, grant.SiblingReplaces)
}

// benches returns one for each worker.
func (h *harness) benches(ctx context.Context, kind func(dir string) (*rig.Provider, error)) ([]*bench, error) {
	var all []*bench
	for range h.workers {
		b, err := h.bench(ctx, kind)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// share gives n tasks to the benches, one at a time each, and searches the
// machines when all is done. The first error ends it.
func (h *harness) share(ctx context.Context, benches []*bench, n int, do func(b *bench, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for _, b := range benches {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := errors.Join(do(b, i), h.enough()); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, b := range benches {
		if err := b.box.Search(); err != nil {
			return err
		}
	}
	return nil
}

// tally adds verdicts to one row. It is safe for concurrent use.
type tally struct {
	h  *harness
	mu sync.Mutex
	row.Row
}

func (h *harness) newTally(part, name, provider string) *tally {
	return &tally{h: h, Row: row.Row{Part: part, Name: name, Store: h.store.Name, Provider: provider}}
}

// add notes one trial. Every try is judged; only one that met its fault is a
// trial. why is the reason should the grant be lost, which without a fault is
// none.
func (t *tally) add(v rig.Verdict, met bool, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	verdictInto(&t.Row, v, met, why)
	t.h.judgeSoFar(t.Row)
}

// verdictInto adds to a row what became of one grant.
func verdictInto(r *row.Row, v rig.Verdict, met bool, why string) {
	if met {
		r.Trials++
		r.Faults++
		r.Refreshes += v.Refreshes
	} else {
		r.Discarded++
		why = "no fault was met"
	}
	r.P1Violations += v.P1
	if v.Broken != "" {
		r.Broken = append(r.Broken, v.Broken)
	}
	switch {
	case v.Lost:
		r.Losses++
		row.Add(&r.LossReasons, why)
	case met && v.By != "":
		row.Add(&r.RecoveredBy, v.By)
	}
}

// red notes a promise that did not hold.
func (t *tally) red(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Broken = append(t.Broken, fmt.Sprintf(format, args...))
	t.h.judgeSoFar(t.Row)
}

// closeAfter closes a row whose trials ended with err; a run that stops because
// it has found enough keeps what it has.
func (h *harness) closeAfter(t *tally, err error) error {
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	return errors.Join(err, h.close(t))
}

func (h *harness) close(t *tally) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.say("%-9s %-62s %-10s %4d trials, %d met, %d lost, by %v", t.Part, t.Name, t.Provider, t.Trials, t.Faults, t.Losses, t.RecoveredBy)
	return h.keep(t.Row)
}
