package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"evergrant/internal/atomicfile"
	"evergrant/internal/ghaction"
	"evergrant/internal/grant"
	"evergrant/internal/workflow"
)

// keepOrders are what the main step tells the process in the background, by its
// standard input: secrets are in no argument and in no variable of it.
type keepOrders struct {
	Folder, Sockets string
	Life            time.Duration
	Settings        map[string]string // see [ghaction.Step.Handed]
}

// maxOrders bounds them, in bytes.
const maxOrders = 1 << 20

// keepReply is the answer, by its standard output, which it then closes.
type keepReply struct {
	Ready   bool
	Verdict *Verdict
}

// beside names what goes on although a token is in trouble.
func (a *app) beside() string {
	if a.inBackground {
		return "job"
	}
	return "command"
}

// masks is where the runner hears of values to be masked. It hears no process in
// the background: a step's log is that of its own process.
func (a *app) masks() io.Writer {
	if a.inBackground {
		return io.Discard
	}
	return a.console
}

// checkKeep refuses before anything is spent what keep-fresh cannot do here.
func (s *actionStep) checkKeep() error {
	if s.Keep == 0 {
		return nil
	}
	if !canDetach {
		return usagef("input keep-fresh works on Linux and macOS, and this runner has neither").
			hint("leave keep-fresh out, and use this Action once more before the step that needs a newer token")
	}
	if !filepath.IsAbs(s.app.env.get("RUNNER_TEMP")) {
		return usagef("input keep-fresh: RUNNER_TEMP is no folder: this works only in a step of GitHub Actions")
	}
	// Without it the post step would not know what to end.
	if err := workflow.CheckFile("GITHUB_STATE", s.app.env.get("GITHUB_STATE")); err != nil {
		return usagef("input keep-fresh: %v", err)
	}
	return nil
}

// jobTokenLife is how long a job's own token lives at most.
//
// Source: GitHub Docs, "GITHUB_TOKEN" (when it expires).
const jobTokenLife = 24 * time.Hour

// outlivesItsStore warns of a process that may live longer than what it reaches its
// store with.
func (s *actionStep) outlivesItsStore(url string) []string {
	own := url == "git:" || strings.HasPrefix(url, "git:#") || strings.HasPrefix(url, "git:https:")
	if s.Keep <= jobTokenLife || !own || s.app.env.get("EVERGRANT_GIT_TOKEN") != "" {
		return nil
	}
	return []string{fmt.Sprintf("input keep-fresh-for is %v, and the store is reached with the job's own token, which ends after %v at most: from then on nothing can be refreshed; give a token that lives longer as input git-token", s.Keep, jobTokenLife)}
}

// keepInBackground starts the process that keeps the token alive until the post
// step ends it, and returns when its file and its socket are there.
func (a *app) keepInBackground(ctx context.Context) error {
	if ctx.Err() != nil {
		a.console.notef("%s: not kept fresh in the background: %v", a.grant, context.Cause(ctx))
		return nil
	}
	err := a.startKeeper(ctx)
	if err == nil {
		return nil
	}
	told := &codedError{code: exitUndelivered, err: fmt.Errorf("the token was delivered, but it is not kept fresh: %w", err), hint: "run the job again, or leave keep-fresh out"}
	if coded := (*codedError)(nil); errors.As(err, &coded) {
		told.code, told.hint = coded.code, or(coded.hint, told.hint)
	}
	return told
}

func (a *app) startKeeper(ctx context.Context) error {
	p, err := newKeepPlace(a.env.get("RUNNER_TEMP"))
	if err != nil {
		return err
	}
	state := a.env.get("GITHUB_STATE")
	// Before the process is there: this step may be killed at any moment.
	if err := workflow.Set(state, workflow.Value{Name: ghaction.Keeper, Text: p.id()}); err != nil {
		return errors.Join(fmt.Errorf("telling the post step: %w", err), p.remove())
	}
	program, err := a.spawnKeeper(ctx, p)
	if err != nil {
		_ = workflow.Set(state, workflow.Value{Name: ghaction.Keeper}) // there is nothing to end
		_ = p.remove()
		return err
	}
	token, _, err := atomicfile.ReadRegular(p.token(), 1<<20)
	if err != nil {
		return fmt.Errorf("the token's file cannot be read: %w", err)
	}
	// It may be newer than the one that this step has delivered. Later ones cannot
	// be masked, because no step knows them when it begins.
	if err := workflow.NewMasker(a.console).Mask(grant.NewSecret(string(token))); err != nil {
		return err
	}
	if err := workflow.Set(a.env.get("GITHUB_OUTPUT"), workflow.Value{Name: "token-file", Text: p.token()},
		workflow.Value{Name: "token-socket", Text: p.socket()}, workflow.Value{Name: "program", Text: program}); err != nil {
		return fmt.Errorf("setting the outputs: %w", err)
	}
	if later := a.env.get("GITHUB_ENV"); later != "" {
		if err := workflow.Set(later, workflow.Value{Name: tokenFileVar, Text: p.token()}, workflow.Value{Name: tokenSocketVar, Text: p.socket()}); err != nil {
			return fmt.Errorf("setting variables for later steps: %w", err)
		}
	}
	a.console.notef("%s: kept fresh in the background until the job ends, for %v at most, in %s", a.grant, a.step.Keep, p.token())
	return nil
}

// spawnKeeper starts the process in a session of its own, without a stream or a
// file of this step: the runner waits until the last process that has one ends.
func (a *app) spawnKeeper(ctx context.Context, p keepPlace) (program string, err error) {
	if program, err = os.Executable(); err != nil {
		return "", fmt.Errorf("finding the program: %w", err)
	}
	orders, err := json.Marshal(keepOrders{p.folder, p.sockets, a.step.Keep, a.step.Handed()})
	if err != nil {
		return "", err
	}
	cmd := exec.Command(program, "action", "keep", "--speed-up="+strconv.Itoa(a.speedUp), "--clock-offset="+a.clockOffset.String())
	cmd.Env, cmd.SysProcAttr = keeperEnvironment(), detached()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	keepToOurselves()
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting the process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	_, werr := stdin.Write(orders)
	_ = stdin.Close()
	var reply keepReply
	if err := json.NewDecoder(io.LimitReader(stdout, maxOrders)).Decode(&reply); err == nil && reply.Ready {
		_ = stdout.Close()
		return program, cmd.Process.Release()
	}
	ended := cmd.Wait()
	switch {
	case reply.Verdict != nil:
		failed := &codedError{code: reply.Verdict.Code, err: errors.New(reply.Verdict.Error)}
		if reply.Verdict.Hint != nil {
			failed.hint = *reply.Verdict.Hint
		}
		return "", failed
	case ended == nil:
		ended = werr
	}
	return "", fmt.Errorf("the process ended at once: %v", ended)
}

// keeperEnvironment is what a program needs to run and to find its way out, and
// what the runner finds it by when the job is over and it is still there.
func keeperEnvironment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "LC_ALL", "TZ", "SSH_AUTH_SOCK", "RUNNER_TRACKING_ID",
		"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}
