package scripts_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"evergrant/internal/cli"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
)

// maxLines is the size that a person reads before they trust a script.
const maxLines = 199

func names() []string { return []string{"refresh.sh", "refresh.py", "refresh.mjs"} }

func source(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// head is what stands in a script before its first command, without the marks of
// comments.
func head(text string) string {
	text = text[:regexp.MustCompile(`(?m)^(?:import|set) |\z`).FindStringIndex(text)[0]]
	return strings.Join(strings.Fields(regexp.MustCompile(`(?m)^(?:#|//)`).ReplaceAllString(text, "")), " ")
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, name := range names() {
		text := source(t, name)
		if n := strings.Count(text, "\n"); n > maxLines || n < 100 {
			t.Errorf("%s has %d lines, at most %d", name, n, maxLines)
		}
		for i, line := range strings.Split(text, "\n") {
			if len(line) > 240 || strings.TrimRight(line, " \t") != line || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%s:%d: %d characters, a space at the end, or what is not plain ASCII", name, i+1, len(line))
			}
		}
		st, err := os.Stat(name)
		if err != nil || st.Mode().Perm()&0o111 != 0o111 || !strings.HasPrefix(text, "#!/usr/bin/env ") {
			t.Errorf("%s cannot be started by its name: %v (%v)", name, st.Mode(), err)
		}
		if strings.Contains(text, "${{") {
			t.Errorf("%s holds what a workflow would take for an expression", name)
		}
	}
}

// TestHeads: each script names all settings, all codes, and what it lacks.
func TestHeads(t *testing.T) {
	t.Parallel()
	words := []string{"EVERGRANT_REFRESH_TOKEN", "CLAUDE_REFRESH_TOKEN", "EVERGRANT_TOKEN_URL", "EVERGRANT_CLIENT_ID", "EVERGRANT_BODY",
		"EVERGRANT_WRITE_BACK", "file:PATH", "ghsecret:OWNER/REPO/NAME[?environment=E]", "none:", "EVERGRANT_ENV_NAME", "access-token", "GH_TOKEN",
		"0 delivered", "1 other", "2 settings", "3 sign in again", "4 in doubt", "5 later", "6 nowhere to write", "7 NOT SAVED", "8 saved but not delivered", "10 refused",
		"a lease", "doubt", "a seal", "rescue block", "clocks", "one runs at a time"}
	for _, name := range names() {
		said := head(source(t, name))
		for _, w := range words {
			if !strings.Contains(said, w) {
				t.Errorf("the head of %s says nothing of %q", name, w)
			}
		}
	}
}

// TestPage: docs/scripts.md has every setting and every code.
func TestPage(t *testing.T) {
	t.Parallel()
	page := source(t, "../docs/scripts.md")
	for _, name := range names() {
		for _, setting := range regexp.MustCompile(`EVERGRANT_[A-Z_]*[A-Z]\b|CLAUDE_REFRESH_TOKEN|GH_TOKEN`).FindAllString(head(source(t, name)), -1) {
			if !strings.Contains(page, "`"+setting+"`") {
				t.Errorf("docs/scripts.md says nothing of %s, which %s names", setting, name)
			}
		}
		for _, code := range regexp.MustCompile(`\bstop\(?\s*(\d+)\b`).FindAllStringSubmatch(source(t, name), -1) {
			if !strings.Contains(page, "\n| "+code[1]+" | ") {
				t.Errorf("docs/scripts.md says nothing of exit code %s, which %s has", code[1], name)
			}
		}
	}
}

// TestTheSame: what the scripts and the program must agree on.
func TestTheSame(t *testing.T) {
	t.Parallel()
	claude, err := provider.Lookup("claude")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`const version = "([0-9.]+)"`).FindStringSubmatch(source(t, "../internal/cli/version.go"))
	if version == nil {
		t.Fatal("the program's version is not found")
	}
	for _, name := range names() {
		text := source(t, name)
		for _, want := range []string{claude.TokenURL, claude.Client.ID, "evergrant-script/", version[1], claude.Env.Refresh} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not hold %q", name, want)
			}
		}
		for _, h := range claude.RetiredHosts {
			if strings.Contains(text, h.Host) {
				t.Errorf("%s spells the retired host %s out, which a check of workflows takes for a use of it", name, h.Host)
			}
		}
	}
}

// exits are the exit codes by which a script tells a fate.
func exits() map[grant.Fate]string {
	return map[grant.Fate]string{grant.Rejected: "3", grant.InDoubt: "4", grant.Unspent: "5", grant.Refused: "10"}
}

// codesOf reads the error codes that a script knows, and their exit codes.
func codesOf(t *testing.T, name string) map[string]string {
	t.Helper()
	list := regexp.MustCompile(`(?s)\b(?:CODES = \{|codes=')([^}']+)`).FindStringSubmatch(source(t, name))
	if list == nil {
		t.Fatalf("%s has no list of error codes", name)
	}
	codes := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)"?: ?(\d+)`).FindAllStringSubmatch(list[1], -1) {
		codes[m[1]] = m[2]
	}
	return codes
}

// TestCodes: the scripts know the error codes that the program knows of any
// provider, and of Claude's, and those by which the providers that init accepts
// say that a login has ended, or may have; they mean the same, and there are no others.
func TestCodes(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for _, row := range oauth.Table() {
		if row.ByCode {
			for code := range strings.SplitSeq(strings.Split(row.When, ", unless ")[0], ", ") {
				want[code] = exits()[row.Fate]
			}
		}
	}
	presets := accepted(t)
	for _, p := range presets {
		for code, fate := range p.Codes() {
			if fate == grant.Rejected || fate == grant.InDoubt || p.Name == "claude" && fate == grant.Unspent {
				want[code] = exits()[fate]
			}
		}
	}
	if len(presets) < 12 || len(want) < 15 || want["temporarily_unavailable"] != "4" || want["refresh_token_reused"] != "3" {
		t.Fatalf("%d presets and %v: that is not all", len(presets), want)
	}
	for _, name := range names() {
		if got := codesOf(t, name); !maps.Equal(got, want) {
			t.Errorf("%s knows %v, want %v", name, got, want)
		}
	}
}

// accepted returns the presets for which init writes a workflow with a script.
func accepted(t *testing.T) []provider.Preset {
	t.Helper()
	var all []provider.Preset
	for _, name := range provider.Names() {
		args := []string{"init", "github", "--print", "--template", "bash", "--client-id", "x", "--provider", name}
		for range 4 {
			var stdout, stderr bytes.Buffer
			if cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &stdout, &stderr) == 0 {
				p, err := provider.Lookup(name)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, p)
				break
			}
			missing := regexp.MustCompile(`needs (\w+): add --param`).FindStringSubmatch(stderr.String())
			if missing == nil {
				break
			}
			args = append(args, "--param", missing[1]+"=id.example.com")
		}
	}
	return all
}

// secretNames are the variables of the scripts that hold a secret.
const secretNames = `(?:token|next|following|access|form|reply|fields|came|GH_TOKEN|GH_ENTERPRISE_TOKEN|GITHUB_TOKEN|EVERGRANT_REFRESH_TOKEN|CLAUDE_REFRESH_TOKEN)`

// argued finds secrets among the arguments of a program that bash starts: words
// of a command that is none of bash's own.
func argued(line string) string {
	own := regexp.MustCompile(`^(?:printf|printable|mask|save|save_secret|say|stop|local|read|\[\[?|for|while|case|trap|echo|export|unset)\b|^\[`)
	variable := regexp.MustCompile(`\$\{?` + secretNames + `\b`)
	set := regexp.MustCompile(`^\w+=\$(?:\{\w+-\})? *|^\w+=\$?\{?[^ ]*\}? +`)
	for _, part := range regexp.MustCompile(`\|\|?|&&|;;?|\$\(|\)|\{ `).Split(line, -1) {
		part = strings.TrimSpace(part)
		for loc := set.FindString(part); loc != ""; loc = set.FindString(part) {
			part = part[len(loc):] // a variable that is set for the command, or for the script, is no argument
		}
		word := strings.Fields(part + " ")
		if len(word) < 2 || own.MatchString(part) || strings.Contains(word[0], "=") {
			continue
		}
		if m := variable.FindString(strings.Join(word[1:], " ")); m != "" && regexp.MustCompile(`^(?:curl|jq|gh|timeout|\$bound|head|tr|od|mktemp|mv|rm|sync|sleep|env|sed|grep|cat)$`).MatchString(word[0]) {
			return word[0] + " " + m
		}
	}
	return ""
}

// TestNoSecretInArguments reads the scripts; the runs under e2e look at the
// arguments that were really given.
func TestNoSecretInArguments(t *testing.T) {
	t.Parallel()
	for i, line := range strings.Split(source(t, "refresh.sh"), "\n") {
		if found := argued(line); found != "" {
			t.Errorf("refresh.sh:%d: a secret is an argument: %s", i+1, found)
		}
	}
	for _, planted := range []string{
		`  curl -d "refresh_token=$token" "$url"`, `x=$(jq -n --arg t "$token" '$t')`, `printf x | gh secret set A --body "$next"`,
		`[ -z "$1" ] || gh secret set "$secret" -b "${access}"`, `A=b curl -H "Authorization: $GH_TOKEN" x`,
	} {
		if argued(planted) == "" {
			t.Errorf("a planted leak is not found: %s", planted)
		}
	}
	for name, argv := range map[string]string{"refresh.py": `(?s)argv = (\[.*?\n)`, "refresh.mjs": `(?s)argv = (\[.*?\];)`} {
		found := regexp.MustCompile(argv).FindAllStringSubmatch(source(t, name), -1)
		if len(found) != 1 || regexp.MustCompile(`\b(?:value|token|input|following|access)\b`).MatchString(found[0][1]) {
			t.Errorf("%s: %d lists of arguments, or one with a secret: %q", name, len(found), found)
		}
	}
}

// TestNoForeignClient: own name towards the provider, nothing that follows
// redirects, sends twice, or trusts any certificate.
func TestNoForeignClient(t *testing.T) {
	t.Parallel()
	banned := regexp.MustCompile(`(?i)claude-code/|claude-cli|mozilla|--location\b|\bcurl\b.* -L\b|--retry\b|--insecure\b|\s-k\s|CERT_NONE|_create_unverified|rejectUnauthorized: false|\beval\b|shell=True|\bfetch\(|\bflush: true`) // flush does nothing before Node 20.10
	for _, name := range names() {
		if m := banned.FindString(source(t, name)); m != "" {
			t.Errorf("%s holds %q", name, m)
		}
	}
	for _, planted := range []string{"curl -L x", "curl --retry 3", "ssl.CERT_NONE", "eval $x", "await fetch(url)", "{ flush: true }"} {
		if banned.FindString(planted) == "" {
			t.Errorf("%q is not found", planted)
		}
	}
}

// TestFolder: nothing else lies beside the scripts.
func TestFolder(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !slices.Contains(names(), f) && !strings.HasSuffix(f, "_test.go") {
			t.Errorf("%s is neither a script nor a test", f)
		}
	}
}
