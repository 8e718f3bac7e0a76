// Package ghsecret is the sink that puts the access token into a GitHub Actions
// secret, for workflows that only read it.
package ghsecret

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
)

// timeout bounds one delivery: a token that cannot be delivered for so long is
// reported, and the next run delivers it.
const timeout = 2 * time.Minute

// Sink writes one secret. It is safe for concurrent use.
type Sink struct {
	secret githubapi.Secret
	client *githubapi.Client

	mu  sync.Mutex
	key *githubapi.Key // nil: not fetched yet
}

// Open sends nothing.
func Open(secret githubapi.Secret, client *githubapi.Client) *Sink {
	return &Sink{secret: secret, client: client}
}

// Check says what somebody has to mend before the secret can be written, as far
// as that shows without writing: a token that sees no secrets, a place that does not
// exist. A token that may read and not write is found out by the delivery.
func (s *Sink) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.fetch(ctx)
	if lasting(err) {
		return err
	}
	return nil
}

// Deliver replaces the secret's value by exactly the token. Workflows that are
// queued later get it.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		err := s.client.Put(ctx, s.secret, *s.key, t.Value)
		var refusal *githubapi.Error
		if !errors.As(err, &refusal) || refusal.Status != http.StatusUnprocessableEntity {
			return err
		}
		s.key = nil // GitHub may have another one by now
	}
	if err := s.fetch(ctx); err != nil {
		return err
	}
	return s.client.Put(ctx, s.secret, *s.key, t.Value)
}

// fetch gets the key that values are sealed to. The caller holds mu.
func (s *Sink) fetch(ctx context.Context) error {
	key, err := s.client.PublicKey(ctx, s.secret)
	if err == nil {
		s.key = &key
	}
	return err
}

// lasting reports an error of the API that somebody has to mend.
func lasting(err error) bool {
	var refusal *githubapi.Error
	return errors.As(err, &refusal) && refusal.Lasting()
}

var _ grant.Sink = (*Sink)(nil)
