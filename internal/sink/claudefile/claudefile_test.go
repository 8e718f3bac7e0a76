package claudefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/folderlock"
	"evergrant/internal/grant"
	"evergrant/internal/sink/claudefile"
)

func token(scope ...string) grant.AccessToken {
	return grant.AccessToken{
		Grant: "acme/claude", Generation: 3, Value: grant.NewSecret("sk-ant-oat01-canary-2"), Type: "Bearer", Scope: scope,
		Expiry: time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC),
	}
}

// place is a folder as CLAUDE_CONFIG_DIR names one, with a file in it.
func place(t *testing.T, text string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "claude")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ".credentials.json")
	if text != "" {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	const in = `"accessToken":"sk-ant-oat01-canary-2"`
	for _, tt := range []struct {
		name, before string
		scope        []string
		want         string
	}{
		{"a new file", "", []string{"user:inference", "user:profile"},
			`{"claudeAiOauth":{` + in + `,"expiresAt":1893553445678,"scopes":["user:inference","user:profile"]}}` + "\n"},
		{"scopes are not known", "", nil, `{"claudeAiOauth":{` + in + `,"expiresAt":1893553445678,"scopes":["user:inference"]}}` + "\n"},
		{"the file's scopes stay", `{"claudeAiOauth":{"scopes":["a", "b"]}}`, nil,
			`{"claudeAiOauth":{"scopes":["a","b"],` + in + `,"expiresAt":1893553445678}}`},
		{"what others keep there stays", `{"mcpOAuth":{"x":{"accessToken":"other"}},"claudeAiOauth":{"accessToken":"old","expiresAt":1,"scopes":["c"],"subscriptionType":"max","rateLimitTier":null,"refreshToken":null},"pluginSecrets":{}}`, []string{"d"},
			`{"mcpOAuth":{"x":{"accessToken":"other"}},"claudeAiOauth":{` + in + `,"expiresAt":1893553445678,"scopes":["d"],"subscriptionType":"max","rateLimitTier":null,"refreshToken":null},"pluginSecrets":{}}`},
		{"an empty refresh token is none", `{"claudeAiOauth":{"refreshToken":"","scopes":["c"]}}`, nil,
			`{"claudeAiOauth":{"refreshToken":"","scopes":["c"],` + in + `,"expiresAt":1893553445678}}`},
		{"signed out", `{"claudeAiOauth":null}`, []string{"d"}, `{"claudeAiOauth":{` + in + `,"expiresAt":1893553445678,"scopes":["d"]}}`},
		{"scopes that are no list", `{"claudeAiOauth":{"scopes":"x"}}`, nil, `{"claudeAiOauth":{"scopes":["user:inference"],` + in + `,"expiresAt":1893553445678}}`},
	} {
		path := place(t, tt.before)
		s, err := claudefile.Open(path)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for range 2 {
			if err := s.Deliver(t.Context(), token(tt.scope...)); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if got := read(t, path); got != tt.want {
				t.Errorf("%s: the file holds\n%s, want\n%s", tt.name, got, tt.want)
			}
		}
		mode := os.FileMode(0o600)
		if tt.before != "" {
			mode = 0o640
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: mode %04o, want %04o", tt.name, st.Mode().Perm(), mode)
		}
		for _, lock := range claudefile.Locks(path) {
			if _, err := os.Lstat(lock); err == nil {
				t.Errorf("%s: the lock %s is left over", tt.name, lock)
			}
		}
	}
}

// Whatever must not be changed is refused before anything is spent, and again when
// it came to be so afterwards.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, says string }{
		"a login of its own": {`{"claudeAiOauth":{"accessToken":"a","refreshToken":"canary-refresh"}}`, "holds a refresh token"},
		"a strange one":      {`{"claudeAiOauth":{"refreshToken":{"x":"canary-refresh"}}}`, "holds a refresh token"},
		"malformed":          {`{"claudeAiOauth":{"accessToken":"canary-refresh`, "malformed at byte"},
		"no object":          {`["canary-refresh"]`, "no object"},
		"another kind":       {`{"claudeAiOauth":["canary-refresh"]}`, "claudeAiOauth"},
		"twice":              {`{"claudeAiOauth":{},"claudeAiOauth":{}}`, "twice"},
	} {
		path := place(t, tt.text)
		_, err := claudefile.Open(path)
		check(t, name+", opened", err, tt.says, path)

		later := place(t, "")
		s, err := claudefile.Open(later)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(later, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, name+", delivered", s.Deliver(t.Context(), token()), tt.says, later)
		if read(t, later) != tt.text || read(t, path) != tt.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	path := place(t, "")
	s, err := claudefile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(t.TempDir(), "x"), path); err != nil {
		t.Fatal(err)
	}
	check(t, "a symbolic link", s.Deliver(t.Context(), token()), "symbolic link", path)
	endless := token()
	endless.Expiry = time.Time{}
	check(t, "no end", s.Deliver(t.Context(), endless), "has no end", "")
}

func check(t *testing.T, name string, err error, says, path string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error", name)
	case !strings.Contains(err.Error(), says), !strings.Contains(err.Error(), path):
		t.Errorf("%s: error %q does not say %q", name, err, says)
	case strings.Contains(err.Error(), "canary"), strings.Contains(err.Error(), "\n"):
		t.Errorf("%s: the error shows content, or has several lines", name)
	}
}

// While Claude Code renews its login, the file is not touched.
func TestLocks(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		path := place(t, "")
		s, err := claudefile.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lock := claudefile.Locks(path)[i]
		synctest.Test(t, func(t *testing.T) {
			if err := os.Mkdir(lock, 0o700); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err := s.Deliver(t.Context(), token())
			check(t, "held", err, lock, path)
			if !errors.Is(err, folderlock.ErrHeld) || time.Since(start) < 10*time.Second || time.Since(start) > 11*time.Second {
				t.Errorf("waited %v: %v", time.Since(start), err)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Error("the file was written")
			}
			time.AfterFunc(2*time.Second, func() { _ = os.Remove(lock) })
			if err := s.Deliver(t.Context(), token()); err != nil {
				t.Errorf("after the lock was given back: %v", err)
			}
		})
		if !strings.Contains(read(t, path), "canary-2") {
			t.Error("nothing was delivered")
		}
	}
}
