//go:build unix

package cli_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"evergrant/internal/cli"
	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/file"
)

// shelf is a file store with grants in every state, and the environment that names it.
type shelf struct {
	env map[string]string
	dir string
}

// full makes the shelf. Times are round behind now, so that what is printed is known.
func full(t *testing.T) shelf {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "grants")
	codec, err := record.NewCodec(grant.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := file.Open(dir, codec, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	for _, c := range []grant.Credential{
		{Grant: "acme/gitlab", Provider: "gitlab", Generation: 14, Tokens: tokens(now, time.Hour, 30*time.Minute, 27*24*time.Hour),
			Events: []grant.Event{{At: now.Add(-30*time.Minute - 10*time.Second), By: "github run 123456789.1", What: grant.EventRefreshed}}},
		{Grant: "acme/a-name-that-is-longer-than-any-column-of-a-table-can-be", Provider: "custom", Generation: 3, Tokens: tokens(now, 8*time.Hour, 10*time.Minute, 0),
			Doubt:  &grant.Doubt{Spends: grant.NewSecret("canary-refresh").Digest(), Sends: 2, First: now.Add(-time.Hour), Last: now.Add(-time.Minute)},
			Events: []grant.Event{{At: now.Add(-2 * time.Hour), By: "laptop", What: grant.EventInDoubt, Note: "connection was closed"}}},
		{Grant: "ended", Provider: "claude", Generation: 2, State: grant.NeedsConsent, Reason: "the provider says that it is over, and \x1b[31mthis reason\n is a long one that has to be broken into lines",
			Tokens: tokens(now, time.Hour, -time.Minute, 0)},
		{Grant: "out", Provider: "claude", Generation: 9, State: grant.Retired, Reason: "logged out", Tokens: grant.TokenSet{ObtainedAt: now}},
		{Grant: "soon", Provider: "google", Generation: 1, Tokens: tokens(now, time.Hour, 59*time.Minute, 30*time.Hour)},
	} {
		c.Consent, c.Writer, c.Bind = "c", "w", grant.Binding{TokenURL: "https://id.example/token", ClientID: "client"}
		if _, err := st.Swap(t.Context(), c.Grant, "", c); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "torn.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	return shelf{map[string]string{"HOME": t.TempDir(), "EVERGRANT_STORE": "file:" + dir, "LANG": "C.UTF-8", "TERM": "xterm"}, dir}
}

func tokens(now time.Time, life, left, consent time.Duration) grant.TokenSet {
	end := now.Add(left + 30*time.Second) // the test takes less
	ts := grant.TokenSet{
		Access:     grant.AccessToken{Value: grant.NewSecret("canary-access"), Type: "Bearer", Expiry: end},
		Refresh:    grant.NewSecret("canary-refresh"),
		ObtainedAt: end.Add(-life),
	}
	if consent > 0 {
		ts.RefreshExpiry = now.Add(consent + 30*time.Second)
	}
	return ts
}

// onTerminal runs the program with a terminal of that width as standard output.
func (s shelf) onTerminal(t *testing.T, columns uint16, set map[string]string, args ...string) string {
	t.Helper()
	there, here, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(here, &pty.Winsize{Rows: 50, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(there) // it ends with an error when the other side is closed
		read <- string(b)
	}()
	s.run(set, here, args...)
	if err := here.Close(); err != nil {
		t.Fatal(err)
	}
	out := strings.ReplaceAll(<-read, "\r\n", "\n")
	if err := there.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "canary") {
		t.Fatalf("a token is shown:\n%s", out)
	}
	return out
}

func (s shelf) run(set map[string]string, stdout io.Writer, args ...string) int {
	env := func(name string) (string, bool) {
		if v, ok := set[name]; ok {
			return v, true
		}
		v, ok := s.env[name]
		return v, ok
	}
	return cli.Main(args, env, strings.NewReader(""), stdout, io.Discard)
}

func plainText(s string) string { return regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(s, "") }

// TestStatusOnTerminal: what a person sees in 80 columns and in 120.
func TestStatusOnTerminal(t *testing.T) {
	t.Parallel()
	s := full(t)
	for columns, want := range map[uint16]string{
		80: `GRANT                  STATE            TOKEN             CONSENT  GEN  CHANGED
acme/a-name-that-is-…  ● in doubt       █░░░░░░░ 10m      unknown    3  2h ago
  └ the token was presented twice and no answer is known; the next refresh
    settles it
acme/gitlab            ● live           ████░░░░ 30m      27d       14  30m ago
ended                  ● needs consent  ░░░░░░░░ ended    unknown    2
  └ the provider says that it is over, and [31mthis reason; is a long one that
    has to be broken into lines
out                    ● retired        none              unknown    9
soon                   ● live           ███████░ 59m      1d 6h      1
torn                   ● unreadable
`,
		120: `GRANT                               STATE            TOKEN             CONSENT  GEN  PROVIDER  CHANGED
acme/a-name-that-is-longer-than-a…  ● in doubt       █░░░░░░░ 10m      unknown    3  custom    in doubt 2h ago by laptop
  └ the token was presented twice and no answer is known; the next refresh settles it
acme/gitlab                         ● live           ████░░░░ 30m      27d       14  gitlab    refreshed 30m ago
ended                               ● needs consent  ░░░░░░░░ ended    unknown    2  claude
`,
	} {
		got := plainText(s.onTerminal(t, columns, nil, "status"))
		for line := range strings.Lines(got) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > int(columns) && !strings.Contains(line, s.dir) {
				t.Errorf("%d columns: a line of %d: %s", columns, n, line)
			}
		}
		got = regexp.MustCompile(` +\n`).ReplaceAllString(got, "\n")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%d columns:\n%s\nwant\n%s", columns, got, want)
		}
		if !strings.HasSuffix(got, "1 in doubt, 2 live, 1 needs consent, 1 retired, 1 unreadable\n") {
			t.Errorf("%d columns: the last line of\n%s", columns, got)
		}
	}
}

// TestStatusIsPlainElsewhere: no colour where nobody wants one, and the stable table
// where the terminal is none.
func TestStatusIsPlainElsewhere(t *testing.T) {
	t.Parallel()
	s := full(t)
	if coloured := s.onTerminal(t, 100, nil, "status"); !strings.Contains(coloured, "\x1b[32m") {
		t.Errorf("no colour on a terminal:\n%s", coloured)
	}
	bare := s.onTerminal(t, 100, map[string]string{"NO_COLOR": "1", "LANG": "C"}, "status")
	if strings.ContainsRune(bare, '\x1b') || strings.IndexFunc(bare, func(r rune) bool { return r > '~' }) >= 0 || !strings.Contains(bare, "####....") {
		t.Errorf("NO_COLOR in a locale of ASCII:\n%s", bare)
	}
	var piped bytes.Buffer
	if code := s.run(nil, &piped, "status"); code != 6 {
		t.Errorf("code %d, want 6", code)
	}
	if dumb := s.onTerminal(t, 100, map[string]string{"TERM": "dumb"}, "status"); dumb != piped.String() {
		t.Errorf("a dumb terminal gets\n%s\nand a pipe\n%s", dumb, piped.String())
	}
	head, _, _ := strings.Cut(piped.String(), "\n")
	if strings.Join(strings.Fields(head), " ") != "GRANT PROVIDER GEN TOKEN ENDS CONSENT ENDS STATE LAST" {
		t.Errorf("the head of the table is %q", head)
	}
	for columns := range 12 { // narrow ones, too, and one that says nothing
		if out := s.onTerminal(t, uint16(columns*6), nil, "status"); !strings.Contains(out, "torn") {
			t.Errorf("%d columns:\n%s", columns*6, out)
		}
	}
}

// TestStory tells what became of a grant, from all that an event can be.
func TestStory(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	at := func(clock string) time.Time {
		d, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		return day.Add(time.Duration(d.Hour())*time.Hour + time.Duration(d.Minute())*time.Minute)
	}
	event := func(clock, by, what, note string) grant.Event {
		return grant.Event{At: at(clock), By: by, What: what, Note: note}
	}
	now := at("12:06")
	attempt, refreshed := grant.EventAttempt, grant.EventRefreshed
	for name, tt := range map[string]struct {
		generation uint64
		events     []grant.Event
		leased     bool
		want       string
	}{
		"lost and recovered": {6, []grant.Event{
			event("12:00", "laptop", grant.EventAdopted, ""), event("12:03", "github run 12.1", attempt, ""),
			event("12:03", "github run 12.1", grant.EventInDoubt, "token endpoint: in doubt: connection was closed"),
			event("12:05", "laptop", attempt, "send 2 of a token in doubt"), event("12:05", "laptop", refreshed, "recovered from doubt"),
		}, false, `
2026-01-02, today (UTC)
  12:00  a refresh token was handed in by laptop: generation 5
  12:03  attempt 6 by github run 12.1 lost its reply: connection was closed
  12:05  recovered by laptop: generation 6
`},
		"a steady life": {5, []grant.Event{
			event("01:00", "box", grant.EventAdopted, "signed in by browser"), event("01:01", "box", attempt, ""), event("01:01", "box", refreshed, ""),
			event("02:01", "box", attempt, ""), event("02:01", "box", refreshed, ""), event("03:01", "box", attempt, ""), event("03:01", "box", refreshed, ""),
			event("04:01", "other", attempt, ""), event("04:01", "other", refreshed, ""),
		}, false, `
2026-01-02, today (UTC)
  01:00  signed in by browser, by box: generation 1
  01:01  refreshed 3 times by box, lastly at 03:01: generations 2 to 4
  04:01  refreshed by other: generation 5
`},
		"in doubt again, and over": {2, []grant.Event{
			event("01:00", "a", attempt, "send 2 of a token in doubt"), event("01:00", "a", grant.EventInDoubt, "no whole answer within 20s"),
			event("02:00", "b", grant.EventRepaired, "the token in doubt may be tried now"),
			event("03:00", "b", attempt, "send 3 of a token in doubt"), event("03:00", "b", grant.EventNeedsConsent, "the provider answered invalid_grant"),
			event("04:00", "b", grant.EventRetired, "revoked at the provider: no"),
		}, false, `
2026-01-02, today (UTC)
  01:00  attempt 3 by a tried the token in doubt again, and lost the reply again: no whole answer within 20s
  02:00  a person decided, on b: the token in doubt may be tried now
  03:00  attempt 3 by b was refused, and the consent is over: the provider answered invalid_grant
  04:00  logged out by b: revoked at the provider: no
`},
		"never heard of": {2, []grant.Event{
			event("01:00", "a", attempt, ""), event("02:00", "b", attempt, ""), event("02:01", "b", grant.EventUnreadable, "HTTP 200"), event("03:00", "c", attempt, ""),
		}, false, `
2026-01-02, today (UTC)
  01:00  attempt 3 by a was never heard of again
  02:01  attempt 3 by b got an answer that could not be read, which is kept: HTTP 200
  03:00  attempt 3 by c was never heard of again
`},
		"under way": {2, []grant.Event{event("12:00", "a", attempt, "")}, true, `
2026-01-02, today (UTC)
  12:00  attempt 3 by a is under way, for 6m
`},
		"older than what is kept": {1, []grant.Event{event("01:00", "a", refreshed, ""), event("02:00", "a", grant.EventInDoubt, "x"), event("02:00", "a", "danced", "")}, false, `
2026-01-02, today (UTC)
  01:00  refreshed by a: generation 1
  02:00  a reply to a was lost: x
  02:00  danced by a
`},
	} {
		if got := "\n" + cli.StoryText(tt.generation, tt.events, tt.leased, now); got != tt.want {
			t.Errorf("%s:%s\nwant%s", name, got, tt.want)
		}
	}
}

// TestStoryOnTerminal is in words only, and fits.
func TestStoryOnTerminal(t *testing.T) {
	t.Parallel()
	s := full(t)
	got := plainText(s.onTerminal(t, 60, nil, "status", "acme/gitlab"))
	for _, want := range []string{"grant         acme/gitlab\n", "state         live\n", "refreshed by github run 123456789.1: generation 14\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	var piped bytes.Buffer
	s.run(nil, &piped, "status", "acme/gitlab")
	if want := "  refreshed  github run 123456789.1"; !strings.Contains(piped.String(), want) || !strings.Contains(piped.String(), "generation 14\n") {
		t.Errorf("a pipe gets\n%s", piped.String())
	}
}
