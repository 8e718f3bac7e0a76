//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evergrant/e2e/forge"
	"evergrant/internal/simulator"
)

// nodes are the Node versions that the Action's shim is run under: the one that is
// installed, and the newest that npm has.
func nodes(t *testing.T) map[string]string {
	t.Helper()
	installed, err := exec.LookPath("node")
	must(t, err)
	found := map[string]string{}
	for _, path := range []string{installed, filepath.Join(newestNode(t), "node")} {
		version, err := exec.Command(path, "--version").Output()
		must(t, err)
		found[strings.TrimSpace(string(version))] = path
	}
	return found
}

// checkout is a copy of the Action as a runner has it, and what the runner keeps
// beside it.
type checkout struct {
	dir, temp, tools string
	node             string
	env              map[string]string
}

// theProgram is what the shim calls the program of this machine.
func theProgram() string { return "evergrant-" + runtime.GOOS + "-" + runtime.GOARCH }

func newCheckout(t *testing.T, node string) *checkout {
	t.Helper()
	top := t.TempDir()
	c := &checkout{dir: filepath.Join(top, "action"), temp: filepath.Join(top, "temp"), tools: filepath.Join(top, "tools"), node: node}
	must(t, os.CopyFS(filepath.Join(c.dir, "action"), os.DirFS(filepath.Join("..", "action"))))
	must(t, os.RemoveAll(filepath.Join(c.dir, "action", "bin")))
	c.env = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": top, "CI": "true", "GITHUB_ACTIONS": "true", "RUNNER_TEMP": c.temp, "RUNNER_TOOL_CACHE": c.tools,
		"GITHUB_SERVER_URL": "https://forge.example", "GITHUB_REPOSITORY": "acme/widgets", "GITHUB_ACTION_REPOSITORY": "acme/evergrant",
	}
	must(t, os.Mkdir(c.temp, 0o700))
	for name, file := range map[string]string{"GITHUB_OUTPUT": "output", "GITHUB_ENV": "env", "GITHUB_STATE": "state", "GITHUB_STEP_SUMMARY": "summary"} {
		c.env[name] = filepath.Join(top, file)
		must(t, os.WriteFile(c.env[name], nil, 0o600))
	}
	return c
}

// ship puts a program into the checkout.
func (c *checkout) ship(t *testing.T, program []byte) {
	t.Helper()
	bin := filepath.Join(c.dir, "action", "bin")
	must(t, os.MkdirAll(bin, 0o700))
	// Without the right to run it, as an archive may leave it.
	must(t, os.WriteFile(filepath.Join(bin, theProgram()), program, 0o600))
}

func realProgram(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(os.Getenv("EVERGRANT_E2E_BINARY"))
	must(t, err)
	return b
}

// tells is a program that tells how it was called and what it was given. It is no
// shell script: a shell drops variables with hyphens in their names.
func (c *checkout) tells() []byte {
	return []byte("#!" + c.node + "\nconsole.log('called: ' + process.argv.slice(2).join(' '));\n" +
		"for (const name in process.env) console.log(name + '=' + process.env[name]);\n")
}

// called is one that tells only how.
const called = "#!/bin/sh\necho \"called: $*\"\n"

func (c *checkout) command(step string) *exec.Cmd {
	cmd := exec.Command(c.node, filepath.Join(c.dir, "action", step+".mjs"))
	for name, value := range c.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// step runs a step and wants that exit code.
func (c *checkout) step(t *testing.T, code int, step string) (log string) {
	t.Helper()
	cmd := c.command(step)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("step %s ends with %d, want %d\n%s", step, got, code, out.String())
	}
	if n := strings.Count("\n"+out.String(), "\n::error "); code != 0 && n != 1 || code == 0 && n != 0 {
		t.Fatalf("step %s ends with %d and tells %d errors\n%s", step, code, n, out.String())
	}
	return out.String()
}

// state hands what the main step has saved to the next one, as a runner does.
func (c *checkout) state(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(c.env["GITHUB_STATE"])
	must(t, err)
	for rest := string(b); rest != ""; {
		var head, value string
		head, rest, _ = strings.Cut(rest, "\n")
		name, end, ok := strings.Cut(head, "<<")
		if value, rest, _ = strings.Cut(rest, "\n"+end+"\n"); !ok || end == "" {
			t.Fatalf("a state that no runner reads: %q", head)
		}
		c.env["STATE_"+name] = value
	}
	if c.env["STATE_digest"] == "" {
		t.Fatal("the main step has not said which program it ran")
	}
}

func (c *checkout) fails(t *testing.T, step string, why ...string) {
	t.Helper()
	log := c.step(t, 1, step)
	for _, w := range why {
		if !strings.Contains(log, w) {
			t.Fatalf("step %s does not say %q:\n%s", step, w, log)
		}
	}
}

// TestShim runs the real program through the Action's shim, and takes its record
// to the store by the post step after the main step was killed.
func TestShim(t *testing.T) {
	var versions []string
	for version, node := range nodes(t) {
		versions = append(versions, version)
		t.Run(version, func(t *testing.T) {
			s := newStrict(t)
			first, err := s.provider.IssueFamily(simulator.DefaultClient)
			must(t, err)
			c := newCheckout(t, node)
			c.ship(t, realProgram(t))
			b := newBox(t)
			b.onGit(t)
			for name, value := range map[string]string{"KEY": b.get("EVERGRANT_KEY"), "STORE": b.get("EVERGRANT_STORE"), "REFRESH-TOKEN": first.Refresh.Reveal(),
				"TOKEN-URL": s.between.url + "/token", "CLIENT-ID": simulator.DefaultClient, "FORCE": "true"} {
				c.env["INPUT_"+name] = value
			}
			c.env["EVERGRANT_STORE"], c.env["EVERGRANT_TOKEN_URL"] = "none:", "http://127.0.0.1:9/token"
			log := c.step(t, 0, "main")
			if !strings.Contains(log, "evergrant: default: refreshed, generation 2") {
				t.Fatalf("the step does not say what it did:\n%s", log)
			}
			// A runner cancels with SIGINT, and again with SIGTERM, while the answer is
			// under way.
			s.cancel(t, c, "refreshed, generation 3")
			// And kills both while the store hangs: the record is a spill, and that is
			// what the post step is for.
			c.killInSave(t, s, b)
			c.state(t)
			if log := c.step(t, 0, "post"); !strings.Contains(log, "generation 4, which was not saved when the step ended, is in the store now") {
				t.Fatalf("the post step says\n%s", log)
			}
			delete(c.env, "INPUT_REFRESH-TOKEN")
			if log := c.step(t, 0, "main"); !strings.Contains(log, "generation 5") {
				t.Fatalf("the next run says\n%s", log)
			}
			family, n := s.standing(t, s.provider.FamilyOf(first.Refresh.Digest()))
			if !family.Alive || n != 4 {
				t.Fatalf("the family is alive: %v, after %d presentations, want 4", family.Alive, n)
			}
		})
	}
	slices.Sort(versions)
	part("%-19s Node %s: refreshed, cancelled by two signals and saved, killed in the save and healed by the post step", "shim", strings.Join(versions, " and "))
}

// cancel interrupts a step while the provider's answer is on its way. It ends well
// all the same, and says what is given.
func (s *strict) cancel(t *testing.T, c *checkout, says ...string) {
	t.Helper()
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.between.hold(func() { once.Do(func() { close(asked) }); <-answer })
	defer s.between.hold(nil)
	cmd := c.command("main")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	<-asked
	must(t, cmd.Process.Signal(os.Interrupt))
	time.AfterFunc(100*time.Millisecond, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		close(answer)
	})
	err := cmd.Wait()
	for _, line := range append(says, "interrupt: stopping; what is in flight is saved first") {
		if err != nil || !strings.Contains(out.String(), line) {
			t.Fatalf("a cancelled step ends with %v, or does not say %q\n%s", err, line, out.String())
		}
	}
}

// killInSave kills a step and its program once the reply is on the disk and the
// store does not answer: a hook holds the push as long as it is there.
func (c *checkout) killInSave(t *testing.T, s *strict, b *box) {
	t.Helper()
	repository := strings.TrimPrefix(b.get("EVERGRANT_STORE"), "git:")
	hook := filepath.Join(repository, "hooks", "pre-receive")
	var once sync.Once
	s.between.hold(func() {
		once.Do(func() {
			if err := errors.Join(os.MkdirAll(filepath.Dir(hook), 0o755), os.WriteFile(hook, []byte("#!/bin/sh\n: >\"$0.began\"\nwhile [ -e \"$0\" ]; do sleep 0.05; done\nexit 1\n"), 0o755)); err != nil {
				t.Error(err)
			}
		})
	})
	defer s.between.hold(nil)
	cmd := c.command("main")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	for deadline := time.Now().Add(20 * time.Second); !exists(hook + ".began"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was pushed")
		}
	}
	found, err := fs.Glob(os.DirFS(c.temp), "evergrant/spill/*/*.spill")
	if must(t, err); len(found) != 1 {
		t.Fatalf("%d spills while the store is asked, want one", len(found))
	}
	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	_ = cmd.Wait()
	must(t, os.Remove(hook))
}

// get returns a variable of the box.
func (b *box) get(name string) string {
	for _, e := range b.env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// TestShimEnvironment plants secrets and traps in the job: the program is given
// none of them, but for their names.
func TestShimEnvironment(t *testing.T) {
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			c := newCheckout(t, node)
			c.ship(t, c.tells())
			planted := []string{"GITHUB_TOKEN", "GITHUB_PAT", "GH_TOKEN", "ANTHROPIC_API_KEY", "EVERGRANT_KEY", "EVERGRANT_STORE", "EVERGRANT_CONFIG", "EVERGRANT_ACTION_NAMES",
				"CLAUDE_REFRESH_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "INPUT_OTHER", "INPUT_TIMEOUT", "INPUT_CONFIG", "LD_LIBRARY_PATH",
				"GIT_SSH_COMMAND", "GIT_CONFIG_PARAMETERS", "GODEBUG", "XDG_CONFIG_HOME", "NODE_EXTRA", "GOPROXY", "GOPATH", "GOMODCACHE", "GOCACHE", "GIT_SSL_CAPATH"}
			for _, name := range planted {
				c.env[name] = "canary-" + name
			}
			handed := map[string]string{"INPUT_KEY": "the key", "INPUT_GIT-TOKEN": "me:token", "GITHUB_WORKSPACE": "/w", "INPUT_REFRESH-TOKEN": "the token", "INPUT_MIN-TTL": "5m", "STATE_rescued": "w", "HTTPS_PROXY": "http://127.0.0.1:9",
				"no_proxy": "x", "SSL_CERT_FILE": "/ca", "GIT_SSL_CAINFO": "/ca2", "RUNNER_DEBUG": "1", "NO_COLOR": "1", "GITHUB_EVENT_PATH": "/e"}
			for name, value := range handed {
				c.env[name] = value
			}
			log := c.step(t, 0, "main")
			if !strings.HasPrefix(log, "called: action main\n") {
				t.Fatalf("the program was called otherwise:\n%s", log)
			}
			if strings.Contains(log, "canary-") {
				t.Errorf("what the job has set reaches the program:\n%s", log)
			}
			for name, value := range handed {
				if !strings.Contains(log, "\n"+name+"="+value+"\n") {
					t.Errorf("%s does not reach the program", name)
				}
			}
			for _, name := range []string{"ANTHROPIC_API_KEY", "GITHUB_PAT"} {
				if !regexp.MustCompile(`(?m)^(EVERGRANT_ACTION_NAMES=)?` + name + `$`).MatchString(log) {
					t.Errorf("the name of %s is not told", name)
				}
			}
			if !strings.Contains(log, "\nPATH=/usr/bin:/bin:"+c.env["PATH"]+"\n") {
				t.Error("the system's folders do not come first in the program's PATH")
			}
			c.env["GITHUB_OUTPUT"] = ""
			if c.ship(t, []byte("#!/bin/sh\nexit 9\n")); c.exit(t) != 9 {
				t.Error("the exit code is not handed on")
			}
			c.ship(t, []byte("#!/bin/sh\nkill -KILL $$\n"))
			c.fails(t, "main", "::error title=evergrant::the program was ended by SIGKILL (9); the post step takes to the store")
			c.ship(t, []byte("#!/nonexistent\n"))
			c.fails(t, "main", "::error title=evergrant::the program cannot be run: ")
			c.env["RUNNER_TEMP"] = ""
			c.fails(t, "main", "::error title=evergrant::RUNNER_TEMP is not set")
		})
	}
}

func (c *checkout) exit(t *testing.T) int {
	t.Helper()
	cmd := c.command("main")
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	_ = cmd.Run() // what it ends with is what is asked
	return cmd.ProcessState.ExitCode()
}

// TestShimGit keeps a record on another forge than the job's: the token of that one
// goes there, the job's own does not, and no git that an earlier step has put
// before the system's is run.
func TestShimGit(t *testing.T) {
	node, err := exec.LookPath("node")
	must(t, err)
	server := newStrict(t)
	first, err := server.provider.IssueFamily(simulator.DefaultClient)
	must(t, err)
	root := t.TempDir()
	forge.Bare(t, filepath.Join(root, "acme", "logins.git"))
	other := forge.New(t, root, "canary-other-forge")
	b := newBox(t)
	b.onGit(t) // for its key
	c := newCheckout(t, node)
	c.ship(t, realProgram(t))
	traps := t.TempDir()
	must(t, os.WriteFile(filepath.Join(traps, "git"), []byte("#!/bin/sh\nenv >\"$0.ran\"\nexit 1\n"), 0o755))
	c.env["PATH"] = traps + ":" + c.env["PATH"]
	for name, value := range map[string]string{"KEY": b.get("EVERGRANT_KEY"), "STORE": "git:" + other.URL + "/acme/logins.git", "REFRESH-TOKEN": first.Refresh.Reveal(),
		"TOKEN-URL": server.between.url + "/token", "CLIENT-ID": simulator.DefaultClient, "GITHUB-TOKEN": "canary-job-token"} {
		c.env["INPUT_"+name] = value
	}
	if log := c.step(t, 6, "main"); !strings.Contains(log, "a store on another forge takes input git-token") {
		t.Errorf("without the other forge's token the step says\n%s", log)
	}
	c.env["INPUT_GIT-TOKEN"] = "canary-other-forge"
	if log := c.step(t, 0, "main"); !strings.Contains(log, "refreshed, generation 2") {
		t.Errorf("with it the step says\n%s", log)
	}
	if exists(filepath.Join(traps, "git.ran")) {
		t.Error("a git was run that is not the system's")
	}
	part("%-19s on another forge by that one's token; a git before the system's in PATH is not run", "shim, git")
}

// TestShimPost: the post step runs what the main step ran, or nothing.
func TestShimPost(t *testing.T) {
	node, err := exec.LookPath("node")
	must(t, err)
	c := newCheckout(t, node)
	c.env["PATH"] = "/nonexistent"
	if log := c.step(t, 0, "post"); log != "" {
		t.Errorf("nothing was spilled, there is no program, and it says\n%s", log)
	}
	must(t, os.MkdirAll(filepath.Join(c.temp, "evergrant", "spill"), 0o700))
	c.fails(t, "post", "::error title=evergrant::there is no program for "+runtime.GOOS+"-"+runtime.GOARCH+": none is in action/bin, none is released, and go is not in PATH")
	c.ship(t, []byte(called))
	if log := c.step(t, 0, "main"); log != "called: action main\n" {
		t.Errorf("the main step says %q", log)
	}
	c.state(t)
	if log := c.step(t, 0, "post"); log != "called: action post\n" {
		t.Errorf("the post step says %q", log)
	}
	c.ship(t, []byte(called+"# another\n"))
	c.fails(t, "post", "is not the program that this step began with; it is not run")
	delete(c.env, "STATE_digest")
	if log := c.step(t, 0, "post"); log != "called: action post\n" {
		t.Errorf("without a state the post step says %q", log)
	}
	part("%-19s the program sees what is listed and no canary; the post step runs what the main step ran, or nothing", "shim, environment")
}
