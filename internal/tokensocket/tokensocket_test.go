package tokensocket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/tokensocket"
)

var end = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// served starts a server whose tokens are named by their generation: 7, or one
// above what the client saw. Above 100 it fails.
func served(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := tokensocket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	get := func(_ context.Context, after uint64) (grant.AccessToken, error) {
		if after > 100 {
			return grant.AccessToken{}, errors.New("the provider\nis away")
		}
		g := max(7, after+1)
		return grant.AccessToken{Value: grant.NewSecret(fmt.Sprintf("canary-%d", g)), Type: "Bearer", Generation: g, Expiry: end}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := tokensocket.New(get, func(error) string { return "unreachable" }, func(err error) { t.Errorf("trouble with the socket: %v", err) }, func() time.Time { return end.Add(-time.Minute) })
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Error("the socket is left behind")
		}
	})
	return path
}

func say(t *testing.T, path, request string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLine(t *testing.T) {
	t.Parallel()
	path := served(t)
	for request, want := range map[string]string{
		"token\n":             "canary-7\n",
		"token":               "canary-7\n",
		"token after 9\r\n":   "canary-10\n",
		"token after 101\n":   "error unreachable: the provider is away\n",
		"token after\n":       "error usage: say token, or token after N\n",
		"token after -1\n":    "error usage: say token, or token after N\n",
		"\n":                  "error usage: say token, or token after N\n",
		"HELO mail.example\n": "error usage: say token, or token after N\n",
	} {
		if got := say(t, path, request); got != want {
			t.Errorf("%q: %q, want %q", request, got, want)
		}
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, strings.Repeat("x", 8000)+"\n"); err != nil {
		t.Fatal(err)
	}
	// The server hangs up with bytes unread, which may be a reset.
	if got, _ := io.ReadAll(c); len(got) != 0 {
		t.Errorf("a line without end was answered by %d bytes", len(got))
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	path := served(t)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
		generation   string
	}{
		{"GET", "/token", 200, "canary-7", "7"},
		{"GET", "/token?after=20", 200, "canary-21", "21"},
		{"GET", "/token?after=200", 503, "error unreachable: the provider is away\n", ""},
		{"GET", "/token?after=x", 400, "error usage: the query may be after=N\n", ""},
		{"GET", "/token?x=1", 400, "error usage: the query may be after=N\n", ""},
		{"GET", "/", 404, "error usage: there is /token and /token.json\n", ""},
		{"POST", "/token", 405, "error usage: only GET\n", ""},
	} {
		req, err := http.NewRequest(tt.method, "http://localhost"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || string(b) != tt.body || resp.Header.Get("Evergrant-Generation") != tt.generation {
			t.Errorf("%s %s: %d %q generation %q", tt.method, tt.path, resp.StatusCode, b, resp.Header.Get("Evergrant-Generation"))
		}
	}
	resp, err := client.Get("http://localhost/token.json?after=30")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got["access_token"] != "canary-31" || got["expires_in"] != 60.0 || got["generation"] != 31.0 || got["token_type"] != "Bearer" || got["expires_at"] != "2026-01-02T03:04:05Z" {
		t.Errorf("%v", got)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	path := served(t)
	if _, err := tokensocket.Listen(path); err == nil || !strings.Contains(err.Error(), "another process serves") {
		t.Errorf("a socket that is served was taken: %v", err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tokensocket.Listen(file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file was taken for a socket: %v", err)
	}
	// A socket that a killed process left behind.
	stale := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := tokensocket.Listen(stale)
	if err != nil {
		t.Fatalf("a socket that nobody serves: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 90))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := tokensocket.Listen(filepath.Join(deep, "s")); err == nil || !strings.Contains(err.Error(), "bytes too long for a Unix socket: choose a folder") {
		t.Errorf("a path that no socket can have: %v", err)
	}
}
