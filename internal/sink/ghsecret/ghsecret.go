// Package ghsecret is the sink that puts the access token into a GitHub Actions
// secret, for workflows that only read it.
package ghsecret

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"evergrant/internal/again"
	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
)

// Patience is how long one delivery is repeated by default while GitHub does not
// take it: a refresh may have ended the token that the secret holds. What cannot be
// delivered for so long is reported, and the next run delivers it.
const Patience = 2 * time.Minute

// pauses are those between two tries, each of which writes up to three times.
func pauses() again.Pauses { return again.Pauses{First: 2 * time.Second, Longest: 15 * time.Second} }

// Sink writes one secret. It is safe for concurrent use.
type Sink struct {
	secret   githubapi.Secret
	client   *githubapi.Client
	patience time.Duration

	mu  sync.Mutex
	key *githubapi.Key // nil: not fetched yet
}

// Open sends nothing. A patience of 0 is [Patience].
func Open(secret githubapi.Secret, client *githubapi.Client, patience time.Duration) *Sink {
	if patience == 0 {
		patience = Patience
	}
	return &Sink{secret: secret, client: client, patience: patience}
}

// Check implements [grant.Checker]: it finds a token that sees no secrets, and a
// place that does not exist. A token that may read and not write is found out by
// the delivery.
func (s *Sink) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.fetch(ctx)
	if err != nil && s.client.Again(err) >= 0 {
		return fmt.Errorf("%w: %w", grant.ErrUnasked, err)
	}
	return err
}

// Deliver replaces the secret's value by exactly the token, and tries for as long
// as its patience and ctx allow while that may help. Workflows that are queued
// later get it.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := t.Deliverable(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	return pauses().Try(ctx, func(ctx context.Context) (time.Duration, error) {
		err := s.put(ctx, t.Value)
		return s.client.Again(err), err
	})
}

// put writes the value once, with a key that GitHub has now. The caller holds mu.
func (s *Sink) put(ctx context.Context, value grant.Secret) error {
	if s.key != nil {
		err := s.client.Put(ctx, s.secret, *s.key, value)
		var refusal *githubapi.Error
		if !errors.As(err, &refusal) || refusal.Status != http.StatusUnprocessableEntity {
			return err
		}
		s.key = nil // GitHub may have another one by now
	}
	if err := s.fetch(ctx); err != nil {
		return err
	}
	return s.client.Put(ctx, s.secret, *s.key, value)
}

// fetch gets the key that values are sealed to. The caller holds mu.
func (s *Sink) fetch(ctx context.Context) error {
	key, err := s.client.PublicKey(ctx, s.secret)
	if err == nil {
		s.key = &key
	}
	return err
}

var (
	_ grant.Sink    = (*Sink)(nil)
	_ grant.Checker = (*Sink)(nil)
)
