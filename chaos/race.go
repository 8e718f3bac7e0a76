//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"evergrant/chaos/rig"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// races starts crowds on one store.
func (h *harness) races(ctx context.Context) error {
	type size struct{ processes, rounds int }
	sizes := []size{{2, 50}, {8, 25}, {64, 10}, {256, 3}}
	switch { // each process of a git store is a dozen of git, time after time
	case h.short && h.store.Git:
		sizes = []size{{2, 1}, {8, 1}, {32, 1}}
	case h.store.Git:
		sizes = []size{{2, 50}, {8, 20}, {32, 5}, {64, 3}}
	case h.short:
		sizes = []size{{2, 5}, {8, 3}, {64, 1}}
	}
	for _, s := range sizes {
		if err := h.crowd(ctx, s.processes, h.number(s.rounds, s.rounds)); err != nil {
			return err
		}
	}
	return nil
}

// counted is what a race did, by the ledger and by what was delivered.
type counted struct {
	rig.Counts
	deliveries int // processes that ended well with a token that is valid
}

func (c *counted) add(other counted) {
	c.Requests += other.Requests
	c.Answers += other.Answers
	c.Generations += other.Generations
	c.deliveries += other.deliveries
}

func (c counted) String() string {
	return fmt.Sprintf("counted: %d deliveries, %d requests, %d answers with tokens, %d generations", c.deliveries, c.Requests, c.Answers, c.Generations)
}

// crowd lets processes ask for a new token at once, round after round.
func (h *harness) crowd(ctx context.Context, processes, rounds int) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	t := h.newTally("race", fmt.Sprintf("%d processes at once ask for a new token", processes), b.provider.Name)
	var total counted
	done := 0
	for ; done < rounds && h.enough() == nil; done++ {
		if err := trial.Mark(ctx); err != nil {
			return err
		}
		slow := simulator.Fault{Kind: simulator.FaultSlow, Before: 300 * time.Millisecond, Times: 1}
		if err := b.provider.SetFaults(slow); err != nil {
			return err
		}
		c, err := h.round(ctx, b, t, trial, processes)
		if err != nil {
			return err
		}
		total.add(c)
	}
	t.Note = fmt.Sprintf("%d rounds; %v", done, total)
	return h.raced(ctx, t, trial, total)
}

// raced ends a race: the grant lives on, and the ledger says what it took.
func (h *harness) raced(ctx context.Context, t *tally, trial *rig.Trial, c counted) error {
	repeats := trial.Repeats()
	v, err := trial.Recover(ctx, true)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.P1Violations = repeats
	v.P1, v.By = 0, "" // the repeats hold them; nobody brought anything back
	trials := t.Trials // the processes
	verdictInto(&t.Row, v, true, "a race alone")
	t.Trials, t.Faults = trials, trials
	t.mu.Unlock()
	if c.Requests != c.Generations || c.Answers != c.Generations {
		t.red("each generation is to be fetched once; %v", c)
	}
	h.say("  %s", t.Note)
	return h.close(t)
}

// round is one crowd: all delivered, each with a token that is valid, and each
// generation fetched once. Who starts after the first has ended rightly asks for
// one more.
func (h *harness) round(ctx context.Context, b *bench, t *tally, trial *rig.Trial, processes int) (counted, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	before, err := b.box.Status(ctx, trial.Grant)
	if err != nil {
		return counted{}, err
	}
	errs := make([]error, processes)
	got := make([]delivery, processes)
	var all sync.WaitGroup
	for i := range processes {
		sink := b.box.NewSink()
		call, err := b.box.Start(trial.Refresh(ctx, "--json", "--sink", "file:"+sink))
		if err != nil {
			return counted{}, err
		}
		all.Go(func() { got[i], errs[i] = delivered(b, t, call, sink) })
	}
	all.Wait()
	t.Trials += processes
	after, err := b.box.Status(ctx, trial.Grant)
	if err != nil {
		return counted{}, err
	}
	// A process whose result another one has put into the store, and a third one
	// has built upon, serves the newest and says so: fewer may say that they
	// refreshed than made a request.
	c := counted{Counts: trial.Counts()}
	said := 0
	for _, d := range got {
		if d.valid {
			c.deliveries++
		}
		if d.refreshed {
			said++
		}
	}
	switch {
	case said > c.Requests || said == 0:
		t.red("%d requests, and %d processes say that they refreshed", c.Requests, said)
	case int(after.Generation-before.Generation) != c.Generations:
		t.red("the store counts generations %d to %d, and the provider gave %d", before.Generation, after.Generation, c.Generations)
	case after.Unsaved > 0:
		t.red("%d spills are left", after.Unsaved)
	}
	return c, errors.Join(errs...)
}

// delivery is what one process of a crowd did.
type delivery struct {
	valid     bool // it delivered a token that the provider takes
	refreshed bool // it says that it refreshed
}

// delivered waits for one process of a crowd.
func delivered(b *bench, t *tally, call *rig.Call, sink string) (d delivery, err error) {
	r, err := call.Wait()
	if err != nil {
		return d, err
	}
	if r.Code != 0 {
		t.red("a process of the crowd: %s", r.Outcome())
		return d, nil
	}
	var report struct{ Action string }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		return d, fmt.Errorf("the report is no JSON: %w", err)
	}
	token, err := os.ReadFile(sink)
	if err != nil {
		return d, err
	}
	d.refreshed = report.Action == "refreshed"
	if d.valid = b.provider.AccessValid(grant.NewSecret(strings.TrimSpace(string(token)))); !d.valid {
		t.red("a process of the crowd was given a token that is not valid")
	}
	return d, os.Remove(sink)
}
