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
	sizes := []struct{ processes, rounds int }{{2, 50}, {8, 25}, {64, 10}, {256, 3}}
	duration, every := 10*time.Minute, 150*time.Millisecond
	if h.short {
		sizes, duration = []struct{ processes, rounds int }{{2, 5}, {8, 3}, {64, 1}}, 15*time.Second
	}
	for _, s := range sizes {
		if err := h.crowd(ctx, s.processes, s.rounds); err != nil {
			return err
		}
	}
	return h.rolling(ctx, duration, every)
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
	t := newTally("race", fmt.Sprintf("%d processes at once ask for a new token", processes), b.provider.Name)
	for range rounds {
		if err := trial.Mark(ctx); err != nil {
			return err
		}
		slow := simulator.Fault{Kind: simulator.FaultSlow, Before: 300 * time.Millisecond, Times: 1}
		if err := b.provider.SetFaults(slow); err != nil {
			return err
		}
		if err := h.round(ctx, b, t, trial, processes); err != nil {
			return err
		}
	}
	f, _ := b.provider.Standing(trial.Family)
	if !f.Alive {
		t.Losses++
		t.LossReasons = map[string]int{"a race alone": 1}
	}
	t.Refreshes, t.P1Violations = len(f.Refreshes), trial.Repeats()
	t.Note = fmt.Sprintf("%d rounds, %d generations with one request each, %d deliveries", rounds, len(f.Refreshes)-1, rounds*processes)
	return h.close(t)
}

// round is one crowd: all delivered, each with a token that is valid, and each
// generation fetched once. Who starts after the first has ended rightly asks for
// one more.
func (h *harness) round(ctx context.Context, b *bench, t *tally, trial *rig.Trial, processes int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	before, err := b.box.Status(ctx, trial.Grant)
	if err != nil {
		return err
	}
	errs := make([]error, processes)
	refreshed := make([]bool, processes)
	var all sync.WaitGroup
	for i := range processes {
		sink := b.box.NewSink()
		call, err := b.box.Start(trial.Refresh(ctx, "--json", "--sink", "file:"+sink))
		if err != nil {
			return err
		}
		all.Go(func() { refreshed[i], errs[i] = delivered(b, t, call, sink) })
	}
	all.Wait()
	t.Trials += processes
	t.Faults += processes
	after, err := b.box.Status(ctx, trial.Grant)
	if err != nil {
		return err
	}
	// A process whose result another one has put into the store, and a third one
	// has built upon, serves the newest and says so: fewer may say that they
	// refreshed than made a request.
	said := 0
	for _, r := range refreshed {
		if r {
			said++
		}
	}
	requests, generations := trial.Presented(), int(after.Generation-before.Generation)
	if requests != generations || said > requests || said == 0 || after.Unsaved > 0 {
		t.red("%d requests for %d generations, %d processes say that they refreshed, %d spills are left", requests, generations, said, after.Unsaved)
	}
	return errors.Join(errs...)
}

// delivered waits for one process of a crowd.
func delivered(b *bench, t *tally, call *rig.Call, sink string) (refreshed bool, err error) {
	r, err := call.Wait()
	if err != nil {
		return false, err
	}
	if r.Code != 0 {
		t.red("a process of the crowd: %v", r)
		return false, nil
	}
	var report struct{ Action string }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		return false, fmt.Errorf("the report is no JSON: %w", err)
	}
	token, err := os.ReadFile(sink)
	if err != nil {
		return false, err
	}
	if !b.provider.AccessValid(grant.NewSecret(strings.TrimSpace(string(token)))) {
		t.red("a process of the crowd was given a token that is not valid")
	}
	return report.Action == "refreshed", os.Remove(sink)
}

const (
	shortLife = 5 * time.Second
	leastLife = "2s"
	crowdMost = 32 // processes at once
)

// rolling starts a process again and again against tokens that end soon.
func (h *harness) rolling(ctx context.Context, duration, every time.Duration) (err error) {
	b, err := h.bench(ctx, func(string) (*rig.Provider, error) { return rig.StrictShort(h.canary, shortLife) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	t := newTally("race", fmt.Sprintf("a process every %v for %v", every, duration), b.provider.Name)
	ctx, cancel := context.WithTimeout(ctx, duration+time.Minute)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	slots := make(chan struct{}, crowdMost)
	var all sync.WaitGroup
	var errs tallyErrors
	for end := time.Now().Add(duration); time.Now().Before(end); <-tick.C {
		slots <- struct{}{}
		sink := b.box.NewSink()
		call, err := b.box.Start(trial.Call(ctx, "--json", "--min-ttl", leastLife, "--sink", "file:"+sink))
		if err != nil {
			return err
		}
		t.Trials++
		all.Go(func() {
			_, err := delivered(b, t, call, sink)
			errs.add(err)
			<-slots
		})
	}
	all.Wait()
	f, _ := b.provider.Standing(trial.Family)
	t.Refreshes, t.P1Violations = len(f.Refreshes), trial.Repeats()
	if t.Faults = t.Trials; !f.Alive {
		t.Losses, t.LossReasons = 1, map[string]int{"a race alone": 1}
	}
	t.Note = fmt.Sprintf("%d generations, one request each", len(f.Refreshes))
	return errors.Join(errs.all(), h.close(t))
}

// tallyErrors collects errors of goroutines.
type tallyErrors struct {
	mu   sync.Mutex
	errs []error
}

func (e *tallyErrors) add(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errs = append(e.errs, err)
}

func (e *tallyErrors) all() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.errs...)
}
