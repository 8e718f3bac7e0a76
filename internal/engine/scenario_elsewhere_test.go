package engine_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

const other = grant.ID("acme/other")

// listingStore is a store that can tell its grants.
type listingStore struct {
	*scriptedStore
	hangs, fails bool
	listed       int
	unreadable   grant.ID
}

func (s *listingStore) List(ctx context.Context) iter.Seq2[grant.ID, error] {
	s.listed++
	return func(yield func(grant.ID, error) bool) {
		switch {
		case s.hangs:
			<-ctx.Done()
			yield("", ctx.Err())
		case s.fails:
			yield("", errLost)
		default:
			s.w.records.List(ctx)(yield)
		}
	}
}

func (s *listingStore) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	switch id {
	case acme:
		return s.scriptedStore.Load(ctx, id)
	case s.unreadable:
		return grant.Credential{}, "", grant.ErrUnreadable
	}
	return s.w.records.Load(ctx, id)
}

// beside puts the record of another grant into the store.
func (w *world) beside(id grant.ID, edits ...func(*grant.Credential)) {
	w.t.Helper()
	c := grant.Credential{
		Grant: id, Provider: "preset", Consent: "consent-2", Bind: w.bind, Generation: 3, Writer: "writer-" + string(id),
		Tokens: grant.TokenSet{
			Access:  grant.AccessToken{Grant: id, Generation: 3, Value: w.token("at3"), Expiry: time.Now().Add(time.Hour)},
			Refresh: w.token("rt3"), ObtainedAt: time.Now(),
		},
		Seeds: []string{w.token("shared").Digest()}, Spent: []string{w.token("shared").Digest(), w.token("rt2").Digest()},
	}
	for _, e := range edits {
		e(&c)
	}
	if _, err := w.records.Swap(context.Background(), id, "", c); err != nil {
		w.t.Fatalf("the record of another grant: %v", err)
	}
}

// TestStartElsewhere holds that one refresh token starts one grant of a store.
func TestStartElsewhere(t *testing.T) {
	t.Parallel()
	access := func(w *world, s *listingStore, r engine.Request) (engine.Outcome, error) {
		cfg := w.config()
		s.scriptedStore, cfg.Store = &scriptedStore{w}, s
		e, err := engine.New(cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		return e.Access(context.Background(), acme, r)
	}
	for _, seed := range []string{"shared", "rt2", "rt3"} { // its start, one that it has sent, and its newest
		scenario(t, "another grant has seen "+seed, strict, func(t *testing.T, w *world) {
			w.beside(other)
			_, err := access(w, &listingStore{}, engine.Request{Seed: w.token(seed), Wait: time.Minute})
			seen := (*engine.ElsewhereError)(nil)
			if !errors.As(err, &seen) || seen.Grant != other || seen.Unspent || !strings.Contains(err.Error(), string(other)) {
				t.Errorf("one token, two grants: %v", err)
			}
			w.wantSent("one token, two grants")
			if c := w.stored(); c.Generation != 0 {
				t.Errorf("a grant was started: generation %d", c.Generation)
			}
		})
	}
	scenario(t, "what does not rotate is not spent", grant.Behaviour{}, func(t *testing.T, w *world) {
		w.beside(other)
		if out, err := access(w, &listingStore{}, engine.Request{Seed: w.token("shared")}); err != nil || !out.Refreshed {
			t.Errorf("two grants share a token that stays: %v", err)
		}
	})
	scenario(t, "another grant was started with it and never got a token", strict, func(t *testing.T, w *world) {
		w.beside(other, func(c *grant.Credential) {
			c.Tokens, c.Spent = grant.TokenSet{Refresh: w.token("shared")}, nil
		})
		_, err := access(w, &listingStore{}, engine.Request{Seed: w.token("shared")})
		if seen := (*engine.ElsewhereError)(nil); !errors.As(err, &seen) || !seen.Unspent {
			t.Errorf("an unspent start: %v", err)
		}
	})
	scenario(t, "the consent ended, and the seed is another grant's", strict, func(t *testing.T, w *world) {
		before := w.keep(accessEnded, ended)
		w.beside(other)
		out, err := access(w, &listingStore{}, engine.Request{Seed: w.token("rt3")})
		wantErr(t, "the grant goes on as it is", err, grant.ErrNeedsConsent)
		wantWarning(t, "and it is said", out, string(other))
		w.wantStored("the grant goes on as it is", before)
		w.wantSent("the grant goes on as it is")
	})
	scenario(t, "a token of its own", strict, func(t *testing.T, w *world) {
		w.beside(other)
		out, err := access(w, &listingStore{}, engine.Request{Seed: w.token("rt0")})
		w.wantServed("a start", out, err, "at1", true)
	})
	scenario(t, "a record that lives asks nobody", strict, func(t *testing.T, w *world) {
		w.keep(accessEnded)
		w.beside(other)
		s := &listingStore{}
		out, err := access(w, s, engine.Request{Seed: w.token("shared")})
		w.wantServed("a refresh", out, err, "at8", true)
		if s.listed != 0 {
			t.Errorf("a refresh listed the store %d times", s.listed)
		}
	})
	for name, s := range map[string]*listingStore{
		"a store that does not list":    {fails: true},
		"a store whose listing hangs":   {hangs: true},
		"a record that nobody can read": {unreadable: other},
	} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.beside(other)
			out, err := access(w, s, engine.Request{Seed: w.token("shared"), Wait: time.Minute})
			w.wantServed("what is not known stops nobody", out, err, "at1", true)
			if took := w.since(); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
	scenario(t, "an import", strict, func(t *testing.T, w *world) {
		w.beside(other)
		cfg := w.config()
		cfg.Store = &listingStore{scriptedStore: &scriptedStore{w}}
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Import(context.Background(), acme, w.foreign("shared"), true, "")
		if seen := (*engine.ElsewhereError)(nil); !errors.As(err, &seen) || seen.Grant != other {
			t.Errorf("an import of another grant's token: %v", err)
		}
		if _, err = e.Import(context.Background(), acme, w.foreign("rt0"), false, ""); err != nil {
			t.Errorf("an import of a token of its own: %v", err)
		}
		// Nor does a person's word make two grants of one token,
		if err := e.Adopt(context.Background(), acme, w.token("shared")); !errors.As(err, new(*engine.ElsewhereError)) || slices.Contains(w.stored().Seeds, w.token("shared").Digest()) {
			t.Errorf("repair --adopt: %v", err)
		}
		// unless the other one was only begun with it.
		if err := e.Adopt(context.Background(), "acme/begun", w.token("begun")); err != nil {
			t.Error(err)
		}
		if err := e.Adopt(context.Background(), acme, w.token("begun")); err != nil || !slices.Contains(w.stored().Seeds, w.token("begun").Digest()) {
			t.Errorf("repair --adopt: %v", err)
		}
	})
}
