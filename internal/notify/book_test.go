package notify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/mark"
	"evergrant/internal/notify"
	"evergrant/internal/oauth"
	"evergrant/internal/record"
	"evergrant/internal/simulator"
	"evergrant/internal/spill"
	"evergrant/internal/store/mem"
)

const acme = grant.ID("acme/api")

// stored is a record in a store.
func stored(t *testing.T, s grant.Store, change func(*grant.Credential)) {
	t.Helper()
	c, ver, err := s.Load(t.Context(), acme)
	if errors.Is(err, grant.ErrNotFound) {
		c, ver, err = grant.Credential{Grant: acme, Consent: "a", Generation: 2, Tokens: grant.TokenSet{Refresh: grant.NewSecret("canary-r")}}, "", nil
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Writer = fmt.Sprint(c.Writer, "+")
	change(&c)
	if _, err := s.Swap(t.Context(), acme, ver, c); err != nil {
		t.Fatal(err)
	}
}

// look is a book of a machine of its own that has just seen the record.
func look(t *testing.T, s grant.Store) (*notify.Book, string) {
	t.Helper()
	return lookAt(t, s, 0)
}

// lookAt is one with a clock that is ahead.
func lookAt(t *testing.T, s grant.Store, ahead time.Duration) (*notify.Book, string) {
	t.Helper()
	w := notify.NewWatch(s, acme)
	if _, _, err := w.Load(t.Context(), acme); err != nil && !errors.Is(err, grant.ErrNotFound) {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b, err := notify.NewBook(w, dir, acme, func() time.Time { return time.Now().Add(ahead) })
	if err != nil {
		t.Fatal(err)
	}
	return b, filepath.Join(dir, "acme+api.notices")
}

var errAny = errors.New("any error")

// claim claims a notice, and settles it if it may.
func claim(t *testing.T, b *notify.Book, was, next notify.Told, want error) {
	t.Helper()
	open(t, b, notify.DoubtKind, was, want)
	if want == nil {
		settle(t, b, next)
	}
}

func open(t *testing.T, b *notify.Book, kind notify.Kind, was notify.Told, want error) {
	t.Helper()
	if err := b.Claim(t.Context(), "r", kind, was); (err != nil) != (want != nil) {
		t.Fatalf("the claim: %v, want %v", err, want)
	}
}

func settle(t *testing.T, b *notify.Book, told notify.Told) {
	t.Helper()
	if err := b.Settle(t.Context(), "r", told); err != nil {
		t.Fatalf("settling: %v", err)
	}
}

// TestClaims: who may tell, and where that is noted.
func TestClaims(t *testing.T) {
	t.Parallel()
	none, doubt := notify.Told{}, notify.Told{Trouble: notify.DoubtKind}
	s := mem.New()
	stored(t, s, func(*grant.Credential) {})
	first, path := look(t, s)
	second, _ := look(t, s)
	claim(t, first, none, doubt, nil)
	claim(t, first, none, doubt, errAny) // it has changed since
	claim(t, second, none, doubt, errAny)
	if third, _ := look(t, s); third.Told("r") != doubt || third.Told("other") != none {
		t.Errorf("another machine finds %+v", third.Told("r"))
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the record has it, and so has this machine")
	}

	// A record that moved on without a word to the receiver is the affair of who moved it.
	late, _ := look(t, s)
	stored(t, s, func(c *grant.Credential) { c.Generation++ })
	claim(t, late, doubt, none, errAny)
	// Where only another receiver was told, there is another try.
	late, _ = look(t, s)
	other, _ := look(t, s)
	if err := errors.Join(other.Claim(t.Context(), "other", notify.DoubtKind, none), other.Settle(t.Context(), "other", doubt)); err != nil {
		t.Fatal(err)
	}
	claim(t, late, doubt, none, nil)
	if third, _ := look(t, s); third.Told("r") != none || third.Told("other") != doubt {
		t.Errorf("another machine finds %+v and %+v", third.Told("r"), third.Told("other"))
	}

	// Under a lease, and for a while after, this machine keeps it.
	for name, until := range map[string]time.Duration{"running": time.Minute, "over": -30 * time.Second} {
		stored(t, s, func(c *grant.Credential) {
			c.Lease = &grant.Lease{Holder: "x", Until: time.Now().Add(until), TTL: 30 * time.Second}
		})
		_, before, err := s.Load(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		b, path := look(t, s)
		claim(t, b, none, doubt, nil)
		if _, after, err := s.Load(t.Context(), acme); after != before || err != nil {
			t.Errorf("%s: the record was written under a lease", name)
		}
		if b.Told("r") != doubt {
			t.Errorf("%s: forgotten", name)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, st, err)
		}
		// A damaged file is none.
		if err := os.WriteFile(path, []byte(`{"r":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if b.Told("r") != none {
			t.Errorf("%s: read from a damaged file", name)
		}
	}
	stored(t, s, func(c *grant.Credential) { c.Lease.Until = time.Now().Add(-time.Hour) })
	b, _ := look(t, s)
	claim(t, b, none, doubt, nil)
	if third, _ := look(t, s); third.Told("r") != doubt {
		t.Error("a lease that ended long ago keeps the record from being written")
	}

	// Receivers of earlier settings are forgotten.
	for i := range 12 {
		b, _ := look(t, s)
		old := fmt.Sprint("old", i)
		if err := errors.Join(b.Claim(t.Context(), old, notify.ConsentEnds, none), b.Settle(t.Context(), old, notify.Told{Consent: "z", Days: 3})); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := s.Load(t.Context(), acme)
	if err != nil || len(c.Extra["/notices"]) > 8*120 {
		t.Errorf("%d bytes: %s", len(c.Extra["/notices"]), c.Extra["/notices"])
	}
}

// snapshots is a store whose records are of some time ago.
type snapshots struct{ grant.Store }

func (s snapshots) Properties() grant.Properties { return grant.Properties{Snapshot: true} }

// TestClaimsOfSnapshots: such a store is written only by who has just written it.
func TestClaimsOfSnapshots(t *testing.T) {
	t.Parallel()
	s := snapshots{mem.New()}
	stored(t, s, func(*grant.Credential) {})
	b, _ := look(t, s)
	claim(t, b, notify.Told{}, notify.Told{Days: 7}, errAny)
	w := notify.NewWatch(s, acme)
	stored(t, w, func(c *grant.Credential) { c.Generation++ })
	b, err := notify.NewBook(w, "", acme, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, before, err := s.Load(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	open(t, b, notify.DoubtKind, notify.Told{}, nil)
	if _, after, err := s.Load(t.Context(), acme); err != nil || after != before {
		t.Errorf("a claim outdates the snapshot of jobs that wait, or: %v", err)
	}
	settle(t, b, notify.Told{Days: 7})
	if third, _ := look(t, s); third.Told("r").Days != 7 {
		t.Error("the store has it not")
	}
}

// TestClaimsCostNoRotation: while claims are made as fast as they can be, forced
// refreshes of a provider that forgives nothing go on, and what was told survives.
func TestClaimsCostNoRotation(t *testing.T) {
	t.Parallel()
	srv, err := simulator.New(simulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	url, err := srv.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	seed, err := srv.IssueFamily(simulator.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	client, err := oauth.New(oauth.Config{TokenURL: url + "/token", ClientID: simulator.DefaultClient, Auth: oauth.AuthNone})
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := record.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	codec, err := record.NewCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	s := mem.New()
	var holders atomic.Int64
	e, err := engine.New(engine.Config{Store: s, Refresher: client, Behaviour: grant.Behaviour{Rotates: true}, Provider: "x",
		Bind:  grant.Binding{TokenURL: url + "/token", ClientID: simulator.DefaultClient},
		Spill: spill.Open(t.TempDir(), codec), Marks: mark.Open(t.TempDir()), Rescue: func(grant.Credential) error { return nil },
		Holder: func() string { return fmt.Sprint("h", holders.Add(1)) }, Timing: engine.DefaultTiming(true).Scale(20)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var claimed atomic.Int64
	var claimers, refreshers sync.WaitGroup
	for i := range 3 {
		claimers.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				b, _ := look(t, s)
				was := b.Told(fmt.Sprint(i))
				if b.Claim(ctx, fmt.Sprint(i), notify.ConsentEnds, was) == nil && b.Settle(ctx, fmt.Sprint(i), notify.Told{Consent: "a", Days: n}) == nil {
					claimed.Add(1)
				}
			}
		})
	}
	for range 3 {
		refreshers.Go(func() {
			for range 20 {
				if _, err := e.Access(t.Context(), acme, engine.Request{Force: true, Seed: seed.Refresh, Wait: time.Minute}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	refreshers.Wait()
	stop()
	claimers.Wait()
	if standing, _ := srv.Standing(seed.Family); !standing.Alive || claimed.Load() < 20 {
		t.Errorf("after %d claims the login is alive: %v", claimed.Load(), standing.Alive)
	}
	if b, _ := look(t, s); b.Told("0").Days == 0 {
		t.Error("a refresh has lost what was told")
	}
	t.Logf("%d claims", claimed.Load())
}
