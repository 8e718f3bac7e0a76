package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"evergrant/internal/simulator"
)

// reach is how far a request comes under a fault, at the provider's end.
type reach int

const (
	toLedger     reach = iota // the provider answers it with tokens
	nowhere                   // not even a connection comes
	toConnection              // a connection comes
	toHello                   // a TLS handshake begins (RFC 8446 §4.1.2)
	toSpeech                  // the front speaks in the provider's place
)

// counts are what the provider's end saw.
type counts struct{ connections, hellos, speeches int }

func (c counts) since(was counts) counts {
	return counts{c.connections - was.connections, c.hellos - was.hellos, c.speeches - was.speeches}
}

// evidence is what the harness measured by itself of one run under a fault,
// apart from anything that the program says.
type evidence struct {
	seen            counts
	passed          int  // bytes that toxiproxy passed to the process
	refused         bool // the harness's own connection was refused, too
	asked, answered int  // presentations in the ledger
	took            time.Duration
}

// unmet says by what a run shows that it did not meet the fault, or met
// another one; "" when it met it.
func (f fault) unmet(e evidence, s shape) string {
	switch {
	case f.reaches == nowhere && e.seen.connections > 0:
		return fmt.Sprintf("%d connections came to the provider's end", e.seen.connections)
	case f.reaches == toConnection && e.seen.connections == 0:
		return "no connection came to the provider's end"
	case f.reaches == toHello && e.seen.hellos == 0:
		return "no TLS handshake began"
	case f.reaches == toSpeech && e.seen.speeches == 0:
		return "the server was not asked for its nonsense"
	case f.reaches == toLedger && e.answered == 0:
		return "the provider's ledger shows no answer"
	case f.reaches != toLedger && e.asked > 0 && !f.acts:
		return fmt.Sprintf("the provider's ledger shows %d requests", e.asked)
	case f.refuses && !e.refused:
		return "the harness could connect"
	case f.lasts != nil && e.took < f.lasts(s):
		return fmt.Sprintf("the run took %v, not %v", e.took.Round(time.Millisecond), f.lasts(s))
	case f.passes != nil && e.passed != f.passes(s)*e.answered:
		return fmt.Sprintf("%d bytes of %d replies reached the process, not %d of each", e.passed, e.answered, f.passes(s))
	}
	return ""
}

// watch begins to measure; the function that it returns ends it, after the run.
func (s *scene) watch(ctx context.Context, f fault) (func(took time.Duration) (evidence, error), error) {
	before, seen := len(s.presentations()), s.front.seen()
	passed, err := s.proxy.settled(ctx)
	if err != nil {
		return nil, err
	}
	return func(took time.Duration) (evidence, error) {
		e := evidence{seen: s.front.seen().since(seen), took: took}
		for _, p := range s.presentations()[before:] {
			e.asked++
			if p.Answered() {
				e.answered++
			}
		}
		if f.passes == nil {
			return e, nil
		}
		want := f.passes(s.shape) * e.answered
		// toxiproxy counts a connection when it has ended it.
		for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			now, err := s.proxy.passed(ctx)
			if e.passed = now - passed; err != nil || e.passed == want || time.Now().After(deadline) {
				return e, err
			}
		}
	}, nil
}

// refusesMe reports whether the proxy's port refuses the harness.
func (s *scene) refusesMe() bool {
	c, err := net.DialTimeout("tcp", s.proxy.listen, time.Second)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

// acted reports whether the provider answered any presentation from the given
// one on.
func acted(lines []simulator.Presentation) bool {
	for _, p := range lines {
		if p.Answered() {
			return true
		}
	}
	return false
}
