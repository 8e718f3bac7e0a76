package ghsecret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/store/ghsecret"
)

// step2 opens the store as a later step of the same job does: with the snapshot
// of before, and what the step before has left on the machine.
func (w *world) step2(snapshot, journal string) *ghsecret.Store {
	w.Helper()
	c := w.config(name, snapshot, token)
	c.Journal = journal
	s, err := ghsecret.Open(c)
	must(w, err)
	return s
}

// TestLaterSteps: a job goes on from what it has written, as long as nobody else
// has written since, and whatever else lies in the file does not count.
func TestLaterSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	must(t, w.github.Set(repo, name, "canary-bare"))
	journal := filepath.Join(t.TempDir(), "written", "of")
	v := swap(t, w.step2("canary-bare", journal), "", content(1, "adopted"))
	second := w.step2("canary-bare", journal)
	if loaded(t, second, "adopted") != v {
		t.Error("the next step finds another version")
	}
	swap(t, second, v, content(2, "saved"))
	b, err := os.ReadFile(journal)
	must(t, err)
	if info, err := os.Stat(journal); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(b), "canary") || string(b) != w.value() {
		t.Errorf("the file has mode %v, error %v, or is not the sealed record", info.Mode(), err)
	}
	loaded(t, w.step2("canary-bare", journal), "saved")

	rival := w.job(name)
	swap(t, rival, loaded(t, rival, "saved"), content(3, "rival"))
	refused(t, w.step2("canary-bare", journal), "bare token")
	loaded(t, w.step2(w.value(), journal), "rival")
	for _, text := range []string{"", "{canary", "canary", strings.Repeat("x", 1<<20)} {
		must(t, os.WriteFile(journal, []byte(text), 0o600))
		loaded(t, w.step2(w.value(), journal), "rival")
	}
}

// TestJournalThatCannotBeWritten costs a later step, and never a save.
func TestJournalThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	swap(t, w.step2("", filepath.Join(file, "of")), "", content(1, "adopted"))
	loaded(t, w.job(name), "adopted")
	refused(t, w.step2("", filepath.Join(file, "of")), "is empty")
}

// TestPutBack: without the secret's value a record is put back only over what was
// there when it was obtained.
func TestPutBack(t *testing.T) {
	t.Parallel()
	obtained := func(generation uint64, at time.Time) grant.Credential {
		c := content(generation, "saved")
		c.Tokens.ObtainedAt = at
		return c
	}
	w := newWorld(t, step)
	must(t, w.queued("").PutBack(t.Context(), obtained(3, time.Now())))
	loaded(t, w.job(name), "saved")

	s := w.job(name)
	old := loaded(t, s, "saved")
	before := w.value()
	swap(t, s, old, content(4, "leased"))
	must(t, w.queued("").PutBack(t.Context(), obtained(5, w.written().Add(time.Second))))
	loaded(t, w.job(name), "saved")
	refused(t, w.queued(before), "queued before")

	// Somebody else has written since, however soon after.
	now := w.value()
	for _, ago := range []time.Duration{time.Hour, 30 * time.Second} {
		err := w.queued("").PutBack(t.Context(), obtained(5, w.written().Add(-ago)))
		if !errors.Is(err, grant.ErrUnreadable) || !strings.Contains(err.Error(), "cannot be told") || w.value() != now {
			t.Fatalf("%v before: %v, want a refusal", ago, err)
		}
		clean(t, err)
	}
	w.github.Remove(repo, name)
	w.github.Allow(token, 0)
	if err := w.queued("").PutBack(t.Context(), obtained(5, time.Now())); !errors.Is(err, grant.ErrNotWritten) {
		t.Errorf("with a token that is not valid: %v, want ErrNotWritten", err)
	}
}
