package notify

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"evergrant/internal/grant"
)

// Watch is a store that remembers what a call has seen of one grant, so that a
// notice costs no look of its own. It is safe for concurrent use.
type Watch struct {
	grant.Store
	id grant.ID

	mu    sync.Mutex
	first grant.Credential // the first record that was seen
	last  grant.Credential // and the last
	ver   grant.Version    // of it; "": there is none
	wrote bool             // this process has written it
}

// NewWatch watches one grant of a store.
func NewWatch(s grant.Store, id grant.ID) *Watch { return &Watch{Store: s, id: id} }

// Load implements [grant.Store].
func (w *Watch) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	c, ver, err := w.Store.Load(ctx, id)
	switch {
	case err == nil:
		w.saw(id, c, ver, false)
	case errors.Is(err, grant.ErrNotFound):
		w.saw(id, grant.Credential{}, "", false)
	}
	return c, ver, err
}

// Swap implements [grant.Store].
func (w *Watch) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	ver, err := w.Store.Swap(ctx, id, old, next)
	if err == nil {
		w.saw(id, next, ver, true)
	}
	return ver, err
}

// List implements [grant.Lister]: of a store that cannot list its grants, none.
func (w *Watch) List(ctx context.Context) iter.Seq2[grant.ID, error] {
	if l, ok := w.Store.(grant.Lister); ok {
		return l.List(ctx)
	}
	return func(func(grant.ID, error) bool) {}
}

func (w *Watch) saw(id grant.ID, c grant.Credential, ver grant.Version, wrote bool) {
	if id != w.id {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first.Consent != c.Consent {
		w.first = c
	}
	w.last, w.ver, w.wrote = c, ver, w.wrote || wrote
}

// latest is the last record that was seen.
func (w *Watch) latest() (c grant.Credential, ver grant.Version, wrote bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.ver, w.wrote
}

// Record is the last record that was seen; false: none was.
func (w *Watch) Record() (grant.Credential, bool) {
	c, ver, _ := w.latest()
	return c, ver != ""
}

// Fill adds to the facts what the records say of the consent.
func (w *Watch) Fill(f *Facts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ver == "" {
		return
	}
	f.Consent, f.Ends = w.last.Consent, w.last.Tokens.RefreshExpiry
	f.Since = w.first.Tokens.ObtainedAt
	if w.first.Tokens.Access.Value.IsZero() { // adopted by this call: the consent begins with its first answer
		f.Since = w.last.Tokens.ObtainedAt
	}
	before := w.first.Tokens.RefreshExpiry
	f.Slides = !before.IsZero() && f.Ends.Sub(before) > time.Minute
	if !before.IsZero() && w.last.Generation > w.first.Generation {
		f.Fixed = !f.Slides
	}
}
