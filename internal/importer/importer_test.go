package importer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/importer"
)

// The files in testdata were written by the programs themselves, of a login at a
// server on the machine where they were made: Claude Code 2.1.197 and Codex 0.169.0
// after a renewal, rclone 1.60.1 by rclone config create (and one encrypted by it),
// gcloud 528.0.0 by its writer of application-default credentials.
func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return file(t, name, string(b))
}

// file is a private file of that name and text.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "at", name)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func machine(vars map[string]string) importer.Machine {
	return importer.Machine{OS: "linux", Getenv: func(name string) string { return vars[name] }}
}

func source(t *testing.T, text string) importer.Source {
	t.Helper()
	s, err := importer.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(s string) time.Time {
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return v
}

// want is a token set by its parts. Tokens are compared as secrets.
type want struct {
	access, refresh        string
	expiry, obtained, ends time.Time
	scope                  []string
	kind                   string
}

func (w want) compare(t *testing.T, name string, got grant.TokenSet) {
	t.Helper()
	switch {
	case !got.Refresh.Equal(grant.NewSecret(w.refresh)), !got.Access.Value.Equal(grant.NewSecret(w.access)):
		t.Errorf("%s: another token", name)
	case !got.Access.Expiry.Equal(w.expiry), !got.ObtainedAt.Equal(w.obtained), !got.RefreshExpiry.Equal(w.ends):
		t.Errorf("%s: expiry %v, obtained %v, consent ends %v", name, got.Access.Expiry, got.ObtainedAt, got.RefreshExpiry)
	case !slices.Equal(got.Access.Scope, w.scope), got.Access.Type != w.kind:
		t.Errorf("%s: scope %q, type %q", name, got.Access.Scope, got.Access.Type)
	}
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	codexAccess := strings.Split(strings.Split(mustRead(t, "testdata/codex.json"), `"access_token": "`)[1], `"`)[0]
	for _, tt := range []struct {
		source, file string
		want         want
		found        importer.Found
	}{
		{"claude", "claude.json", want{
			access: "sk-ant-oat01-canary-new", refresh: "sk-ant-ort01-canary-new", expiry: time.UnixMilli(1795543495691), scope: []string{"user:inference", "user:profile"},
		}, importer.Found{Tool: "Claude Code", Provider: "claude"}},
		{"codex", "codex.json", want{
			access: codexAccess, refresh: "rt-new-canary", expiry: time.Unix(1796377871, 0), obtained: time.Unix(1795513871, 0), scope: []string{"openid", "offline_access"},
		}, importer.Found{Tool: "Codex", Provider: "codex"}},
		{"gcloud", "gcloud.json", want{refresh: "canary-refresh-1"},
			importer.Found{Tool: "gcloud", Provider: "google", ClientID: "canary-client.apps.googleusercontent.com", SecretAt: "client_secret in FROM"}},
		{"rclone:gd", "rclone.conf", want{access: "canary-access-1", refresh: "canary-refresh-1", expiry: at("2030-01-02T03:04:05.123456789Z"), kind: "Bearer"},
			importer.Found{Tool: "rclone", Provider: "google", ClientID: "canary-client.apps.googleusercontent.com", SecretAt: "client_secret of the remote gd in FROM"}},
		{"rclone:own:", "rclone.conf", want{access: "canary-access-1", refresh: "canary-refresh-1", expiry: at("2030-01-02T03:04:05.123456789Z"), kind: "Bearer"},
			importer.Found{Tool: "rclone", Provider: "google"}},
		{"rclone:bx", "rclone.conf", want{access: "canary-access-1", refresh: "canary-refresh-1", expiry: at("2030-01-02T03:04:05.123456789Z"), kind: "Bearer"},
			importer.Found{Tool: "rclone", Provider: "box", ClientID: "boxclient", SecretAt: "client_secret of the remote bx in FROM"}},
		{"rclone:od", "rclone.conf", want{access: "canary-access-1", refresh: "canary-refresh-1", expiry: at("2030-01-02T03:04:05.123456789Z"), kind: "Bearer"},
			importer.Found{Tool: "rclone", Provider: "microsoft", ClientID: "odclient"}},
	} {
		path := fixture(t, tt.file)
		before := mustRead(t, path)
		got, err := source(t, tt.source).Read(t.Context(), path, machine(nil))
		if err != nil {
			t.Errorf("%s: %v", tt.source, err)
			continue
		}
		tt.want.compare(t, tt.source, got.Tokens)
		if got.Tool != tt.found.Tool || got.Provider != tt.found.Provider || got.ClientID != tt.found.ClientID || got.TokenURL != "" || got.From != path ||
			got.SecretAt != strings.ReplaceAll(tt.found.SecretAt, "FROM", path) || len(got.Warnings) > 0 {
			t.Errorf("%s: found %+v", tt.source, got)
		}
		if strings.Contains(fmt.Sprintf("%+v", *got), "canary-new") || strings.Contains(fmt.Sprintf("%+v", *got), "canary-refresh") {
			t.Errorf("%s: what was found prints a token", tt.source)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 || mustRead(t, path) != before {
			t.Errorf("%s: the source was changed: %v, %v", tt.source, entries, err)
		}
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Where each program keeps its login unless told otherwise.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ source, fixture, variable, path string }{
		{"claude", "claude.json", "HOME", ".claude/.credentials.json"},
		{"claude", "claude.json", "CLAUDE_CONFIG_DIR", ".credentials.json"},
		{"codex", "codex.json", "HOME", ".codex/auth.json"},
		{"codex", "codex.json", "CODEX_HOME", "auth.json"},
		{"gcloud", "gcloud.json", "HOME", ".config/gcloud/application_default_credentials.json"},
		{"gcloud", "gcloud.json", "CLOUDSDK_CONFIG", "application_default_credentials.json"},
		{"gcloud", "gcloud.json", "GOOGLE_APPLICATION_CREDENTIALS", "any.json"},
		{"rclone:gd", "rclone.conf", "HOME", ".config/rclone/rclone.conf"},
		{"rclone:gd", "rclone.conf", "XDG_CONFIG_HOME", "rclone/rclone.conf"},
		{"rclone:gd", "rclone.conf", "RCLONE_CONFIG", "any.conf"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, filepath.FromSlash(tt.path))
		value := dir
		if strings.HasPrefix(tt.path, "any.") {
			value = path
		}
		vars := map[string]string{"HOME": filepath.Join(dir, "empty")}
		vars[tt.variable] = value
		_, err := source(t, tt.source).Read(t.Context(), "", machine(vars))
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s by %s: error %v does not name %s", tt.source, tt.variable, err, path)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(mustRead(t, filepath.Join("testdata", tt.fixture))), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := source(t, tt.source).Read(t.Context(), "", machine(vars)); err != nil || got.From != path {
			t.Errorf("%s by %s: from %s, %v", tt.source, tt.variable, got.From, err)
		}
	}
	for _, s := range []string{"claude", "codex", "gcloud", "rclone:gd"} {
		if _, err := source(t, s).Read(t.Context(), "", machine(nil)); err == nil || !strings.Contains(err.Error(), "HOME") {
			t.Errorf("%s without a home: %v", s, err)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text string
		want want
	}{
		"an answer alone": {`{"access_token":"a","token_type":"bearer","expires_in":3600,"refresh_token":"r","scope":"x y"}`,
			want{access: "a", refresh: "r", scope: []string{"x", "y"}, kind: "bearer"}},
		"an answer with its time": {`{"access_token":"a","expires_in":"3600","refresh_token":"r","created_at":1893553445,"refresh_token_expires_in":86400}`,
			want{access: "a", refresh: "r", obtained: at("2030-01-02T03:04:05Z"), expiry: at("2030-01-02T04:04:05Z"), ends: at("2030-01-03T03:04:05Z")}},
		"other names, milliseconds": {"\xef\xbb\xbf" + `{"accessToken":"a","refreshToken":"r","expiresAt":1893553445678,"refreshTokenExpiresAt":1893553446000.0,"scopes":["x"],"unknown":{"a":[1]}}`,
			want{access: "a", refresh: "r", expiry: at("2030-01-02T03:04:05.678Z"), ends: at("2030-01-02T03:04:06Z"), scope: []string{"x"}}},
		"a time in words, none, and nulls": {`{"refresh_token":"r","access_token":null,"expires_at":"2030-01-02T05:04:05+02:00","obtained_at":"0001-01-01T00:00:00Z","refresh_token_expires_at":0}`,
			want{refresh: "r", expiry: at("2030-01-02T03:04:05Z")}},
	} {
		got, err := source(t, "file:"+file(t, "f.json", tt.text)).Read(t.Context(), "", machine(nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tt.want.compare(t, name, got.Tokens)
		if got.Tool != "" || got.Away != "" || !source(t, "file:x").IsFile() {
			t.Errorf("%s: a file belongs to a program", name)
		}
	}
	path := file(t, "f.json", `{"refresh_token":"r","token_uri":"https://issuer.example/token","clientId":"c","client_secret":"s"}`)
	got, err := source(t, "file:"+path).Read(t.Context(), "", machine(nil))
	if err != nil || got.TokenURL != "https://issuer.example/token" || got.ClientID != "c" || got.SecretAt != "client_secret in "+path {
		t.Errorf("%+v, %v", got, err)
	}
}

// Every mistake gets one line that names the file and the member, and repeats
// nothing of a value.
func TestMistakes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("c", 70<<10)
	for _, tt := range []struct{ source, text, says string }{
		{"claude", "", "it is empty"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary`, "malformed at byte 40 of 40"},
		{"claude", `["canary"]`, "no object"},
		{"claude", `{"mcpOAuth":{"x":"canary"}}`, "no member claudeAiOauth"},
		{"claude", `{"claudeAiOauth":null}`, "no member claudeAiOauth"},
		{"claude", `{"claudeAiOauth":"canary"}`, "claudeAiOauth must be an object"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","refreshToken":"canary"}}`, "claudeAiOauth must be an object, each of whose members is there once"},
		{"claude", `{"claudeAiOauth":{"accessToken":"canary"}}`, "holds no refresh token"},
		{"claude", `{"claudeAiOauth":{"refreshToken":12345}}`, "refreshToken must be a text"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary\n"}}`, "refreshToken holds a character that no token has, at position 7 of 7"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"` + long + `"}}`, "refreshToken is longer than 64 KiB"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","accessToken":"canary canary"}}`, "accessToken holds a character"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","expiresAt":"canary"}}`, "expiresAt must be a time"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","expiresAt":{"x":1}}}`, "expiresAt must be a time"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","expiresAt":-5}}`, "expiresAt must be a time"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","expiresAt":1e300}}`, "expiresAt must be a time"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","scopes":{"canary":1}}}`, "scopes must be a list"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","scopes":["canary",1]}}`, "scopes must be a list"},
		{"claude", `{"claudeAiOauth":{"refreshToken":"canary","scopes":["a b"]}}`, "scopes must be at most"},
		{"codex", `{"OPENAI_API_KEY":"canary"}`, "holds an API key and no login"},
		{"codex", `{"OPENAI_API_KEY":null}`, "no member tokens"},
		{"codex", `{"tokens":["canary"]}`, "tokens must be an object"},
		{"codex", `{"tokens":{"access_token":"canary","refresh_token":""}}`, "holds no refresh token"},
		{"codex", `{"tokens":{"access_token":"canary","refresh_token":"canary"},"last_refresh":"canary"}`, "last_refresh must be a time"},
		{"codex", `{"tokens":{"access_token":"canary","refresh_token":["canary"]}}`, "refresh_token must be a text"},
		{"gcloud", `{"type":"service_account","private_key":"canary"}`, "not of type authorized_user"},
		{"gcloud", `{"type":"authorized_user","refresh_token":"canary"}`, "no member client_id"},
		{"gcloud", `{"type":"authorized_user","client_id":"c"}`, "no member refresh_token"},
		{"gcloud", `{"type":"authorized_user","client_id":"can ary","refresh_token":"canary"}`, "client_id must be at most"},
		{"rclone:gd", "[x]\ntype = drive\n", "has no remote gd"},
		{"rclone:gd", "[gd]\ntype = local\n", "has no token"},
		{"rclone:gd", "[gd]\ntype = drive\ntoken = canary\n", "malformed at byte"},
		{"rclone:gd", "[gd]\ntoken = {\"access_token\":\"canary\"}\n", "no member refresh_token"},
		{"rclone:gd", "[gd]\ntoken = {\"refresh_token\":\"canary\"}\nclient_id = a b\n", "client_id or a token_url with a space"},
		{"rclone:gd", "canary\n", "line 1: it is neither"},
		{"rclone:gd", "[gd]\n\n; x\ncanary\n", "line 4: it is neither"},
		{"rclone:gd", "", "has no remote gd"},
		{"rclone:gd", "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\ncanary=\n", "rclone config show gd"},
		{"file", `{"access_token":"canary"}`, "no member refresh_token"},
		{"file", `{"refresh_token":"canary","expires_in":"soon","created_at":1893553445}`, "expires_in must be a number"},
		{"file", `{"refresh_token":"canary","token_url":"https://a b"}`, "token_url must be"},
		{"file", `{"claudeAiOauth":{"refreshToken":"canary"}}`, "evergrant import claude --from"},
		{"file", `{"auth_mode":"chatgpt","tokens":{"refresh_token":"canary"}}`, "evergrant import codex --from"},
		{"file", `{"type":"authorized_user","client_id":"c","refresh_token":"canary"}`, "evergrant import gcloud --from"},
	} {
		path, from, name := file(t, "f", tt.text), "", tt.source
		if from = path; tt.source == "file" {
			name, from = "file:"+path, ""
		}
		_, err := source(t, name).Read(t.Context(), from, machine(nil))
		switch {
		case err == nil:
			t.Errorf("%s, %.60s: no error", tt.source, tt.text)
		case !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path):
			t.Errorf("%s, %.60s: error %.200q does not say %q", tt.source, tt.text, err, tt.says)
		case strings.Contains(err.Error(), "canary"), strings.Contains(err.Error(), "\n"), len(err.Error()) > 600:
			t.Errorf("%s, %.60s: the error shows content, or is no line: %.200q", tt.source, tt.text, err)
		}
	}
	// An encrypted configuration, as rclone writes it.
	if _, err := source(t, "rclone:gd").Read(t.Context(), fixture(t, "rclone-encrypted.conf"), machine(nil)); err == nil || !strings.Contains(err.Error(), "is encrypted") {
		t.Errorf("an encrypted configuration: %v", err)
	}
	for _, path := range []string{t.TempDir(), os.DevNull} {
		if _, err := source(t, "claude").Read(t.Context(), path, machine(nil)); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "x", "claude:x", "codex:", "gcloud:x", "rclone", "rclone:", "file", "file:", strings.Repeat("canary", 20)} {
		if _, err := importer.Parse(bad); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := source(t, "file:x").Read(t.Context(), "y", machine(nil)); err == nil || !strings.Contains(err.Error(), "--from") {
		t.Errorf("a file and --from: %v", err)
	}
}

func TestReadableByOthers(t *testing.T) {
	t.Parallel()
	path := fixture(t, "codex.json")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := source(t, "codex").Read(t.Context(), path, machine(nil))
	if err != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "chmod 600 "+path) {
		t.Errorf("warnings %q, %v", got.Warnings, err)
	}
}

// While Claude Code renews the login, it is not read: its refresh token is about
// to be spent.
func TestBusy(t *testing.T) {
	t.Parallel()
	for _, name := range []string{".oauth_refresh.lock", "../at.lock"} {
		path := fixture(t, "claude.json")
		lock := filepath.Join(filepath.Dir(path), name)
		synctest.Test(t, func(t *testing.T) {
			if err := os.Mkdir(lock, 0o700); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err := source(t, "claude").Read(t.Context(), path, machine(nil))
			if !errors.Is(err, importer.ErrBusy) || !strings.Contains(err.Error(), lock) && !strings.Contains(err.Error(), "at.lock") {
				t.Errorf("%s: %v", name, err)
			}
			if waited := time.Since(start); waited < 10*time.Second || waited > 11*time.Second {
				t.Errorf("%s: waited %v", name, waited)
			}
			time.AfterFunc(3*time.Second, func() { _ = os.Remove(lock) })
			if _, err := source(t, "claude").Read(t.Context(), path, machine(nil)); err != nil {
				t.Errorf("%s, given back: %v", name, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := os.Mkdir(lock, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := source(t, "claude").Read(ctx, path, machine(nil)); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cancelled: %v", name, err)
			}
		})
	}
}

// Codex writes its file in place: a part of it is looked at again.
func TestHalfWritten(t *testing.T) {
	t.Parallel()
	whole := mustRead(t, "testdata/codex.json")
	path := file(t, "auth.json", whole[:len(whole)/2])
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(300*time.Millisecond, func() {
			if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
				t.Error(err)
			}
		})
		if got, err := source(t, "codex").Read(t.Context(), path, machine(nil)); err != nil || got.Tokens.Refresh.IsZero() {
			t.Errorf("%v", err)
		}
	})
}
