//go:build e2e

package git_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/e2e/forge"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/store/git"
)

// job makes this test program another process that uses a store: in a folder
// and with an environment of its own. It is told what to do by variables.
func job(t *testing.T, dir string, key grant.Secret, remote string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestAsJob$", "-test.count=1")
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "JOB_REMOTE=" + remote, "JOB_KEY=" + key.Reveal()}, env...)
	return cmd
}

// TestAsJob is what the other process does: it adds one generation, as often
// as it takes, and prints which.
func TestAsJob(t *testing.T) {
	at := os.Getenv("JOB_REMOTE")
	if at == "" {
		return // not called by job
	}
	codec, err := record.NewCodec(grant.NewSecret(os.Getenv("JOB_KEY")))
	must(t, err)
	c := git.Config{Remote: remote(t, at), Codec: codec, Timeout: 5 * time.Minute, Credential: credential()}
	if was := os.Getenv("JOB_WAS"); was != "" {
		c.Former = []git.Remote{remote(t, was)}
	}
	s, err := git.Open(c)
	must(t, err)
	for {
		c, v, err := s.Load(t.Context(), acme)
		must(t, err)
		c = later(c, fmt.Sprint(os.Getpid()))
		_, err = s.Swap(t.Context(), acme, v, c)
		if err == nil {
			fmt.Printf("won %d\n", c.Generation)
			break
		}
		if !errors.Is(err, grant.ErrConflict) {
			t.Fatal(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary folder: %q, %v", left, err)
	}
}

func won(out []byte) string {
	_, rest, _ := strings.Cut(string(out), "won ")
	generation, _, _ := strings.Cut(rest, "\n")
	return generation
}

// TestProcesses: 32 processes at one repository behind HTTP, one winner each time.
func TestProcesses(t *testing.T) {
	t.Parallel()
	const n = 32
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	f := forge.New(t, filepath.Dir(dir), token)
	key, codec := newKey(t)
	s := open(t, git.Config{Remote: remote(t, f.URL+"/store.git"), Codec: codec, Credential: credential()})
	first := granttest.Credential(acme)
	first.Generation = 0
	_, err := s.Swap(t.Context(), acme, "", first)
	must(t, err)
	outs := make([][]byte, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		cmd := job(t, t.TempDir(), key, f.URL+"/store.git")
		all.Go(func() { outs[i], errs[i] = cmd.CombinedOutput() })
	}
	all.Wait()
	generations := map[string]int{}
	for i, err := range errs {
		if err != nil {
			t.Errorf("process %d: %v\n%s", i, err, outs[i])
		}
		generations[won(outs[i])]++
	}
	for i := range n {
		if generations[fmt.Sprint(i+1)] != 1 {
			t.Fatalf("generations and how often they were won: %v, want 1 to %d, once each", generations, n)
		}
	}
}

// TestHostileWorkspace plants a command wherever git looks in a checkout and in
// a job's environment. A person's git in that place runs it; the store's does not.
func TestHostileWorkspace(t *testing.T) {
	t.Parallel()
	key, codec := newKey(t)
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	f := forge.New(t, filepath.Dir(dir), token)
	create(t, open(t, git.Config{Remote: remote(t, dir), Codec: codec}))

	work := t.TempDir()
	sh(t, work, "init", "--quiet")
	marker := filepath.Join(t.TempDir(), "planted")
	planted := filepath.Join(work, "planted.sh")
	must(t, os.WriteFile(planted, []byte("#!/bin/sh\necho \"$0 $*\" >>"+marker+"\nexit 1\n"), 0o700))
	hooks := filepath.Join(work, ".git", "hooks")
	must(t, os.MkdirAll(hooks, 0o700))
	for _, name := range []string{"pre-push", "reference-transaction", "post-checkout"} {
		must(t, os.Symlink(planted, filepath.Join(hooks, name)))
	}
	for _, name := range []string{"git", "git-remote-http", "ssh", "git-receive-pack"} {
		must(t, os.Symlink(planted, filepath.Join(work, name)))
	}
	evil := filepath.Join(work, "evil.config")
	for _, file := range []string{filepath.Join(work, ".git", "config"), evil} {
		for _, setting := range [][2]string{
			{"core.fsmonitor", planted}, {"core.hooksPath", hooks}, {"core.sshCommand", planted}, {"core.gitProxy", planted}, {"credential.helper", "!" + planted},
			{"core.askPass", planted}, {"remote.origin.vcs", "ext"}, {"url.ext::" + planted + " .insteadOf", f.URL}, {"protocol.ext.allow", "always"},
			{"uploadpack.packObjectsHook", planted}, {"gpg.program", planted}, {"http.proxy", "http://127.0.0.1:1"},
		} {
			sh(t, work, "config", "--file", file, setting[0], setting[1])
		}
	}
	environment := []string{
		"GIT_DIR=" + filepath.Join(work, ".git"), "GIT_CONFIG_GLOBAL=" + evil, "GIT_CONFIG_SYSTEM=" + evil, "GIT_CONFIG=" + evil, "HOME=" + work,
		"XDG_CONFIG_HOME=" + work, "GIT_SSH_COMMAND=" + planted, "GIT_SSH=" + planted, "GIT_ASKPASS=" + planted, "SSH_ASKPASS=" + planted,
		"GIT_PROXY_COMMAND=" + planted, "GIT_TRACE=" + marker, "GIT_TRACE_CURL=" + marker, "GIT_TRACE_PACKET=" + marker, "GIT_TRACE2_EVENT=" + marker,
		"GIT_CURL_VERBOSE=1", "GIT_EXEC_PATH=" + work, "GIT_TEMPLATE_DIR=" + work, "GIT_EXTERNAL_DIFF=" + planted, "GIT_EDITOR=" + planted,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.hooksPath", "GIT_CONFIG_VALUE_0=" + hooks, "GIT_CONFIG_PARAMETERS='core.hookspath=" + hooks + "'",
		"GIT_WORK_TREE=" + work, "GIT_OBJECT_DIRECTORY=" + work, "GIT_NAMESPACE=elsewhere", "LD_LIBRARY_PATH=" + work, "http_proxy=http://127.0.0.1:1",
	}
	must(t, os.Symlink(evil, filepath.Join(work, ".gitconfig")))

	trap := exec.CommandContext(t.Context(), "git", "ls-remote", f.URL+"/store.git")
	trap.Dir, trap.Env = work, append(forge.Environment(), "GIT_DIR="+filepath.Join(work, ".git"))
	if out, err := trap.CombinedOutput(); err == nil {
		t.Fatalf("a person's git was not caught by the planted configuration:\n%s", out)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Fatalf("the planted command does not work: %v", err)
	}
	must(t, os.Remove(marker))
	for _, at := range []string{dir, f.URL + "/store.git"} {
		out, err := job(t, work, key, at, append(environment, "JOB_WAS="+dir)...).CombinedOutput()
		if err != nil || won(out) == "" {
			t.Errorf("%s: %v\n%s", at, err, out)
		}
		if b, err := os.ReadFile(marker); err == nil {
			t.Errorf("%s: the planted command ran, or a trace was written:\n%.1000s", at, b)
		}
	}

	out, err := job(t, work, key, dir, "PATH=.:"+os.Getenv("PATH")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "taken from the working folder") {
		t.Errorf("with the working folder in PATH: %v\n%s", err, out)
	}
	out, err = job(t, t.TempDir(), key, dir, "PATH="+t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "git is not installed") {
		t.Errorf("without git: %v\n%s", err, out)
	}
}

// wrapped puts a program of that name in front of the real ones.
func wrapped(t *testing.T, name, script string) (path string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	return dir + string(filepath.ListSeparator) + os.Getenv("PATH")
}

// TestArguments looks at what every process can see: the arguments of git.
func TestArguments(t *testing.T) {
	t.Parallel()
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	f := forge.New(t, filepath.Dir(dir), token)
	key, codec := newKey(t)
	log := filepath.Join(t.TempDir(), "log")
	real, err := exec.LookPath("git")
	must(t, err)
	_, v := create(t, open(t, git.Config{Remote: remote(t, f.URL+"/store.git"), Codec: codec, Credential: credential()}))
	path := wrapped(t, "git", `printf '%s\n' "$@" >>`+log+"\nexec "+real+` "$@"`)
	out, err := job(t, t.TempDir(), key, f.URL+"/store.git", "PATH="+path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(log)
	must(t, err)
	if !strings.Contains(string(b), "--force-with-lease="+ownRef+":"+string(v)) {
		t.Errorf("the condition is not among the arguments:\n%s", b)
	}
	for _, secret := range []string{token, granttest.Canary, "AGE-SECRET-KEY", base64.StdEncoding.EncodeToString([]byte("x-access-token:" + token)), "Authorization"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("%s is in an argument of git", secret)
		}
	}
}

// TestSSH has git's own SSH transport talk to a stand-in for ssh, which runs
// here what sshd would run there.
func TestSSH(t *testing.T) {
	t.Parallel()
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	key, codec := newKey(t)
	log := filepath.Join(t.TempDir(), "log")
	path := wrapped(t, "ssh", `printf '%s\n' "$*" "${SSH_AUTH_SOCK:-none}" >>`+log+`
while [ $# -gt 1 ]; do shift; done
exec env -i PATH="$PATH" GIT_CONFIG_NOSYSTEM=1 HOME=/nonexistent sh -c "$1"`)
	create(t, open(t, git.Config{Remote: remote(t, dir), Codec: codec}))
	for at, want := range map[string]string{
		"ssh://git@forge.example:2222" + dir: "-p 2222 git@forge.example git-upload-pack '" + dir,
		"git@forge.example:" + dir:           "git@forge.example git-receive-pack '" + dir,
	} {
		// The record was written for the path: by SSH it is another place.
		env := []string{"PATH=" + path, "SSH_AUTH_SOCK=/agent", "GIT_SSH_COMMAND=/bin/false"}
		out, err := job(t, t.TempDir(), key, at, env...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "?was=") {
			t.Errorf("%s: %v\n%s", at, err, out)
		}
		out, err = job(t, t.TempDir(), key, at, append(env, "JOB_WAS="+dir)...).CombinedOutput()
		if err != nil || won(out) == "" {
			t.Errorf("%s, told of the move: %v\n%s", at, err, out)
		}
		b, err := os.ReadFile(log)
		must(t, err)
		if !strings.Contains(string(b), "-o BatchMode=yes") || !strings.Contains(string(b), want) || !strings.Contains(string(b), "/agent") {
			t.Errorf("%s: ssh was called with\n%s", at, b)
		}
		sh(t, dir, "update-ref", "-d", ownRef)
		create(t, open(t, git.Config{Remote: remote(t, dir), Codec: codec}))
	}
}
