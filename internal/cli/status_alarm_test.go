//go:build unix

package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/grant"
	"evergrant/internal/mark"
	"evergrant/internal/record"
	"evergrant/internal/spill"
	"evergrant/internal/store"
	"evergrant/internal/store/file"
)

// cabinet is a store with the records of a test, and what its machine knows of it.
type cabinet struct {
	shelf
	state string
	codec *record.Codec
	t     *testing.T
}

func newCabinet(t *testing.T, key grant.Secret) *cabinet {
	t.Helper()
	codec, err := record.NewCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "grants")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	return &cabinet{shelf{map[string]string{"HOME": t.TempDir(), "XDG_STATE_HOME": state, "EVERGRANT_STORE": "file:" + dir, "LANG": "C.UTF-8", "TERM": "xterm"}, dir},
		filepath.Join(state, "evergrant"), codec, t}
}

func (c *cabinet) put(records ...grant.Credential) {
	c.t.Helper()
	st, err := file.Open(c.dir, c.codec, file.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range records {
		r.Consent, r.Writer = "c", "w"
		if _, err := st.Swap(c.t.Context(), r.Grant, "", r); err != nil {
			c.t.Fatal(err)
		}
	}
}

// of is the folder of the state folder that belongs to the store.
func (c *cabinet) of(kind string) string {
	return filepath.Join(c.state, kind, grant.NewSecret(store.File(c.dir).Place()).Digest())
}

func (c *cabinet) says(args ...string) (code int, out string) {
	var stdout, stderr bytes.Buffer
	env := func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }
	code = cli.Main(args, env, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// TestStatusOfAnotherAge: a time that is centuries away is a time, and hides no other
// grant.
func TestStatusOfAnotherAge(t *testing.T) {
	t.Parallel()
	c := newCabinet(t, grant.Secret{})
	now := time.Now().UTC()
	far := tokens(now, time.Hour, time.Minute, 0)
	far.Access.Expiry, far.RefreshExpiry = time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
	far.ObtainedAt = far.Access.Expiry
	c.put(grant.Credential{Grant: "far", Generation: 1, Tokens: far, Events: []grant.Event{{At: far.ObtainedAt, By: "x", What: grant.EventRefreshed}}},
		grant.Credential{Grant: "near", Generation: 1, Tokens: tokens(now, time.Hour, time.Minute, 0)})
	for _, args := range [][]string{{"status"}, {"status", "far"}, {"status", "--json"}, {"status", "--warn", "1h"}} {
		if code, out := c.says(args...); code != 0 || !strings.Contains(out, "far") {
			t.Errorf("%v: %d: %s", args, code, out)
		}
		if out := c.onTerminal(t, 110, nil, args...); !strings.Contains(out, "far") {
			t.Errorf("%v on a terminal: %s", args, out)
		}
	}
	if got := cli.Span(-1 << 63); got != "106751d 23h ago" {
		t.Errorf("the least duration is %q", got)
	}
}

// TestStatusOfAForger: whoever can write the store has no way to the terminal of who
// looks at it, in any of its texts.
func TestStatusOfAForger(t *testing.T) {
	t.Parallel()
	c := newCabinet(t, grant.Secret{})
	now := time.Now().UTC()
	bad := func(s string) string { return s + "\x1b]0;pwn\x07\u202e\u2066\u2028\u009b31m\tx\nforged\r" }
	ts := tokens(now, time.Hour, 30*time.Minute, 0)
	c.put(
		grant.Credential{Grant: "a", Provider: bad("provider"), Generation: 2, Tokens: ts, Reason: bad("reason"), State: grant.NeedsConsent,
			Bind: grant.Binding{TokenURL: bad("https://id.example/"), ClientID: bad("client")}, Account: grant.Account{ID: bad("sub:1"), Name: bad("name")},
			Events: []grant.Event{{At: now, By: bad("by"), What: grant.EventAttempt, Note: bad("note")}, {At: now, By: bad("by"), What: bad("what"), Note: bad("note")}}},
		grant.Credential{Grant: "b", Provider: bad("provider"), Generation: 2, Tokens: ts, Bind: grant.Binding{TokenURL: "https://id.example/", ClientID: bad("client")},
			Lease: &grant.Lease{Holder: bad("holder"), Until: now.Add(time.Hour), TTL: time.Hour}, Events: []grant.Event{{At: now, By: bad("by"), What: bad("what")}}})
	clean := func(what, out string) {
		t.Helper()
		for _, r := range out {
			if r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%s: %q gets through in %q", what, r, out)
			}
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "forged") {
				t.Errorf("%s: a line is forged: %s", what, out)
			}
		}
	}
	for _, args := range [][]string{{"status"}, {"status", "a"}, {"status", "b"}, {"status", "--json"}, {"status", "a", "--json"}, {"status", "--warn", "1h"}} {
		what := strings.Join(args, " ")
		_, out := c.says(args...)
		clean(what, out)
		clean(what+" on a terminal", plainText(c.onTerminal(t, 140, nil, args...)))
	}
}

// TestStatusTakesItsFlags: what is given on the command line counts for each grant of
// the configuration, also where one is named default.
func TestStatusTakesItsFlags(t *testing.T) {
	t.Parallel()
	key, _, err := record.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c := newCabinet(t, key)
	ts := tokens(time.Now().UTC(), time.Hour, 30*time.Minute, 0)
	c.put(grant.Credential{Grant: "one", Generation: 1, Tokens: ts}, grant.Credential{Grant: "default", Generation: 1, Tokens: ts})
	delete(c.env, "EVERGRANT_STORE")
	folder := t.TempDir()
	keyFile, config := filepath.Join(folder, "key"), filepath.Join(folder, "config.yaml")
	text := fmt.Sprintf("grants:\n  one:\n    store: file:%s\n    key-file: other\n  default:\n    store: file:%s\n", c.dir, c.dir)
	if err := errors.Join(os.WriteFile(keyFile, []byte(key.Reveal()+"\n"), 0o600), os.WriteFile(config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	if code, out := c.says("status", "--config", config, "--key-file", keyFile); code != 0 || !strings.Contains(out, "one") || !strings.Contains(out, "default") || strings.Contains(out, "unreadable") {
		t.Errorf("%d: %s", code, out)
	}
	if code, out := c.says("status", "--config", config); code != 6 || !strings.Contains(out, "unreadable") {
		t.Errorf("without it: %d: %s", code, out)
	}
}

// TestWarnOfLoss: with --warn a grant that is lost, not begun or not in the store is
// no success.
func TestWarnOfLoss(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	alive := grant.Credential{Grant: "alive", Generation: 4, Tokens: tokens(now, time.Hour, 30*time.Minute, 0)}
	for name, tt := range map[string]struct {
		make  func(*testing.T, *cabinet)
		args  []string
		code  int // with --warn
		plain int // without
		says  string
	}{
		"well": {func(*testing.T, *cabinet) {}, nil, 0, 0, "alive"},
		"vanished": {func(t *testing.T, c *cabinet) {
			if err := mark.Open(c.of("marks")).SetMark(t.Context(), "gone/api", grant.Mark{Consent: "c", Generation: 3}); err != nil {
				t.Fatal(err)
			}
		}, nil, 6, 0, "generation 3 was seen here, and the store has no record"},
		"marked and there": {func(t *testing.T, c *cabinet) {
			if err := mark.Open(c.of("marks")).SetMark(t.Context(), "alive", grant.Mark{Consent: "c", Generation: 3}); err != nil {
				t.Fatal(err)
			}
		}, nil, 0, 0, "alive"},
		"not begun": {func(t *testing.T, c *cabinet) { c.configure("alive", "fresh") }, nil, 3, 0, "fresh has no record yet"},
		"vanished, of the configuration": {func(t *testing.T, c *cabinet) {
			c.configure("alive", "fresh")
			if err := mark.Open(c.of("marks")).SetMark(t.Context(), "fresh", grant.Mark{Consent: "c", Generation: 7}); err != nil {
				t.Fatal(err)
			}
		}, nil, 6, 0, "generation 7 was seen here"},
		"unsaved": {func(t *testing.T, c *cabinet) {
			newer := alive
			newer.Generation, newer.Consent, newer.Writer = 5, "c", "w"
			if err := spill.Open(c.of("spill"), c.codec).Put(t.Context(), newer); err != nil {
				t.Fatal(err)
			}
		}, []string{"alive"}, 3, 0, "alive has 1 record on this machine that the store has not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, _, err := record.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			c := newCabinet(t, key)
			c.env["EVERGRANT_KEY"] = key.Reveal()
			c.put(alive)
			tt.make(t, c)
			args := append([]string{"status"}, tt.args...)
			if code, out := c.says(args...); code != tt.plain {
				t.Errorf("without --warn: %d: %s", code, out)
			}
			if code, out := c.says(append(args, "--warn", "24h")...); code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("code %d, want %d: %s", code, tt.code, out)
			}
		})
	}
}

// configure makes a configuration of grants that are all in the store.
func (c *cabinet) configure(grants ...string) {
	c.t.Helper()
	text := "grants:\n"
	for _, g := range grants {
		text += fmt.Sprintf("  %s:\n    store: file:%s\n", g, c.dir)
	}
	path := filepath.Join(c.state, "config.yaml")
	if err := errors.Join(os.MkdirAll(c.state, 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		c.t.Fatal(err)
	}
	delete(c.env, "EVERGRANT_STORE")
	c.env["EVERGRANT_CONFIG"] = path
}
