package engine

import (
	"fmt"
	"time"
)

// Timing is the protocol's durations. Their relations matter more than their
// values: [Timing.Check] asserts them. The zero value means the defaults.
type Timing struct {
	Connect     time.Duration // DNS, TCP and TLS
	Request     time.Duration // from the first byte to the whole reply
	Lease       time.Duration // how long one attempt may own the grant
	Tail        time.Duration // nothing is sent in the lease's last Tail
	Skew        time.Duration // clocks of two machines differ by at most this
	WatchMargin time.Duration // on top of a lease's TTL, when it is only watched
	Quiet       time.Duration // before a lost reply's token is presented again
	QuietMax    time.Duration // ceiling of the doubled Quiet
	Calm        time.Duration // an unchanged version, watched before any recovery
	StaleConn   time.Duration // an idle connection older than this is opened again
	Settle      time.Duration // how long an unknown lease Swap is settled
	Reload      time.Duration // how long a Load after Rejected is repeated
	PollMin     time.Duration // first pause between two Loads while waiting
	PollMax     time.Duration // longest pause between two Loads while waiting
	RetryMin    time.Duration // first pause after an unspent attempt or failed Swap
	RetryMax    time.Duration // longest such pause
}

// DefaultTiming returns the protocol's numbers for a store that many machines
// share, or, with sameHost, for one whose users share a clock: no skew between
// clocks, no other machine's spill to wait for, and cheap Loads.
func DefaultTiming(sameHost bool) Timing {
	t := Timing{
		Connect: 10 * time.Second, Request: 20 * time.Second,
		Lease: 90 * time.Second, Tail: 50 * time.Second,
		Skew: 60 * time.Second, WatchMargin: 10 * time.Second,
		Quiet: 120 * time.Second, QuietMax: time.Hour, Calm: 30 * time.Second,
		StaleConn: 5 * time.Second, Settle: 30 * time.Second, Reload: time.Minute,
		PollMin: time.Second, PollMax: 10 * time.Second,
		RetryMin: 250 * time.Millisecond, RetryMax: 10 * time.Second,
	}
	if sameHost {
		t.Skew, t.Calm = 0, 0
		t.PollMin, t.PollMax = 20*time.Millisecond, time.Second
	}
	return t
}

// Scale divides every duration by n, so that a demonstration or a test keeps
// their relations. Whoever scales says so to the user.
func (t Timing) Scale(n int) Timing {
	for _, d := range t.all() {
		*d /= time.Duration(n)
	}
	return t
}

// Check asserts the relations that the protocol rests on.
func (t Timing) Check() error {
	for _, d := range t.all() {
		if *d < 0 {
			return fmt.Errorf("engine: a negative duration in the timing")
		}
	}
	switch {
	case t.Connect <= 0 || t.Request <= 0 || t.PollMin <= 0 || t.PollMax < t.PollMin || t.RetryMin <= 0 || t.RetryMax < t.RetryMin:
		return fmt.Errorf("engine: connect, request, poll and retry durations must be positive and ordered")
	case t.Lease < t.Connect+t.Tail || t.Tail < t.Request+t.Lease/4:
		return fmt.Errorf("engine: lease %v is too short for connect %v, request %v and the time to save", t.Lease, t.Connect, t.Request)
	case t.Lease < t.Connect+2*t.Request+t.Lease/3:
		return fmt.Errorf("engine: lease %v must hold connect %v, two requests of %v and a third to save", t.Lease, t.Connect, t.Request)
	case t.Settle+t.StaleConn > t.Lease-t.Tail:
		return fmt.Errorf("engine: settling an unknown lease (%v) must end inside the sending window (%v)", t.Settle, t.Lease-t.Tail)
	case t.QuietMax < t.Quiet:
		return fmt.Errorf("engine: the longest quiet time %v is below the first %v", t.QuietMax, t.Quiet)
	}
	return nil
}

func (t *Timing) all() []*time.Duration {
	return []*time.Duration{&t.Connect, &t.Request, &t.Lease, &t.Tail, &t.Skew, &t.WatchMargin,
		&t.Quiet, &t.QuietMax, &t.Calm, &t.StaleConn, &t.Settle, &t.Reload,
		&t.PollMin, &t.PollMax, &t.RetryMin, &t.RetryMax}
}
