package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// scriptedStore is the world's store with its faults.
type scriptedStore struct{ w *world }

func (s *scriptedStore) Properties() grant.Properties {
	return grant.Properties{Atomic: !s.w.weak, SameHost: s.w.sameHost}
}

func (s *scriptedStore) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	w := s.w
	w.note("load")
	w.mu.Lock()
	w.loads++
	n := w.loads
	w.mu.Unlock()
	if w.onLoad != nil {
		err := w.onLoad(n)
		if errors.Is(err, errHang) {
			<-ctx.Done()
			err = fmt.Errorf("the store hangs: %w", ctx.Err())
		}
		if err != nil {
			return grant.Credential{}, "", err
		}
	}
	return w.records.Load(ctx, id)
}

func (s *scriptedStore) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	w := s.w
	next = next.Clone()
	kind := w.kind(next)
	w.note("swap %s", kind)
	w.mu.Lock()
	w.swaps[kind]++
	n := w.swaps[kind]
	w.mu.Unlock()
	f := fault{}
	if w.onSwap != nil {
		f = w.onSwap(kind, n)
	}
	if f.before != nil {
		f.before()
	}
	switch {
	case f.err != nil:
		return "", f.err
	case f.lose:
		return "", errLost
	case f.late > 0:
		time.AfterFunc(f.late, func() {
			if _, err := w.records.Swap(context.Background(), id, old, next); err == nil {
				w.note("%s lands late", kind)
			} else {
				w.note("late %s conflicts", kind)
			}
		})
		return "", errLost
	case f.hang:
		<-ctx.Done()
		return "", fmt.Errorf("the store hangs: %w", ctx.Err())
	}
	v, err := w.records.Swap(ctx, id, old, next)
	if f.drop && err == nil {
		return "", errLost
	}
	return v, err
}

// kind says what a Swap is for, by what it changes when it is first seen.
func (w *world) kind(next grant.Credential) string {
	cur := w.stored()
	w.mu.Lock()
	defer w.mu.Unlock()
	if k, ok := w.kinds[next.Writer]; ok {
		return k
	}
	last := grant.Event{}
	if n := len(next.Events); n > 0 && !slices.Contains(cur.Events, next.Events[n-1]) {
		last = next.Events[n-1]
	}
	k := "release"
	switch {
	case last.What == grant.EventAttempt:
		k = "lease"
	case last.What == grant.EventRefreshed || next.Generation > cur.Generation && last.What != grant.EventAdopted:
		k = "save"
	case last.What != "":
		k = last.What
	}
	w.kinds[next.Writer] = k
	return k
}

// scriptedRefresher is the provider behind its network.
type scriptedRefresher struct{ w *world }

func (r *scriptedRefresher) Connect(ctx context.Context) (grant.Connection, error) {
	w := r.w
	w.note("connect")
	w.mu.Lock()
	d := dial{}
	if len(w.connects) > 0 {
		d, w.connects = w.connects[0], w.connects[1:]
	}
	w.mu.Unlock()
	if d.takes > 0 {
		select {
		case <-time.After(d.takes):
		case <-ctx.Done():
			return nil, &grant.RefreshError{Fate: grant.Unspent, Err: ctx.Err()}
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	w.mu.Lock()
	w.open++
	w.mu.Unlock()
	return &scriptedConnection{w: w}, nil
}

type scriptedConnection struct {
	w            *world
	used, closed bool
}

func (c *scriptedConnection) Close() error {
	if !c.closed {
		c.closed = true
		c.w.note("close")
		c.w.mu.Lock()
		c.w.open--
		c.w.mu.Unlock()
	}
	return nil
}

func (c *scriptedConnection) Refresh(_ context.Context, cred grant.Credential, gate func() error) (grant.TokenSet, error) {
	w := c.w
	if c.closed || c.used {
		w.t.Errorf("step 4: a connection that is closed (%v) or used (%v) is used", c.closed, c.used)
	}
	c.used = true
	w.mu.Lock()
	r := reply{}
	if len(w.replies) > 0 {
		r, w.replies = w.replies[0], w.replies[1:]
	}
	w.mu.Unlock()
	if r.early != nil {
		r.early()
	}
	if err := gate(); err != nil {
		w.note("gate closed")
		return grant.TokenSet{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	return c.exchange(cred, r)
}

// exchange is what follows the first byte: the caller's context counts no more.
func (c *scriptedConnection) exchange(cred grant.Credential, r reply) (grant.TokenSet, error) {
	w, begun, name := c.w, time.Now(), c.w.name(cred.Tokens.Refresh)
	if w.now != nil {
		begun = w.now()
	}
	w.note("send %s", name)
	w.checkCounted(cred)
	w.mu.Lock()
	w.sent = append(w.sent, presentation{name, time.Since(w.start)})
	w.mu.Unlock()
	if r.during != nil {
		r.during()
	}
	time.Sleep(max(r.takes, 100*time.Millisecond))
	if r.err != nil {
		var re *grant.RefreshError
		if !errors.As(r.err, &re) || re.Fate == grant.InDoubt {
			w.mu.Lock()
			w.unknown[cred.Tokens.Refresh.Digest()]++
			w.mu.Unlock()
		}
		return grant.TokenSet{}, r.err
	}
	w.mu.Lock()
	w.issued++
	n := w.issued
	w.mu.Unlock()
	ts := grant.TokenSet{
		Access:  grant.AccessToken{Value: w.token(fmt.Sprintf("at%d", n)), Type: "Bearer", Scope: []string{"read"}, Expiry: begun.Add(time.Hour)},
		Refresh: w.token(fmt.Sprintf("rt%d", n)), RefreshExpiry: begun.Add(720 * time.Hour), ObtainedAt: begun,
	}
	if r.set != nil {
		r.set(&ts)
	}
	return ts, nil
}

// checkCounted holds the send to step 3: at the first byte the store holds a
// definite record of this holder's lease, in which this send is counted.
func (w *world) checkCounted(cred grant.Credential) {
	s, digest := w.stored(), cred.Tokens.Refresh.Digest()
	w.mu.Lock()
	sends := w.unknown[digest] + 1
	w.mu.Unlock()
	switch {
	case s.Writer != cred.Writer:
		w.t.Errorf("step 3: a token is sent under a record that is not in the store")
	case s.Lease == nil || s.Lease.Spends != digest || !strings.HasPrefix(s.Lease.Holder, "job-"):
		w.t.Errorf("step 3: a token is sent without a lease of this holder in the store")
	case !s.InDoubt() || w.b.Reuse != grant.ReuseSafe && s.Doubt.Sends < sends:
		w.t.Errorf("step 3: send %d of a token is not counted in the store", sends)
	case !slices.Contains(s.Spent, digest):
		w.t.Errorf("step 3: the token that is sent is not among the spent ones")
	case s.Tokens.Refresh.Digest() != digest:
		w.t.Errorf("step 3: the token that is sent is not the current one")
	}
}

type scriptedSpill struct{ w *world }

func (s *scriptedSpill) Put(ctx context.Context, c grant.Credential) error {
	s.w.note("put")
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := cmpErr(s.w.spillPut, ctx.Err()); err != nil {
		return err
	}
	s.w.spills[c.Writer] = c.Clone()
	return nil
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scriptedSpill) List(context.Context, grant.ID) ([]grant.Credential, error) {
	s.w.note("list")
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	var all []grant.Credential
	for _, c := range s.w.spills {
		all = append(all, c.Clone())
	}
	return all, s.w.listErr
}

func (s *scriptedSpill) Remove(ctx context.Context, _ grant.ID, writer string) error {
	s.w.note("remove")
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	delete(s.w.spills, writer)
	return nil
}

type scriptedMarks struct{ w *world }

func (m *scriptedMarks) Mark(context.Context, grant.ID) (grant.Mark, error) {
	m.w.note("mark")
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.w.mark, m.w.markErr
}

func (m *scriptedMarks) SetMark(ctx context.Context, _ grant.ID, mark grant.Mark) error {
	m.w.note("set mark")
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if err := cmpErr(m.w.setErr, ctx.Err()); err != nil {
		return err
	}
	m.w.mark = mark
	return nil
}

// Failures of a request.
func unspent(after time.Duration) error {
	return &grant.RefreshError{Fate: grant.Unspent, Status: 429, RetryAfter: after}
}

func lostReply() error { return &grant.RefreshError{Err: errors.New("connection reset")} }

func refused() error {
	return &grant.RefreshError{Fate: grant.Refused, Code: "invalid_client", Status: 401}
}

func rejected() error {
	return &grant.RefreshError{Fate: grant.Rejected, Code: "invalid_grant", Status: 400}
}
