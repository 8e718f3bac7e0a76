//go:build unix

package cli_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/grant"
	"evergrant/internal/holder"
)

// TestReaderThatLeaves: what only tells something ends as it would have when its
// reader, as head does, has seen enough; a token that nobody took is an error.
func TestReaderThatLeaves(t *testing.T) {
	t.Parallel()
	s := full(t)
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"status", "acme/gitlab"}, {"status", "acme/gitlab", "--json"},
		{"providers"}, {"providers", "--json"}, {"providers", "claude"}, {"doctor", "--json"}, {"doctor"},
	} {
		run := func(stdout io.Writer) (int, string) {
			var stderr bytes.Buffer
			env := func(name string) (string, bool) { v, ok := s.env[name]; return v, ok }
			return cli.Main(args, env, strings.NewReader(""), stdout, &stderr), stderr.String()
		}
		wantCode, want := run(io.Discard)
		code, got := run(left(t))
		if code != wantCode || got != want {
			t.Errorf("%v: code %d and %q, want %d and %q", args, code, got, wantCode, want)
		}
	}
	if code := s.run(nil, left(t), "token", "acme/gitlab", "--provider", "gitlab", "--client-id", "client", "--token-url", "https://id.example/token", "--min-ttl", "1m"); code != 8 {
		t.Errorf("a token that nobody took: code %d, want 8", code)
	}
}

// left is a pipe without a reader.
func left(t *testing.T) io.Writer {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// TestStatusNamesTheHolder by what a person calls it: the rest of its name is for
// programs, and the report has it.
func TestStatusNamesTheHolder(t *testing.T) {
	t.Parallel()
	c := newCabinet(t, grant.Secret{})
	now, name := time.Now().UTC(), holder.New("github run 7.1")
	c.put(grant.Credential{Grant: "a", Provider: "gitlab", Generation: 2, Tokens: tokens(now, time.Hour, 30*time.Minute, 0), Bind: grant.Binding{TokenURL: "https://id.example/", ClientID: "client"},
		Lease: &grant.Lease{Holder: name, Until: now.Add(time.Minute), TTL: time.Minute}})
	if out := plainText(c.onTerminal(t, 120, nil, "status")); !strings.Contains(out, "being refreshed now, by github-run-7.1\n") {
		t.Errorf("the table:\n%s", out)
	}
	if _, out := c.says("status", "a", "--json"); !strings.Contains(out, name) {
		t.Errorf("the report does not name %s:\n%s", name, out)
	}
}
