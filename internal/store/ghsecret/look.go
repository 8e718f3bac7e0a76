package ghsecret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
)

// state is what the secret holds, as far as this process knows.
type state struct {
	there   bool   // the secret exists
	text    []byte // of a record that this process has written
	cred    grant.Credential
	version grant.Version // "": no record
	written time.Time     // GitHub's clock just before, as the record says; of a bare token, when the secret was made
	updated time.Time     // as GitHub tells of the secret; zero: it has not told yet
	own     bool          // written by this process
	landed  bool          // the secret was written since, as it seems by the write that is unsure
}

// look asks GitHub when the secret was written, and so whether what this process
// knows of it still counts.
func (s *Store) look(ctx context.Context, id grant.ID) (state, error) {
	d, err := s.client.Describe(ctx, s.secret)
	switch {
	case errors.Is(err, githubapi.ErrAbsent):
		return s.absent()
	case lasting(err):
		return state{}, cannotAsk{err}
	case err != nil:
		return state{}, err
	case s.known == nil:
		return s.fromSnapshot(id, d)
	}
	return s.recognise(d)
}

// absent: there is no such secret. A record that this process has written and
// somebody has deleted may be created again; a snapshot may not: it is of a
// grant whose end is somebody's wish or mistake.
func (s *Store) absent() (state, error) {
	if s.known == nil && isRecord(s.snapshot) || s.known != nil && s.known.version != "" && !s.known.own {
		return state{}, stale("the secret %s does not exist any more, and the variable %s still holds a record of it: nothing is sent; put the secret back, or start anew in a new run", s.secret, s.variable)
	}
	s.known = &state{}
	return *s.known, nil
}

// fromJournal is the record that an earlier process on this machine has written,
// if that is what the secret holds. Whatever else is in the file does not count.
func (s *Store) fromJournal(id grant.ID, d githubapi.Description) (state, bool) {
	if s.journal == "" {
		return state{}, false
	}
	text, err := readBounded(s.journal)
	if err != nil {
		return state{}, false
	}
	at, err := s.decode(id, text)
	if err != nil || d.Updated.Sub(at.written).Abs() > slack {
		return state{}, false
	}
	at.there, at.updated, at.own = true, d.Updated, true
	return at, true
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxRecord))
}

// fromSnapshot is the first look of a process at a secret that exists.
func (s *Store) fromSnapshot(id grant.ID, d githubapi.Description) (state, error) {
	if at, ok := s.fromJournal(id, d); ok {
		s.known = &at
		return at, nil
	}
	switch {
	case s.snapshot.IsZero():
		return state{}, stale("the secret %s exists (written at %s), and the variable %s is empty: this run was queued before the secret was made, or may not see it, or the variable is not filled from it; nothing is sent; start a new run, with %s",
			s.secret, stamp(d.Updated), s.variable, s.filled())
	case !isRecord(s.snapshot) && d.Updated.Sub(d.Created) > slack:
		return state{}, stale("the variable %s holds a bare token, and the secret %s was written again at %s, after it was made: the token may be an old one, so nothing is sent; start a new run; if this one has the newest value already, delete the secret, make it anew with that token, and start a new run",
			s.variable, s.secret, stamp(d.Updated))
	case !isRecord(s.snapshot):
		s.known = &state{there: true, written: d.Updated, updated: d.Updated}
		return *s.known, nil
	}
	at, err := s.decode(id, []byte(strings.TrimSpace(s.snapshot.Reveal())))
	if err != nil {
		return state{}, fmt.Errorf("the variable %s: %w", s.variable, err)
	}
	switch late := d.Updated.Sub(at.written); {
	case late > slack:
		return state{}, stale("the record in the variable %s was written at %s, and the secret %s again at %s: this run was queued before that, and its refresh token may be spent; nothing is sent; start a new run, which gets the new value",
			s.variable, stamp(at.written), s.secret, stamp(d.Updated))
	case late < -slack:
		return state{}, unreadable("the record in the variable %s was written at %s, and the secret %s last at %s: the variable is not filled from that secret; fill it with %s",
			s.variable, stamp(at.written), s.secret, stamp(d.Updated), s.filled())
	}
	at.there, at.updated = true, d.Updated
	s.known = &at
	return at, nil
}

// recognise compares a later look with the one before.
func (s *Store) recognise(d githubapi.Description) (state, error) {
	at := *s.known
	switch {
	case at.there && at.updated.Equal(d.Updated):
		return at, nil
	case s.unsure != nil && d.Updated.Sub(s.unsure.written) >= -slack:
		at.landed = true
		s.unsure.there, s.unsure.updated = true, d.Updated
		return at, nil
	case at.own && d.Updated.Sub(at.written).Abs() <= slack:
		// It had not been told yet, or by an answer that lagged behind.
		s.known.updated = d.Updated
		return *s.known, nil
	}
	return state{}, stale("somebody else has written the secret %s, at %s, while this run was at work: one of the two is not the single writer; start a new run", s.secret, stamp(d.Updated))
}

// filled is how a workflow fills the variable.
func (s *Store) filled() string { return s.variable + ": ${{ secrets." + s.secret.Name + " }}" }

// isRecord tells a record from a bare token, which is no JSON object.
func isRecord(text grant.Secret) bool {
	return strings.HasPrefix(strings.TrimSpace(text.Reveal()), "{")
}

// Bare returns the token in a snapshot that is no record, else the zero Secret.
func Bare(snapshot grant.Secret) grant.Secret {
	if isRecord(snapshot) {
		return grant.Secret{}
	}
	return snapshot
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
