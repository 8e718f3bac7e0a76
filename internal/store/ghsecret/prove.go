package ghsecret

import (
	"context"
	"fmt"
	"time"

	"evergrant/internal/grant"
)

// Prove implements [grant.Prover]: it writes and deletes the probe secret. A secret
// never keeps two writers apart; [Store.Properties] says so.
func (s *Store) Prove(ctx context.Context, id grant.ID) error {
	if err := check(ctx, id); err != nil {
		return fmt.Errorf("store ghsecret: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, err := s.client.PublicKey(ctx, s.secret)
	if err == nil {
		err = s.prove(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("store ghsecret: %w", refused(err))
	}
	return nil
}

// Clock is GitHub's clock, by its latest answer and what has passed since; zero
// before the first answer.
func (s *Store) Clock() time.Time { return s.client.Time() }
