package git

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const (
	// lockWait is how long a Swap waits for the remote's lock of a ref, which
	// whoever wins a race holds for a moment and a crash leaves behind.
	lockWait = 5 * time.Second
	// lockPause is the first pause between two tries; it doubles.
	lockPause = 50 * time.Millisecond
)

// Swap implements [grant.Store]. A push that ended in the middle is unknown; a
// rule of the remote, or no permission, is [grant.ErrNotWritten].
func (s *Store) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	v, err := s.swap(ctx, id, old, next)
	if err != nil {
		return "", fmt.Errorf("git store: grant %q: %w", id, err)
	}
	return v, nil
}

func (s *Store) swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	refs, err := s.refsOf(id)
	switch {
	case err != nil:
		return "", err
	case ctx.Err() != nil:
		return "", ctx.Err()
	case next.Grant != id:
		return "", notWritten(fmt.Errorf("a record of grant %q cannot be kept as grant %q", next.Grant, id))
	}
	text, err := s.codec.Encode(next)
	if err != nil {
		return "", notWritten(err)
	}
	if len(text) > MaxRecord {
		return "", fmt.Errorf("%w: %d bytes, at most %d", grant.ErrTooLarge, len(text), MaxRecord)
	}
	var ref, oid string
	if old == "" {
		ref, oid, err = s.create(ctx, refs, text)
	} else {
		ref, oid, err = s.replace(ctx, refs, old, text)
	}
	switch {
	case err == nil:
		s.see(id, sighting{oid: oid, text: text, generation: next.Generation, at: s.now()})
		return s.version(ref, oid), nil
	case errors.Is(err, errStale):
		return "", s.conflict(ctx, id, refs, old)
	}
	return "", err
}

// errStale: the push found another commit than the one that was expected.
var errStale = errors.New("the ref has moved")

// create makes the first of refs that the remote allows. It looks at all of
// them first: a record on the branch must not get a rival in the own space. Nor
// is the next one tried after a push whose outcome is unknown: the caller
// comes again, and finds here what has landed.
func (s *Store) create(ctx context.Context, refs []string, text []byte) (ref, oid string, err error) {
	tips, err := s.tips(ctx, append([]string{"HEAD"}, refs...)...)
	if err != nil {
		return "", "", beforePush(err)
	}
	for _, ref := range refs {
		if tips[ref] != "" {
			return "", "", grant.ErrConflict
		}
	}
	f, err := s.format(ctx, tips)
	if err != nil {
		return "", "", beforePush(err)
	}
	var refusals []string
	for _, ref := range refs {
		oid, err = s.push(ctx, ref, "", f, text)
		var refused *refusedError
		if !errors.As(err, &refused) {
			return ref, oid, err
		}
		refusals = append(refusals, refused.Error())
	}
	return "", "", notWritten(fmt.Errorf("%s; allow the token to write there, or name another ref with git:REMOTE#REF", strings.Join(refusals, ", and ")))
}

// beforePush marks a failure that came before any push, or after one that is
// definite. An outage is left as it is: the caller tries again, as after an
// unknown outcome.
func beforePush(err error) error {
	var l lastingError
	if errors.As(err, &l) {
		return notWritten(err)
	}
	return err
}

func (s *Store) replace(ctx context.Context, refs []string, old grant.Version, text []byte) (ref, oid string, err error) {
	ref, was, ok := s.refOf(refs, old)
	if !ok {
		return "", "", grant.ErrConflict
	}
	oid, err = s.push(ctx, ref, was, formatOf(was), text)
	var refused *refusedError
	if errors.As(err, &refused) {
		return "", "", notWritten(fmt.Errorf("%w; allow forced updates of that ref, and a token that may write it", err))
	}
	return ref, oid, err
}

// conflict is the answer to a lost race. The caller reloads and tries again on
// what is there. If that is the version on which it lost before, nobody else
// has won: then the remote shows the ref to readers and hides it from pushes,
// and going on would never end.
func (s *Store) conflict(ctx context.Context, id grant.ID, refs []string, old grant.Version) error {
	before := s.sighting(id)
	if old == "" || before.lost != old {
		before.lost = old
		s.see(id, before)
		return grant.ErrConflict
	}
	ref, was, _ := s.refOf(refs, old)
	tips, err := s.tips(ctx, ref)
	if err != nil || tips[ref] != was {
		return grant.ErrConflict
	}
	return notWritten(fmt.Errorf("%s shows %s to readers and hides it from pushes (receive.hideRefs); use another ref", s.remote, ref))
}

// refusedError says that a rule of the remote forbids a ref.
type refusedError struct{ ref, reason string }

func (e *refusedError) Error() string {
	return fmt.Sprintf("the remote refuses to write %s (%s)", e.ref, e.reason)
}

// push puts a record into a ref that is at was; "" for one that does not exist.
// It writes the same commit again while the remote says that it cannot lock
// the ref and the ref has not moved: each such answer is definite.
func (s *Store) push(ctx context.Context, ref, was string, f format, text []byte) (string, error) {
	r, err := newRepository(f)
	if err != nil {
		return "", notWritten(err)
	}
	defer r.remove()
	oid, err := r.commit(text, s.now())
	if err != nil {
		return "", notWritten(err)
	}
	begun := time.Now()
	for pause := lockPause; ; pause *= 2 {
		a := s.program.run(ctx, r, "", "push", "--porcelain", "--no-verify", "--no-signed", "--force-with-lease="+ref+":"+was, "--", s.remote.url, oid+":"+ref)
		result, reason := judge(a, ref)
		switch result {
		case pushDone:
			return oid, nil
		case pushStale:
			return "", errStale
		case pushRefused:
			return "", &refusedError{ref, reason}
		case pushNotTaken:
			return "", notWritten(fmt.Errorf("%s cannot keep the record (%s); its disk may be full or read-only", s.remote, reason))
		case pushUnsent:
			return "", beforePush(fmt.Errorf("%s cannot be written: %w", s.remote, a.err))
		case pushUnknown:
			return "", unclear(s.remote, reason, a.err)
		}
		tips, err := s.tips(ctx, ref)
		switch {
		case err != nil:
			return "", beforePush(err)
		case tips[ref] == oid:
			return oid, nil
		case tips[ref] != was:
			return "", errStale
		}
		broken, err := s.breakLock(ref)
		switch {
		case err != nil:
			return "", notWritten(err)
		case broken:
			continue
		case time.Since(begun)+pause > lockWait:
			return "", notWritten(fmt.Errorf("%s cannot move %s (%s): another ref is in its way, its disk is full, or a lock file was left behind%s", s.remote, ref, reason, s.lockHint()))
		}
		if err := sleep(ctx, pause); err != nil {
			return "", err
		}
	}
}

// unclear is the error of a push after which the remote may have another commit.
func unclear(r Remote, reason string, err error) error {
	switch {
	case reason != "":
		return fmt.Errorf("%s has answered a push by something that does not say whether it wrote (%s)", r, reason)
	case err == nil:
		return fmt.Errorf("the push to %s ended without a report", r)
	}
	return fmt.Errorf("the push to %s ended in the middle: %w", r, err)
}

// lockHint says what becomes of a lock that was left behind.
func (s *Store) lockHint() string {
	if s.remote.gitDir() == "" {
		return ", which whoever runs that server has to remove"
	}
	return ", which the first write removes that comes ten minutes after it"
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
