package notify_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/notify"
	"evergrant/internal/store/mem"
)

// TestOpenClaims: a claim that nobody confirms holds for a minute, and then another
// machine tells. Who made it does not undo that.
func TestOpenClaims(t *testing.T) {
	t.Parallel()
	none, doubt, person := notify.Told{}, notify.Told{Trouble: notify.DoubtKind}, notify.Told{Trouble: notify.PersonKind}
	s := mem.New()
	stored(t, s, func(*grant.Credential) {})
	first, _ := look(t, s)
	open(t, first, notify.DoubtKind, none, nil)
	if second, _ := lookAt(t, s, 30*time.Second); second.Told("r") != none {
		t.Errorf("while it is being told: %+v", second.Told("r"))
	} else {
		open(t, second, notify.DoubtKind, none, errAny)
	}
	third, _ := lookAt(t, s, 2*time.Minute)
	open(t, third, notify.DoubtKind, none, nil)
	settle(t, third, person)
	if err := first.Settle(t.Context(), "r", doubt); err == nil {
		t.Error("a claim that was taken over is settled")
	}
	if b, _ := look(t, s); b.Told("r") != person {
		t.Errorf("another machine finds %+v", b.Told("r"))
	}
	if err := third.Settle(t.Context(), "r", doubt); err == nil {
		t.Error("what was never claimed is settled")
	}
	// A claim of a clock that is far ahead holds nobody.
	ahead, _ := lookAt(t, s, time.Hour)
	open(t, ahead, notify.DoubtKind, person, nil)
	b, _ := look(t, s)
	open(t, b, notify.DoubtKind, person, nil)
}

// readOnly is a store that takes nothing, or whose records a lease holds.
type readOnly struct{ grant.Store }

func (readOnly) Swap(context.Context, grant.ID, grant.Version, grant.Credential) (grant.Version, error) {
	return "", errors.New("permission denied")
}

// TestRecordThatCannotBeWritten: what this machine has noted wins over the record it
// was noted over, and over no other.
func TestRecordThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	fortnight, week := notify.Told{Consent: "a", Days: 14}, notify.Told{Consent: "a", Days: 7}
	s := mem.New()
	stored(t, s, func(*grant.Credential) {})
	b, _ := look(t, s)
	claim(t, b, notify.Told{}, fortnight, nil)

	dir := t.TempDir()
	here := func(s grant.Store) *notify.Book {
		w := notify.NewWatch(s, acme)
		if _, _, err := w.Load(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		b, err := notify.NewBook(w, dir, acme, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	claim(t, here(readOnly{s}), fortnight, week, nil)
	stored(t, s, func(c *grant.Credential) { c.Generation++ }) // a job that tells nobody
	if got := here(readOnly{s}).Told("r"); got != week {
		t.Errorf("the next call finds %+v", got)
	}
	// Trouble that is over, while the record still has it.
	for _, told := range []notify.Told{{Consent: "a", Days: 7, Trouble: notify.DoubtKind}, week} {
		b := here(readOnly{s})
		claim(t, b, b.Told("r"), told, nil)
		if got := here(readOnly{s}).Told("r"); got != told {
			t.Errorf("the next call finds %+v, want %+v", got, told)
		}
	}
	// Another machine tells, back and forth: what it notes is newer.
	other, _ := look(t, s)
	claim(t, other, fortnight, notify.Told{Consent: "a", Days: 3}, nil)
	claim(t, other, notify.Told{Consent: "a", Days: 3}, fortnight, nil)
	if got := here(s).Told("r"); got != fortnight {
		t.Errorf("with a newer record: %+v", got)
	}
}

// TestThresholdOfAMovingGrant: an end comes near whoever refreshes meanwhile.
func TestThresholdOfAMovingGrant(t *testing.T) {
	t.Parallel()
	s := mem.New()
	stored(t, s, func(*grant.Credential) {})
	for name, tt := range map[string]struct {
		change func(*grant.Credential)
		want   error
	}{
		"refreshed":       {func(c *grant.Credential) { c.Generation++ }, nil},
		"rolled back":     {func(c *grant.Credential) { c.Generation -= 2 }, errAny},
		"another consent": {func(c *grant.Credential) { c.Generation++; c.Consent += "b" }, errAny},
		"ended":           {func(c *grant.Credential) { c.State = grant.NeedsConsent }, errAny},
	} {
		b, _ := look(t, s)
		stored(t, s, tt.change)
		if err := b.Claim(t.Context(), "r", notify.ConsentEnds, b.Told("r")); (err != nil) != (tt.want != nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		} else if err == nil {
			settle(t, b, b.Told("r"))
		}
	}
}

// TestSettlingWaits: what was told is noted once a lease that was taken meanwhile has
// ended, and not under it.
func TestSettlingWaits(t *testing.T) {
	t.Parallel()
	doubt := notify.Told{Trouble: notify.DoubtKind}
	s := mem.New()
	stored(t, s, func(*grant.Credential) {})
	b, path := look(t, s)
	open(t, b, notify.DoubtKind, notify.Told{}, nil)
	stored(t, s, func(c *grant.Credential) { c.Lease = &grant.Lease{Holder: "x", Until: time.Now().Add(time.Hour)} })
	seen := &counted{Store: s}
	w := notify.NewWatch(seen, acme)
	if _, _, err := w.Load(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	waits, err := notify.NewBook(w, "", acme, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	seen.after = func(n int) {
		if n == 2 {
			stored(t, s, func(c *grant.Credential) { c.Lease = nil; c.Generation++ })
		}
	}
	settle(t, waits, doubt)
	if other, _ := look(t, s); other.Told("r") != doubt {
		t.Errorf("another machine finds %+v", other.Told("r"))
	}

	// A lease that does not end leaves the note to this machine.
	b, path = look(t, s)
	open(t, b, notify.DoubtKind, doubt, nil)
	stored(t, s, func(c *grant.Credential) { c.Lease = &grant.Lease{Holder: "x", Until: time.Now().Add(time.Hour)} })
	_, before, err := s.Load(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Settle(ctx, "r", notify.Told{}); err != nil || b.Told("r") != (notify.Told{}) {
		t.Errorf("%v, %+v in %s", err, b.Told("r"), path)
	}
	if _, after, err := s.Load(t.Context(), acme); err != nil || after != before {
		t.Errorf("the record was written under a lease, or: %v", err)
	}
}

// counted counts what is loaded.
type counted struct {
	grant.Store
	loads int
	after func(int)
}

func (c *counted) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	if c.loads++; c.after != nil {
		c.after(c.loads)
	}
	return c.Store.Load(ctx, id)
}

// TestReceiverRests: a receiver that takes nothing costs a write now and then, and
// news of another kind does not wait for it.
func TestReceiverRests(t *testing.T) {
	t.Parallel()
	s := mem.New()
	stored(t, s, func(*grant.Credential) {})
	owed := notify.Told{Owed: true}
	now := time.Duration(0)
	for i, rest := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 4 * time.Hour, 4 * time.Hour} {
		b, _ := lookAt(t, s, now)
		open(t, b, notify.ConsentEnds, b.Told("r"), nil)
		if err := b.Owe(t.Context(), "r", notify.ConsentEnds, owed); err != nil {
			t.Fatal(err)
		}
		_, before, err := s.Load(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		early, _ := lookAt(t, s, now+rest-5*time.Second)
		open(t, early, notify.ConsentEnds, owed, errAny)
		if _, after, err := s.Load(t.Context(), acme); err != nil || before != after {
			t.Errorf("try %d: the record was written while the receiver rests, or: %v", i, err)
		}
		now += rest + 5*time.Second
	}
	b, _ := lookAt(t, s, now-time.Hour)
	open(t, b, notify.PersonKind, owed, nil)
	if err := b.Owe(t.Context(), "r", notify.PersonKind, owed); err != nil {
		t.Fatal(err)
	}
	b, _ = lookAt(t, s, now-time.Hour+16*time.Minute)
	open(t, b, notify.PersonKind, owed, nil) // another kind begins anew
	settle(t, b, notify.Told{Trouble: notify.PersonKind})
	b, _ = lookAt(t, s, now-time.Hour+16*time.Minute)
	open(t, b, notify.PersonKind, notify.Told{Trouble: notify.PersonKind}, nil) // who answers does not rest
}
