//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"evergrant/chaos/rig"
	"evergrant/internal/simulator"
)

// The figures of rolling starts: every second or so a token has too little life
// left, a few processes find that at the same moment, and dozens start while the
// next token is on its way.
const (
	shortLife  = 3 * time.Second
	leastLife  = "2s"
	slowAnswer = 300 * time.Millisecond
	startEvery = 32 * time.Millisecond
	startBurst = 4  // processes, one right after the other
	crowdMost  = 32 // processes at once
)

// rollingStarts starts processes all the time, against tokens that end soon.
func (h *harness) rollingStarts(ctx context.Context) error {
	duration := 10 * time.Minute
	if h.short {
		duration = 15 * time.Second
	}
	return h.rolling(ctx, duration)
}

// overlap counts how many processes run at once. It is safe for concurrent use.
type overlap struct {
	mu      sync.Mutex
	running int
	most    int // at any time
	within  int // while a request waited for its answer
	got     counted
	errs    []error
}

// begin notes that one more runs; waiting: a request is under way.
func (o *overlap) begin(waiting bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running++
	o.most = max(o.most, o.running)
	if waiting {
		o.within = max(o.within, o.running)
	}
}

func (o *overlap) end(d delivery, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running--
	if d.valid {
		o.got.deliveries++
	}
	o.errs = append(o.errs, err)
}

func (h *harness) rolling(ctx context.Context, duration time.Duration) (err error) {
	b, err := h.bench(ctx, func(string) (*rig.Provider, error) { return rig.StrictShort(h.canary, shortLife) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	if err := b.provider.SetFaults(simulator.Fault{Kind: simulator.FaultSlow, Before: slowAnswer, Chance: 1}); err != nil {
		return err
	}
	t := h.newTally("race", fmt.Sprintf("%d processes every %v for %v, answers after %v", startBurst, startEvery, duration, slowAnswer), b.provider.Name)
	o, err := h.roll(ctx, b, t, trial, duration)
	if err == nil {
		err = errors.Join(append(o.errs, b.provider.SetFaults())...)
	}
	if err != nil {
		return err
	}
	o.got.Counts = trial.Counts()
	t.Note = fmt.Sprintf("at most %d processes at once, %d of them while an answer was under way; %v", o.most, o.within, o.got)
	if o.within < 2 {
		t.red("the processes never overlapped while an answer was under way: this shows nothing")
	}
	return h.raced(ctx, t, trial, o.got)
}

func (h *harness) roll(ctx context.Context, b *bench, t *tally, trial *rig.Trial, duration time.Duration) (*overlap, error) {
	ctx, cancel := context.WithTimeout(ctx, duration+time.Minute)
	defer cancel()
	tick := time.NewTicker(startEvery)
	defer tick.Stop()
	slots := make(chan struct{}, crowdMost)
	var all sync.WaitGroup
	defer all.Wait()
	o := &overlap{}
	for end := time.Now().Add(duration); time.Now().Before(end) && h.enough() == nil; <-tick.C {
		for range startBurst {
			slots <- struct{}{}
			sink := b.box.NewSink()
			call, err := b.box.Start(trial.Call(ctx, "--json", "--min-ttl", leastLife, "--sink", "file:"+sink))
			if err != nil {
				return o, err
			}
			t.mu.Lock()
			t.Trials++
			t.mu.Unlock()
			o.begin(b.provider.Pending())
			all.Go(func() {
				o.end(delivered(b, t, call, sink))
				<-slots
			})
		}
	}
	all.Wait()
	return o, nil
}
