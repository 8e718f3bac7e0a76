package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/grant"
)

// cmdState is "state": hands what a step has saved and set to later ones, as a
// runner does: states, and the outputs of keep-fresh.
func cmdState(ts *testscript.TestScript, neg bool, args []string) {
	for name, value := range runnerFile(ts, ts.Getenv("GITHUB_STATE")) {
		ts.Setenv("STATE_"+name, value)
	}
	outputs := runnerFile(ts, ts.Getenv("GITHUB_OUTPUT"))
	ts.Setenv("TOKEN_FILE", outputs["token-file"])
	ts.Setenv("TOKEN_SOCKET", outputs["token-socket"])
	ts.Setenv("PROGRAM", outputs["program"])
	if ts.Getenv("STATE_keeper") != "" {
		keeperProcess(ts)
	}
}

func runnerFile(ts *testscript.TestScript, path string) map[string]string {
	values := map[string]string{}
	for rest := ts.ReadFile(path); rest != ""; {
		var head, value string
		head, rest, _ = strings.Cut(rest, "\n")
		name, end, ok := strings.Cut(head, "<<")
		if value, rest, ok = strings.Cut(rest, end+"\n"); !ok {
			ts.Fatalf("what no runner reads: %q", head)
		}
		values[name] = strings.TrimSuffix(value, "\n")
	}
	return values
}

// keeperProcess is the id of the process in the background, from here on in KEEPER.
func keeperProcess(ts *testscript.TestScript) int {
	b, err := os.ReadFile(filepath.Join(ts.Getenv("RUNNER_TEMP"), "evergrant", "keep", ts.Getenv("STATE_keeper"), "words.json"))
	ts.Check(err)
	var said struct{ Process int }
	ts.Check(json.Unmarshal(b, &said))
	ts.Setenv("KEEPER", strconv.Itoa(said.Process))
	w := worldOf(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.keepers, said.Process) {
		w.keepers = append(w.keepers, said.Process)
	}
	return said.Process
}

// running reports a process that has not ended, whether or not somebody has heard
// of its end.
func running(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil || p.Signal(syscall.Signal(0)) != nil {
		return false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return runtime.GOOS != "linux" || err == nil && len(b) > 0
}

// endKeepers ends what a script that failed has left running.
func (w *world) endKeepers() {
	for _, pid := range w.keepers {
		if p, err := os.FindProcess(pid); err == nil && running(pid) {
			_ = p.Kill() // it may have ended by itself
		}
	}
}

// cmdKeeper is about the process in the background:
//
//	lives         it runs, in a session of its own
//	hides         what others see of it, and its folder but for the token, has no secret
//	gone          it ends, or has ended
//	kill          and term, stop, go: a signal for it
//	breaks N      it refreshes after generation N, and as soon as the provider has acted
//	              the store is away and the reply on the disk
//	mend          the store is back
//	silent N      so many connect to its own socket and say nothing
//	said TEXT     that is among what it has to say, soon
//	asks N        it begins a refresh after generation N, which the provider has by then
func cmdKeeper(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch args[0] {
	case "lives":
		if !running(keeperProcess(ts)) {
			ts.Fatalf("no process is in the background")
		}
		if runtime.GOOS == "linux" { // proc_pid_stat(5): the session is the fourth field after the name
			b, err := os.ReadFile("/proc/" + ts.Getenv("KEEPER") + "/stat")
			ts.Check(err)
			if fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); fields[3] != ts.Getenv("KEEPER") {
				ts.Fatalf("the process is in the session of the step, and gets its signals")
			}
		}
	case "hides":
		if runtime.GOOS != "linux" {
			return
		}
		for _, what := range []string{"environ", "cmdline"} {
			b, err := os.ReadFile("/proc/" + strconv.Itoa(keeperProcess(ts)) + "/" + what)
			ts.Check(err)
			if w.holds(string(b), w.all()) || strings.Contains(string(b), "INPUT_") || len(b) == 0 {
				ts.Fatalf("what everybody sees of the process has a secret: %s", what)
			}
		}
		found, err := w.scanDisk(filepath.Dir(ts.Getenv("TOKEN_FILE")))
		ts.Check(err)
		if !slices.Equal(found, []string{"token"}) {
			ts.Fatalf("secrets in the folder, in %q", found)
		}
	case "gone":
		pid, err := strconv.Atoi(ts.Getenv("KEEPER"))
		ts.Check(err)
		w.until(ts, "the end of the process", func() bool { return !running(pid) })
	case "kill", "term", "stop", "go":
		signal := map[string]string{"kill": "-KILL", "term": "-TERM", "stop": "-STOP", "go": "-CONT"}[args[0]]
		ts.Check(exec.Command("kill", signal, strconv.Itoa(keeperProcess(ts))).Run())
	case "breaks":
		before := len(w.srv.Ledger().Presentations)
		go func() { _, _ = fromSocket(ts.Getenv("TOKEN_SOCKET"), "after="+args[1]) }()
		w.until(ts, "the exchange", func() bool { return len(w.srv.Ledger().Presentations) > before })
		ts.Check(os.Rename(ts.Getenv("STORE"), ts.Getenv("STORE")+".away"))
		ts.Check(os.WriteFile(ts.Getenv("STORE"), nil, 0o600))
		w.until(ts, "the spill", func() bool {
			found, err := filepath.Glob(filepath.Join(ts.Getenv("RUNNER_TEMP"), "evergrant", "spill", "*", "*.spill"))
			if err != nil || len(found) == 0 {
				return false
			}
			b, err := os.ReadFile(found[0]) // it has its name before it has its bytes
			return err == nil && json.Valid(b)
		})
	case "asks":
		before := w.srv.Ledger()
		go func() { _, _ = fromSocket(ts.Getenv("TOKEN_SOCKET"), "after="+args[1]) }()
		w.until(ts, "the request", func() bool {
			l := w.srv.Ledger()
			return l.Pending > before.Pending || len(l.Presentations) > len(before.Presentations)
		})
	case "silent":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		for range n {
			c, err := net.Dial("unix", filepath.Join(filepath.Dir(ts.Getenv("TOKEN_SOCKET")), "control"))
			ts.Check(err)
			ts.Defer(func() { _ = c.Close() })
		}
	case "said":
		w.until(ts, args[1], func() bool {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(ts.Getenv("TOKEN_FILE")), "words.json"))
			return err == nil && strings.Contains(string(b), args[1])
		})
	case "mend":
		ts.Check(os.Remove(ts.Getenv("STORE")))
		ts.Check(os.Rename(ts.Getenv("STORE")+".away", ts.Getenv("STORE")))
	default:
		ts.Fatalf("unknown: keeper %s", args[0])
	}
}

// generationOf is that of an access token: the first of a consent is 2, because
// its start counts as 1.
func (w *world) generationOf(token string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Index(w.access, token) + 1
}

// cmdToken is "token GENERATION": the token's file has that one, soon, and it is
// good at the provider; its mode keeps others away.
func cmdToken(ts *testscript.TestScript, neg bool, args []string) {
	fileHas(ts, ts.Getenv("TOKEN_FILE"), args[0])
}

// cmdFurther is "further GENERATION": the same of a further sink.
func cmdFurther(ts *testscript.TestScript, neg bool, args []string) {
	fileHas(ts, ts.MkAbs("further"), args[0])
}

func fileHas(ts *testscript.TestScript, path, generation string) {
	w := worldOf(ts)
	w.until(ts, "generation "+generation+" in "+filepath.Base(path), func() bool {
		b, err := os.ReadFile(path)
		return err == nil && strconv.Itoa(w.generationOf(string(b))) == generation && w.srv.AccessValid(grant.NewSecret(string(b)))
	})
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(ts.Getenv("TOKEN_FILE")): 0o700 | os.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != mode {
			ts.Fatalf("%s: %v %v", p, info, err)
		}
	}
}

type reply struct {
	status int
	text   string
}

func fromSocket(path, query string) (reply, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	resp, err := client.Get("http://localhost/token?" + query)
	if err != nil {
		return reply{}, err
	}
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(b)}, errors.Join(err, resp.Body.Close())
}

// cmdSocket is "socket GENERATION|CLASS [after=N]": that token is the answer, and it
// is good; or that class of error.
func cmdSocket(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	r, err := fromSocket(ts.Getenv("TOKEN_SOCKET"), strings.Join(args[1:], ""))
	ts.Check(err)
	if _, err := strconv.Atoi(args[0]); err != nil {
		if r.status != http.StatusServiceUnavailable || !strings.HasPrefix(r.text, "error "+args[0]+": ") || w.holds(r.text, w.all()) {
			ts.Fatalf("HTTP %d, want the class %s", r.status, args[0])
		}
		return
	}
	if got := w.generationOf(r.text); r.status != http.StatusOK || strconv.Itoa(got) != args[0] || !w.srv.AccessValid(grant.NewSecret(r.text)) {
		ts.Fatalf("HTTP %d, generation %d, want %s", r.status, got, args[0])
	}
}

// cmdUnheld is "unheld ARG...": runs the main step with one more file than the
// three streams, as a runner may have it open, and waits until nobody has any of
// them.
func cmdUnheld(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command(program(ts), append([]string{"action", "main"}, args...)...)
	cmd.Env = append(stepSettings(ts), "RUNNER_TRACKING_ID=github_1")
	var read []*os.File
	pipe := func() *os.File {
		r, w, err := os.Pipe()
		ts.Check(err)
		read = append(read, r)
		return w
	}
	out, log, further := pipe(), pipe(), pipe()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, log, []*os.File{further}
	ts.Check(cmd.Start())
	ts.Check(errors.Join(out.Close(), log.Close(), further.Close()))
	var said [3]string
	for i, r := range read {
		ts.Check(r.SetReadDeadline(time.Now().Add(20 * time.Second)))
		b, err := io.ReadAll(r)
		if err != nil {
			ts.Fatalf("file %d of the step is still open somewhere: %v", i+1, err)
		}
		said[i] = string(b)
		ts.Check(r.Close())
	}
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("%v\n%s", err, withoutMasks(said[1]))
	}
	checkLog(ts, 0, said[0], said[1])
	cmdState(ts, false, nil)
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(keeperProcess(ts)) + "/environ"); runtime.GOOS == "linux" &&
		(err != nil || !strings.Contains("\x00"+string(b), "\x00RUNNER_TRACKING_ID=github_1\x00")) {
		ts.Fatalf("the runner would not find the process: %v", err)
	}
}

// cmdAsks is "asks GENERATION": the program asks the socket in each protocol, with
// nothing of ours in its environment, and masks before it hands out.
func cmdAsks(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	for protocol, in := range map[string]string{"claude": "", "curl": "", "kubectl": "", "git-credential": "protocol=https\nhost=gitlab.example\n\n", "docker-credential": "gitlab.example"} {
		call := []string{"helper", protocol, "--token-socket", ts.Getenv("TOKEN_SOCKET")}
		if in != "" {
			call = append(call, "--host", "gitlab.example", "get")
		}
		cmd := exec.Command(ts.Getenv("PROGRAM"), call...)
		var stdout, stderr bytes.Buffer
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = []string{"GITHUB_ACTIONS=true", "HOME=" + ts.Getenv("HOME")}, strings.NewReader(in), &stdout, &stderr
		if err := cmd.Run(); err != nil {
			ts.Fatalf("%s: %v\n%s", protocol, err, withoutMasks(stderr.String()))
		}
		masked := strings.TrimSuffix(strings.TrimPrefix(stderr.String(), "::add-mask::"), "\n")
		if strconv.Itoa(w.generationOf(masked)) != args[0] || !strings.Contains(stdout.String(), masked) {
			ts.Fatalf("%s hands out something else than generation %s, or masks something else", protocol, args[0])
		}
	}
}
