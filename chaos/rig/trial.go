//go:build linux && (amd64 || arm64)

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// Trial is one grant at one provider: a consent of its own, in a box, to which
// one thing is done.
type Trial struct {
	Box      *Box
	Provider *Provider
	Grant    string
	Family   string

	before    uint64 // generation in the store before the fault
	presented int    // presentations before the fault
	fresh     bool   // the fault meets the run that starts the grant
	seed      grant.Secret
}

// NewTrial gets a consent, starts the grant from it and refreshes once.
func NewTrial(ctx context.Context, b *Box, p *Provider) (*Trial, error) {
	t, err := FreshTrial(b, p)
	if err != nil {
		return nil, err
	}
	r, err := b.Run(t.Refresh(ctx, "--sink", "file:"+b.NewSink()))
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("starting a grant: %v", r)
	}
	if err != nil {
		return nil, err
	}
	t.fresh = false
	return t, t.Mark(ctx)
}

// FreshTrial gets a consent and starts nothing yet: its runs find the refresh
// token in their environment, as a first run does.
func FreshTrial(b *Box, p *Provider) (*Trial, error) {
	first, err := p.IssueFamily(simulator.DefaultClient)
	if err != nil {
		return nil, err
	}
	return &Trial{
		Box: b, Provider: p, Grant: fmt.Sprintf("chaos/%d", b.calls.Add(1)), Family: p.FamilyOf(first.Refresh.Digest()),
		before: 1, fresh: true, seed: first.Refresh, // generation 1 is the adopted token
	}, nil
}

// Mark takes the present state for the one before the fault.
func (t *Trial) Mark(ctx context.Context) error {
	s, err := t.Box.Status(ctx, t.Grant)
	t.before, t.presented = s.Generation, len(t.presentations())
	return err
}

// Refresh prepares "refresh --force" of the grant.
func (t *Trial) Refresh(ctx context.Context, args ...string) *exec.Cmd {
	return t.Call(ctx, append([]string{"--force"}, args...)...)
}

// Call prepares "refresh" of the grant.
func (t *Trial) Call(ctx context.Context, args ...string) *exec.Cmd {
	all := append([]string{"refresh", "--key-file", t.Box.key}, t.Provider.flags()...)
	all = append(append(all, args...), t.Grant)
	cmd := t.Box.Command(ctx, all...)
	if t.fresh {
		t.tempt(cmd)
	}
	return cmd
}

// Tempted is Refresh by a job that still has the grant's first refresh token.
func (t *Trial) Tempted(ctx context.Context, args ...string) *exec.Cmd {
	cmd := t.Refresh(ctx, args...)
	t.tempt(cmd)
	return cmd
}

func (t *Trial) tempt(cmd *exec.Cmd) {
	cmd.Env = append(cmd.Env, "EVERGRANT_REFRESH_TOKEN="+t.seed.Reveal())
}

// Rescue prepares "rescue" in this box with the log on its standard input.
func (b *Box) Rescue(ctx context.Context, log string) *exec.Cmd {
	cmd := b.Command(ctx, "rescue", "--key-file", b.key)
	cmd.Stdin = strings.NewReader(log)
	return cmd
}

func (t *Trial) presentations() []simulator.Presentation {
	all := t.Provider.Ledger().Presentations
	return slices.DeleteFunc(all, func(p simulator.Presentation) bool { return p.Family != t.Family })
}

// Presented is how often tokens of the grant were presented since Mark.
func (t *Trial) Presented() int { return len(t.presentations()) - t.presented }

// Counts is what the ledger says happened since Mark.
type Counts struct {
	Requests    int // presentations
	Answers     int // of them, those answered with tokens
	Generations int // different tokens among those
}

// Counts counts what happened since Mark.
func (t *Trial) Counts() (c Counts) {
	spent := map[string]bool{}
	for _, p := range t.presentations()[t.presented:] {
		c.Requests++
		if p.Answered() {
			c.Answers++
			spent[p.Token] = true
		}
	}
	c.Generations = len(spent)
	return c
}

// Answers says of each presentation since Mark whether the provider answered
// with tokens.
func (t *Trial) Answers() (answers []bool) {
	for _, p := range t.presentations()[t.presented:] {
		answers = append(answers, p.Answered())
	}
	return answers
}

// Repeats is how often a token was presented that had been presented before,
// over the whole trial.
func (t *Trial) Repeats() (n int) {
	seen := map[string]bool{}
	for _, p := range t.presentations() {
		if seen[p.Token] {
			n++
		}
		seen[p.Token] = true
	}
	return n
}

// Await returns once the token was presented since Mark, by a call that is under
// way. It polls: the ledger has no other way to tell.
func (t *Trial) Await(ctx context.Context, c *Call) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for t.Presented() == 0 && t.Provider.Ledger().Pending == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the token was never presented: %w", ctx.Err())
		case <-c.Ended():
			if r, err := c.Wait(); t.Presented() == 0 {
				return errors.Join(err, fmt.Errorf("the token was never presented: %v", r))
			}
		case <-tick.C:
		}
	}
	return nil
}

// Ways in which a grant lives on.
const (
	ByItself  = "the same run had saved it"
	ByNothing = "nothing had been spent"
	BySpill   = "the spill"
	ByGrace   = "the next run, in the grace"
	ByNext    = "the next run at once"
	ByQuiet   = "the next run, after the quiet time"
	ByBlock   = "the rescue block"

	// AfterLock goes with them where a killed git has left the lock of the ref
	// behind.
	AfterLock = ", once the lock that git had left behind was old"
)

// Verdict is what became of a grant.
type Verdict struct {
	Lost      bool
	By        string // who brought it back; "" if lost
	P1        int    // presentations that P1 does not allow
	Refreshes int    // answers with tokens, over the whole trial
	Broken    string // a promise that did not hold; "" if none
}

// Recover does what a user does next: runs refresh again, and once more. known
// is the harness's own knowledge that the next token was on a disk before the
// fault was over: then no spent token may be presented. The ledger judges; what
// the program says of itself names who brought the grant back, and is held
// against it where it cannot be so.
func (t *Trial) Recover(ctx context.Context, known bool) (Verdict, error) {
	after := t.presentations()
	var v Verdict
	s, err := t.Box.Status(ctx, t.Grant)
	if err != nil {
		v.broke("%v", err)
	} else if s.Generation < t.before && !t.fresh {
		v.broke("the generation fell from %d to %d", t.before, s.Generation)
	}
	v.By = t.by(s, after)
	locked, err := t.Box.Place.AgeLock(t.Grant)
	if err != nil {
		return v, err
	}
	r, token, err := t.again(ctx)
	if err != nil {
		return v, err
	}
	if r.Code == 0 && r.Took > t.Box.Kind.Quiet()/2 && (v.By == ByNext || v.By == ByGrace) {
		v.By = ByQuiet
	}
	if locked && v.By != ByItself {
		v.By += AfterLock
	}
	switch f, _ := t.Provider.Standing(t.Family); {
	case r.Code == 3 && f.Alive:
		v.broke("exit 3 while the consent lives")
	case r.Code == 3:
		v.Lost, v.By = true, ""
	case r.Code != 0:
		v.broke("the grant is stuck: %v", r)
	case !t.Provider.AccessValid(grant.NewSecret(token)):
		v.broke("the next run delivered a token that is not valid")
	case !t.newest(token):
		v.broke("the next run delivered a token that is not the newest")
	default:
		// That the newest refresh token is in the store shows by spending it.
		if r, _, err = t.again(ctx); err != nil {
			return v, err
		}
		if f, _ := t.Provider.Standing(t.Family); r.Code != 0 || !f.Alive {
			v.broke("the run after the recovery: %v", r)
		}
	}
	v.P1 = t.excess(after, known)
	for _, p := range t.presentations() {
		if p.Answered() {
			v.Refreshes++
		}
	}
	return v, nil
}

// broke notes a promise that did not hold.
func (v *Verdict) broke(format string, args ...any) {
	if v.Broken != "" {
		v.Broken += "; "
	}
	v.Broken += fmt.Sprintf(format, args...)
}

// newest reports whether an access token is the last that the provider issued
// to the family.
func (t *Trial) newest(token string) bool {
	f, _ := t.Provider.Standing(t.Family)
	return len(f.Access) > 0 && f.Access[len(f.Access)-1] == grant.NewSecret(token).Digest()
}

// by says who holds the next token, judged by what is there after the fault.
func (t *Trial) by(s Status, after []simulator.Presentation) string {
	switch {
	case s.Generation > t.before:
		return ByItself
	case s.Unsaved > 0:
		return BySpill
	case len(after) == t.presented:
		return ByNothing
	case t.Provider.Graced:
		return ByGrace
	}
	return ByNext
}

// again is a plain forced refresh, asked for again while it says that trying
// again is right.
func (t *Trial) again(ctx context.Context) (r Result, token string, err error) {
	for range 3 {
		sink := t.Box.NewSink()
		r, err = t.Box.Run(t.Refresh(ctx, "--speed-up", fmt.Sprint(t.Box.Kind.SpeedUp), "--wait", "60s", "--sink", "file:"+sink))
		if err = errors.Join(err, ctx.Err()); err != nil { // a harness that was ended judges nothing
			return r, "", err
		}
		if r.Code == 0 {
			text, err := os.ReadFile(sink)
			return r, strings.TrimSpace(string(text)), err
		}
		// On a busy machine git may need longer than a shortened protocol gives it:
		// what was spilled is put back by the next run.
		if r.Code != 4 && r.Code != 5 && r.Code != 9 && !(r.Code == 7 && t.Box.Kind.Git) {
			return r, "", nil
		}
	}
	return r, "", nil
}

// excess counts presentations that P1 does not allow: of a token whose
// successor was on the disk when the fault was over; of any token more than
// twice, as one trial loses one answer at most; and, within the run that met the
// fault, before the quiet time was over. The next run need not wait for it: it
// knows that the process is gone.
func (t *Trial) excess(atFault []simulator.Presentation, known bool) (n int) {
	quiet := t.Box.Kind.Quiet() - 500*time.Millisecond // a margin for the clocks
	latest := map[string]time.Time{}
	times := map[string]int{}
	for i, p := range t.presentations() {
		times[p.Token]++
		after := i >= len(atFault)
		switch {
		case times[p.Token] == 1:
		case times[p.Token] > 2, after && known, !after && !t.Provider.Graced && p.At.Sub(latest[p.Token]) < quiet:
			n++
		}
		latest[p.Token] = p.At
	}
	return n
}

// ErrBounded says that something took longer than the harness waits.
var ErrBounded = errors.New("it took longer than the harness waits")
