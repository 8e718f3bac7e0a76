package sim_test

import (
	"context"
	"slices"
	"sort"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// checkNewest: the newest issued token (or one as good, where the provider
// leaves siblings alive) is in the store, in a spill, in a
// rescue block or in a kept reply, or the grant is reported in doubt.
func (w *world) checkNewest() {
	c, _, err := w.store.Load(context.Background(), grantID)
	if err != nil || w.touched[w.family] || w.p.logins || !w.model.FamilyAlive(time.Now(), w.family) {
		return
	}
	newest, _ := w.model.Newest(w.family)
	d := newest.Digest()
	if c.Tokens.Refresh.Digest() == d || w.model.Usable(time.Now(), c.Tokens.Refresh) || w.raws[d] || c.InDoubt() || c.State == grant.NeedsConsent || w.kept(d) || w.siblingLost() {
		return
	}
	w.fail("the newest token is nowhere, and the grant looks healthy")
}

// kept reports whether a refresh token is in a spill or a rescue block.
func (w *world) kept(digest string) bool {
	for _, disk := range w.spills {
		for _, k := range disk {
			if k.Tokens.Refresh.Digest() == digest {
				return true
			}
		}
	}
	for _, k := range w.rescue {
		if k.Tokens.Refresh.Digest() == digest {
			return true
		}
	}
	return false
}

// checkSends holds every presentation to P1.
func (w *world) checkSends() {
	byToken := map[string][]*send{}
	for _, s := range w.sends {
		byToken[s.token] = append(byToken[s.token], s)
		if n := len(byToken[s.token]); n > 1 && w.p.f == (faults{}) && w.p.b.Rotates {
			w.fail("a token was presented %d times although nothing went wrong", n)
		}
	}
	if w.p.b.Reuse == grant.ReuseSafe || w.p.clockOff {
		return // the promise needs clocks within 30 s
	}
	for _, list := range byToken {
		sort.SliceStable(list, func(i, j int) bool { return list[i].counted.Before(list[j].counted) })
		var unknown []*send
		for _, s := range list {
			if len(unknown) > 0 && !s.late {
				w.checkRepeat(unknown, s)
			}
			switch s.fate {
			case grant.Unspent.String(), grant.Refused.String():
			default:
				unknown = append(unknown, s)
			}
		}
	}
}

func (w *world) checkRepeat(unknown []*send, s *send) {
	t := engine.DefaultTiming(w.p.sameHost)
	first, last := unknown[0], unknown[len(unknown)-1]
	since, quiet := s.counted.Sub(last.counted), t.Quiet
	sends := len(unknown)
	if last.proc.dead && last.proc.leased && last.proc.machine == s.proc.machine {
		sends-- // its holder was known to be gone
	}
	if sends == 0 {
		return
	}
	for range sends - 1 {
		quiet = min(2*quiet, t.QuietMax)
	}
	switch at, rejected := w.rejected[s.token]; {
	case rejected && s.counted.After(at):
		w.fail("a rejected token was sent again")
	case w.p.b.Reuse == grant.ReuseGrace && !s.counted.After(first.counted.Add(w.p.b.Grace)):
	case since >= quiet-t.Skew:
	default:
		w.fail("P1: send %d of a token came %v after the last, %v was due (%s by %s, then %s)",
			len(unknown)+1, since, quiet, last.fate, last.proc.name, s.proc.name)
	}
}

// killer says why the provider saw a spent token again in s, at that moment;
// "" for no good reason.
func (w *world) killer(s *send) string {
	if s.late {
		return "spent late after a pause"
	}
	for _, e := range w.sends {
		switch {
		case e.token != s.token || !e.acted || e == s:
		case e.late:
			return "spent late after a pause"
		case w.saved[e.yield]:
			return ""
		case w.durable[e.yield] && w.p.machines == 1:
			return "" // its spill is offered before anything is sent
		case w.durable[e.yield]:
			return "overtaken by another machine"
		default:
			return w.loss(e)
		}
	}
	return ""
}

// loss says how the reply to a send was lost.
func (w *world) loss(s *send) string {
	switch {
	case s.fault != "":
		return s.fault
	case s.proc.dead && !s.replied:
		return "killed while waiting"
	case s.proc.dead:
		return "killed between reply and spill"
	case s.replied:
		return "paused between reply and spill"
	}
	return "reply still on its way"
}

// cause says why a dead grant died, by the ledger; "" for no good reason.
func (w *world) cause() string {
	if w.touched[w.family] {
		return "somebody else spent the chain"
	}
	c, _, err := w.store.Load(context.Background(), grantID)
	if err != nil {
		return ""
	}
	if k, ok := w.killers[w.model.FamilyOf(c.Tokens.Refresh.Digest())]; ok {
		return k
	}
	for _, s := range w.sends {
		if s.acted && !w.durable[s.yield] {
			return w.loss(s)
		}
	}
	if slices.ContainsFunc(w.sends, func(s *send) bool { return s.late && s.acted }) {
		return "spent late after a pause"
	}
	return ""
}
