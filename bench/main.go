//go:build linux

// Command bench measures one refresh as a whole process, side by side:
// evergrant with its durable store, the usual inline Python, curl with jq,
// Node's fetch, this project's scripts, and a bare Go program. All run in one
// session, interleaved, in a new order each round, against one loopback server
// that answers at once.
// It prints what it finds and asserts nothing about time.
//
// Run it by bench/run, which builds the programs that it needs.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// warmups are rounds that are run and not counted: they fill the page cache
// and seed the grants.
const warmups = 3

// bench is one session.
type bench struct {
	rounds    int
	dir       string // where the stores live; its file system is named
	evergrant string // path of the binary
	bare      string // path of the bare program
	scripts   string // folder of the project's scripts
	ca        *authority
	server    *tokenServer
	missing   []string // tools that are not installed, by name
}

func main() {
	b := &bench{}
	flag.IntVar(&b.rounds, "n", 60, "rounds")
	flag.StringVar(&b.dir, "dir", os.TempDir(), "folder for the stores: its file system is measured")
	flag.StringVar(&b.evergrant, "evergrant", "", "path of the evergrant binary")
	flag.StringVar(&b.bare, "bare", "", "path of the bare program")
	flag.StringVar(&b.scripts, "scripts", "scripts", "folder of refresh.py, refresh.sh and refresh.mjs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.session(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) session(ctx context.Context) error {
	if b.evergrant == "" || b.bare == "" || b.rounds < 1 {
		return fmt.Errorf("want -evergrant PATH, -bare PATH and at least one round; bench/run gives them")
	}
	dir, err := os.MkdirTemp(b.dir, "evergrant-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if b.ca, err = newAuthority(filepath.Join(dir, "ca")); err != nil {
		return err
	}
	if b.server, err = newTokenServer(b.ca); err != nil {
		return err
	}
	defer b.server.close()

	syncs, counted, err := b.countSyncs(ctx)
	if err != nil {
		return err
	}
	printMachine(b, syncs, counted)
	for _, scheme := range []string{"http", "https"} {
		contenders, err := b.contenders(scheme, syncs)
		if err != nil {
			return err
		}
		if err := b.compete(ctx, contenders); err != nil {
			return err
		}
		printTable(scheme, b.rounds, contenders)
		printGoals(contenders)
	}
	for _, m := range b.missing {
		fmt.Printf("not measured: %s is not installed or does not run\n", m)
	}
	return nil
}

// compete runs every contender once per round, in a new order each time.
func (b *bench) compete(ctx context.Context, contenders []*contender) error {
	for round := range warmups + b.rounds {
		for _, i := range rand.Perm(len(contenders)) {
			c := contenders[i]
			r, err := b.once(ctx, c)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
			if round >= warmups {
				c.runs = append(c.runs, r)
			}
			c.seed = nil // from the first run on, the store carries the chain
		}
	}
	return nil
}

// run is what one process took.
type run struct {
	wall time.Duration // start to exit
	cpu  time.Duration // user and system time, with waited-for children (wait4)
	wire time.Duration // start to the whole request at the server; 0: none came
}
