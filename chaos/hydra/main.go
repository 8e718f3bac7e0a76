//go:build linux

// Command hydra holds the real evergrant against ory/hydra, an authorization
// server that we did not write, with and without its rotation grace: a run of
// refreshes, a crowd of processes, lost replies, and rivals that present the
// same token at the same moment, to which hydra answers 500. It writes one row
// per part and configuration and exits with 1 when a promise did not hold.
//
//	hydra -evergrant BINARY -hydra BINARY [-short] [-out FILE]
//
// chaos/hydra/install builds hydra and prints its path.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"evergrant/chaos/row"
)

// part is the name of this table in the report.
const part = "ory/hydra"

type harness struct {
	evergrant, hydra, out string
	short                 bool
	dir                   string
	boxes                 int
	own500                int // answers 500 that reached the binary
}

func main() {
	h := &harness{}
	flag.StringVar(&h.evergrant, "evergrant", "", "path of the evergrant binary")
	flag.StringVar(&h.hydra, "hydra", "", "path of hydra; chaos/hydra/install prints it")
	flag.StringVar(&h.out, "out", "", "file to which the rows are appended")
	flag.BoolVar(&h.short, "short", false, "one configuration, fewer trials")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := h.session(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos/hydra:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func (h *harness) session(ctx context.Context) (ok bool, err error) {
	if h.evergrant == "" || h.hydra == "" {
		return false, errors.New("want -evergrant PATH and -hydra PATH; chaos/hydra/install prints the latter")
	}
	if h.dir, err = os.MkdirTemp("", "evergrant-hydra"); err != nil {
		return false, err
	}
	defer os.RemoveAll(h.dir)
	graces := []time.Duration{0, 5 * time.Second, 5 * time.Minute}
	if h.short {
		graces = graces[1:2]
	}
	begun, ok := time.Now(), true
	for i, g := range graces {
		rows, err := h.configuration(ctx, g)
		if err != nil {
			return false, err
		}
		if i == len(graces)-1 && h.own500 == 0 {
			last := &rows[len(rows)-1]
			last.Broken = append(last.Broken, "hydra never answered evergrant with 500: the race that this is about was not met")
		}
		ok = show(rows) && ok
		if h.out != "" {
			if err := row.Append(h.out, rows...); err != nil {
				return false, err
			}
		}
	}
	fmt.Printf("hydra: %d configurations in %.0f s\n", len(graces), time.Since(begun).Seconds())
	return ok, nil
}

// configuration runs every part against one hydra.
func (h *harness) configuration(ctx context.Context, grace time.Duration) ([]row.Row, error) {
	s, err := start(ctx, h.hydra, h.dir, grace)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	name := "hydra 2.3"
	if grace > 0 {
		name += ", grace " + short(grace)
	}
	few, many := 3, 30
	if h.short {
		few, many = 2, 10
	}
	c := &course{harness: h, server: s, grace: grace}
	var rows []row.Row
	for _, p := range []struct {
		name string
		note string
		run  func(context.Context, *row.Row) error
	}{
		{"refreshes in a row", "", c.inARow(many)},
		{"32 processes at once", "one token request for all who want the same generation", c.crowd(few)},
		{"one reply lost", "", c.lostReply(few, 1)},
		{"every reply lost until the process has ended", "", c.lostReply(few, -1)},
		{"rivals present the same token at the same moment", "the rivals are not evergrant: hydra answers one presenter, and the others with 500, invalid_request or invalid_grant", c.rivals(few)},
	} {
		r := row.Row{Part: part, Name: p.name, Store: "file", Provider: name, Note: p.note}
		if err := p.run(ctx, &r); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", name, p.name, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// short writes a grace as people do.
func short(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return d.String()
}

// show prints what was found, and reports whether every promise held.
func show(rows []row.Row) bool {
	ok := true
	for _, r := range rows {
		fmt.Printf("%-20s %-50s %3d trials, %3d refreshes, lost %d", r.Provider, r.Name, r.Trials, r.Refreshes, r.Losses)
		for by, n := range r.RecoveredBy {
			fmt.Printf(", %d %s", n, by)
		}
		for reason, n := range r.LossReasons {
			fmt.Printf(" (%d %s)", n, reason)
		}
		fmt.Printf(" %s\n", r.Note)
		for _, v := range r.Violations() {
			ok = false
			fmt.Printf("    BROKEN: %s\n", v)
		}
	}
	return ok
}
