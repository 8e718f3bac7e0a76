//go:build e2e

package scripts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// program is one of the four under test.
type program struct {
	name  string
	argv  []string
	other bool // the evergrant program, which has its own flags and store
}

// programs are the three scripts and the binary. Interpreters are resolved to
// the real ones: version managers put a shell script in their place.
func programs(t *testing.T) []program {
	t.Helper()
	at := func(name string) string {
		path, err := filepath.Abs(name)
		must(t, err)
		return path
	}
	binary := os.Getenv("EVERGRANT_E2E_BINARY")
	if binary == "" {
		t.Fatal("EVERGRANT_E2E_BINARY is not set; e2e/run builds the program and sets it")
	}
	return []program{
		{"sh", []string{resolved(t, "bash"), at("refresh.sh")}, false},
		{"py", []string{said(t, "python3", "-c", "import sys; print(sys.executable)"), at("refresh.py")}, false},
		{"mjs", []string{said(t, "node", "-p", "process.execPath"), at("refresh.mjs")}, false},
		{"binary", []string{binary}, true},
	}
}

func scripts(t *testing.T) []program {
	t.Helper()
	return programs(t)[:3]
}

func resolved(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is not installed; e2e/run installs what it can", tool)
	}
	return path
}

func said(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", argv[0], err)
	}
	return strings.TrimSpace(string(out))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// part prints what a part of the suite has shown.
func part(format string, args ...any) { fmt.Printf("scripts: "+format+"\n", args...) }

// box is one provider and one machine: a home, the settings, and everything that
// is secret there.
type box struct {
	provider *simulator.Server
	url      string
	first    string // the refresh token that the grant starts with
	home     string
	file     string // of file:
	env      map[string]string
	tools    string // folder of stand-ins that note how they were called and call the real tool

	mu      sync.Mutex
	secrets []string
	issued  func(k simulator.Kind) // called when the provider makes a token; nil: nothing
}

// newBox starts a provider that strangers configured, with one grant, and a
// machine that saves into a file.
func newBox(t *testing.T, c simulator.Config, faults ...simulator.Fault) *box {
	t.Helper()
	b := &box{home: t.TempDir(), env: map[string]string{}}
	b.file = filepath.Join(b.home, "saved", "token")
	must(t, os.Mkdir(filepath.Dir(b.file), 0o700))
	number := 0
	c.NewToken = func(k simulator.Kind) string {
		b.mu.Lock()
		number++
		token := fmt.Sprintf("canary-%s-%d-%x/+=~", map[simulator.Kind]string{simulator.KindAccess: "access", simulator.KindRefresh: "refresh"}[k], number, time.Now().UnixNano())
		b.secrets = append(b.secrets, token)
		hook := b.issued
		b.mu.Unlock()
		if hook != nil {
			hook(k)
		}
		return token
	}
	var err error
	b.provider, err = simulator.New(c)
	must(t, err)
	b.url, err = b.provider.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, b.provider.Close()) })
	grant, err := b.provider.IssueFamily(simulator.DefaultClient)
	must(t, err)
	b.first = grant.Refresh.Reveal()
	must(t, b.provider.SetFaults(faults...))
	b.tools = filepath.Join(b.home, "tools")
	must(t, os.Mkdir(b.tools, 0o700))
	for _, tool := range []string{"curl", "jq", "gh", "gzip", "cat", "head", "tr", "od", "mktemp", "mv", "rm", "sync", "sleep", "timeout", "date", "tail"} {
		if _, err := exec.LookPath(tool); tool != "gh" || err == nil { // without gh, e2e/run leaves out what needs it
			b.standIn(t, tool)
		}
	}
	maps.Copy(b.env, map[string]string{
		"PATH": b.tools, "HOME": b.home, "TMPDIR": b.home, "XDG_STATE_HOME": filepath.Join(b.home, "state"),
		"EVERGRANT_TOKEN_URL": b.url + "/token", "EVERGRANT_CLIENT_ID": simulator.DefaultClient,
		"EVERGRANT_REFRESH_TOKEN": b.first, "EVERGRANT_WRITE_BACK": "file:" + b.file,
	})
	return b
}

// standIn puts a tool on the path that notes its arguments and environment and
// then becomes the real one.
func (b *box) standIn(t *testing.T, tool string) {
	t.Helper()
	text := fmt.Sprintf("#!/bin/sh\nnote=$(%s %s/call.XXXXXXXXXX)\n{ printf '%%s\\n' %s \"$@\" '--environment--'; %s; } >\"$note\"\nexec %s \"$@\"\n",
		resolved(t, "mktemp"), b.tools, tool, resolved(t, "env"), resolved(t, tool))
	must(t, os.WriteFile(filepath.Join(b.tools, tool), []byte(text), 0o700))
}

// call is one program that a script started.
type call struct{ argv, env string }

func (b *box) calls(t *testing.T) []call {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.tools, "call.*"))
	must(t, err)
	var all []call
	for _, path := range found {
		text, err := os.ReadFile(path)
		must(t, err)
		argv, env, _ := strings.Cut(string(text), "--environment--\n")
		all = append(all, call{argv, env})
	}
	return all
}

// command prepares one call of a program.
func (b *box) command(ctx context.Context, p program, args ...string) *exec.Cmd {
	argv := append(slices.Clone(p.argv), args...)
	env := maps.Clone(b.env)
	if p.other && len(args) == 0 {
		argv = append(argv, "refresh", "g", "--wait", "0s", "--sink", "stdout:")
		env["EVERGRANT_STORE"] = "file:" + filepath.Join(b.home, "store")
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = b.home
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// result is what one call left behind.
type result struct {
	code           int
	stdout, stderr string
	requests       []simulator.Presentation // that it made
}

func (r result) String() string {
	return fmt.Sprintf("exit %d, %d requests\nstdout: %q\nstderr: %s", r.code, len(r.requests), r.stdout, r.stderr)
}

// run calls a program to its end and scans what it left for secrets.
func (b *box) run(t *testing.T, p program, args ...string) result {
	t.Helper()
	cmd := b.command(t.Context(), p, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	before := len(b.provider.Ledger().Presentations)
	return b.ended(t, p, cmd.Run(), &stdout, &stderr, before)
}

func (b *box) ended(t *testing.T, p program, err error, stdout, stderr *bytes.Buffer, before int) result {
	t.Helper()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else {
		must(t, err)
	}
	r.requests = b.provider.Ledger().Presentations[before:]
	b.scan(t, p, r)
	return r
}

// masks are the lines by which a runner is told what to hide.
var masks = regexp.MustCompile(`(?m)^::add-mask::.*\n`)

// scan looks for secrets where none may be: on standard error but for masks, on
// standard output but for one access token, in arguments, in the environment of
// children that do not need them; and for more than one line of error.
func (b *box) scan(t *testing.T, p program, r result) {
	t.Helper()
	told := masks.ReplaceAllString(r.stderr, "")
	if leak := b.leak(told); leak != "" {
		t.Errorf("a secret (%s) is on standard error", leak)
	}
	if leak := b.leak(strings.TrimSpace(r.stdout)); leak != "" && !(strings.HasPrefix(leak, "canary-access") && strings.TrimSpace(r.stdout) == leak) {
		t.Errorf("standard output has more than an access token: %s", leak)
	}
	if n := strings.Count(told, "\n"); !p.other && (r.code != 0) != (n == 1) || !p.other && n > 1 || strings.Contains(told, "Traceback") {
		t.Errorf("exit %d with %d lines of error: %q", r.code, n, told)
	}
	for _, c := range b.calls(t) {
		tool, _, _ := strings.Cut(c.argv, "\n")
		if leak := b.leak(c.argv); leak != "" {
			t.Errorf("a secret (%s) is an argument of %s", leak, tool)
		}
		env := c.env
		if tool == "gh" || tool == "timeout" { // only they may know the token for GitHub
			env = regexp.MustCompile(`(?m)^GH_(?:ENTERPRISE_)?TOKEN=.*$`).ReplaceAllString(env, "")
		}
		if leak := b.leak(env); leak != "" {
			t.Errorf("a secret (%s) is in the environment of %s", leak, tool)
		}
	}
}

// leak returns the first secret in a text.
func (b *box) leak(text string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.secrets {
		if strings.Contains(text, s) {
			return s
		}
	}
	return ""
}

// saved is the token in the file; "" if there is no file.
func (b *box) saved(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(b.file)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	must(t, err)
	if st, err := os.Stat(b.file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the saved file has mode %v (%v)", st.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(b.file), ".evergrant-*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%d temporary files stay", len(left))
	}
	return strings.TrimSuffix(string(text), "\n")
}

// newest is the digest of the newest refresh token of the box's grant.
func (b *box) newest(t *testing.T) string {
	t.Helper()
	s, ok := b.provider.Standing(b.provider.FamilyOf(grant.NewSecret(b.first).Digest()))
	if !ok {
		t.Fatal("the provider does not know the grant")
	}
	return s.Newest
}

func digest(token string) string { return grant.NewSecret(token).Digest() }
