package record_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
)

func rescue(t testing.TB, codec *record.Codec, c grant.Credential) string {
	t.Helper()
	s, err := codec.Rescue(c)
	if err != nil {
		t.Fatalf("Rescue: %v", err)
	}
	return s
}

// each puts every line through f.
func each(text string, f func(i int, line string) string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := range lines {
		lines[i] = f(i, lines[i])
	}
	return strings.Join(lines, "\n") + "\n"
}

func before(prefix string) func(string) string {
	return func(s string) string { return each(s, func(_ int, line string) string { return prefix + line }) }
}

func TestRescueThroughLogs(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	codec := newCodec(t, key)
	want := granttest.Credential(acme)
	text := rescue(t, codec, want)
	if strings.Contains(text, granttest.Canary) || !strings.Contains(text, " grant acme/main\n") || !strings.Contains(text, " generation 7\n") {
		t.Fatalf("not the block that it should be:\n%s", text)
	}
	for name, through := range map[string]func(string) string{
		"as it is":                             func(s string) string { return s },
		"GitHub":                               before("2026-01-02T03:04:05.1234567Z "),
		"GitHub, downloaded with job and step": before("build\tUNKNOWN STEP\t2026-01-02T03:04:05.1234567Z "),
		"GitHub, in a group": func(s string) string {
			return "##[group]Run evergrant\n\x1b[36;1mevergrant refresh\x1b[0m\n##[endgroup]\n" + before("2026-01-02T03:04:05Z ##[error]")(s)
		},
		"GitLab": func(s string) string {
			return "section_start:1767322:step_script\r\x1b[0K" + before("2026-01-02T03:04:05.123456Z 01E ")(s)
		},
		"act":            before("[ci/build]   | "),
		"docker compose": before("job-1  | "),
		"Jenkins":        before("[2026-01-02T03:04:05.123Z] "),
		"quoted mail":    before("> "),
		"CRLF":           func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		"colours": func(s string) string {
			return each(s, func(_ int, l string) string { return "\x1b[31;1m" + l[:20] + "\x1b[0m" + l[20:] + "\x1b[0m  " })
		},
		"hyperlinks": before("\x1b]8;;https://x.example\x07link\x1b]8;;\x07 "),
		"indented":   before("\t    "),
		"UTF-16": func(s string) string {
			b := []byte{0xff, 0xfe}
			for _, u := range utf16.Encode([]rune(s)) {
				b = append(b, byte(u), byte(u>>8))
			}
			return string(b)
		},
		"noise between": func(s string) string {
			return each(s, func(i int, l string) string {
				return fmt.Sprintf("line %d of something\n%s\n%s", i, l, strings.Repeat("x", 40000))
			})
		},
		"printed twice":   func(s string) string { return s + "\n" + s },
		"no last newline": func(s string) string { return strings.TrimSuffix(s, "\n") },
		"only its lines": func(s string) string {
			return regexp.MustCompile(`(?m)^-----.*\n|^\w+ [a-z]+ .*\n`).ReplaceAllString(s, "")
		},
		"lines in disorder": func(s string) string {
			l := strings.Split(s, "\n")
			l[7], l[9] = l[9], l[7]
			return strings.Join(l, "\n")
		},
		"damaged once, printed twice": func(s string) string {
			return each(s, func(i int, l string) string { return strings.Replace(l, " 3/", " 4/", 1) }) + s
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := codec.ParseRescue(strings.NewReader(through(text)))
			if err != nil || len(got) != 1 {
				t.Fatalf("%d records, %v", len(got), err)
			}
			if d := granttest.Diff(got[0], want); d != "" {
				t.Errorf("%s differs", d)
			}
		})
	}
}

func TestRescueSeveralBlocks(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	codec := newCodec(t, key)
	a, b := granttest.Credential(acme), granttest.Credential("acme/other")
	later := granttest.Credential(acme)
	later.Writer, later.Generation = "writer-2", 8

	// Two jobs print at once, and a third prints one of the records again.
	left := strings.Split(rescue(t, codec, a), "\n")
	right := strings.Split(rescue(t, codec, b), "\n")
	var mixed []string
	for i := range max(len(left), len(right)) {
		if i < len(left) {
			mixed = append(mixed, left[i])
		}
		if i < len(right) {
			mixed = append(mixed, right[i])
		}
	}
	text := strings.Join(mixed, "\n") + "\n" + rescue(t, codec, later) + rescue(t, codec, a)
	got, err := codec.ParseRescue(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []grant.Credential{a, b, later}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if d := granttest.Diff(got[i], want[i]); d != "" {
			t.Errorf("record %d: %s differs", i, d)
		}
	}
}

func TestRescueDamage(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	codec := newCodec(t, key)
	text := rescue(t, codec, granttest.Credential(acme))
	lines := strings.Split(text, "\n")
	at := func(n int) int { return 4 + n } // numbered lines follow one line of dashes and four of the head
	change := func(n int, f func(string) string) string {
		l := append([]string(nil), lines...)
		l[at(n)] = f(l[at(n)])
		return strings.Join(l, "\n")
	}
	total := len(lines) - 7
	foreign, _ := newKey(t)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":       {"a log without a block\n", "no rescue block found"},
		"empty":         {"", "no rescue block found"},
		"one bit":       {change(7, func(l string) string { return l[:30] + string(l[30]^1) + l[31:] }), "line 7 of the block is damaged"},
		"masked":        {change(7, func(l string) string { return l[:30] + "***" + l[33:] }), "line 7 of the block is damaged"},
		"line cut off":  {change(7, func(l string) string { return l[:40] }), "line 7 of the block is damaged"},
		"sum cut off":   {change(7, func(l string) string { return l[:len(l)-3] }), "line 7 of the block is damaged"},
		"line missing":  {change(7, func(string) string { return "" }), "line 7 of the block is missing"},
		"last missing":  {change(total, func(string) string { return "" }), fmt.Sprintf("line %d of the block is missing", total)},
		"cut off":       {strings.Join(lines[:at(9)], "\n"), fmt.Sprintf("the block is cut off after line 8 of %d", total)},
		"cut off early": {strings.Join(lines[:2], "\n"), "cut off before its first line"},
		"hollow":        {lines[0] + "\n" + lines[len(lines)-2], "it has no lines"},
		"another key":   {rescue(t, newCodec(t, foreign), granttest.Credential(acme)), "sealed to another key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := codec.ParseRescue(strings.NewReader(c.text))
			if err == nil || len(got) != 0 || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%d records, %v, want %q", len(got), err, c.want)
			}
			if strings.HasPrefix(c.want, "line") && !strings.Contains(err.Error(), `grant "acme/main"`) {
				t.Errorf("the grant is not named: %v", err)
			}
		})
	}
	other := granttest.Credential("acme/other")
	got, err := codec.ParseRescue(strings.NewReader(change(7, func(string) string { return "" }) + rescue(t, codec, other)))
	if err == nil || len(got) != 1 || granttest.Diff(got[0], other) != "" {
		t.Errorf("a damaged block and a whole one: %d records, %v", len(got), err)
	}
}

func TestRescueNeedsASeal(t *testing.T) {
	t.Parallel()
	key, recipient := newKey(t)
	if s, err := newCodec(t, grant.Secret{}).Rescue(granttest.Credential(acme)); err == nil || s != "" {
		t.Error("an unsealed record was made a rescue block")
	}
	text := rescue(t, newCodec(t, grant.Secret{}, recipient), granttest.Credential(acme))
	if _, err := newCodec(t, key).ParseRescue(strings.NewReader(text)); err != nil {
		t.Errorf("sealed by a recipient alone: %v", err)
	}
	_, err := newCodec(t, grant.Secret{}).ParseRescue(strings.NewReader(text))
	if !errors.Is(err, grant.ErrUnreadable) || !strings.Contains(err.Error(), "no key is at hand") {
		t.Errorf("without a key: %v", err)
	}
	odd := granttest.Credential(acme)
	odd.Consent = "two\nlines"
	if _, err := newCodec(t, key).ParseRescue(strings.NewReader(rescue(t, newCodec(t, key), odd))); err != nil {
		t.Errorf("a consent of two lines: %v", err)
	}
}

type broken struct{ io string }

func (b broken) Read([]byte) (int, error) { return 0, errors.New(b.io) }

func TestRescueReadError(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	if _, err := newCodec(t, key).ParseRescue(broken{"disk on fire"}); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("a log that cannot be read: %v", err)
	}
}

func FuzzParseRescue(f *testing.F) {
	key, _ := newKey(f)
	codec := newCodec(f, key)
	want := grant.Credential{Grant: acme, Writer: "w", Generation: 7}
	text := rescue(f, codec, want)
	f.Add(text, "")
	f.Add("2026-01-02T03:04:05Z ", text)
	f.Add(text[:len(text)/2], text[len(text)/2:])
	f.Fuzz(func(t *testing.T, head, tail string) {
		// Whatever stands around a block on lines of its own, the block is found,
		// unless it fakes lines of the same name, which takes its checksum.
		name := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(text, "\n", 2)[0], "-----BEGIN EVERGRANT RESCUE BLOCK "), "-----")
		got, err := codec.ParseRescue(strings.NewReader(head + "\n" + text + "\n" + tail))
		if len(got) == 0 && !strings.Contains(head+tail, name) && !strings.Contains(fmt.Sprint(err), "more than") {
			t.Fatalf("the block was not found: %v", err)
		}
		if _, err := codec.ParseRescue(strings.NewReader(head + tail)); err != nil && strings.Contains(err.Error(), "AGE-SECRET") {
			t.Fatal("the key is in the error")
		}
	})
}
