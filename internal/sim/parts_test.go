package sim_test

import (
	"context"
	"errors"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

var errStore = errors.New("the store did not answer")

// faultyStore is the shared store as one process reaches it.
type faultyStore struct{ p *process }

func (s *faultyStore) Properties() grant.Properties {
	p := s.p.w.store.Properties()
	p.SameHost = s.p.w.p.sameHost
	return p
}

func (s *faultyStore) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	w := s.p.w
	if err := s.p.io(ctx, "load", w.between(time.Millisecond, 30*time.Millisecond)); err != nil {
		return grant.Credential{}, "", err
	}
	if w.isDown("store") || w.hit("store load fails", w.p.f.storeDown) {
		return grant.Credential{}, "", errStore
	}
	c, v, err := w.store.Load(context.Background(), id)
	if err == nil {
		w.note("%s loads generation %d", s.p.name, c.Generation)
	}
	return c, v, err
}

func (s *faultyStore) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	w := s.p.w
	next = next.Clone()
	if err := s.p.io(ctx, "swap begins", w.between(time.Millisecond, 30*time.Millisecond)); err != nil {
		return "", err
	}
	switch {
	case w.isDown("store") || w.hit("swap request lost", w.p.f.storeLost):
		return "", errStore
	case w.hit("swap lands late", w.p.f.storeLate):
		late := w.between(time.Second, 100*time.Second)
		go func() {
			_ = w.sleep(context.Background(), late)
			_, _ = w.commit(id, old, next, "late")
		}()
		return "", errStore
	}
	v, err := w.commit(id, old, next, s.p.name)
	if err == nil {
		s.p.leased = next.Lease != nil
	}
	if ioErr := s.p.io(ctx, "swap ends", w.between(time.Millisecond, 30*time.Millisecond)); ioErr != nil {
		return "", ioErr
	}
	if w.hit("swap outcome unknown", w.p.f.storeUnknown) {
		return "", errStore
	}
	return v, err
}

// commit is the store's side of a Swap. It watches that generations never
// fall, and that none names two token sets.
func (w *world) commit(id grant.ID, old grant.Version, next grant.Credential, by string) (grant.Version, error) {
	v, err := w.store.Swap(context.Background(), id, old, next)
	if err != nil {
		return v, err
	}
	digest := next.Tokens.Refresh.Digest()
	w.mu.Lock()
	before, known := w.gen, w.gens[next.Generation]
	w.gen, w.gens[next.Generation] = next.Generation, digest
	w.durable[digest], w.saved[digest] = true, true
	if next.State == grant.NeedsConsent {
		w.rejected[digest] = time.Now()
	}
	w.mu.Unlock()
	w.note("%s writes generation %d, %v, lease %v, doubt %v", by, next.Generation, next.State, next.Lease != nil, next.Doubt != nil)
	if next.Generation < before {
		w.fail("generation fell from %d to %d", before, next.Generation)
	}
	if known != "" && known != digest {
		w.fail("generation %d names two token sets", next.Generation)
	}
	return v, nil
}

// spill is a machine's disk.
type spill struct{ p *process }

func (s *spill) Put(ctx context.Context, c grant.Credential) error {
	w := s.p.w
	_ = s.p.io(ctx, "spill begins", w.between(200*time.Microsecond, 2*time.Millisecond))
	if w.hit("spill fails", w.p.f.spillFails) {
		return errors.New("disk full")
	}
	w.mu.Lock()
	w.spills[s.p.machine][c.Writer] = c.Clone()
	w.durable[c.Tokens.Refresh.Digest()] = true
	w.mu.Unlock()
	_ = s.p.io(ctx, "spill ends", w.between(200*time.Microsecond, 2*time.Millisecond))
	return nil
}

func (s *spill) List(ctx context.Context, _ grant.ID) ([]grant.Credential, error) {
	_ = s.p.io(ctx, "list spills", time.Millisecond)
	w := s.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []grant.Credential
	for _, c := range w.spills[s.p.machine] {
		list = append(list, c.Clone())
	}
	return list, nil
}

func (s *spill) Remove(ctx context.Context, _ grant.ID, writer string) error {
	_ = s.p.io(ctx, "remove spill", time.Millisecond)
	w := s.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.spills[s.p.machine], writer)
	return nil
}

type marks struct{ p *process }

func (m *marks) Mark(ctx context.Context, _ grant.ID) (grant.Mark, error) {
	_ = m.p.io(ctx, "read mark", time.Millisecond)
	m.p.w.mu.Lock()
	defer m.p.w.mu.Unlock()
	return m.p.w.marks[m.p.machine], nil
}

func (m *marks) SetMark(ctx context.Context, _ grant.ID, mark grant.Mark) error {
	_ = m.p.io(ctx, "set mark", time.Millisecond)
	m.p.w.mu.Lock()
	defer m.p.w.mu.Unlock()
	m.p.w.marks[m.p.machine] = mark
	return nil
}

// refresher reaches the provider's model over a faulty network.
type refresher struct{ p *process }

type connection struct {
	p      *process
	closed bool
}

func unspent(text string) error {
	return &grant.RefreshError{Fate: grant.Unspent, Err: errors.New(text)}
}

func (r *refresher) Connect(ctx context.Context) (grant.Connection, error) {
	w := r.p.w
	if err := r.p.io(ctx, "connect", w.between(5*time.Millisecond, 80*time.Millisecond)); err != nil {
		return nil, err
	}
	if w.isDown("provider") && w.float() < 0.5 || w.hit("connect fails", w.p.f.connect) {
		return nil, unspent("connection refused")
	}
	return &connection{p: r.p}, nil
}

func (c *connection) Close() error { c.closed = true; return nil }

func (c *connection) Refresh(ctx context.Context, cred grant.Credential, gate func() error) (grant.TokenSet, error) {
	w, f := c.p.w, c.p.w.p.f
	c.p.alive()
	if c.closed {
		w.fail("a closed connection was used")
	}
	c.closed = true
	if err := gate(); err != nil {
		return grant.TokenSet{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	s := &send{token: cred.Tokens.Refresh.Digest(), proc: c.p, counted: cred.Doubt.Last.Add(-w.skew[c.p.machine])}
	if w.hit("pause after the window check", f.latePause) {
		s.late = true
		_ = w.sleep(context.Background(), w.between(30*time.Second, 400*time.Second))
		c.p.alive()
	}
	s.at = time.Now()
	begun := c.p.now()
	w.mu.Lock()
	w.sends = append(w.sends, s)
	w.mu.Unlock()
	w.note("%s sends generation %d", c.p.name, cred.Generation)
	ts, err := c.exchange(cred, s, begun)
	var re *grant.RefreshError
	switch {
	case err == nil:
		s.fate = "success"
	case errors.As(err, &re):
		s.fate = re.Fate.String()
	}
	return ts, err
}

// exchange is what happens from the first byte on: the provider acts whatever
// becomes of the process, and the caller's context does not matter any more.
func (c *connection) exchange(cred grant.Credential, s *send, begun time.Time) (grant.TokenSet, error) {
	w, f, bg := c.p.w, c.p.w.p.f, context.Background()
	timeout := 20 * time.Second
	there, back := w.between(10*time.Millisecond, 200*time.Millisecond), w.between(10*time.Millisecond, 200*time.Millisecond)
	lost := func(fault string, after time.Duration) (grant.TokenSet, error) {
		s.fault = fault
		_ = c.p.io(bg, "waiting for a reply", after)
		return grant.TokenSet{}, &grant.RefreshError{Err: errors.New(fault)}
	}
	unacted := func(fault string, re grant.RefreshError) (grant.TokenSet, error) {
		s.fault = fault
		_ = c.p.io(bg, "waiting for a reply", there+back)
		return grant.TokenSet{}, &re
	}
	switch {
	case w.isDown("provider"):
		return lost("HTTP 502", there+back)
	case w.hit("request lost", f.lostRequest):
		return lost("request lost", timeout)
	case w.hit("busy", f.busy):
		return unacted("busy", grant.RefreshError{Fate: grant.Unspent, Status: 429, RetryAfter: 7 * time.Second})
	case w.hit("refused", f.nope):
		return unacted("refused", grant.RefreshError{Fate: grant.Refused, Status: 403})
	case w.hit("slow server", f.slow): // acts long after the client gave up
		there = w.between(time.Second, 60*time.Second)
		go w.actAfter(there, cred, s)
		return lost("slow server", timeout)
	}
	loses, garbles := w.hit("reply lost", f.lostReply), w.hit("reply garbled", f.garbled)
	answer := make(chan simulator.Result, 1)
	go func() { answer <- w.actAfter(there, cred, s) }()
	if loses {
		return lost("reply lost", w.between(there, timeout))
	}
	_ = c.p.io(bg, "waiting for a reply", there+back)
	r := <-answer
	if garbles && r.OK() {
		s.fault = "garbled"
		w.mu.Lock()
		w.raws[r.Reply.Refresh.Digest()] = true
		w.mu.Unlock()
		return grant.TokenSet{}, &grant.RefreshError{Status: 200, Raw: r.Reply.Refresh, Err: errors.New("unreadable reply")}
	}
	s.replied = true
	if !r.OK() {
		return grant.TokenSet{}, &grant.RefreshError{Fate: grant.Rejected, Code: r.Code, Status: 400}
	}
	return grant.TokenSet{
		Access:     grant.AccessToken{Value: r.Reply.Access, Type: "Bearer", Expiry: begun.Add(r.Reply.ExpiresIn)},
		Refresh:    r.Reply.Refresh,
		ObtainedAt: begun,
	}, nil
}
