package importer_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/importer"
)

// FuzzRead: whatever a file holds, reading it ends, gives tokens that may be sent
// or one line without a word of the file, and settles to a life that is none or
// not negative.
func FuzzRead(f *testing.F) {
	kinds := []string{"claude", "codex", "gcloud", "rclone:gd", "file"}
	for i, name := range []string{"claude.json", "codex.json", "gcloud.json", "rclone.conf", "rclone-encrypted.conf"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(min(i, 3)), b)
		f.Add(uint8(4), b)
	}
	f.Add(uint8(4), []byte(`{"refresh_token":"r","expires_in":1e3,"created_at":"1893553445","scope":["a"],"expiry":"2030-01-02T03:04:05Z"}`))
	f.Add(uint8(1), []byte(`{"tokens":{"access_token":"a.eyJleHAiOjEsImlhdCI6MH0.b","refresh_token":"r"}}`))
	path := filepath.Join(f.TempDir(), "source")
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		name, from := kinds[int(kind)%len(kinds)], path
		if name == "file" {
			name, from = "file:"+path, ""
		}
		// A file that is malformed is not waited for.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m := importer.Machine{OS: "linux", Getenv: func(string) string { return "" }}
		got, err := source(t, name).Read(ctx, from, m)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "canary") {
				t.Fatalf("%q", err)
			}
			return
		}
		if got.Tokens.Refresh.IsZero() {
			t.Fatal("a login without a refresh token")
		}
		for _, s := range []string{got.Tokens.Refresh.Reveal(), got.Tokens.Access.Value.Reveal(), got.Tokens.Access.Type, got.ClientID, got.TokenURL} {
			if strings.IndexFunc(s, func(r rune) bool { return r <= 0x20 || r > 0x7e }) >= 0 {
				t.Fatal("something that may not be sent")
			}
		}
		now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		got.Settle(time.Hour, now)
		if a := got.Tokens; !a.Access.Value.IsZero() && (a.Life() < 0 || a.Access.Expiry.IsZero()) || a.ObtainedAt.After(now) || a.ObtainedAt.IsZero() {
			t.Fatalf("obtained %v, ends %v", a.ObtainedAt, a.Access.Expiry)
		}
	})
}
