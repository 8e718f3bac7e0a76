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
		{[]string{"refresh", "--sink", "dotenv:.env#ghp_1a2b3c4d5e6f7g8h9i0j"}, true},
		{[]string{"refresh", "--sink=github-env:ghp_1a2b3c4d5e6f7g8h9i0j"}, true},
		{[]string{"refresh", "--store", "git:https://x:ghp_1a2b3c4d5e6f7g8h9i0j@example.com/r"}, true},
		{[]string{"refresh", "--token-url", "https://example.com/token?key=GOCSPX-1a2b3c4d5e6f7g8h9i"}, true},
		{[]string{"refresh", "--sink", "dotenv:.env#rt_of_the_production_account"}, false},
		{[]string{"refresh", "--sink", "file:rt_of/the_production_account_2024"}, false},
		{[]string{"refresh", "--client-id", "4b1a3c5d7e9f0a2b4c6d8e0f1a3b5c7d9e1f3a5b7c9d1e3f5a7b9c1d3e5f7a9b"}, false},
		{[]string{"refresh", "--recipient", "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"}, false},
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

func TestOpaque(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]bool{
		"default":                               false,
		"acme/gitlab":                           false,
		"acme/gitlab-production-2024-11":        false,
		"k8s-prod-eu1-web2-db3-v4":              false,
		"Production-EU-west-1-GitLab-App-2":     false,
		"projectname20241124production":         false,
		"123e4567-e89b-12d3-a456-426614174000":  false, // a tenant's id
		"/var/lib/evergrant/grants":             false,
		"d41d8cd98f00b204e9800998ecf8427e":      true, // hexadecimal
		"D41D8CD98F00B204E9800998ECF8427E":      true,
		"zk3v9qplwx7rt2mn8bhs4cyd6fgj1aeu":      true, // small letters and digits
		"Zk3v9QpLwX7rT2mN8bHs4cYd6fGj1aEu":      true,
		"Zk3v9-QpLwX7rT2_mN8bHs4cYd6fGj1aEu":    true, // base64url
		"JBSW5Y3DPEH7PK3PXPJB2SW5":              true, // base32
		"acme/d41d8cd98f00b204e9800998ecf8427e": true,
	} {
		if got := cli.Opaque(word); got != want {
			t.Errorf("%s: looks like a secret: %v, want %v", word, got, want)
		}
	}
}

// TestWhatIsRepeated: a message names a short wrong word, and no secret.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	for word, repeated := range map[string]bool{
		"xml": true, "soon": true, "magic": true, "cluade": true, "": true,
		"exactly-20-character": true, "one-more-than-twenty!": false,
		"ghp_abcdef": false, "sk-ant-abcd": false, "a1b2c3d4e5f6g7h8": false,
	} {
		if got := strings.Contains(cli.Shown(word), word) && !strings.Contains(cli.Shown(word), "not repeated"); got != repeated {
			t.Errorf("%q: shown as %s", word, cli.Shown(word))
		}
	}
	for path, repeated := range map[string]bool{
		"/a/long/path/to/the/folder/where/the/key/is.txt": true, "key": true,
		"d41d8cd98f00b204e9800998ecf8427e": false, "/x/d41d8cd98f00b204e9800998ecf8427e": false,
	} {
		if got := strings.Contains(cli.ShownPath(path), path); got != repeated {
			t.Errorf("%q: shown as %s", path, cli.ShownPath(path))
		}
	}
	secret := "correct-horse-battery-staple"
	text := cli.Scrubbed(`unknown command "`+secret+`" for "evergrant"; argument --x=`+secret, []string{secret, "--x=" + secret, "evergrant"})
	if strings.Contains(text, secret) || !strings.Contains(text, `for "evergrant"`) {
		t.Errorf("scrubbed to %s", text)
	}
}
