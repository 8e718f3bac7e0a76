package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"evergrant/chaos/network/box"
	"evergrant/chaos/row"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// Ways in which a grant lived on.
const (
	bySame  = "the same run"
	byNext  = "the next run at once"
	byGrace = "the next run at once, in the grace"
	byQuiet = "the next run, after the quiet time"
)

// verdict is what one trial found.
type verdict struct {
	refreshes int
	lost      string // reason; "": alive
	by        string
	p1, leaks int
	broken    []string
	// unmet says why the fault was not met though nothing was presented: the
	// machine was too slow for the shortened connect timeout, or toxiproxy was
	// stuck. "" when it was.
	unmet string
}

func (v *verdict) breaks(format string, args ...any) {
	v.broken = append(v.broken, fmt.Sprintf(format, args...))
}

// try does one fault to one grant and judges by the provider's ledger, whether
// the fault was met or not. An error means that the harness failed, not the
// program.
func (h *harness) try(ctx context.Context, dir string, p provider, f fault) (v verdict, err error) {
	s, err := h.stage(ctx, dir, p, f)
	if err != nil {
		return v, fmt.Errorf("setting the scene: %w", err)
	}
	defer s.strike()
	before := len(s.presentations())
	begun := time.Now()
	r, e, err := s.suffer(ctx, f)
	if err != nil {
		return v, err
	}
	s.judge(f, r, e, &v)
	if err := s.recover(ctx, f, r.Code, before, &v); err != nil {
		return v, err
	}
	if v.lost != "" && p.rules.Behaviour.Reuse == grant.ReuseGrace {
		v.breaks("lost inside a grace: %s", v.lost)
	}
	v.p1 = s.excess(p, begun, f.late)
	if standing, ok := s.server.Standing(s.family); ok {
		for _, n := range standing.Refreshes {
			v.refreshes += n
		}
	}
	v.leaks, err = s.box.Leaks()
	return v, err
}

// suffer runs the binary under the fault, heals the network and says what was
// measured.
func (s *scene) suffer(ctx context.Context, f fault) (r box.Result, e evidence, err error) {
	measured, err := s.watch(ctx, f)
	if err != nil {
		return r, e, err
	}
	if err := f.inflict(ctx, s); err != nil {
		return r, e, fmt.Errorf("inflicting the fault: %w", err)
	}
	refused := f.refuses && s.refusesMe()
	wait := "0s"
	healed := make(chan error, 1)
	if f.heals > 0 {
		wait = "30s"
		time.AfterFunc(f.heals, func() { healed <- s.heal(ctx) })
	}
	if r, err = s.box.Refresh(ctx, "--wait", wait); err != nil {
		return r, e, err
	}
	if f.heals > 0 {
		err = <-healed
	} else {
		err = s.heal(ctx)
	}
	if err != nil {
		return r, e, err
	}
	e, err = measured(r.Took)
	e.refused = refused
	return r, e, err
}

// judge holds a run under the fault against what must come of it. Only a run
// that presented nothing may have missed its fault.
func (s *scene) judge(f fault, r box.Result, e evidence, v *verdict) {
	missed := f.unmet(e, s.shape)
	if missed == "" && r.Code == 5 && containsAny(r.Line, slowMachine()) && !containsAny(saysLate, f.says) {
		missed = "the connection took too long"
	}
	switch {
	case missed != "" && e.asked == 0 && r.Code == 5:
		v.unmet = missed
	case missed != "":
		v.breaks("exit %d, and the fault was not as planned: %s", r.Code, missed)
	case !slices.Contains(f.codes, r.Code):
		v.breaks("under the fault: exit %d instead of %v: %s", r.Code, f.codes, r.Line)
	case r.Code != 0 && !containsAny(r.Line, f.says):
		v.breaks("exit %d, and its line says neither of %q: %s", r.Code, f.says, r.Line)
	}
	if r.Code == 0 && !s.server.AccessValid(grant.NewSecret(r.Access)) {
		v.breaks("delivered a token that is not valid")
	}
}

// slowMachine is what a connection says that came too late.
func slowMachine() []string { return []string{saysLate, "context deadline exceeded"} }

func containsAny(line string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) })
}

// recover does what a user does next: refreshes again, and once more to show
// that the chain is whole.
func (s *scene) recover(ctx context.Context, f fault, code, before int, v *verdict) error {
	spilled, err := s.box.Spilled()
	if err != nil {
		return err
	}
	r, err := s.box.Refresh(ctx, "--wait", "1m")
	if err != nil {
		return err
	}
	standing, _ := s.server.Standing(s.family)
	switch {
	case r.Code == 3 && standing.Alive:
		v.breaks("exit 3 while the consent lives: %s", r.Line)
	case r.Code == 3:
		v.lost = whyLost(f.whole, acted(s.presentations()[before:]), spilled)
		return nil
	case r.Code == 4 && !standing.Alive:
		// In doubt for good is a loss that the record cannot name.
		v.lost = whyLost(f.whole, acted(s.presentations()[before:]), spilled)
		return nil
	case r.Code != 0:
		v.breaks("stuck after the fault: exit %d: %s", r.Code, r.Line)
	case !s.server.AccessValid(grant.NewSecret(r.Access)):
		v.breaks("the recovery delivered a token that is not valid")
	}
	if len(v.broken) > 0 {
		return nil
	}
	v.by = lifeline(code, r.Took)
	if r, err = s.box.Refresh(ctx, "--wait", "30s"); err != nil {
		return err
	}
	if r.Code != 0 {
		v.breaks("the run after the recovery: exit %d: %s", r.Code, r.Line)
	}
	return nil
}

// lifeline names what brought the grant back, by the code under the fault and
// the time of the recovery.
func lifeline(code int, took time.Duration) string {
	switch {
	case code == 0:
		return bySame
	case code != 4:
		return byNext
	case took < quiet/2:
		return byGrace
	}
	return byQuiet
}

// whyLost names the reason of a loss from what the harness knows by itself:
// whether the reply got through, whether the ledger shows an answer since the
// fault began, and what lies on the disk.
func whyLost(whole, acted bool, spilled int) string {
	switch {
	case spilled > 0:
		return row.Written
	case whole:
		return "the whole reply had reached the process"
	case !acted:
		return "the provider had never acted"
	}
	return row.Unheard
}

func (s *scene) presentations() []simulator.Presentation {
	return slices.DeleteFunc(s.server.Ledger().Presentations, func(p simulator.Presentation) bool { return p.Family != s.family })
}

// excess counts presentations that promise P1 does not allow: of a token that
// was presented before, not inside a grace, and before the quiet time since the
// presentation before it had passed, doubled for each further one. late: the
// first came to the provider some time after the process sent it, so that the
// time counts from the beginning of the fault. A twentieth is left to the time
// between the record's entry and the ledger's.
func (s *scene) excess(p provider, begun time.Time, late bool) int {
	type shown struct {
		times       int
		first, last time.Time
	}
	seen, n := map[string]shown{}, 0
	for _, line := range s.presentations() {
		was := seen[line.Token]
		graced := p.rules.Behaviour.Reuse == grant.ReuseGrace && line.At.Sub(was.first) <= p.rules.Behaviour.Grace
		if was.times > 0 && !graced && line.At.Sub(was.last) < (quiet<<(was.times-1))*95/100 {
			n++
		}
		at := line.At
		if was.times == 0 {
			was.first = at
			if late && at.After(begun) {
				at = begun
			}
		}
		was.times, was.last = was.times+1, at
		seen[line.Token] = was
	}
	return n
}
