package codexfile_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/sink/codexfile"
)

// jwt is a token whose claims name an account; "": none.
func jwt(account string) string {
	claims := map[string]any{"exp": 1900000000}
	if account != "" {
		claims["https://api.openai.com/auth"] = map[string]any{"chatgpt_account_id": account, "chatgpt_plan_type": "plus"}
	}
	b, _ := json.Marshal(claims) // plain values always have a form
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"none"}`)) + "." + enc.EncodeToString(b) + ".canary"
}

func token(value string) grant.AccessToken {
	return grant.AccessToken{Value: grant.NewSecret(value), Type: "Bearer", Expiry: time.Unix(1900000000, 0)}
}

func place(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
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
	one, none := jwt("acc-1"), jwt("")
	for _, tt := range []struct{ name, before, value, want string }{
		{"a new file", "", one,
			`{"auth_mode":"chatgptAuthTokens","tokens":{"id_token":"` + one + `","access_token":"` + one + `","refresh_token":"","account_id":"acc-1"},"last_refresh":"NOW"}` + "\n"},
		{"order and spacing stay", "{\n  \"OPENAI_API_KEY\": null,\n  \"tokens\": {\n    \"id_token\": \"old\",\n    \"access_token\": \"x\",\n    \"refresh_token\": \"\",\n    \"account_id\": \"acc-1\",\n    \"more\": [1, 2]\n  },\n  \"last_refresh\": \"2026-01-01T00:00:00Z\"\n}", one,
			"{\n  \"OPENAI_API_KEY\": null,\n  \"tokens\": {\n    \"id_token\": \"old\",\n    \"access_token\": \"" + one + "\",\n    \"refresh_token\": \"\",\n    \"account_id\": \"acc-1\",\n    \"more\": [1, 2]\n  },\n  \"last_refresh\": \"NOW\",\n  \"auth_mode\": \"chatgptAuthTokens\"\n}"},
		{"another account's identity goes", `{"auth_mode":"chatgpt","tokens":{"id_token":"old","account_id":"acc-0"}}`, one,
			`{"auth_mode":"chatgptAuthTokens","tokens":{"id_token":"` + one + `","account_id":"acc-1","access_token":"` + one + `","refresh_token":""},"last_refresh":"NOW"}`},
		{"the file names the account", `{"tokens":{"id_token":"old","account_id":"acc-0","refresh_token":null}}`, none,
			`{"tokens":{"id_token":"old","account_id":"acc-0","refresh_token":"","access_token":"` + none + `"},"auth_mode":"chatgptAuthTokens","last_refresh":"NOW"}`},
	} {
		path := place(t, tt.before)
		s, err := codexfile.Open(path)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		start := time.Now().Add(-time.Second)
		if err := s.Deliver(t.Context(), token(tt.value)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := read(t, path)
		stamp := regexp.MustCompile(`("last_refresh": ?")([^"]*)"`)
		at, err := time.Parse(time.RFC3339, stamp.FindStringSubmatch(got)[2])
		if err != nil || at.Before(start.Truncate(time.Second)) || at.After(time.Now()) {
			t.Errorf("%s: last_refresh is %v, %v", tt.name, at, err)
		}
		if got = stamp.ReplaceAllString(got, `${1}NOW"`); got != tt.want {
			t.Errorf("%s: the file holds\n%s, want\n%s", tt.name, got, tt.want)
		}
		mode := os.FileMode(0o600)
		if tt.before != "" {
			mode = 0o640
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: mode %04o, want %04o", tt.name, st.Mode().Perm(), mode)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, says string }{
		"a login of its own": {`{"tokens":{"access_token":"a","refresh_token":"canary-refresh"}}`, "holds a refresh token"},
		"an API key":         {`{"OPENAI_API_KEY":"canary-key"}`, "API key"},
		"malformed":          {`{"tokens":{"access_token":"canary-refresh`, "malformed at byte"},
		"no object":          {`["canary-refresh"]`, "no object"},
		"another kind":       {`{"tokens":"canary-refresh"}`, "tokens"},
		"twice":              {`{"tokens":{},"tokens":{}}`, "twice"},
	} {
		path := place(t, tt.text)
		_, err := codexfile.Open(path)
		check(t, name+", opened", err, tt.says, path)

		later := place(t, "")
		s, err := codexfile.Open(later)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(later, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, name+", delivered", s.Deliver(t.Context(), token(jwt("acc-1"))), tt.says, later)
		if read(t, later) != tt.text || read(t, path) != tt.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	path := place(t, "")
	s, err := codexfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{jwt(""), "canary", "canary.canary.canary", "a.e30.b", "a.W10.b"} {
		check(t, "no account", s.Deliver(t.Context(), token(value)), "names a ChatGPT account", path)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a token without an account made a file")
	}
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
