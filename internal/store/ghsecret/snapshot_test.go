package ghsecret_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/store/ghsecret"
)

// step is larger than what two times of GitHub may differ by and still be one.
const step = 5 * time.Second

// content is a record that no other record is equal to.
func content(generation uint64, writer string) grant.Credential {
	c := granttest.Credential(acme)
	c.Generation, c.Writer = generation, writer
	return c
}

func swap(t *testing.T, s *ghsecret.Store, old grant.Version, c grant.Credential) grant.Version {
	t.Helper()
	v, err := s.Swap(t.Context(), acme, old, c)
	must(t, err)
	return v
}

// refused wants a Load that says why, is definite, and is no absence.
func refused(t *testing.T, s *ghsecret.Store, says ...string) {
	t.Helper()
	refusedAs(t, s, grant.ErrUnreadable, says...)
}

// denied expects that GitHub does not let the store ask.
func denied(t *testing.T, s *ghsecret.Store, says ...string) {
	t.Helper()
	refusedAs(t, s, grant.ErrDenied, says...)
}

func refusedAs(t *testing.T, s *ghsecret.Store, kind error, says ...string) {
	t.Helper()
	_, _, err := s.Load(t.Context(), acme)
	for _, is := range []error{grant.ErrUnreadable, grant.ErrDenied, grant.ErrNotFound} {
		if errors.Is(err, is) != (is == kind) {
			t.Fatalf("Load: %v, want %v", err, kind)
		}
	}
	for _, text := range append(says, "store ghsecret") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	clean(t, err)
}

func clean(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is not one line without secrets: %v", err)
	}
}

func loaded(t *testing.T, s *ghsecret.Store, writer string) grant.Version {
	t.Helper()
	c, v, err := s.Load(t.Context(), acme)
	must(t, err)
	if c.Writer != writer {
		t.Errorf("the record is by %q, want %q", c.Writer, writer)
	}
	return v
}

// TestOldSnapshots: of all that a secret has held, only the last is current, and
// looking writes nothing.
func TestOldSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s, held := w.job(name), []string{}
	version := grant.Version("")
	for i, writer := range []string{"adopted", "leased", "saved"} {
		version = swap(t, s, version, content(uint64(i+1), writer))
		held = append(held, w.value())
	}
	before := w.github.Written(name)
	loaded(t, w.queued(held[2]), "saved")
	loaded(t, w.queued(held[2]+"\n"), "saved")
	for _, old := range held[:2] {
		refused(t, w.queued(old), "queued before", "VAR", "acme/widgets/STATE", "nothing is sent", "start a new run")
		if _, err := w.queued(old).Swap(t.Context(), acme, "", content(9, "late")); !errors.Is(err, grant.ErrConflict) {
			t.Errorf("Swap by a queued run: %v, want ErrConflict", err)
		}
	}
	if w.github.Written(name) != before {
		t.Error("a queued run wrote the secret")
	}
}

// TestQuickWrites: records that follow one another within a second can be told
// apart all the same, by GitHub's whole seconds. This one takes seconds.
func TestQuickWrites(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{0, 20 * time.Second, -20 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, double.Config{Skew: skew})
			s, held := w.job(name), []string{}
			version := grant.Version("")
			for i, writer := range []string{"adopted", "leased", "saved"} {
				version = swap(t, s, version, content(uint64(i+1), writer))
				held = append(held, w.value())
			}
			if got := loaded(t, w.queued(held[2]), "saved"); got != version {
				t.Errorf("another job finds version %q, want %q", got, version)
			}
			for _, old := range held[:2] {
				refused(t, w.queued(old), "queued before")
			}
		})
	}
}

// TestBareToken: a token that a person has put into the secret is a start, as
// long as it cannot be an old one.
func TestBareToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	must(t, w.github.Set(repo, name, "canary-bare-1"))
	if _, _, err := w.queued("canary-bare-1").Load(t.Context(), acme); !errors.Is(err, grant.ErrNotFound) {
		t.Fatalf("a secret that was never written again: %v, want ErrNotFound", err)
	}
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	loaded(t, s, "adopted")
	loaded(t, w.job(name), "adopted")
	refused(t, w.queued("canary-bare-1"), "bare token", "written again", "may be an old one")
	refused(t, w.queued(""), "is empty", "${{ secrets.STATE }}")
	swap(t, s, v, content(2, "leased"))

	// The person pastes another one over the record: it may be old just as well.
	must(t, w.github.Set(repo, name, "canary-bare-2"))
	refused(t, w.job(name), "delete the secret, make it anew")
	w.github.Remove(repo, name)
	must(t, w.github.Set(repo, name, "canary-bare-2"))
	if _, _, err := w.job(name).Load(t.Context(), acme); !errors.Is(err, grant.ErrNotFound) {
		t.Errorf("a secret that was made anew: %v, want ErrNotFound", err)
	}
	for text, want := range map[string]bool{"canary-bare-1": true, "": false, "{}": false, " {\"evergrant\":1}": false} {
		if got := !ghsecret.Bare(grant.NewSecret(text)).IsZero(); got != want {
			t.Errorf("%q is a bare token: %v", text, got)
		}
	}
}

// TestQuickStart: a bare token that was put there a moment ago is old as soon as
// the first record is written.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, double.Config{})
	must(t, w.github.Set(repo, name, "canary-bare-1"))
	swap(t, w.job(name), "", content(1, "adopted"))
	refused(t, w.queued("canary-bare-1"), "bare token")
	loaded(t, w.job(name), "adopted")
}

// TestWrongVariables: what is in the variable is not what is in the secret.
func TestWrongVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	swap(t, w.job("OTHER"), "", content(1, "other"))
	swap(t, w.job(name), "", content(1, "adopted"))
	other, _ := w.github.Value(repo, "OTHER")
	refused(t, w.queued(other), "VAR", "another place")
	refused(t, w.queued("{canary"), "VAR", "damaged")
	refused(t, w.queued(`{"evergrant":1,"grant":"acme/main"}`), "VAR", "not sealed")
	if _, _, err := w.job(name).Load(t.Context(), "acme/other"); !errors.Is(err, grant.ErrUnreadable) || !strings.Contains(err.Error(), "acme/main") {
		t.Errorf("another grant's name: %v", err)
	}
	same := w.job(name)
	loaded(t, same, "adopted")
	if _, _, err := same.Load(t.Context(), "acme/other"); !errors.Is(err, grant.ErrUnreadable) || !strings.Contains(err.Error(), "acme/main") {
		t.Errorf("another grant's name, by the same handle: %v", err)
	}
	stranger := newWorld(t, step)
	swap(t, stranger.job(name), "", content(1, "adopted"))
	refused(t, w.queued(stranger.value()), "VAR", "sealed to another key")

	// The same record, where GitHub says that the secret is older than it.
	text := w.value()
	w.github.Remove(repo, name)
	w.github.Pass(-time.Hour)
	must(t, w.github.Set(repo, name, text))
	refused(t, w.queued(text), "not filled from that secret", "${{ secrets.STATE }}")
}

// TestDeletedSecret: a record that only a snapshot still has is not put back, and
// one that this process wrote is.
func TestDeletedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	snapshot, running := w.value(), w.job(name)
	loaded(t, running, "adopted")
	w.github.Remove(repo, name)
	refused(t, w.queued(snapshot), "does not exist any more")
	refused(t, running, "does not exist any more")
	if _, err := s.Swap(t.Context(), acme, v, content(2, "saved")); !errors.Is(err, grant.ErrConflict) {
		t.Fatalf("Swap of what somebody has deleted: %v, want ErrConflict", err)
	}
	if _, _, err := s.Load(t.Context(), acme); !errors.Is(err, grant.ErrNotFound) {
		t.Fatalf("Load of it: %v, want ErrNotFound", err)
	}
	swap(t, s, "", content(2, "saved"))
	loaded(t, w.job(name), "saved")
}

// TestSomebodyElse: another writer is noticed and not overwritten.
func TestSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	rival := w.job(name)
	swap(t, rival, loaded(t, rival, "adopted"), content(2, "rival"))
	if _, err := s.Swap(t.Context(), acme, v, content(2, "late")); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("Swap after another writer: %v, want ErrConflict", err)
	}
	refused(t, s, "somebody else has written", "single writer")
	loaded(t, w.job(name), "rival")
}
