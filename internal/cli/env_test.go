package cli_test

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"evergrant/internal/cli"
	"evergrant/internal/grant"
)

func TestRefuseTokens(t *testing.T) {
	t.Parallel()
	secret := "sk-ant-ort01-" + strings.Repeat("A", 20)
	for _, tt := range []struct {
		args    []string
		refused bool
	}{
		{[]string{"refresh", "acme/claude", "--provider", "claude"}, false},
		{[]string{"refresh", "--token-url", "https://example.com/oauth/token?x=1"}, false},
		{[]string{"refresh", "eyJ"}, false},
		{[]string{"refresh", "ghs_team"}, false},
		{[]string{"refresh", secret}, true},
		{[]string{"refresh", "--from-env", secret}, true},
		{[]string{"refresh", "--from-env=" + secret}, true},
		{[]string{"refresh", "--param", "x=" + secret}, true},
		{[]string{"refresh", "--param=x=" + secret}, true},
		{[]string{"key", "show-recipient", "AGE-SECRET-KEY-1" + strings.Repeat("Q", 58)}, true},
		{[]string{"refresh", "1//0" + strings.Repeat("a", 40)}, true},
	} {
		err := cli.RefuseTokens(tt.args)
		if (err != nil) != tt.refused {
			t.Errorf("%q: refused %v, want %v", tt.args, err != nil, tt.refused)
		}
		if err != nil && strings.Contains(err.Error(), strings.Repeat("A", 8)) {
			t.Error("the refusal repeats the secret")
		}
	}
}

func TestCleanToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, out, warns, fails string
	}{
		{"abc", "abc", "", ""},
		{"", "", "", ""},
		{"abc\n", "abc", "newline at the end of X", ""},
		{"abc\r\n", "abc", "newline at the end of X", ""},
		{"abc\n\n", "", "", "a line break at position 4 of 4"},
		{"ab\nc", "", "", "a line break at position 3 of 4"},
		{" abc", "", "", "a space at position 1"},
		{"a\tc", "", "", "a space at position 2"},
		{"a\x00c", "", "", "a character that no token has at position 2"},
		{"aäc", "", "", "a character that no token has at position 2"},
	} {
		got, warning, err := cli.CleanToken("X", grant.NewSecret(tt.in))
		if got.Reveal() != tt.out || !strings.Contains(warning, tt.warns) || (warning == "") != (tt.warns == "") {
			t.Errorf("%q: warning %q, want %q", tt.in, warning, tt.warns)
		}
		if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%q: error %v, want %q", tt.in, err, tt.fails)
		}
		if err != nil && strings.Contains(err.Error(), tt.in) {
			t.Errorf("%q: the error repeats the token", tt.in)
		}
	}
}

func TestStateFolder(t *testing.T) {
	t.Parallel()
	lookup := func(vars map[string]string) func(string) (string, bool) {
		return func(n string) (string, bool) { v, ok := vars[n]; return v, ok }
	}
	abs, err := filepath.Abs("x")
	if err != nil {
		t.Fatal(err)
	}
	got, err := cli.StateFolder(lookup(map[string]string{"XDG_STATE_HOME": abs, "HOME": "/h"}))
	if err != nil || got != filepath.Join(abs, "evergrant") {
		t.Errorf("XDG_STATE_HOME: %q, %v", got, err)
	}
	if _, err := cli.StateFolder(lookup(nil)); err == nil {
		t.Error("without any home there is a folder")
	}
	if runtime.GOOS == "linux" {
		got, err := cli.StateFolder(lookup(map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/h"}))
		if err != nil || got != "/h/.local/state/evergrant" {
			t.Errorf("HOME: %q, %v; a relative XDG_STATE_HOME is ignored", got, err)
		}
	}
}
