package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"evergrant/chaos/network/box"
	"evergrant/chaos/row"
	"evergrant/internal/grant"
)

const (
	// speed divides the protocol's durations in every call of the binary.
	speed = 20
	quiet = 120 * time.Second / speed

	// takeover is when any successor may present the token again: after the
	// lease, the skew and the quiet time.
	takeover = (90*time.Second+60*time.Second)/speed + quiet

	crowdSize  = 32
	rivalCount = 3
)

// course is what one configured hydra goes through.
type course struct {
	*harness
	server *server
	grace  time.Duration
}

// login is one consent, kept by one machine, with a relay before hydra.
type login struct {
	box    *box.Box
	relay  *relay
	tokens *box.Tokens
}

// begin signs in and refreshes once, undisturbed.
func (c *course) begin(ctx context.Context) (*login, error) {
	first, err := c.server.consent(ctx)
	if err != nil {
		return nil, err
	}
	l := &login{tokens: &box.Tokens{}}
	l.tokens.Add(first.Reveal())
	if l.relay, err = newRelay(c.server.public+"/oauth2/token", l.tokens); err != nil {
		return nil, err
	}
	c.boxes++
	dir := filepath.Join(c.dir, strconv.Itoa(c.boxes))
	flags := []string{"--token-url", l.relay.url, "--client-id", clientID}
	if c.grace > 0 {
		preset := dir + ".yaml"
		text := fmt.Sprintf("name: hydra\ntitle: hydra with a grace\ntoken_url: %s\nrefresh: {rotates: true, reuse: grace, grace: %v, sibling: valid, revokes_access: true}\n", l.relay.url, c.grace)
		if err := os.WriteFile(preset, []byte(text), 0o600); err != nil {
			return nil, err
		}
		flags = append(flags, "--provider", preset)
	}
	l.box, err = box.New(box.Config{Binary: c.evergrant, Dir: dir, Grant: "hydra", Speed: speed, Tokens: l.tokens, Flags: flags})
	if err != nil {
		return nil, err
	}
	l.box.Set("EVERGRANT_REFRESH_TOKEN", first.Reveal())
	defer l.box.Unset("EVERGRANT_REFRESH_TOKEN")
	r, err := l.box.Refresh(ctx, "--wait", "30s")
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("the first refresh: exit %d: %s", r.Code, r.Line)
	}
	if err != nil {
		l.relay.close()
	}
	return l, err
}

// account closes a login and adds what the relay's ledger holds to the row.
func (c *course) account(l *login, r *row.Row) error {
	defer l.relay.close()
	type shown struct {
		times       int
		first, last time.Time
		definite    bool // the last answer said that the token was not used
	}
	seen := map[string]shown{}
	for _, p := range l.relay.lines(0) {
		if p.status == 200 {
			r.Refreshes++
		}
		if p.rival {
			continue
		}
		was := seen[p.token]
		switch graced := c.grace > 0 && p.at.Sub(was.first) <= c.grace; {
		case was.times == 0:
			was.first = p.at
		case !graced && !was.definite && p.at.Sub(was.last) < quiet*95/100<<(was.times-1):
			r.P1Violations++
		}
		was.times, was.last = was.times+1, p.at
		was.definite = p.passed && p.status == 400 && p.code != "invalid_grant"
		seen[p.token] = was
	}
	leaks, err := l.box.Leaks()
	r.Leaks += leaks
	return err
}

// inARow refreshes n times; every delivered token must be good.
func (c *course) inARow(n int) func(context.Context, *row.Row) error {
	return func(ctx context.Context, r *row.Row) error {
		l, err := c.begin(ctx)
		if err != nil {
			return err
		}
		for range n {
			r.Trials++
			before := len(l.relay.lines(0))
			got, err := l.box.Refresh(ctx)
			if err != nil {
				return err
			}
			if err := c.good(ctx, got, r); err != nil {
				return err
			}
			if newest := l.relay.lines(before); len(newest) > 0 && newest[len(newest)-1].passed {
				r.Faults++
			}
		}
		if p := len(l.relay.lines(0)); p != n+1 {
			r.Broken = append(r.Broken, fmt.Sprintf("%d presentations for %d refreshes", p, n+1))
		}
		return c.account(l, r)
	}
}

// good checks a delivery at hydra itself.
func (c *course) good(ctx context.Context, got box.Result, r *row.Row) error {
	if got.Code != 0 {
		r.Broken = append(r.Broken, fmt.Sprintf("exit %d: %s", got.Code, got.Line))
		return nil
	}
	active, err := c.server.active(ctx, grant.NewSecret(got.Access))
	if err == nil && !active {
		r.Broken = append(r.Broken, "hydra does not know the token that was delivered")
	}
	return err
}

// crowd starts many processes at once whose API has refused the present token:
// whoever comes late must find the newer one.
func (c *course) crowd(rounds int) func(context.Context, *row.Row) error {
	return func(ctx context.Context, r *row.Row) error {
		l, err := c.begin(ctx)
		if err != nil {
			return err
		}
		// Adopting the first token is generation 1, the first refresh made 2.
		for generation := 2; generation < 2+rounds; generation++ {
			r.Trials++
			results, errs := make([]box.Result, crowdSize), make([]error, crowdSize)
			var all sync.WaitGroup
			for i := range crowdSize {
				all.Go(func() { results[i], errs[i] = l.box.Deliver(ctx, "--after", strconv.Itoa(generation), "--wait", "30s") })
			}
			all.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
			for _, got := range results {
				if err := c.good(ctx, got, r); err != nil {
					return err
				}
				if got.Access != results[0].Access {
					r.Broken = append(r.Broken, "two processes of one round were given different tokens")
				}
			}
			n := len(l.relay.lines(0))
			if n > generation-1 {
				r.Faults++
			}
			if n != generation {
				r.Broken = append(r.Broken, fmt.Sprintf("%d token requests for %d generations", n, generation))
			}
		}
		return c.account(l, r)
	}
}

// lostReply loses answers of hydra: the next one, or, below 0, all until the
// process has ended. Then the network is whole again.
func (c *course) lostReply(trials, drop int) func(context.Context, *row.Row) error {
	return func(ctx context.Context, r *row.Row) error {
		for range trials {
			l, err := c.begin(ctx)
			if err != nil {
				return err
			}
			r.Trials++
			from := len(l.relay.lines(0))
			l.relay.swallow(drop)
			got, err := l.box.Refresh(ctx, "--wait", "0s")
			if err != nil {
				return err
			}
			l.relay.swallow(0)
			if slices.ContainsFunc(l.relay.lines(from), func(p line) bool { return p.status == 200 && !p.passed }) {
				r.Faults++
			}
			if got.Code != 0 && got.Code != 4 {
				r.Broken = append(r.Broken, fmt.Sprintf("a lost reply gives exit %d: %s", got.Code, got.Line))
			}
			if err := c.recover(ctx, l, got, r); err != nil {
				return err
			}
			if err := c.account(l, r); err != nil {
				return err
			}
		}
		return nil
	}
}

// recover refreshes again, and says who brought the grant back, or that it is
// lost and for what reason, by the relay's record.
func (c *course) recover(ctx context.Context, l *login, under box.Result, r *row.Row) error {
	spilled, err := l.box.Spilled()
	if err != nil {
		return err
	}
	got, err := l.box.Refresh(ctx, "--wait", "1m")
	if err != nil {
		return err
	}
	alive, err := c.alive(ctx, l)
	switch {
	case err != nil:
		return err
	case got.Code == 3 && alive:
		r.Broken = append(r.Broken, "exit 3 while a token that was issued to the binary is good")
	case got.Code == 3 || got.Code == 4 && !alive:
		reason := whyLost(l.relay.lines(0), spilled)
		r.Losses++
		row.Add(&r.LossReasons, reason)
		if c.grace >= takeover {
			r.Broken = append(r.Broken, fmt.Sprintf("lost inside a grace of %v: %s", c.grace, reason))
		}
		return nil
	case under.Code == 0:
		row.Add(&r.RecoveredBy, "the same run")
	case got.Took < quiet/2:
		row.Add(&r.RecoveredBy, "the next run at once")
	default:
		row.Add(&r.RecoveredBy, "the next run, after the quiet time")
	}
	return c.good(ctx, got, r)
}

// whyLost names the reason of a loss by what the relay recorded: a rival
// presented the token before hydra had answered the binary's own presentation
// of it, or hydra issued tokens for it that were not passed on.
func whyLost(lines []line, spilled int) string {
	if spilled > 0 {
		return row.Written
	}
	heard, unheard := "", false // the newest refresh token that the binary was given; an answer to it was not passed on
	var own []line              // the binary's presentations that yielded that token, and of that token
	for _, p := range lines {
		switch {
		case p.rival:
		case p.status == 200 && p.passed:
			heard, unheard, own = p.issued.Digest(), false, []line{p}
		case p.token == heard:
			unheard, own = unheard || p.status == 200, append(own, p)
		}
	}
	for _, p := range lines {
		early := func(o line) bool { return p.token == o.token && p.at.Before(o.ended) }
		if p.rival && p.status != 0 && slices.ContainsFunc(own, early) {
			return row.Foreign
		}
	}
	if unheard {
		return row.Unheard
	}
	return "nobody else spent the token, and hydra's answer was passed on"
}

// alive reports whether hydra still knows any refresh token that it put on the
// way to the binary: introspection tells for the newest ones.
func (c *course) alive(ctx context.Context, l *login) (bool, error) {
	lines := l.relay.lines(0)
	slices.Reverse(lines)
	for i, p := range lines {
		if p.issued.IsZero() || p.rival || !p.passed || i > 8 {
			continue
		}
		if active, err := c.server.active(ctx, p.issued); active || err != nil {
			return active, err
		}
	}
	return false, nil
}

// rivals lets programs that are not evergrant present the same token at the
// same moment, as a careless second client does. Besides 500 and invalid_grant,
// hydra answers the losers of a race with invalid_request (exit 10): that
// request changed nothing. Until hydra has answered the binary itself with 500
// once in the session, twice as many trials are made.
func (c *course) rivals(trials int) func(context.Context, *row.Row) error {
	return func(ctx context.Context, r *row.Row) error {
		answers := map[string]int{}
		for n := 0; n < 3*trials || c.own500 == 0 && n < 6*trials; n++ {
			if err := c.rival(ctx, r, n%2 == 0, answers); err != nil {
				return err
			}
		}
		var said []string
		for _, a := range slices.Sorted(maps.Keys(answers)) {
			said = append(said, fmt.Sprintf("%d × %s", answers[a], a))
		}
		r.Note += "; hydra to evergrant: " + strings.Join(said, ", ")
		return nil
	}
}

// rival is one trial of rivals; answers counts hydra's answers to the binary.
func (c *course) rival(ctx context.Context, r *row.Row, ahead bool, answers map[string]int) error {
	l, err := c.begin(ctx)
	if err != nil {
		return err
	}
	r.Trials++
	from := len(l.relay.lines(0))
	l.relay.race(rivalCount, ahead)
	got, err := l.box.Refresh(ctx, "--wait", "0s")
	if err != nil {
		return err
	}
	own, others := 0, 0
	for _, p := range l.relay.lines(from) {
		switch {
		case p.rival:
			others++
		default:
			own++
			if p.status == 500 && p.passed {
				c.own500++
			}
			answers[strings.TrimSpace(fmt.Sprintf("%d %s", p.status, p.code))+fmt.Sprintf(" then exit %d", got.Code)]++
		}
	}
	if own > 0 && others > 0 {
		r.Faults++
	}
	if !slices.Contains([]int{0, 3, 4, 10}, got.Code) {
		r.Broken = append(r.Broken, fmt.Sprintf("rivals give exit %d: %s", got.Code, got.Line))
	}
	if err := c.recover(ctx, l, got, r); err != nil {
		return err
	}
	return c.account(l, r)
}
