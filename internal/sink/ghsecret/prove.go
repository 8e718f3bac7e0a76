package ghsecret

import (
	"context"
	"fmt"

	"evergrant/internal/grant"
)

// Prove writes and deletes a secret of another name beside the sink's, and so finds
// a token that may look and not write. What is in the sink stays.
func (s *Sink) Prove(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.fetch(ctx)
	probe := s.secret.Probe()
	if err == nil {
		err = s.client.Put(ctx, probe, *s.key, grant.NewSecret("evergrant proves here that it may write secrets; delete it if you find it"))
	}
	if err != nil && s.client.Again(err) >= 0 {
		return fmt.Errorf("%w: %w", grant.ErrUnasked, err)
	}
	if err != nil {
		return err
	}
	// One that stays is in nobody's way, and the next proof deletes it.
	_ = s.client.Delete(ctx, probe)
	return nil
}
