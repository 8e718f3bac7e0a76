//go:build e2e

package git_test

import (
	"os"
	"testing"
	"time"

	"evergrant/e2e/forge"
	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/git"
)

const acme = grant.ID("acme/main")

// token is what the forge of these tests asks for. It may be seen nowhere.
const token = "canary-git-token-77c1"

// must stops a test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs git as a person would, apart from the store under test.
func sh(t testing.TB, dir string, args ...string) string {
	t.Helper()
	return forge.Git(t, dir, args...)
}

// bare makes a repository as a forge has it.
func bare(t testing.TB, path string, flags ...string) string {
	t.Helper()
	return forge.Bare(t, path, flags...)
}

func remote(t testing.TB, s string) git.Remote {
	t.Helper()
	r, err := git.ParseRemote(s)
	must(t, err)
	return r
}

func newKey(t testing.TB) (grant.Secret, *record.Codec) {
	t.Helper()
	key, _, err := record.NewKey()
	must(t, err)
	c, err := record.NewCodec(key)
	must(t, err)
	return key, c
}

// open opens a store whose process has nothing but a path in its environment.
func open(t testing.TB, c git.Config) *git.Store {
	t.Helper()
	if c.Getenv == nil {
		c.Getenv = func(name string) string { return map[string]string{"PATH": os.Getenv("PATH")}[name] }
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute // two processors, a hundred writers
	}
	s, err := git.Open(c)
	must(t, err)
	return s
}

func credential() git.Credential {
	return git.Credential{User: "x-access-token", Password: grant.NewSecret(token)}
}
