package granttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"evergrant/internal/grant"
)

// StoreOptions tell [TestStore] what it cannot find out through a store.
type StoreOptions struct {
	// Reopen returns another handle on the place that s keeps its records in,
	// as another process would get it. Nil: the store lives and dies with its
	// handle, and the handle is used as it is.
	Reopen func(t *testing.T, s grant.Store) grant.Store
	// AtRest returns every byte that the store keeps. It is required of a store
	// that is Durable.
	AtRest func(t *testing.T, s grant.Store) []byte
	// Sealed says that the store seals its records. Otherwise the suite expects
	// to find its secrets at rest, which proves that AtRest looks in the right place.
	Sealed bool
	// Size is the encoded size of a record, as Properties.MaxRecord counts it.
	// It is required of a store that has such a limit.
	Size func(t *testing.T, c grant.Credential) int
}

// TestStore checks a store against the contract of [grant.Store]. open returns
// an empty store, and a new one with each call.
func TestStore(t *testing.T, open func(t *testing.T) grant.Store, o StoreOptions) {
	if o.Reopen == nil {
		o.Reopen = func(_ *testing.T, s grant.Store) grant.Store { return s }
	}
	for _, c := range []struct {
		name string
		run  func(storeTest)
	}{
		{"missing grant", storeTest.missing},
		{"create once", storeTest.create},
		{"swap", storeTest.swap},
		{"conflict leaves the old record", storeTest.conflict},
		{"versions never repeat", storeTest.versions},
		{"repeated identical write", storeTest.repeated},
		{"every field survives", storeTest.fields},
		{"hundred writers", storeTest.writers},
		{"create race", storeTest.createRace},
		{"cancelled context", storeTest.cancelled},
		{"record size", storeTest.size},
		{"at rest", storeTest.atRest},
		{"grants do not mix", storeTest.mix},
		{"list", storeTest.list},
		{"results are not shared", storeTest.aliasing},
		{"prove", storeTest.prove},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(storeTest{t, open(t), o})
		})
	}
}

type storeTest struct {
	*testing.T
	store grant.Store
	o     StoreOptions
}

const suiteGrant = grant.ID("acme/main")

func (t storeTest) must(v grant.Version, err error) grant.Version {
	t.Helper()
	if err != nil {
		t.Fatalf("Swap: %v", err)
	}
	if v == "" {
		t.Fatal("Swap gave the empty version, which stands for no record")
	}
	return v
}

// holds checks that another handle finds exactly want at version v.
func (t storeTest) holds(want grant.Credential, v grant.Version) {
	t.Helper()
	got, gotV, err := t.o.Reopen(t.T, t.store).Load(t.Context(), want.Grant)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if gotV != v {
		t.Errorf("Load gave version %q, want %q", gotV, v)
	}
	if d := Diff(got, want); d != "" {
		t.Errorf("%s differs from what was written", d)
	}
}

func (t storeTest) missing() {
	c, v, err := t.store.Load(t.Context(), suiteGrant)
	if !errors.Is(err, grant.ErrNotFound) {
		t.Errorf("Load of a missing grant: %v, want ErrNotFound", err)
	}
	if v != "" || c.Grant != "" {
		t.Errorf("Load of a missing grant gave version %q and a record of %q", v, c.Grant)
	}
	if _, err := t.store.Swap(t.Context(), suiteGrant, "1", Credential(suiteGrant)); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("Swap of a missing grant: %v, want ErrConflict", err)
	}
	if _, _, err := t.store.Load(t.Context(), suiteGrant); !errors.Is(err, grant.ErrNotFound) {
		t.Errorf("Load after that Swap: %v, want ErrNotFound", err)
	}
}

func (t storeTest) create() {
	first := Credential(suiteGrant)
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", first))
	t.holds(first, v)
	if _, err := t.store.Swap(t.Context(), suiteGrant, "", next(first, "writer-2")); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("second create: %v, want ErrConflict", err)
	}
	t.holds(first, v)
}

func (t storeTest) swap() {
	c := Credential(suiteGrant)
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", c))
	for i := range 5 {
		c = next(c, fmt.Sprintf("writer-%d", i+2))
		v = t.must(t.o.Reopen(t.T, t.store).Swap(t.Context(), suiteGrant, v, c))
		t.holds(c, v)
	}
}

func (t storeTest) conflict() {
	first := Credential(suiteGrant)
	old := t.must(t.store.Swap(t.Context(), suiteGrant, "", first))
	second := next(first, "writer-2")
	v := t.must(t.store.Swap(t.Context(), suiteGrant, old, second))
	for _, stale := range []grant.Version{"", old, v + "0", "no version of this store"} {
		got, err := t.store.Swap(t.Context(), suiteGrant, stale, next(second, "writer-3"))
		if !errors.Is(err, grant.ErrConflict) || got != "" {
			t.Errorf("Swap on version %q: %q, %v, want ErrConflict", stale, got, err)
		}
		t.holds(second, v)
	}
}

func (t storeTest) versions() {
	a, b := Credential(suiteGrant), next(Credential(suiteGrant), "writer-2")
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", a))
	seen := []grant.Version{v}
	for i := range 6 { // a and b in turn, and each of them twice running
		v = t.must(t.store.Swap(t.Context(), suiteGrant, v, []grant.Credential{a, b, b}[i%3]))
		if slices.Contains(seen, v) {
			t.Fatalf("version %q came twice", v)
		}
		seen = append(seen, v)
	}
	for _, stale := range seen[:len(seen)-1] {
		if _, err := t.store.Swap(t.Context(), suiteGrant, stale, a); !errors.Is(err, grant.ErrConflict) {
			t.Errorf("Swap on a version of long ago: %v, want ErrConflict", err)
		}
	}
}

// repeated is what an engine does that does not know what became of its Swap.
func (t storeTest) repeated() {
	first := Credential(suiteGrant)
	old := t.must(t.store.Swap(t.Context(), suiteGrant, "", first))
	mine := next(first, "mine")
	v := t.must(t.store.Swap(t.Context(), suiteGrant, old, mine))
	if _, err := t.store.Swap(t.Context(), suiteGrant, old, mine); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("identical write, repeated: %v, want ErrConflict", err)
	}
	t.holds(mine, v)
	if _, err := t.store.Swap(t.Context(), suiteGrant, "", first); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("identical create, repeated: %v, want ErrConflict", err)
	}
	t.holds(mine, v)
}

func (t storeTest) fields() {
	full := Credential(suiteGrant)
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", full))
	t.holds(full, v)
	lean := grant.Credential{Grant: suiteGrant, Generation: 1, Writer: "writer-2"}
	v = t.must(t.store.Swap(t.Context(), suiteGrant, v, lean))
	t.holds(lean, v)
}

// writers is for stores that are Atomic: the others want a single writer.
func (t storeTest) writers() {
	if !t.store.Properties().Atomic {
		return
	}
	const n = 100
	first := Credential(suiteGrant)
	first.Generation = 0
	t.must(t.store.Swap(t.Context(), suiteGrant, "", first))
	won := make([]uint64, n)
	var all sync.WaitGroup
	for i := range n {
		s := t.o.Reopen(t.T, t.store)
		all.Go(func() { won[i] = t.winOnce(s, fmt.Sprintf("writer-%d", i)) })
	}
	all.Wait()
	slices.Sort(won)
	for i, g := range won {
		if g != uint64(i+1) {
			t.Fatalf("generations are %v, want 1 to %d, each once", won, n)
		}
	}
	c, _, err := t.store.Load(t.Context(), suiteGrant)
	if err != nil || c.Generation != n {
		t.Errorf("in the end generation %d, %v, want %d", c.Generation, err, n)
	}
}

// winOnce adds one generation, and returns which; 0 after a failure.
func (t storeTest) winOnce(s grant.Store, writer string) uint64 {
	for {
		c, v, err := s.Load(t.Context(), suiteGrant)
		if err != nil {
			t.Errorf("Load: %v", err)
			return 0
		}
		c = next(c, writer)
		_, err = s.Swap(t.Context(), suiteGrant, v, c)
		if err == nil {
			return c.Generation
		}
		if !errors.Is(err, grant.ErrConflict) {
			t.Errorf("Swap: %v", err)
			return 0
		}
	}
}

// createRace is for stores that are Atomic, like writers.
func (t storeTest) createRace() {
	if !t.store.Properties().Atomic {
		return
	}
	const n = 16
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		s := t.o.Reopen(t.T, t.store)
		c := Credential(suiteGrant)
		c.Writer = fmt.Sprintf("writer-%d", i)
		all.Go(func() { _, errs[i] = s.Swap(t.Context(), suiteGrant, "", c) })
	}
	all.Wait()
	winner := ""
	for i, err := range errs {
		switch {
		case err == nil && winner == "":
			winner = fmt.Sprintf("writer-%d", i)
		case err == nil:
			t.Fatalf("both %s and writer-%d created the grant", winner, i)
		case !errors.Is(err, grant.ErrConflict):
			t.Errorf("create: %v, want ErrConflict", err)
		}
	}
	c, _, err := t.store.Load(t.Context(), suiteGrant)
	if err != nil || c.Writer != winner {
		t.Errorf("the record is by %q, %v, want %q", c.Writer, err, winner)
	}
}

func (t storeTest) cancelled() {
	first := Credential(suiteGrant)
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", first))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := t.store.Swap(gone, suiteGrant, v, next(first, "writer-2")); !errors.Is(err, context.Canceled) {
		t.Errorf("Swap with a cancelled context: %v", err)
	}
	t.holds(first, v)
	for _, id := range []grant.ID{suiteGrant, "acme/missing"} {
		if _, _, err := t.store.Load(gone, id); !errors.Is(err, context.Canceled) {
			t.Errorf("Load of %q with a cancelled context: %v", id, err)
		}
	}
}

func (t storeTest) size() {
	limit := t.store.Properties().MaxRecord
	if limit == 0 {
		big := Credential(suiteGrant)
		big.Raw = grant.NewSecret(string(bytes.Repeat([]byte("x"), 4<<20)))
		t.holds(big, t.must(t.store.Swap(t.Context(), suiteGrant, "", big)))
		return
	}
	if t.o.Size == nil {
		t.Fatal("a store with a MaxRecord needs StoreOptions.Size")
	}
	fits := func(n int) grant.Credential {
		c := Credential(suiteGrant)
		c.Raw = grant.NewSecret(string(bytes.Repeat([]byte("x"), n)))
		return c
	}
	low, high := 1, limit+1 // the largest Raw that fits is in [low, high)
	for high-low > 1 {
		if mid := (low + high) / 2; t.o.Size(t.T, fits(mid)) <= limit {
			low = mid
		} else {
			high = mid
		}
	}
	large := fits(low)
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", large))
	t.holds(large, v)
	above := fits(high)
	above.Writer = large.Writer
	if _, err := t.store.Swap(t.Context(), suiteGrant, v, above); !errors.Is(err, grant.ErrTooLarge) {
		t.Errorf("Swap of a record above MaxRecord: %v, want ErrTooLarge", err)
	}
	t.holds(large, v)
	above.Grant = "acme/other"
	above.Raw = grant.NewSecret(string(bytes.Repeat([]byte("x"), limit+1)))
	if _, err := t.store.Swap(t.Context(), above.Grant, "", above); !errors.Is(err, grant.ErrTooLarge) {
		t.Errorf("create of a record above MaxRecord: %v, want ErrTooLarge", err)
	}
	if _, _, err := t.store.Load(t.Context(), above.Grant); !errors.Is(err, grant.ErrNotFound) {
		t.Errorf("Load after that: %v, want ErrNotFound", err)
	}
}

func (t storeTest) atRest() {
	if t.o.AtRest == nil {
		if t.store.Properties().Durable {
			t.Fatal("a durable store needs StoreOptions.AtRest")
		}
		return
	}
	c := Credential(suiteGrant)
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", c))
	t.must(t.store.Swap(t.Context(), suiteGrant, v, next(c, "writer-2")))
	if found := bytes.Contains(t.o.AtRest(t.T, t.store), []byte(Canary)); found == t.o.Sealed {
		t.Errorf("a secret found at rest: %v, sealed: %v", found, t.o.Sealed)
	}
}

// crowd are grants whose names collide where a store is careless with them.
func crowd() []grant.ID {
	return []grant.ID{
		"a", "A", "a/b", "a/B", "a.b", "a-b", "a_b", "a.json", "a/b/c", "con", "aux.x", "x.", "x",
		grant.ID(bytes.Repeat([]byte("n"), grant.MaxIDLength)),
		grant.ID(bytes.Repeat([]byte("N"), grant.MaxIDLength)),
	}
}

func (t storeTest) mix() {
	versions := make(map[grant.ID]grant.Version)
	for _, id := range crowd() {
		if _, _, err := t.store.Load(t.Context(), id); !errors.Is(err, grant.ErrNotFound) {
			t.Fatalf("Load of %q before its creation: %v, want ErrNotFound", id, err)
		}
		versions[id] = t.must(t.store.Swap(t.Context(), id, "", Credential(id)))
	}
	for id, v := range versions {
		t.holds(Credential(id), v)
	}
	if _, err := t.store.Swap(t.Context(), "a", versions["A"], next(Credential("a"), "writer-2")); !errors.Is(err, grant.ErrConflict) {
		t.Errorf("Swap on another grant's version: %v, want ErrConflict", err)
	}
	for _, id := range []grant.ID{"", "../a", "/a", ".a", "a\x00b", "a\nb"} {
		if _, err := t.store.Swap(t.Context(), id, "", Credential(id)); err == nil {
			t.Errorf("Swap of a grant named %q was accepted", id)
		}
		if _, _, err := t.store.Load(t.Context(), id); err == nil {
			t.Errorf("Load of a grant named %q was accepted", id)
		}
	}
	if _, err := t.store.Swap(t.Context(), "a", versions["a"], Credential("b")); err == nil {
		t.Error("Swap put another grant's record at grant a")
	}
	t.holds(Credential("a"), versions["a"])
}

func (t storeTest) list() {
	lister, ok := t.store.(grant.Lister)
	if !ok {
		return // an optional ability
	}
	want := crowd()
	for _, id := range want {
		t.must(t.store.Swap(t.Context(), id, "", Credential(id)))
	}
	var got []grant.ID
	for id, err := range lister.List(t.Context()) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		got = append(got, id)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("List gave %q, want %q", got, want)
	}
	for range lister.List(t.Context()) {
		break // must not go on calling
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for id, err := range lister.List(gone) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("List with a cancelled context gave %q, %v", id, err)
		}
	}
}

// aliasing changes what went in and what came out, and expects the record not
// to change with it.
func (t storeTest) aliasing() {
	want := Credential(suiteGrant)
	given := want.Clone()
	v := t.must(t.store.Swap(t.Context(), suiteGrant, "", given))
	loaded, _, err := t.store.Load(t.Context(), suiteGrant)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	for _, c := range []grant.Credential{given, loaded} {
		c.Lease.Holder, c.Doubt.Sends, c.Spent[0] = "changed", 99, "changed"
		c.Events[0].Note, c.Tokens.Access.Scope[0] = "changed", "changed"
		c.Extra["/future"] = "0"
	}
	t.holds(want, v)
}
