package granttest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/oauth"
	"evergrant/internal/sink/file"
)

func TestFileSink(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, path string) grant.Sink {
		s, err := file.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	granttest.TestSink(t, func(t *testing.T) granttest.SinkPlace {
		path := filepath.Join(t.TempDir(), "token")
		return granttest.SinkPlace{Sink: open(t, path), Values: func(t *testing.T) []string {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			return []string{string(b)}
		}}
	}, granttest.SinkOptions{Broken: func(t *testing.T) grant.Sink {
		dir := filepath.Join(t.TempDir(), "gone")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := open(t, filepath.Join(dir, "token"))
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		return s
	}})
}

func TestOAuthRefresher(t *testing.T) {
	t.Parallel()
	granttest.TestRefresher(t, func(t *testing.T) granttest.Endpoint {
		var presented atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			n := presented.Add(1)
			_, _ = fmt.Fprintf(w, `{"access_token":"a%d-%[2]s","token_type":"Bearer","expires_in":3600,"refresh_token":"r%[1]d-%[2]s"}`, n, granttest.Canary)
		}))
		t.Cleanup(server.Close)
		client, err := oauth.New(oauth.Config{TokenURL: server.URL + "/token", ClientID: "client-1"})
		if err != nil {
			t.Fatal(err)
		}
		c := granttest.Credential("acme/main")
		c.Bind = client.Binding()
		return granttest.Endpoint{
			Refresher: client, Credential: c, Down: server.Close,
			Presentations: func() int { return int(presented.Load()) },
		}
	})
}

// The sample has a doubt and a lease of its own refresh token, so that clones
// and round trips are worth something.
func TestDiff(t *testing.T) {
	t.Parallel()
	a := granttest.Credential("acme/main")
	if d := granttest.Diff(a, a.Clone()); d != "" {
		t.Errorf("%s differs in a clone", d)
	}
	for want, change := range map[string]func(*grant.Credential){
		"record.Tokens.Refresh":      func(c *grant.Credential) { c.Tokens.Refresh = grant.NewSecret("x") },
		"record.Tokens.ObtainedAt":   func(c *grant.Credential) { c.Tokens.ObtainedAt = c.Tokens.ObtainedAt.Add(1) },
		"record.Lease":               func(c *grant.Credential) { c.Lease = nil },
		"record.Doubt.Sends":         func(c *grant.Credential) { c.Doubt.Sends++ },
		"record.Spent[1]":            func(c *grant.Credential) { c.Spent[1] = "x" },
		"record.Events":              func(c *grant.Credential) { c.Events = c.Events[1:] },
		"record.Extra":               func(c *grant.Credential) { c.Extra["/future"] = "1" },
		"record.Tokens.Access.Scope": func(c *grant.Credential) { c.Tokens.Access.Scope = nil },
	} {
		b := a.Clone()
		change(&b)
		if d := granttest.Diff(a, b); d != want {
			t.Errorf("Diff is %q, want %q", d, want)
		}
	}
	if !a.InDoubt() {
		t.Error("the sample is not in doubt")
	}
}
