//go:build e2e

package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const crowdSize = 32

// TestCrowd starts 32 processes at once on one store, round after round. By
// the server's own account each generation costs one token request.
func TestCrowd(t *testing.T) {
	server := startServer(t, nil)
	between := newRelay(t, server.issuer)
	l := server.consent(t, publicClient)
	b := newBox(t).at(between.url+"/token", publicClient).seeded(l.Refresh)
	last := b.deliver(t, "--force", "shared")
	server.expect(t, "the first refresh", refreshes(1))

	const forced, after = 10, 10
	started := time.Now()
	for range forced {
		// Without a rendezvous the last process would start after the first
		// had ended, and its --force would rightly ask for one more.
		c := newCrowd()
		between.hold(c.rendezvous)
		last = c.round(t, b, last, "--force")
		server.expect(t, "32 processes with --force", refreshes(1))
	}
	between.hold(nil)
	for range after {
		// "The API refused generation N" needs no rendezvous: whoever comes
		// late finds the newer one.
		last = newCrowd().round(t, b, last, "--after", strconv.FormatUint(last.Generation, 10))
		server.expect(t, "32 processes with --after", refreshes(1))
	}
	if !server.alive(t, last.token) {
		t.Fatal("the family is dead")
	}
	n := forced + after
	part("%-19s %d processes at once, %d rounds: %d token requests for %d generations, %d deliveries, family alive (%.1f s)",
		"crowd", crowdSize, n, n, n, n*crowdSize, time.Since(started).Seconds())
}

// crowd is one round of processes that want the same.
type crowd struct {
	mu      sync.Mutex
	settled int
	all     chan struct{} // closed when all but the one that asks are waiting or gone
}

func newCrowd() *crowd { return &crowd{all: make(chan struct{})} }

// rendezvous holds the provider's answer until every other process has said
// that it waits for it, well below the request timeout.
func (c *crowd) rendezvous() {
	select {
	case <-c.all:
	case <-time.After(15 * time.Second):
	}
}

func (c *crowd) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled++; c.settled == crowdSize-1 {
		close(c.all)
	}
}

// member notes when a process says on stderr that it waits, or ends.
type member struct {
	c    *crowd
	once sync.Once
	said strings.Builder
}

func (m *member) Write(p []byte) (int, error) {
	if m.said.Write(p); strings.Contains(m.said.String(), "waiting") {
		m.once.Do(m.c.settle)
	}
	return len(p), nil
}

func (c *crowd) round(t *testing.T, b *box, last delivery, args ...string) delivery {
	t.Helper()
	results, errs := make([]result, crowdSize), make([]error, crowdSize)
	sinks := t.TempDir()
	sink := func(i int) string { return filepath.Join(sinks, strconv.Itoa(i)) }
	var all sync.WaitGroup
	for i := range crowdSize {
		cmd := b.command(t.Context(), append([]string{"refresh", "--json", "--sink", "file:" + sink(i), "shared"}, args...)...)
		m := &member{c: c}
		cmd.Stderr = m
		all.Go(func() {
			results[i], errs[i] = b.complete(cmd)
			m.once.Do(c.settle)
		})
	}
	all.Wait()

	refreshed, next := 0, delivery{}
	for i, r := range results {
		must(t, errs[i])
		if r.code != 0 {
			t.Fatalf("process %d of %d\n%v", i+1, crowdSize, r)
		}
		d, err := readDelivery(r, sink(i))
		must(t, err)
		if d.Action == "refreshed" {
			refreshed++
		}
		if i == 0 {
			next = d
		}
		if d.Generation != last.Generation+1 || d.token != next.token || d.token == last.token {
			t.Fatalf("process %d of %d was delivered generation %d after %d, or another token\n%v", i+1, crowdSize, d.Generation, last.Generation, r)
		}
	}
	if refreshed != 1 {
		t.Fatalf("%d processes say that they refreshed", refreshed)
	}
	return next
}
