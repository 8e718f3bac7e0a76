package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/simulator"
)

// cmdEvergrant is "eg CODE ARG...": runs the program, wants exactly that exit
// code, holds the output to the rules of the terminal and scans it for secrets.
func cmdEvergrant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eg CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("evergrant", args[1:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	checkOutput(ts, args[1:], code, stdout, stderr)
}

func checkOutput(ts *testscript.TestScript, args []string, code int, stdout, stderr string) {
	w := worldOf(ts)
	handsOut := args[0] == "token" || slices.Contains(args, "stdout:")
	switch {
	case w.holds(stderr, w.unshared()), w.holds(withoutMasks(stderr), w.all()):
		ts.Fatalf("a secret on standard error")
	case w.holds(stdout, w.unshared()), !handsOut && w.holds(stdout, w.all()):
		ts.Fatalf("a secret on standard output")
	case slices.Contains(args, "--json"):
		checkJSON(ts, args, code, stdout)
	case code != 0 && code != 7 && code != 8 && args[0] != "status" && args[0] != "doctor" && !slices.Contains(args, "--check") && stdout != "":
		ts.Fatalf("a failure with something on standard output")
	}
	if code == 7 {
		return // a rescue block has lines of its own
	}
	errorLines := 0
	for line := range strings.Lines(withoutMasks(stderr)) {
		if slices.Contains(args, "--print") && strings.HasPrefix(line, "     ") {
			continue // a command of the steps that remain, to be pasted
		}
		text, ok := strings.CutPrefix(line, "evergrant: ")
		if !ok {
			ts.Fatalf("a line without the program's name: %q", line)
		}
		if !progress().MatchString(text) {
			errorLines++
		}
	}
	if code != 0 && errorLines != 1 {
		ts.Fatalf("%d lines of error, want one", errorLines)
	}
}

// checkJSON: with --json there is one value on standard output, whatever happens,
// and it tells a failure's code. The report of status is its own.
func checkJSON(ts *testscript.TestScript, args []string, code int, stdout string) {
	var report any
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		ts.Fatalf("standard output of --json: %v", err)
	}
	members, ok := report.(map[string]any)
	if code == 0 || args[0] == "status" && (!ok || members["state"] != nil) {
		return
	}
	for _, name := range []string{"grant", "error", "code", "class", "next_try", "hint", "warnings"} {
		if _, has := members[name]; !has {
			ts.Fatalf("the report of a failure lacks %s", name)
		}
	}
	if members["code"] != float64(code) {
		ts.Fatalf("the report has code %v, the process ended with %d", members["code"], code)
	}
}

// progress are the lines that may stand beside the one line of an error.
func progress() *regexp.Regexp {
	return regexp.MustCompile(`^(hint: |warning: |the protocol's durations |the clock is shifted |[a-z0-9/]+: waiting |terminated: |interrupt: |hangup: |\d+ grants? re-sealed|every job needs the new key |time=)`)
}

func withoutMasks(s string) string {
	return regexp.MustCompile(`(?m)^::add-mask::.*\n`).ReplaceAllString(s, "")
}

// settings are the variables that commands started from here pass on.
func settings(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "XDG_STATE_HOME", "EVERGRANT_STORE", "EVERGRANT_TOKEN_URL", "EVERGRANT_CLIENT_ID",
		"EVERGRANT_REFRESH_TOKEN", "EVERGRANT_KEY", "SYSTEMROOT", "GORACE", "GOCOVERDIR"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func program(ts *testscript.TestScript) string {
	path, err := exec.LookPath("evergrant")
	ts.Check(err)
	return path
}

// cmdTogether is "together N ARG...": N processes at once, all of which must
// succeed and print the same.
func cmdTogether(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmds := make([]*exec.Cmd, n)
	outputs := make([]bytes.Buffer, n)
	for i := range cmds {
		cmds[i] = exec.Command(program(ts), args[1:]...)
		cmds[i].Env, cmds[i].Stdout = settings(ts), &outputs[i]
		ts.Check(cmds[i].Start())
	}
	for i, c := range cmds {
		if err := c.Wait(); err != nil {
			ts.Fatalf("process %d of %d: %v", i+1, n, err)
		}
		if outputs[i].String() != outputs[0].String() {
			ts.Fatalf("process %d of %d got something else than the first", i+1, n)
		}
	}
}

// cmdSignalled is "signalled SIGNAL,… CODE ARG...": starts the program, sends
// the signals once its request has reached the provider, and wants that code.
func cmdSignalled(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	cmd := exec.Command(program(ts), args[2:]...)
	var stdout bytes.Buffer
	var stderr lines
	cmd.Env, cmd.Stdout, cmd.Stderr = settings(ts), &stdout, &stderr
	before := w.srv.Ledger()
	ts.Check(cmd.Start())
	w.until(ts, "the request or a wait", func() bool {
		l := w.srv.Ledger()
		return l.Pending > before.Pending || len(l.Presentations) > len(before.Presentations) || strings.Contains(stderr.String(), "waiting")
	})
	for name := range strings.SplitSeq(args[0], ",") {
		signal := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "PIPE": syscall.SIGPIPE}[name]
		ts.Check(cmd.Process.Signal(signal))
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("exit code %d, want %d\n%s", code, want, stderr.String())
	}
	checkOutput(ts, args[2:], want, stdout.String(), stderr.String())
}

// cmdUnfed is "unfed SIGNAL CODE ARG...": starts the program with a standard
// input that never ends, sends the signal once it reads, and wants that code.
func cmdUnfed(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	in, feed, err := os.Pipe()
	ts.Check(err)
	defer feed.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(ts), args[2:]...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = settings(ts), in, &stdout, &stderr
	ts.Check(cmd.Start())
	ts.Check(in.Close())
	_, err = feed.Write(bytes.Repeat([]byte("no block\n"), 1<<15)) // more than a pipe holds
	ts.Check(err)
	ts.Check(cmd.Process.Signal(map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[0]]))
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("%v, want code %d\n%s", err, want, &stderr)
	}
	checkOutput(ts, args[2:], want, stdout.String(), stderr.String())
}

// cmdUnheard is "unheard out|err CODE ARG...": runs the program with a standard
// output or error that nobody reads any more, so that a write meets SIGPIPE.
func cmdUnheard(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	gone, broken, err := os.Pipe()
	ts.Check(err)
	ts.Check(gone.Close())
	defer broken.Close()
	cmd := exec.Command(program(ts), args[2:]...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = settings(ts), &stdout, &stderr
	if args[0] == "out" {
		cmd.Stdout = broken
	} else {
		cmd.Stderr = broken
	}
	err = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("%v, want code %d\n%s", err, want, &stderr)
	}
	if args[0] == "out" {
		checkOutput(ts, args[2:], want, "", stderr.String())
	}
}

// lines is what a running program has written so far.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// cmdBreaks is "breaks LOG CODE ARG...": starts the program, and as soon as the
// provider has acted on its request puts a file where the store's folder was.
// The folder is kept as $STORE.away, and the program's words as LOG. Where
// BREAK_SPILL is set, the spills' folder goes the same way.
func cmdBreaks(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	cmd := exec.Command(program(ts), args[2:]...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = settings(ts), &stdout, &stderr
	before := len(w.srv.Ledger().Presentations)
	ts.Check(cmd.Start())
	w.until(ts, "the exchange", func() bool { return len(w.srv.Ledger().Presentations) > before })
	store := ts.Getenv("STORE")
	ts.Check(os.Rename(store, store+".away"))
	ts.Check(os.WriteFile(store, nil, 0o600))
	if ts.Getenv("BREAK_SPILL") != "" {
		spill := filepath.Join(ts.Getenv("STATE"), "evergrant", "spill")
		ts.Check(os.RemoveAll(spill))
		ts.Check(os.WriteFile(spill, nil, 0o600))
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != want {
		ts.Fatalf("%v, want code %d\n%s", err, want, &stderr)
	}
	if w.holds(stdout.String()+stderr.String(), w.all()) {
		ts.Fatalf("a secret on standard output or error")
	}
	if slices.Contains(args, "--json") {
		checkJSON(ts, args[2:], want, stdout.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), stderr.Bytes(), 0o600))
}

func (w *world) until(ts *testscript.TestScript, what string, happened func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !happened(); {
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not come", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// cmdWaiting is "waiting": returns once a request is with the provider.
func cmdWaiting(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	w.until(ts, "the request", func() bool { return w.srv.Ledger().Pending > 0 })
}

// cmdFault is "fault [TEXT...]": what goes wrong with the next requests.
func cmdFault(ts *testscript.TestScript, neg bool, args []string) {
	var faults []simulator.Fault
	for _, text := range args {
		f, err := simulator.ParseFault(text)
		ts.Check(err)
		faults = append(faults, f)
	}
	ts.Check(worldOf(ts).srv.SetFaults(faults...))
}

// cmdFamily is "family VAR": a fresh consent, its refresh token in VAR.
func cmdFamily(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	reply, err := w.srv.IssueFamily(simulator.DefaultClient)
	ts.Check(err)
	w.family = reply.Family
	ts.Setenv(args[0], reply.Refresh.Reveal())
}

// cmdClient is "client ID VAR": a fresh consent for another client, its refresh
// token in VAR. The file secret.txt gets the secret of the client basic.
func cmdClient(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	reply, err := w.srv.IssueFamily(args[0])
	ts.Check(err)
	w.family = reply.Family
	ts.Setenv(args[1], reply.Refresh.Reveal())
	ts.Check(os.WriteFile(ts.MkAbs("secret.txt"), []byte(basicSecret+"\n"), 0o600))
}

// cmdRevoke ends the newest consent, as its owner could.
func cmdRevoke(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if !w.srv.RevokeFamily(w.family) {
		ts.Fatalf("there was no consent to revoke")
	}
}

// cmdAsked is "asked N": so many refresh tokens were presented since the last
// asked, by the provider's ledger.
func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	all := w.srv.Ledger().Presentations
	if got := len(all) - w.asked; got != want {
		ts.Fatalf("the provider was asked %d times, want %d: %+v", got, want, all[w.asked:])
	}
	w.asked = len(all)
}

// cmdAlive is "alive": the newest consent lives.
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	s, _ := w.srv.Standing(w.family)
	if s.Alive == neg {
		ts.Fatalf("the login is alive: %v", s.Alive)
	}
}

// cmdSnapshot notes every file below the folders given, with mode and content.
func cmdSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	worldOf(ts).snapshot = treeOf(ts)
}

// cmdUnchanged compares with the last snapshot.
func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	now := treeOf(ts)
	for _, path := range slices.Concat(keys(now), keys(w.snapshot)) {
		if now[path] != w.snapshot[path] {
			ts.Fatalf("%s changed", path)
		}
	}
}

// treeOf is all of the script's folder but what testscript itself writes.
func treeOf(ts *testscript.TestScript) map[string]string {
	tree := map[string]string{}
	work := ts.Getenv("WORK")
	ts.Check(filepath.WalkDir(work, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += string(b)
		}
		tree[path] = text
		return nil
	}))
	return tree
}

func keys(m map[string]string) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// cmdEdit is "edit FILE OLD NEW": replaces text in a file, which must be there.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, bytes.Replace(b, []byte(args[1]), []byte(args[2]), 1), 0o600))
}

// cmdAllow is "allow FILE...": sinks that were asked for may hold tokens.
func cmdAllow(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	w.allowed = append(w.allowed, args...)
}

// cmdPlant is "plant FILE access|refresh|key": leaks a secret on purpose.
func cmdPlant(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	secrets := map[string][]string{"access": w.access, "refresh": w.refresh, "key": w.secrets}[args[1]]
	if len(secrets) == 0 {
		ts.Fatalf("there is no %s to plant", args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("x"+secrets[len(secrets)-1]+"y"), 0o600))
}

// cmdLeaks is "leaks FILE": the scan of the disk finds exactly that file.
func cmdLeaks(ts *testscript.TestScript, neg bool, args []string) {
	found, err := worldOf(ts).scanDisk(ts.Getenv("WORK"))
	ts.Check(err)
	if fmt.Sprint(found) != fmt.Sprint(args) {
		ts.Fatalf("the scan found %v, want %v", found, args)
	}
}
