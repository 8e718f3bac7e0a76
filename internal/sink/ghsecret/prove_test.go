package ghsecret_test

import (
	"errors"
	"strings"
	"testing"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
)

// TestProve finds a token that Check cannot find out, and leaves nothing behind.
func TestProve(t *testing.T) {
	t.Parallel()
	for access, fails := range map[double.Access]bool{double.Write: false, double.Read: true, double.Job: true, double.Unseeing: true} {
		github, s := open(t, "prod", access)
		before := len(github.Names("acme/widgets:prod"))
		if err := s.Prove(t.Context()); (err != nil) != fails || errors.Is(err, grant.ErrUnasked) || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("access %d: %v, want an error: %v", access, err, fails)
		}
		if after := len(github.Names("acme/widgets:prod")); after != before {
			t.Errorf("access %d: %d secrets, and %d before", access, after, before)
		}
	}
	github, s := open(t, "", double.Write)
	github.Fail(double.Fault{Status: 500})
	if err := s.Prove(t.Context()); !errors.Is(err, grant.ErrUnasked) {
		t.Errorf("%v, want ErrUnasked", err)
	}
}
