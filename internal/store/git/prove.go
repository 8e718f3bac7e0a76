package git

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"evergrant/internal/grant"
)

// probeSuffix ends the refs on which write access is proven, but for one digit. No
// grant's ref has a comma. The digit keeps most proofs that run at once apart.
const probeSuffix = ",probe"

// proofs is how often a condition that did not hold must be taken before it counts:
// another proof, which deletes the ref in between, can make it hold once.
const proofs = 3

// Prove implements [grant.Prover]: it writes a ref beside the grant's, where the
// same rules of the remote hold, as Swap would; it tries to write it once more on
// the condition that is not met any more, which must fail; it moves it by force; and
// it deletes it. Where deleting is forbidden the ref stays and is taken up by the next
// proof: nothing reads it.
func (s *Store) Prove(ctx context.Context, id grant.ID) error {
	if err := s.proveAny(ctx, id); err != nil {
		return fmt.Errorf("git store: %w", err)
	}
	return nil
}

// proveAny tries the places in the order in which Swap does: that of the record,
// or, where there is none yet, the first one that the remote allows.
func (s *Store) proveAny(ctx context.Context, id grant.ID) error {
	refs, err := s.refsOf(id)
	if err != nil {
		return err
	}
	probes := s.probes(refs)
	tips, err := s.tips(ctx, append([]string{"HEAD"}, refs...)...)
	if err != nil {
		return beforePush(err)
	}
	f, err := s.format(ctx, tips)
	if err != nil {
		return beforePush(err)
	}
	var refusals []string
	for i, probe := range probes {
		if tips[refs[i]] == "" && (tips[refs[0]] != "" || tips[refs[len(refs)-1]] != "") {
			continue // the record is in the other one
		}
		var err error
		for range proofs {
			if err = s.proveAt(ctx, probe+rand.Text()[:1], f); !errors.Is(err, grant.ErrNotExclusive) {
				break
			}
		}
		var refused *refusedError
		if !errors.As(err, &refused) {
			return err
		}
		refusals = append(refusals, refused.Error())
	}
	return notWritten(errors.New(strings.Join(refusals, ", and ")))
}

// probes are refs beside those of a grant.
func (s *Store) probes(refs []string) []string {
	probes := make([]string, len(refs))
	for i, ref := range refs {
		probes[i] = ref + probeSuffix
		if space, _, ok := cutLast(ref, "/"); ok && (s.ref == "" || strings.HasSuffix(s.ref, "/")) {
			probes[i] = space + "/" + probeSuffix
		}
	}
	return probes
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (s *Store) proveAt(ctx context.Context, probe string, f format) error {
	tips, err := s.tips(ctx, probe)
	if err != nil {
		return beforePush(err)
	}
	was := tips[probe]
	// Each text is new: the same commit again would meet no condition.
	text := func() []byte {
		return []byte("evergrant proves here that it can write; nothing reads this: " + rand.Text() + "\n")
	}
	first, err := s.push(ctx, probe, was, f, text())
	if errors.Is(err, errStale) {
		return nil // somebody else proves the same at this moment, and won
	}
	if err != nil {
		return err
	}
	second := text()
	switch _, err = s.push(ctx, probe, was, f, second); {
	case err == nil:
		return fmt.Errorf("%w: %s took a write to %s on a condition that did not hold", grant.ErrNotExclusive, s.remote, probe)
	case !errors.Is(err, errStale):
		return err
	}
	at, err := s.push(ctx, probe, first, f, second)
	switch {
	case errors.Is(err, errStale):
		return nil
	case err != nil:
		return err
	}
	r, err := newRepository(f)
	if err != nil {
		return nil // it stays
	}
	defer r.remove()
	s.program.run(ctx, r, "", "push", "--porcelain", "--no-verify", "--no-signed", "--force-with-lease="+probe+":"+at, "--", s.remote.url, ":"+probe)
	return nil
}
