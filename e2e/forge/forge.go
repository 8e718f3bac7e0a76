// Package forge serves git repositories over HTTP as forges do: by git
// http-backend(1) behind basic authentication. It is for tests, and for programs
// that test.
package forge

import "testing"

// Git is [Run] in a test.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := Run(dir, args...)
	must(t, err)
	return out
}

// Bare is [Init] in a test. It returns the path.
func Bare(t testing.TB, path string, flags ...string) string {
	t.Helper()
	must(t, Init(path, flags...))
	return path
}

// New is [Serve] until a test ends.
func New(t testing.TB, root, token string) *Server {
	t.Helper()
	s, err := Serve(root, token)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// Everything is [Contents] in a test.
func Everything(t testing.TB, dir string) []byte {
	t.Helper()
	all, err := Contents(dir)
	must(t, err)
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
