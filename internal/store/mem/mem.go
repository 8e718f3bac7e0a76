// Package mem keeps records in memory, for tests, simulations and the demo.
package mem

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"

	"evergrant/internal/grant"
)

// Store is a [grant.Store] that ends with the process. It is safe for
// concurrent use; the zero value is not usable, see [New].
type Store struct {
	mu      sync.Mutex
	last    uint64 // number of the newest version, over all grants
	records map[grant.ID]record
}

type record struct {
	version grant.Version
	cred    grant.Credential
}

// New returns an empty store.
func New() *Store { return &Store{records: make(map[grant.ID]record)} }

// Properties implements [grant.Store].
func (*Store) Properties() grant.Properties { return grant.Properties{Atomic: true, SameHost: true} }

// Load implements [grant.Store].
func (s *Store) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	if err := check(ctx, id, id); err != nil {
		return grant.Credential{}, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	if !ok {
		return grant.Credential{}, "", fmt.Errorf("memory store: grant %q: %w", id, grant.ErrNotFound)
	}
	return r.cred.Clone(), r.version, nil
}

// Swap implements [grant.Store].
func (s *Store) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	if err := check(ctx, id, next.Grant); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[id].version != old {
		return "", fmt.Errorf("memory store: grant %q: %w", id, grant.ErrConflict)
	}
	s.last++
	v := grant.Version(strconv.FormatUint(s.last, 10))
	s.records[id] = record{v, next.Clone()}
	return v, nil
}

// List implements [grant.Lister], in the order of the names.
func (s *Store) List(ctx context.Context) iter.Seq2[grant.ID, error] {
	return func(yield func(grant.ID, error) bool) {
		s.mu.Lock()
		ids := slices.Sorted(maps.Keys(s.records))
		s.mu.Unlock()
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			if !yield(id, nil) {
				return
			}
		}
	}
}

func check(ctx context.Context, id, of grant.ID) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory store: grant %q: %w", id, err)
	}
	if _, err := grant.ParseID(string(id)); err != nil {
		return fmt.Errorf("memory store: %w", err)
	}
	if id != of {
		return fmt.Errorf("memory store: a record of grant %q cannot be kept as grant %q", of, id)
	}
	return nil
}
