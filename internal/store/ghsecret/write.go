package ghsecret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"evergrant/internal/atomicfile"
	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
)

// maxRounds is how often one Swap writes the record, until its time can be told
// from that of the one before.
const maxRounds = 4

// Swap implements [grant.Store]. It compares with what GitHub tells of the
// secret, and then writes: what somebody else writes in between is lost.
func (s *Store) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	v, err := s.swap(ctx, id, old, next)
	if err != nil {
		return "", fmt.Errorf("store ghsecret: %w", err)
	}
	return v, nil
}

func (s *Store) swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	if err := check(ctx, id); err != nil {
		return "", err
	}
	if next.Grant != id {
		return "", unwritten{fmt.Errorf("a record of grant %q cannot be kept as grant %q", next.Grant, id)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _, err := s.encode(next, time.Time{})
	switch {
	case err != nil:
		return "", unwritten{err}
	case len(text.Reveal()) > MaxRecord:
		return "", fmt.Errorf("%w: %d bytes, and a GitHub secret holds %d", grant.ErrTooLarge, len(text.Reveal()), MaxRecord)
	}
	at, err := s.look(ctx, id)
	switch {
	case errors.Is(err, errStale):
		return "", fmt.Errorf("%w: %w", grant.ErrConflict, err)
	case errors.As(err, &cannotAsk{}):
		return "", unwritten{err}
	case err != nil:
		return "", err
	case at.version != old:
		return "", grant.ErrConflict
	}
	key, err := s.client.PublicKey(ctx, s.secret)
	if err == nil {
		err = s.prove(ctx, key)
	}
	if err != nil {
		return "", refused(err)
	}
	return s.write(ctx, key, at, next)
}

// refused marks an answer of the API after which the secret is as it was and
// trying again does not help.
func refused(err error) error {
	if lasting(err) {
		return unwritten{err}
	}
	return err
}

// prove writes and deletes a secret beside the real one, once: to find out by
// writing the real one would destroy what is newer in it.
func (s *Store) prove(ctx context.Context, key githubapi.Key) error {
	if s.proven {
		return nil
	}
	probe := s.secret.Probe()
	if err := s.client.Put(ctx, probe, key, grant.NewSecret("evergrant proves here that it may write secrets; delete it if you find it")); err != nil {
		return fmt.Errorf("the secret %s cannot be written, by which write access is proven: %w", probe.Name, err)
	}
	s.proven = true
	// One that stays is in nobody's way, and the next run deletes it.
	_ = s.client.Delete(ctx, probe)
	return nil
}

// after is the time in GitHub's clock behind which a record must be written, so
// that it can be told from the ones before. The same content, written again, need
// not be told from itself.
func (s *Store) after(at state, next grant.Credential) time.Time {
	var last time.Time
	for _, before := range []*state{&at, s.unsure} {
		if before != nil && before.written.After(last) && (before.version == "" || before.cred.Writer != next.Writer) {
			last = before.written
		}
	}
	if last.IsZero() {
		return last
	}
	return last.Add(slack)
}

// write puts the record, and once more until GitHub's time of it says all that
// readers need. An error that is not definite leaves the write unsure.
func (s *Store) write(ctx context.Context, key githubapi.Key, at state, next grant.Credential) (grant.Version, error) {
	after := s.after(at, next)
	for range maxRounds {
		written := s.time().UTC().Truncate(time.Second)
		text, now, err := s.encode(next, written)
		if err != nil {
			return "", unwritten{err}
		}
		if err := s.client.Put(ctx, s.secret, key, text); err != nil {
			var refusal *githubapi.Error
			if !errors.As(err, &refusal) || !refusal.Unwritten() {
				s.unsure = &now
			}
			return "", refused(err)
		}
		now.there = true
		d, err := s.client.Describe(ctx, s.secret)
		switch {
		case err != nil && written.After(after):
			return s.took(now), nil // it is there; when, the next look tells
		case err != nil:
			s.unsure = &now
			return "", fmt.Errorf("the secret is written, and its time is not known: %w", err)
		}
		now.updated = d.Updated
		off := d.Updated.Sub(written)
		if off.Abs() <= slack && d.Updated.After(after) {
			return s.took(now), nil
		}
		s.unsure = &now
		least := after.Add(time.Second)
		switch {
		case d.Updated.Equal(at.updated): // of before our write: GitHub's answer lags behind it
			if soon := s.time().Add(time.Second); soon.After(least) {
				least = soon
			}
		case off.Abs() > slack:
			s.shift += off
		}
		if err := s.pause(ctx, least); err != nil {
			return "", fmt.Errorf("the secret is written, in the same moment as the one before, and is to be written once more: %w", err)
		}
	}
	return "", fmt.Errorf("the secret is written, and GitHub's clocks are too far apart to tell when")
}

func (s *Store) took(now state) grant.Version {
	s.known, s.unsure = &now, nil
	if s.journal != "" && os.MkdirAll(filepath.Dir(s.journal), 0o700) == nil {
		// Without it a later step of the job sends nothing, and says why.
		_ = atomicfile.Write(s.journal, now.text, 0o600)
	}
	return now.version
}

// PutBack writes a record that a job could not save, for a person who does not
// have the secret's value: nobody can read it. It does so only if the secret was
// not written since the record was obtained, by which whatever is in it is older;
// else it is [grant.ErrUnreadable]. The lease was written before that, so no
// allowance is made for clocks that differ by more than [slack]: where the job's was
// behind, the record is refused and a job can put it back; where it was ahead by some
// seconds, what somebody wrote in these is overwritten.
func (s *Store) PutBack(ctx context.Context, c grant.Credential) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := state{}
	d, err := s.client.Describe(ctx, s.secret)
	switch {
	case errors.Is(err, githubapi.ErrAbsent):
	case err != nil:
		return fmt.Errorf("store ghsecret: %w", refused(err))
	case d.Updated.After(c.Tokens.ObtainedAt.Add(slack)):
		return fmt.Errorf("store ghsecret: %w", stale("the secret %s was written at %s, after the block's record was obtained, at %s by that machine's clock: whether it holds something newer cannot be told, because a secret cannot be read; nothing was changed; run rescue where the variable %s is filled with the secret, in a job",
			s.secret, stamp(d.Updated), stamp(c.Tokens.ObtainedAt), s.variable))
	default:
		at = state{there: true, written: d.Updated, updated: d.Updated}
	}
	key, err := s.client.PublicKey(ctx, s.secret)
	if err == nil {
		err = s.prove(ctx, key)
	}
	if err == nil {
		_, err = s.write(ctx, key, at, c)
	}
	if err != nil {
		return fmt.Errorf("store ghsecret: %w", refused(err))
	}
	return nil
}

// time is the clock of GitHub's secrets, up to a second late.
func (s *Store) time() time.Time {
	t := s.client.Time()
	if t.IsZero() {
		t = s.now()
	}
	return t.Add(s.shift)
}

// pause waits until that clock says least.
func (s *Store) pause(ctx context.Context, least time.Time) error {
	t := time.NewTimer(least.Sub(s.time()))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return ctx.Err()
	}
}
