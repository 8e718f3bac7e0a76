package sim_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// actAfter is the provider acting on a request that arrives after d.
func (w *world) actAfter(d time.Duration, cred grant.Credential, s *send) simulator.Result {
	_ = w.sleep(context.Background(), d)
	return w.act(cred, s)
}

func (w *world) act(cred grant.Credential, s *send) simulator.Result {
	w.mu.Lock()
	r := w.model.Refresh(time.Now(), client, cred.Tokens.Refresh)
	w.mu.Unlock()
	if r.Outcome == simulator.ReuseDetected && w.killers[r.Family] == "" {
		w.killers[r.Family] = w.killer(s)
	}
	s.acted = r.OK()
	if r.OK() {
		s.yield, s.access = r.Reply.Refresh.Digest(), r.Reply.Access.Digest()
	}
	w.note("provider: generation %d %s", r.Generation, r.Outcome)
	return r
}

// run is the whole life of a world; it returns whether the grant lives.
func (w *world) run() bool {
	seed := w.consent()
	w.outages()
	var all sync.WaitGroup
	for r := range runners {
		first := w.pause()
		all.Go(func() { w.runner(first, r%w.p.machines, seed) })
	}
	when := w.between(2*time.Minute, 20*time.Minute)
	if w.p.logins {
		all.Go(func() { w.person(when, w.login) })
	}
	if w.p.foreign {
		all.Go(func() { w.person(when, w.spendElsewhere) })
	}
	all.Wait()
	w.checkNewest()
	_ = w.sleep(context.Background(), 200*time.Second) // what is late lands
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	alive := w.converge()
	w.checkSends()
	return alive
}

// consent makes a new family at the provider and returns its refresh token.
func (w *world) consent() grant.Secret {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.model.NewFamily(time.Now(), client)
	w.family = r.Family
	return r.Refresh
}

// outages draws times at which a party is down for minutes.
func (w *world) outages() {
	for _, party := range []string{"store", "provider"} {
		if w.float() < w.p.f.outage {
			from := w.between(time.Minute, 20*time.Minute)
			length := w.between(20*time.Second, 5*time.Minute)
			time.AfterFunc(from, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.down[party] = time.Now().Add(length)
				w.stats.count("fault", party+" outage")
			})
		}
	}
}

func (w *world) runner(pause time.Duration, machine int, seed grant.Secret) {
	for range jobs {
		_ = w.sleep(context.Background(), pause)
		w.spawn(machine, func(p *process) { p.job(seed) })
		pause = w.pause()
	}
}

// pause is the time between two jobs of a runner. A crowd starts its jobs
// together, at the same minutes.
func (w *world) pause() time.Duration {
	if !w.p.crowd {
		return w.between(0, 5*time.Minute)
	}
	minute := time.Since(w.start).Truncate(5*time.Minute) + 5*time.Minute
	return minute - time.Since(w.start) + w.between(0, 60*time.Millisecond)
}

// spawn runs a process to its end, which may be a crash.
func (w *world) spawn(machine int, body func(*process)) {
	p, done := w.process(machine), make(chan struct{})
	go func() {
		defer close(done)
		body(p)
	}()
	<-done
	w.mu.Lock()
	p.dead = true
	w.mu.Unlock()
}

// job is one call of the program in a CI job.
func (p *process) job(seed grant.Secret) {
	w := p.w
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if w.hit("cancellation", w.p.f.cancel) {
		p.cancelSoon(cancel)
	}
	r := engine.Request{
		MinTTL: w.between(0, 59*time.Minute), Force: w.float() < 0.3, Wait: 3 * time.Minute,
		BestEffort: w.float() < 0.1, Seed: seed,
	}
	out, err := p.engine().Access(ctx, grantID, r)
	p.alive()
	p.judge(out, err)
}

// cancelSoon is how GitHub ends a job: a signal, and a kill ten seconds later.
func (p *process) cancelSoon(cancel func()) {
	after := p.w.between(0, 20*time.Second)
	p.killAt = time.Now().Add(after + 10*time.Second)
	time.AfterFunc(after, cancel)
}

// judge checks what a job was given.
func (p *process) judge(out engine.Outcome, err error) {
	w := p.w
	var unsaved *engine.UnsavedError
	if err != nil && !errors.As(err, &unsaved) {
		w.note("%s ends: %v", p.name, err)
		if errors.Is(err, engine.ErrRolledBack) || errors.Is(err, engine.ErrBound) {
			w.fail("%s takes a healthy store for another: %v", p.name, err)
		}
		return
	}
	w.mu.Lock()
	valid := w.model.AccessValid(time.Now(), out.Access.Value)
	touched := w.touched[w.family]
	w.mu.Unlock()
	w.note("%s served generation %d, valid %v", p.name, out.Access.Generation, valid)
	switch {
	case valid:
		w.stats.count("served", "valid")
	case err != nil:
		w.stats.count("served", "invalid, and said to be unsaved")
	case len(out.Warnings) > 0:
		w.stats.count("served", "invalid, with a warning")
	case out.NextRefreshEnds && w.refreshedSince(out.Access.Value):
		w.stats.count("served", "ended by a later refresh")
	case touched || w.p.logins:
		w.stats.count("served", "ended by somebody else")
	case slices.ContainsFunc(w.sends, func(s *send) bool { return s.late }):
		w.stats.count("served", "ended by a late spender")
	case w.siblingLost():
		w.stats.count("served", "ended by a lost sibling")
	case w.spentSince():
		w.stats.count("served", "family just revoked")
	default:
		w.fail("%s was served a dead token of generation %d without a word", p.name, out.Access.Generation)
	}
}

// refreshedSince reports a later refresh than the one that yielded this access
// token.
func (w *world) refreshedSince(access grant.Secret) bool {
	var from time.Time
	for _, s := range w.sends {
		if s.access == access.Digest() {
			from = s.at
		}
	}
	return slices.ContainsFunc(w.sends, func(s *send) bool { return s.acted && s.at.After(from) })
}

// siblingLost reports two answers inside one grace, of which the later put the
// earlier out and did not reach the store.
func (w *world) siblingLost() bool {
	answers := map[string]int{}
	for _, s := range w.sends {
		if s.acted && w.p.b.Sibling == grant.SiblingReplaces {
			if answers[s.token]++; answers[s.token] > 1 && !w.saved[s.yield] {
				return true
			}
		}
	}
	return false
}

// spentSince reports a family whose end no process can know of yet: a lost or
// late reply, or a recovery that has just been told.
func (w *world) spentSince() bool {
	return !w.model.FamilyAlive(time.Now(), w.family)
}

// person acts once, at some time, and does not give up.
func (w *world) person(when time.Duration, act func(p *process) bool) {
	_ = w.sleep(context.Background(), when)
	for done := false; !done; {
		w.spawn(0, func(p *process) { done = act(p) })
		_ = w.sleep(context.Background(), time.Minute)
	}
}

func (w *world) login(p *process) bool {
	seed := w.consent()
	w.stats.count("fault", "login over a living grant")
	err := p.engine().Adopt(context.Background(), grantID, seed)
	w.note("%s signs in anew: %v", p.name, err)
	return err == nil
}

// spendElsewhere is another program that holds a copy of the refresh token.
func (w *world) spendElsewhere(*process) bool {
	c, _, err := w.store.Load(context.Background(), grantID)
	if err != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.model.Refresh(time.Now(), client, c.Tokens.Refresh)
	w.touched[w.family] = true
	w.stats.count("fault", "foreign spender")
	return true
}

// converge runs the grant without faults until it is served or known dead.
// Nothing else is allowed: no grant is ever stuck.
func (w *world) converge() bool {
	w.spawn(0, func(p *process) {
		for _, k := range w.rescue { // a person pastes the CI log
			if _, err := p.engine().Offer(context.Background(), k); err != nil {
				w.note("offer: %v", err)
			}
		}
	})
	if w.p.retires {
		return w.retire()
	}
	alive, settled := false, false
	for try := 0; try < 60 && !settled; try++ {
		machine := try % w.p.machines
		w.spawn(machine, func(p *process) {
			out, err := p.engine().Access(context.Background(), grantID, engine.Request{Force: true, Wait: 3 * time.Minute})
			var wait *engine.WaitError
			switch {
			case err == nil:
				alive, settled = true, try >= w.p.machines-1
				p.judge(out, nil)
			case errors.Is(err, grant.ErrNeedsConsent):
				alive, settled = false, try >= w.p.machines-1
			case errors.As(err, &wait) && !wait.Next.IsZero():
				_ = w.sleep(context.Background(), max(wait.Next.Sub(p.now()), time.Second))
			case errors.Is(err, engine.ErrNoToken):
				settled = true // no job ever reached the store
				alive = w.neverStarted()
			case errors.Is(err, grant.ErrInDoubt):
				w.readRaw(p)
			default:
				w.note("converge: %v", err)
				_ = w.sleep(context.Background(), 10*time.Minute)
			}
		})
	}
	if !settled {
		w.fail("the grant is stuck: neither served nor dead")
	}
	return alive
}

func (w *world) neverStarted() bool {
	for _, s := range w.sends {
		if s.acted {
			w.fail("a token was spent without a record")
		}
	}
	return true
}

// readRaw is a person who reads the kept reply and finds the token in it.
func (w *world) readRaw(p *process) {
	w.stats.count("other", "raw reply read by a person")
	var raw grant.Secret
	keep := func(s grant.Secret) error { raw = s; return nil }
	if err := p.engine().TakeRaw(context.Background(), grantID, keep); err != nil {
		w.fail("raw reply: %v", err)
		return
	}
	if err := p.engine().Adopt(context.Background(), grantID, raw); err != nil {
		w.fail("adopting from the raw reply: %v", err)
	}
}

// retire is a logout; from then on nothing is served and nothing is sent.
func (w *world) retire() bool {
	bg := context.Background()
	c, v, err := w.store.Load(bg, grantID)
	if err != nil {
		return true
	}
	c.State, c.Writer = grant.Retired, "logout"
	if _, err := w.store.Swap(bg, grantID, v, c); err != nil {
		w.fail("logout: %v", err)
	}
	sent := len(w.sends)
	w.spawn(0, func(p *process) {
		_, err := p.engine().Access(bg, grantID, engine.Request{Wait: time.Minute})
		if !errors.Is(err, engine.ErrRetired) {
			w.fail("a retired grant gave %v", err)
		}
	})
	if len(w.sends) != sent {
		w.fail("a retired grant's token was sent")
	}
	return true
}
