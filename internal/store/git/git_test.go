package git_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/git"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"https://Forge.example/Acme/API.git", "https://forge.example:443/acme/api/", "ssh://git@forge.example/acme/api.git", "ssh://git@forge.example:2222/acme/api",
			"git@forge.example:acme/api.git", "forge.example:/acme/api"},
		{"https://forge.example:8443/acme/api"},
		{"https://forge.example/acme/api2"},
		{"http://127.0.0.1:3000/acme/api", "http://127.0.0.1:3000/acme/api/"},
		{"/srv/Store.git", "file:///srv/Store.git", "/srv/x/../Store.git"},
		{"/srv/store.git"},
		{"https://[::1]:8443/a/b"},
	} {
		places := map[string]bool{}
		for _, s := range same {
			r, err := git.ParseRemote(s)
			if err != nil {
				t.Errorf("%s: %v", s, err)
				continue
			}
			places[r.Place()] = true
			again, err := git.ParseRemote(r.String())
			if err != nil || again != r {
				t.Errorf("%s: its canonical form %s is read as %v, %v", s, r, again, err)
			}
		}
		if len(places) != 1 {
			t.Errorf("%q are the places %v, want one", same, slices.Collect(maps.Keys(places)))
		}
	}
}

func TestParseRef(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"refs/evergrant/x", "refs/heads/main", "refs/heads/evergrant/", "refs/x/y.z/@con=04"} {
		if got, err := git.ParseRef(good); err != nil || got != good {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{
		"", "main", "refs/", "refs/heads", "refs/heads//", "refs/heads//x", "refs/heads/.x", "refs/heads/x.lock", "refs/heads/x.lock/", "refs/heads/a..b", "refs/heads/x.",
		"refs/heads/a b", "refs/heads/a:b", "refs/heads/a*", "refs/heads/a@{1}", "refs/heads/a\x00", "refs/heads/a~1", "-refs/heads/x", "+refs/heads/x",
		"refs/heads/" + strings.Repeat("x", 300),
	} {
		if _, err := git.ParseRef(bad); err == nil || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefNames(t *testing.T) {
	t.Parallel()
	seen := map[string]grant.ID{}
	for _, id := range []grant.ID{"a", "A", "a/b", "a+b", "a.", "a..b", "a...", "a/b../c.", "x%2e", "con", "CON.", "a.LOCK", "a.lOck/b"} {
		name, err := git.RefName(id)
		if err != nil {
			if _, invalid := grant.ParseID(string(id)); invalid == nil {
				t.Errorf("%q: %v", id, err)
			}
			continue
		}
		if other, twice := seen[name]; twice {
			t.Errorf("%q and %q share %q", id, other, name)
		}
		seen[name] = id
		if _, err := git.ParseRef("refs/evergrant/" + name); err != nil {
			t.Errorf("%q: %v", id, err)
		}
		if back, ok := git.ParseRefName(name); !ok || back != id {
			t.Errorf("%q: its ref %q is read as %q, %v", id, name, back, ok)
		}
	}
}

func FuzzRefName(f *testing.F) {
	for _, s := range []string{"a", "x%2e", "a%2e.b", "a=4", "@con", "a.", "%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := git.ParseRefName(s); ok {
			if name, err := git.RefName(id); err != nil || name != s {
				t.Errorf("%q is the ref of %q, whose ref is %q, %v", s, id, name, err)
			}
		}
	})
}

// The texts are those of git 2.39 and 2.47, and of GitHub and GitLab.
func TestJudge(t *testing.T) {
	t.Parallel()
	const ref = "refs/evergrant/x"
	const oid = "3a36792aab658f14ae04e88bf192b672545bc1c4"
	line := func(flag, summary string) string {
		return "To https://forge.example/r\n" + flag + "\t" + oid + ":" + ref + "\t" + summary + "\nDone\n"
	}
	for _, tt := range []struct {
		name, stdout, stderr string
		code                 int
		want                 string
	}{
		{"created", line("*", "[new reference]"), "", 0, "done"},
		{"replaced", line("+", "3a36792...1a73baa (forced update)"), "", 0, "done"},
		{"there already", line("=", "[up to date]"), "", 0, "done"},
		{"replaced, and then a failure", line("+", "3a36792...1a73baa (forced update)"), "fatal: x", 128, "unknown"},
		{"lease", line("!", "[rejected] (stale info)"), "", 1, "stale"},
		{"fetch first", line("!", "[rejected] (fetch first)"), "", 1, "stale"},
		{"ours, no fast-forward", line("!", "[rejected] (non-fast-forward)"), "", 1, "stale"},
		{"theirs, no fast-forward", line("!", "[remote rejected] (non-fast-forward)"), "", 1, "refused"},
		{"exists", line("!", "[remote rejected] (reference already exists)"), "", 1, "stale"},
		{"lock", line("!", "[remote rejected] (cannot lock ref '"+ref+"': is at "+oid+" but expected "+oid+")"), "", 1, "locked"},
		{"update", line("!", "[remote rejected] (failed to update ref)"), "", 1, "locked"},
		{"hidden", line("!", "[remote rejected] (deny updating a hidden ref)"), "", 1, "refused"},
		{"hook", line("!", "[remote rejected] (pre-receive hook declined)"), "", 1, "refused"},
		{"rule", line("!", "[remote rejected] (push declined due to repository rule violations)"), "", 1, "refused"},
		{"disk", line("!", "[remote rejected] (unpacker error)"), "", 1, "not taken"},
		{"disk, later", line("!", "[remote rejected] (unable to migrate objects to permanent storage)"), "", 1, "not taken"},
		{"disk, at the end", line("!", "[remote rejected] (missing necessary objects)"), "", 1, "not taken"},
		{"race, git 2.51", line("!", "[remote rejected] (incorrect old value provided)"), "", 1, "stale"},
		{"deleted, git 2.51", line("!", "[remote rejected] (reference does not exist)"), "", 1, "stale"},
		{"in the way, git 2.51", line("!", "[remote rejected] (refname conflict)"), "", 1, "locked"},
		{"update, git 2.51", line("!", "[remote rejected] (failed to update refs)"), "", 1, "locked"},
		{"no report", line("!", "[remote failure] (remote failed to report status)"), "", 1, "unknown"},
		{"no report, and why", line("!", "[remote failure] (hook declined)"), "", 1, "unknown"},
		{"a word that is new", line("!", "[something] (else)"), "", 1, "unknown"},
		{"another ref", strings.ReplaceAll(line("!", "[rejected] (stale info)"), ref, ref+"y"), "", 1, "unknown"},
		{"nothing at all", "", "", 0, "unknown"},
		{"killed", "", "", -1, "unknown"},
		{"killed on the way", "", "fatal: unable to access 'https://forge.example/r/': x", -1, "unknown"},
		{"no host", "", "fatal: unable to access 'https://forge.example/r/': Could not resolve host: forge.example\n", 128, "unknown"},
		{"403", "", "remote: Permission to r denied to x.\nfatal: unable to access 'https://forge.example/r/': The requested URL returned error: 403\n", 128, "unsent"},
		{"401", "", "fatal: Authentication failed for 'https://forge.example/r/'\n", 128, "unsent"},
		{"no terminal", "", "fatal: could not read Username for 'https://forge.example': terminal prompts disabled\n", 128, "unsent"},
		{"no repository", "", "remote: Repository not found.\nfatal: repository 'https://forge.example/r/' not found\n", 128, "unsent"},
		{"no key", "", "git@forge.example: Permission denied (publickey).\nfatal: Could not read from remote repository.\n", 128, "unsent"},
		{"ssh, no connection", "", "ssh: connect to host forge.example port 22: Connection refused\nfatal: Could not read from remote repository.\n", 128, "unknown"},
		{"500", "", "fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 500\n", 128, "unknown"},
		{"path", "", "fatal: '/srv/r' does not appear to be a git repository\nfatal: Could not read from remote repository.\n", 128, "unsent"},
		{"formats", "", "fatal: the receiving end does not support this repository's hash algorithm\nfatal: the remote end hung up unexpectedly\n", 128, "unsent"},
		{"hung up", "", "fatal: the remote end hung up unexpectedly\n", 128, "unknown"},
		{"refused in the middle", "", "error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403\nfatal: the remote end hung up unexpectedly\n", 128, "unsent"},
		{"broken in the middle", "", "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\nfatal: unable to access 'x'\n", 128, "unknown"},
		{"a remote that talks", "", "remote: fatal: Could not read from remote repository\nfatal: the remote end hung up unexpectedly\n", 128, "unknown"},
	} {
		if got, reason := git.Outcome(tt.stdout, tt.stderr, tt.code, ref); got != tt.want {
			t.Errorf("%s: %s (%s), want %s", tt.name, got, reason, tt.want)
		}
	}
	if _, reason := git.Outcome(line("!", "[remote rejected] (\x1b[31m"+strings.Repeat("no ", 200)+")"), "", 1, ref); len(reason) > 130 || strings.Contains(reason, "\x1b") {
		t.Errorf("a remote's reason is shown as %q", reason)
	}
}

// TestReasons: a remote that rejects has written nothing only where its reason
// is known. The texts are those of git's receive-pack from 2.31 to 2.55, of JGit, and of
// GitHub, GitLab, Gitea, Azure DevOps and Gerrit.
func TestReasons(t *testing.T) {
	t.Parallel()
	for want, reasons := range map[string][]string{
		"refused": {
			"pre-receive hook declined", "hook declined", "push-to-checkout hook declined", "protected branch hook declined", "push declined due to email privacy restrictions",
			"deny updating a hidden ref", "deny deleting a hidden ref", "funny refname", "branch is currently checked out", "shallow update not allowed",
			"deletion prohibited", "deletion of the current branch prohibited", "creation prohibited", "non-fast-forward", "non-fast forward",
			"Working directory has staged changes", "Working directory has unstaged changes", "denyCurrentBranch = updateInstead needs a worktree",
			"refusing to allow a GitHub App to create or update workflow `.github/workflows/x.yml` without `workflows` permission",
			"GH006: Protected branch update failed", "GH013: Repository rule violations found", "You are not allowed to push code to this project.",
			"TF402455: Pushes to this branch are not permitted; you must use a pull request to update this branch.", "TF401027: You need the Git 'GenericContribute' permission",
			"prohibited by Gerrit: not permitted: create", "Permission denied", "access denied or repository is read-only",
		},
		"unknown": {
			"", "failure", "failed", "Internal Server Error", "internal server error", "Timeout waiting for quorum", "fatal error in commit_refs", "unknown failure", "something nobody knows",
			"proc-receive failed to report status", "server bug; ref not processed", "transaction aborted", "unable to obtain lock",
			"push declined: internal error", "hook declined after a timeout of the database", "writes are not allowed at the moment, try again later", "service temporarily denied", "not permitted: unavailable",
			"failure at refs/evergrant/declined",
		},
	} {
		for _, reason := range reasons {
			const ref = "refs/evergrant/declined"
			if got, _ := git.Outcome("!\t"+strings.Repeat("1", 40)+":"+ref+"\t[remote rejected] ("+reason+")\n", "", 1, ref); got != want {
				t.Errorf("%q counts as %s, want %s", reason, got, want)
			}
		}
	}
}

// TestBreakSeen: between the look at an old lock and the act somebody else may have
// broken it and a third have locked anew, with another file or one that got the same number.
func TestBreakSeen(t *testing.T) {
	t.Parallel()
	old := time.Now().Add(-time.Hour)
	for name, tt := range map[string]struct {
		meanwhile func(lock string) error
		broken    bool
	}{
		"nothing":        {func(string) error { return nil }, true},
		"broken":         {os.Remove, false},
		"the same, anew": {func(lock string) error { return os.Chtimes(lock, time.Now(), time.Now()) }, false},
		"another, anew": {func(lock string) error {
			return errors.Join(os.WriteFile(lock+".new", nil, 0o600), os.Rename(lock+".new", lock))
		}, false},
	} {
		dir := t.TempDir()
		lock := filepath.Join(dir, "x.lock")
		if err := errors.Join(os.WriteFile(lock, nil, 0o600), os.Chtimes(lock, old, old)); err != nil {
			t.Fatal(err)
		}
		seen, err := os.Lstat(lock)
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.meanwhile(lock); err != nil {
			t.Fatal(err)
		}
		_, before := os.Lstat(lock)
		if broken, err := git.BreakSeen(time.Now, dir, lock, seen); broken != tt.broken || err != nil {
			t.Errorf("%s: broken %v, %v", name, broken, err)
		}
		if _, after := os.Lstat(lock); (after == nil) != (before == nil && !tt.broken) {
			t.Errorf("%s: the lock was there (%v) and is (%v)", name, before, after)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "evergrant-*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %q, %v", name, left, err)
		}
	}
}

func TestCause(t *testing.T) {
	t.Parallel()
	r := must1(t)(git.ParseRemote("https://forge.example/acme/api"))
	c := git.Credential{User: "u", Password: grant.NewSecret("canary-token")}
	basic := base64.StdEncoding.EncodeToString([]byte("u:canary-token"))
	for stderr, says := range map[string]string{
		"":                                   "git failed",
		"remote: fatal: canary-prose\n":      "git failed",
		"error: first\nfatal: second\n":      "git: second",
		"fatal: x canary-token " + basic:     "git: x [secret] [secret]",
		"fatal: a\x1b[31m\tb\x00c\n":         "git: a [31m b c",
		"fatal: " + strings.Repeat("x", 999): "xxx...",
		"fatal: unable to access 'u': The requested URL returned error: 403": "contents: write",
		"fatal: could not read Username for 'u': terminal prompts disabled":  "--git-token-env",
		"fatal: detected dubious ownership in repository at '/x'":            "another user of this machine",
		"Host key verification failed.\nfatal: Could not read from remote":   "known_hosts",
		"fatal: unable to access 'u': SSL certificate problem: x":            "GIT_SSL_CAINFO",
	} {
		got := git.Cause(r, c, stderr)
		if !strings.Contains(got, says) || strings.Contains(got, "canary") || strings.Contains(got, basic) || strings.Contains(got, "\n") {
			t.Errorf("%q is told as %q, want %q", stderr, got, says)
		}
	}
}

// TestDenied: a refusal is told from an outage by git's own words alone.
func TestDenied(t *testing.T) {
	t.Parallel()
	for stderr, want := range map[string]bool{
		"fatal: Authentication failed for 'https://forge.example/r/'\n":                                                         true,
		"fatal: could not read Username for 'https://forge.example': terminal prompts disabled\n":                               true,
		"remote: Repository not found.\nfatal: repository 'https://forge.example/r/' not found\n":                               true,
		"fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 401\n":                           true,
		"fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 403\n":                           true,
		"fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 404\n":                           true,
		"fatal: unable to access 'https://forge.example/r/': SSL certificate problem: self-signed certificate\n":                true,
		"fatal: '/srv/r' does not appear to be a git repository\nfatal: Could not read from remote repository.\n":               true,
		"git@forge.example: Permission denied (publickey).\nfatal: Could not read from remote repository.\n":                    true,
		"No ED25519 host key is known.\nHost key verification failed.\nfatal: Could not read from remote repository.\n":         true,
		"fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 429\n":                           false,
		"fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 500\n":                           false,
		"fatal: unable to access 'https://forge.example/r/': The requested URL returned error: 503\n":                           false,
		"fatal: unable to access 'https://forge.example/r/': Could not resolve host: forge.example\n":                           false,
		"fatal: unable to access 'https://forge.example/r/': Failed to connect to forge.example port 443: Connection refused\n": false,
		"fatal: unable to access 'https://forge.example/r/': Operation too slow\n":                                              false,
		"ssh: connect to host forge.example port 22: Connection timed out\nfatal: Could not read from remote repository.\n":     false,
		"fatal: the remote end hung up unexpectedly\n":                                                                          false,
		"error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\nfatal: expected flush after ref listing\n":  false,
		"remote: fatal: Authentication failed for ''\nfatal: the remote end hung up unexpectedly\n":                             false,
		"": false,
	} {
		if got := git.Denied(stderr); got != want {
			t.Errorf("%q counts as a refusal: %v, want %v", stderr, got, want)
		}
	}
}

func must1(t *testing.T) func(git.Remote, error) git.Remote {
	return func(r git.Remote, err error) git.Remote {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// git gets what is listed and nothing else, whatever is set around it.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	full := func(name string) string { return "from outside: " + name }
	own := []string{"PATH", "LC_ALL", "GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_TERMINAL_PROMPT", "GIT_ALLOW_PROTOCOL", "GIT_OPTIONAL_LOCKS", "GCM_INTERACTIVE", "GIT_CONFIG_COUNT"}
	for at, passed := range map[string][]string{
		"https://forge.example/a/b": {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_DIR", "SSL_CERT_FILE"},
		"http://127.0.0.1:1/a/b":    {},
		"git@forge.example:a/b":     {"SSH_AUTH_SOCK", "USERPROFILE", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT"},
		"/srv/store.git":            {},
	} {
		r := must1(t)(git.ParseRemote(at))
		ssh := ""
		if strings.Contains(at, "@") {
			ssh = "/opt/it's/ssh"
		}
		env := git.Environment(r, git.Credential{}, full, ssh)
		for name, value := range env {
			outside := strings.HasPrefix(value, "from outside")
			switch {
			case strings.HasPrefix(name, "GIT_CONFIG_KEY_"), strings.HasPrefix(name, "GIT_CONFIG_VALUE_"), name == "SystemRoot", name == "ComSpec", name == "PATHEXT":
			case !outside && (slices.Contains(own, name) || ssh != "" && slices.Contains(passed, name)):
			case outside && slices.Contains(passed, name):
			default:
				t.Errorf("%s: git gets %s=%s", at, name, value)
			}
		}
		for _, name := range append(passed, own...) {
			if _, ok := env[name]; !ok {
				t.Errorf("%s: git does not get %s", at, name)
			}
		}
		if ssh != "" && env["GIT_SSH_COMMAND"] != `'/opt/it'\''s/ssh' -o BatchMode=yes -o ConnectTimeout=10` {
			t.Errorf("ssh is called by %s", env["GIT_SSH_COMMAND"])
		}
	}
	only := func(name string) string { return map[string]string{"SSL_CERT_FILE": "/ca.pem"}[name] }
	if got := git.Environment(must1(t)(git.ParseRemote("https://forge.example/a/b")), git.Credential{}, only, "")["GIT_SSL_CAINFO"]; got != "/ca.pem" {
		t.Errorf("GIT_SSL_CAINFO is %q, want the authority that SSL_CERT_FILE names", got)
	}
}

// The credential is for one origin, and the configuration counts right.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	r := must1(t)(git.ParseRemote("https://forge.example:8443/acme/api"))
	env := git.Environment(r, git.Credential{User: "u", Password: grant.NewSecret("pw")}, func(string) string { return "" }, "")
	settings := map[string]string{}
	for i := 0; ; i++ {
		key, ok := env[fmt.Sprint("GIT_CONFIG_KEY_", i)]
		if !ok {
			if fmt.Sprint(i) != env["GIT_CONFIG_COUNT"] {
				t.Errorf("%d settings, counted as %s", i, env["GIT_CONFIG_COUNT"])
			}
			break
		}
		settings[key] = env[fmt.Sprint("GIT_CONFIG_VALUE_", i)]
	}
	for key, want := range map[string]string{
		"http.https://forge.example:8443/.extraHeader": "Authorization: Basic dTpwdw==", // u:pw
		"core.hooksPath": "/dev/null", "credential.helper": "", "http.followRedirects": "false",
	} {
		if got, ok := settings[key]; !ok || got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	job := func(name string) string {
		return map[string]string{"GITHUB_SERVER_URL": "https://forge.example", "GITHUB_REPOSITORY": "acme/api", "GITHUB_TOKEN": "pw"}[name]
	}
	repository, err := git.FromCI(job)
	if err != nil {
		t.Fatal(err)
	}
	for at, sent := range map[string]bool{
		"https://forge.example/acme/api": true, "https://forge.example/other/repository": true,
		"https://forge.example.evil.example/acme/api": false, "https://forge.example:8443/acme/api": false, "http://127.0.0.1/acme/api": false,
		"git@forge.example:acme/api": false, "/srv/forge.example": false,
	} {
		if got := repository.CredentialFor(must1(t)(git.ParseRemote(at))); !got.Password.IsZero() != sent {
			t.Errorf("%s: the job's token is sent: %v, want %v", at, !sent, sent)
		}
	}
	for text, user := range map[string]string{"pw": "x-access-token", "me:pw": "me", ":pw": ""} {
		c, err := git.ParseCredential(grant.NewSecret(text))
		if err != nil || c.User != user || !c.Password.Equal(grant.NewSecret("pw")) {
			t.Errorf("%q: user %q, %v", text, c.User, err)
		}
	}
	if _, err := git.ParseCredential(grant.NewSecret("canary\n")); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a token with a line break: %v", err)
	}
}

func FuzzNextObject(f *testing.F) {
	oid := strings.Repeat("a", 40)
	f.Add([]byte(oid + " commit 2\nhi\nrest"))
	f.Add([]byte("refs/fetched missing\n"))
	f.Add([]byte(oid + " commit 99999999999999999999\nhi\n"))
	f.Add([]byte(oid + " commit -1\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, content, rest, ok := git.NextObject(b, "commit")
		if !ok {
			return
		}
		if again := fmt.Sprintf("%s commit %d\n%s\n%s", id, len(content), content, rest); len(id) != 40 && len(id) != 64 || len(again) > len(b) {
			t.Errorf("%q is read as %q", b, again)
		}
	})
}

// A store opens without asking anybody, and only with a key.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, recipient, err := record.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, recipients := range [][]string{nil, {recipient}} {
		codec, err := record.NewCodec(grant.Secret{}, recipients...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := git.Open(git.Config{Remote: must1(t)(git.ParseRemote("/srv/store.git")), Codec: codec}); err == nil || !strings.Contains(err.Error(), "evergrant key new") {
			t.Errorf("without an identity: %v", err)
		}
		if _, err := git.Open(git.Config{Codec: codec}); err == nil || !strings.Contains(err.Error(), "names no remote") {
			t.Errorf("without a remote: %v", err)
		}
	}
}

// What is accepted as a remote is one place under its canonical form, and can be
// taken for a flag or for another transport by nobody.
func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{
		"https://forge.example:443/a/b.git/", "http://[::1]:80/a%2Fb", "ssh://git@forge.example:22/a", "git@forge.example:a/b", "/srv/a.git", "./x", "file:///a",
		"ext::sh", "-x:y", "https://u@h/p", "HTTPS://H/P", "ssh://h//", "h:/", "https://h/%2e%2e/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := git.ParseRemote(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %q is more than a line", s, err)
			}
			return
		}
		again, err := git.ParseRemote(r.String())
		transport, address, _ := strings.Cut(r.String(), ":") // "ext::command" runs the command: git-remote-ext(1)
		flag := strings.HasPrefix(r.String(), "-") || strings.HasPrefix(address, ":") && !strings.ContainsAny(transport, "/@")
		if err != nil || again != r || r.Place() == "" || flag {
			t.Errorf("%q is %q at %q, and then %q, %v", s, r, r.Place(), again, err)
		}
	})
}
