package mem_test

import (
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/store/mem"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	granttest.TestStore(t, func(*testing.T) grant.Store { return mem.New() }, granttest.StoreOptions{})
}
