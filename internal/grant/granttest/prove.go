package granttest

import (
	"errors"
	"slices"
	"sync"

	"evergrant/internal/grant"
)

// prove is for stores that can: a proof changes no record and shows no grant, alone
// and beside others.
func (t storeTest) prove() {
	prover, ok := t.store.(grant.Prover)
	if !ok {
		return
	}
	id := suiteGrant
	if err := prover.Prove(t.Context(), id); err != nil {
		t.Fatalf("Prove before there is a record: %v", err)
	}
	if _, _, err := t.store.Load(t.Context(), id); !errors.Is(err, grant.ErrNotFound) {
		t.Errorf("after it Load: %v, want ErrNotFound", err)
	}
	c := Credential(id)
	v := t.must(t.store.Swap(t.Context(), id, "", c))
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		other, ok := t.o.Reopen(t.T, t.store).(grant.Prover)
		if !ok {
			t.Fatal("another handle cannot prove")
		}
		all.Go(func() { errs[i] = other.Prove(t.Context(), id) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("proofs at once: %v", err)
	}
	t.holds(c, v)
	if lister, ok := t.store.(grant.Lister); ok {
		var ids []grant.ID
		for id, err := range lister.List(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if !slices.Equal(ids, []grant.ID{id}) {
			t.Errorf("List gives %v, want the one grant", ids)
		}
	}
}
