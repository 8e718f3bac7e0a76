package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/ghaction"
)

// cmdStep is "step CODE main|post ARG...": runs a step of the Action, wants exactly
// that exit code, and holds its log to what a runner does with it.
func cmdStep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: step CODE main|post ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("evergrant", append([]string{"action"}, args[1:]...)...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	checkLog(ts, code, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}

// checkLog: a step's log has no secret but in masks, and no mask of a refresh
// token but the one that was given; each failure is told once.
func checkLog(ts *testscript.TestScript, code int, stdout, stderr string) {
	w, rest := worldOf(ts), withoutMasks(stderr)
	given := ts.Getenv("INPUT_REFRESH-TOKEN") + ts.Getenv("INPUT_KEY") + ts.Getenv("INPUT_CLIENT-SECRET") + ts.Getenv("INPUT_GITHUB-TOKEN") + ts.Getenv("INPUT_GIT-TOKEN") + ts.Getenv("INPUT_NOTIFY")
	next := slices.DeleteFunc(w.unshared(), func(token string) bool { return strings.Contains(given, token) })
	errorLines := regexp.MustCompile(`(?m)^::error title=evergrant%3A [a-z ]+%2C code (\d+)::`).FindAllStringSubmatch(rest, -1)
	switch {
	case stdout != "":
		ts.Fatalf("a step with something on standard output")
	case w.holds(rest, w.all()):
		ts.Fatalf("a secret in the log")
	case w.holds(stderr, next):
		ts.Fatalf("a secret that the runner was not given is masked")
	case code == 0 && len(errorLines) != 0, code != 0 && (len(errorLines) != 1 || errorLines[0][1] != strconv.Itoa(code)):
		ts.Fatalf("errors are told %d times: %q", len(errorLines), errorLines)
	}
	for line := range strings.Lines(rest) {
		if code != 7 && !strings.HasPrefix(line, "evergrant: ") && !strings.HasPrefix(line, "::") {
			ts.Fatalf("a line that nobody is known to have said: %q", line)
		}
		if strings.Contains(line, "##[") {
			ts.Fatalf("a line that the runner takes for a command: %q", line)
		}
	}
	if masked := strings.Index(stderr, "::add-mask::"); masked > 0 && stderr[:masked] != "" && strings.Contains(stderr[:masked], "evergrant: default") {
		ts.Fatalf("something was said before the masks")
	}
}

// cmdCutShort is "cutshort LOG CODE|kill": runs the main step, and as soon as the
// provider has acted, breaks the store as "breaks" does, or kills the step
// once its reply is on the disk.
func cmdCutShort(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	cmd := exec.Command(program(ts), "action", "main", "--speed-up", "20")
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = stepSettings(ts), &stdout, &stderr
	before := len(w.srv.Ledger().Presentations)
	ts.Check(cmd.Start())
	w.until(ts, "the exchange", func() bool { return len(w.srv.Ledger().Presentations) > before })
	store := ts.Getenv("STORE")
	ts.Check(os.Rename(store, store+".away"))
	ts.Check(os.WriteFile(store, nil, 0o600))
	if args[1] == "kill" {
		w.until(ts, "the spill", func() bool {
			found, err := filepath.Glob(filepath.Join(ts.Getenv("RUNNER_TEMP"), "evergrant", "spill", "*", "*.spill"))
			if err != nil || len(found) == 0 {
				return false
			}
			// The file has its name before it has its bytes.
			b, err := os.ReadFile(found[0])
			return err == nil && json.Valid(b)
		})
		ts.Check(cmd.Process.Kill())
		_ = cmd.Wait()
	} else {
		want, err := strconv.Atoi(args[1])
		ts.Check(err)
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != want {
			ts.Fatalf("%v, want code %d\n%s", err, want, &stderr)
		}
		checkLog(ts, want, stdout.String(), stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(withoutMasks(stderr.String())), 0o600))
}

// stepSettings are the variables of a step.
func stepSettings(ts *testscript.TestScript) []string {
	env := settings(ts)
	names := []string{"CI", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STATE", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "RUNNER_TEMP",
		"GITHUB_REPOSITORY", "GITHUB_API_URL", "GITHUB_SERVER_URL", "GITHUB_RUN_ID"}
	for _, input := range ghaction.Inputs() {
		names = append(names, "INPUT_"+strings.ToUpper(input))
	}
	for _, name := range names {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}
