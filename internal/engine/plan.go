package engine

import (
	"time"

	"evergrant/internal/grant"
)

// Ask is what a caller wants and what its process knows at the moment of a
// decision. It is built anew after each Load.
type Ask struct {
	Now    time.Time
	MinTTL time.Duration
	First  uint64 // generation in the caller's first Load; 0: there was no record
	After  uint64 // the API refused the token of this generation
	Force  bool
	Self   string // holder name of this process
	// Watched is how long this process itself has seen the same version in a
	// store that answered, by its monotonic clock.
	Watched time.Duration
	// HolderGone: the process of the lease's holder certainly exists no more.
	HolderGone bool
	// HolderAlive: it certainly exists, on this machine.
	HolderAlive bool
	// OwnDoubt: all sends of the token in doubt are this call's own. Its clock
	// alone counts then, and no other machine can hold a reply.
	OwnDoubt bool
}

// Verb is what to do next. The zero value is the cautious one.
type Verb uint8

// Verbs.
const (
	Refuse  Verb = iota // an error, for a person
	Serve               // deliver the stored access token
	Wait                // look again later
	Take                // take the lease and present the refresh token
	Recover             // the same, for a token whose fate is in doubt
)

func (v Verb) String() string {
	return [...]string{"Refuse", "Serve", "Wait", "Take", "Recover"}[min(v, Recover)]
}

// Row names the row of the decision table that decided; see [Next].
type Row uint8

// Rows of the table, in its order.
const (
	RowRetired      Row = iota // 1
	RowNewer                   // 2, a generation above First and After
	RowLife                    // 2, enough life left
	RowRevoking                // 2a
	RowNeedsConsent            // 3
	RowLease                   // 4
	RowClockFault              // 4, a lease that ends impossibly late
	RowRaw                     // 5
	RowGraceNow                // 6, at once inside a grace
	RowGraceLater              // 6, later inside a grace
	RowDoubtNow                // 6, the quiet time is over
	RowDoubtLater              // 6, the quiet time runs
	RowTake                    // 7
	Rows                       // how many
)

func (r Row) String() string {
	return [...]string{"1 retired", "2 newer", "2 life", "2a revoking", "3 needs consent", "4 lease", "4 clock fault",
		"5 raw", "6 grace now", "6 grace later", "6 doubt now", "6 doubt later", "7 take", "?"}[min(r, Rows)]
}

// Step is a decision.
type Step struct {
	Do  Verb
	Row Row
	// Next is, for Wait, when the answer may change by the passing of time
	// alone; zero when only watching helps.
	Next time.Time
	// Good: the access token meets the ask, although the step is not Serve.
	Good bool
	// Calm: only the watching of the store stands before a recovery.
	Calm bool
}

// Next decides what a process does with the record that it has just loaded. It
// is pure. In order:
//
//	1  Retired                                              Refuse
//	2  the access token meets the ask                       Serve, unless
//	   a  a refresh ends it and another's lease runs        Wait
//	   b  a grace runs for a doubt, no foreign lease runs   go on to 6
//	3  NeedsConsent                                         Refuse
//	4  another's lease runs                                 Wait
//	5  Raw kept, reuse not safe, no grace runs              Refuse
//	6  in doubt, reuse not safe                             Recover if allowed, else Wait
//	7  otherwise                                            Take
//
// NeedsConsent forbids every recovery, so 2b does not apply to it: the token
// that meets the ask is served.
func Next(c grant.Credential, a Ask, b grant.Behaviour, t Timing) Step {
	leased, fault := foreignLease(c, a, t)
	good, row := meets(c, a, t)
	inDoubt := c.InDoubt() && b.Reuse != grant.ReuseSafe
	switch {
	case c.State == grant.Retired:
		return Step{Do: Refuse, Row: RowRetired}
	case good && b.RevokesAccess && leased && !fault:
		return Step{Do: Wait, Row: RowRevoking, Next: leaseEnd(c, t)}
	}
	// Where a refresh ends the running token, a refresh of unknown fate may
	// have ended this one.
	good = good && !(b.RevokesAccess && (c.InDoubt() || c.State == grant.NeedsConsent))
	switch {
	case good && inDoubt && !leased && c.State == grant.Live && graceRuns(c, a, b, t):
		step := recovery(c, a, b, t)
		step.Good = true
		return step
	case good:
		return Step{Do: Serve, Row: row, Good: true}
	case c.State == grant.NeedsConsent:
		return Step{Do: Refuse, Row: RowNeedsConsent}
	case leased && fault:
		return Step{Do: Wait, Row: RowClockFault}
	case leased:
		return Step{Do: Wait, Row: RowLease, Next: leaseEnd(c, t)}
	case !c.Raw.IsZero() && b.Reuse != grant.ReuseSafe && !graceRuns(c, a, b, t):
		return Step{Do: Refuse, Row: RowRaw}
	case inDoubt:
		return recovery(c, a, b, t)
	}
	return Step{Do: Take, Row: RowTake}
}

// meets reports whether the access token is what is asked for: alive by more
// than the skew, and either newer than what the caller saw, so that ten
// parallel forced calls make one refresh, or with enough life left.
func meets(c grant.Credential, a Ask, t Timing) (bool, Row) {
	left := c.Tokens.Access.Expiry.Sub(a.Now)
	if c.Tokens.Access.Value.IsZero() || left <= t.Skew || c.Generation <= a.After {
		return false, 0
	}
	if c.Generation > a.First {
		return true, RowNewer
	}
	return !a.Force && left >= wantedLife(a.MinTTL, c.Tokens) && !fromTheFuture(c.Tokens, a.Now, t), RowLife
}

// fromTheFuture reports a token set that was obtained later than any correct
// clock says it is now: what its record says of its end is worth nothing.
func fromTheFuture(ts grant.TokenSet, now time.Time, t Timing) bool {
	return ahead(ts.ObtainedAt, now, t)
}

// wantedLife caps the life asked for at 90 % of the token's whole life, so
// that an ask above what the provider issues is not a refresh at every call.
func wantedLife(minTTL time.Duration, ts grant.TokenSet) time.Duration {
	return min(minTTL, ts.Life()/10*9)
}

// foreignLease reports whether another holder may still spend the token, and
// whether its lease ends later than any correct clock could have said.
func foreignLease(c grant.Credential, a Ask, t Timing) (runs, fault bool) {
	l := c.Lease
	switch {
	case l == nil || l.Holder == a.Self || a.HolderGone:
		return false, false
	case a.Watched >= l.TTL+t.WatchMargin:
		return false, false
	case l.Until.After(a.Now.Add(l.TTL + t.Skew)):
		return true, true
	}
	return !a.Now.After(l.Until.Add(t.Skew)), false
}

func leaseEnd(c grant.Credential, t Timing) time.Time { return c.Lease.Until.Add(t.Skew) }

// graceRuns reports whether the provider still tolerates a second presentation
// of the token in doubt, by the most cautious reading of two clocks.
func graceRuns(c grant.Credential, a Ask, b grant.Behaviour, t Timing) bool {
	if b.Reuse != grant.ReuseGrace || !c.InDoubt() || ahead(c.Doubt.First, a.Now, t) {
		return false
	}
	apart := t.Skew / 2
	if a.OwnDoubt { // a request takes its time, too
		apart = min(apart, b.Grace/4)
	}
	return !a.Now.After(c.Doubt.First.Add(b.Grace - apart))
}

// ahead reports a time that no correct clock can have written by now.
func ahead(written, now time.Time, t Timing) bool {
	return written.After(now.Add(t.Skew + t.WatchMargin))
}

// recovery says when the token in doubt may be presented again. Calm comes
// first: an outage of the store must not be followed by a race between a
// recovery here and a spill on another machine, where another can have one.
// A send that a wrong clock dated counts as one of when this process first saw it,
// by the clock that is furthest ahead of its own.
func recovery(c grant.Credential, a Ask, b grant.Behaviour, t Timing) Step {
	at, now, later := a.Now, RowDoubtNow, RowDoubtLater
	sends, quiet, last := c.Doubt.Sends, t.Quiet, c.Doubt.Last
	if ahead(last, a.Now, t) {
		last = a.Now.Add(t.Skew - a.Watched)
	}
	// Quiet gives a paused or unsaved holder time. A dead one needs none, but
	// the sends before its own keep theirs: a job that crashes again and again
	// must not present one token again and again.
	if c.Lease != nil && a.HolderGone {
		sends--
	}
	// One that is known to live, stopped perhaps, may have the reply in its
	// hands. It gets the longest time there is.
	if c.Lease != nil && a.HolderAlive {
		quiet = t.QuietMax
	}
	if graceRuns(c, a, b, t) {
		now, later = RowGraceNow, RowGraceLater
		if b.Sibling == grant.SiblingReplaces && b.Grace > t.Lease+t.Skew+t.Quiet {
			at = last.Add(doubled(quiet, min(sends, 1), t.QuietMax))
		}
	} else {
		at = last.Add(doubled(quiet, sends, t.QuietMax))
	}
	due := !at.After(a.Now)
	if calm := a.Now.Add(t.Calm - a.Watched); a.Watched < t.Calm && calm.After(at) && !a.OwnDoubt {
		at = calm
	}
	if at.After(a.Now) {
		return Step{Do: Wait, Row: later, Next: at, Calm: due}
	}
	return Step{Do: Recover, Row: now}
}

// doubled is quiet · 2^(sends−1), at most ceiling; 0 for no send.
func doubled(quiet time.Duration, sends uint, ceiling time.Duration) time.Duration {
	if sends == 0 {
		return 0
	}
	for range min(sends-1, 32) {
		if quiet >= ceiling {
			break
		}
		quiet *= 2
	}
	return min(quiet, ceiling)
}
