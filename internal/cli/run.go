package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"evergrant/internal/atomicfile"
	"evergrant/internal/tokensocket"
	"evergrant/internal/workflow"
)

type runOptions struct {
	refreshOptions
	envName, tokenFile, tokenSocket string
	keepEnv                         []string
}

// What run tells its command.
const (
	tokenFileVar   = "EVERGRANT_TOKEN_FILE"
	tokenSocketVar = "EVERGRANT_TOKEN_SOCKET"
)

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [GRANT] [flags] -- COMMAND [ARGUMENT]...",
		Short: "run a command with a living access token, and keep it alive while the command runs",
		Long: "Runs a command with a living access token. A variable cannot change in a running process: its token lives\n" +
			"as long as it lives. A file (--token-file) is replaced, and a socket (--token-socket) answers, with the current\n" +
			"one for as long as the command runs, also when somebody else has refreshed. Signals go to the command, and its\n" +
			"exit code is this program's; 128 and the signal's number, if a signal ended it.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.minTTLSet = cmd.Flags().Changed("min-ttl")
			dash := cmd.ArgsLenAtDash()
			if dash < 0 || dash > 1 || dash == len(args) {
				return usagef("run takes at most one grant, then -- and the command").hint("evergrant run [GRANT] -- COMMAND [ARGUMENT]...")
			}
			return a.run(cmd.Context(), args[:dash], args[dash:], o)
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.StringArrayVar(&o.sinks, "sink", nil, "where else the access token goes, and each later one, as a `URL`; repeatable")
	f.StringVar(&o.envName, "env-name", "", "variable `NAME` that has the token in the command's environment (default the preset's)")
	f.StringVar(&o.tokenFile, "token-file", "", "file `PATH` that always has the current token; "+tokenFileVar+" names it to the command")
	f.StringVar(&o.tokenSocket, "token-socket", "", "Unix socket `PATH` that answers with the current token; "+tokenSocketVar+" names it to the command")
	f.StringArrayVar(&o.keepEnv, "keep-env", nil, "variable `VAR` that the command gets although it holds a secret of ours; repeatable")
	return cmd
}

// run starts the command once there is a token, and ends with it.
func (a *app) run(ctx context.Context, args, command []string, o runOptions) error {
	program, err := exec.LookPath(command[0])
	if err != nil {
		return usagef("the command cannot be run: %s: %v", oneLine(shownPath(command[0])), errors.Unwrap(err)).hint("what stands behind -- is the command and its arguments, for no shell")
	}
	// The command may go elsewhere, and what it is told must be true there.
	for _, path := range []*string{&o.tokenFile, &o.tokenSocket} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return usagef("the working folder is gone: %v", err)
		}
	}
	p, err := a.planRun(args, &o)
	if err != nil {
		return err
	}
	listener, err := o.listen()
	if err != nil {
		return usagef("--token-socket: %v", err)
	}
	if listener != nil {
		defer listener.Close()
	}
	claim, err := claimTokenFile(o.tokenFile)
	if err != nil {
		return err
	}
	var k *keeper
	defer func() {
		if err := claim.release(k.written()); err != nil {
			a.console.warnf("--token-file: %v", err)
		}
	}()
	if k, err = a.keeper(ctx, p, o); err != nil {
		return err
	}
	cmd := exec.Command(program, command[1:]...)
	cmd.Args[0] = command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.console.w
	cmd.Env = o.environment(os.Environ(), p, k)
	return a.accompany(ctx, cmd, k, listener, o)
}

// planRun is plan, with what only run has.
func (a *app) planRun(args []string, o *runOptions) (plan, error) {
	if slices.Contains(o.sinks, "stdout:") {
		return plan{}, usagef("--sink stdout: would mix the token with the command's output")
	}
	if o.tokenFile != "" {
		o.sinks = append(o.sinks, "file:"+o.tokenFile)
	}
	if o.sinks == nil {
		o.sinks = []string{} // and none by default: the command has the token
	}
	p, err := a.plan(args, o.refreshOptions)
	if err != nil {
		return p, err
	}
	if o.envName == "" {
		o.envName = p.target.accessEnv
	}
	if o.envName == "" && !o.live() {
		return p, usagef("the command would not get the token: no preset names a variable for it").
			hint("name one with --env-name, or give --token-file or --token-socket")
	}
	if o.envName != "" {
		if err := workflow.ValidVariable(o.envName); err != nil {
			return p, usagef("--env-name: %v", err)
		}
	}
	return p, nil
}

// live reports whether the command has a place where it can read the token anew.
func (o *runOptions) live() bool { return o.tokenSocket != "" || len(o.sinks) > 0 }

func (o *runOptions) listen() (net.Listener, error) {
	if o.tokenSocket == "" {
		return nil, nil
	}
	return tokensocket.Listen(o.tokenSocket)
}

// environment is the command's: ours without our secrets. What is left out by
// name is also left out by value, so that no copy of a secret passes.
func (o *runOptions) environment(all []string, p plan, k *keeper) []string {
	named := []string{o.fromEnv, p.target.refreshEnv, o.client.secretEnv, o.client.keyEnv, o.store.keyEnv, o.store.gitTokenEnv, o.store.githubTokenEnv,
		o.store.giteaTokenEnv, o.notify.env, p.place.location.Variable(),
		"EVERGRANT_KEY", "EVERGRANT_REFRESH_TOKEN", "EVERGRANT_GIT_TOKEN", "EVERGRANT_GITHUB_TOKEN", "EVERGRANT_GITEA_TOKEN", notifyVar}
	secret := func(name string) bool {
		return slices.Contains(named, name) || strings.HasPrefix(name, "ACTIONS_") && strings.HasSuffix(name, "_TOKEN")
	}
	copies := secretCopies(p.request.Seed.Reveal())
	for _, path := range []string{o.store.keyFile, o.client.secretFile, o.client.keyFile} {
		if b, _, err := atomicfile.ReadRegular(path, 1<<20); path != "" && err == nil { // what a pipe had is in no variable
			copies = append(copies, secretCopies(string(b))...)
		}
	}
	for _, v := range all {
		if name, value, _ := strings.Cut(v, "="); secret(name) {
			copies = append(copies, secretCopies(value)...)
		}
	}
	holds := func(value string) bool {
		return slices.ContainsFunc(copies, func(c string) bool { return value == c || len(c) >= 16 && strings.Contains(value, c) })
	}
	var env []string
	for _, v := range all {
		name, value, _ := strings.Cut(v, "=")
		ours := secret(name) || strings.HasPrefix(name, "EVERGRANT_") || strings.HasPrefix(name, "INPUT_") || name == o.envName
		if slices.Contains(o.keepEnv, name) || !ours && !holds(value) {
			env = append(env, v)
		}
	}
	for name, value := range map[string]string{tokenFileVar: o.tokenFile, tokenSocketVar: o.tokenSocket} {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	if o.envName != "" {
		env = append(env, o.envName+"="+k.current().Value.Reveal())
	}
	return env
}

// secretCopies are the forms in which a secret is looked for: whole, and each of
// its lines, because a key file has one that says all.
func secretCopies(value string) []string {
	var copies []string
	for _, form := range append(strings.Split(value, "\n"), value) {
		if form = strings.TrimSpace(form); len(form) >= 6 && !strings.HasPrefix(form, "#") {
			copies = append(copies, form)
		}
	}
	return copies
}

// accompany runs the command, keeps the token alive beside it, and hands on
// signals and exit code.
func (a *app) accompany(ctx context.Context, cmd *exec.Cmd, k *keeper, l net.Listener, o runOptions) error {
	beside, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	started, stop := a.handOn()
	defer stop()
	if err := cmd.Start(); err != nil {
		return usagef("the command cannot be run: %v", err)
	}
	started(cmd.Process)
	if l != nil {
		k.tasks.Go(func() { k.answer(beside, l) })
	}
	if o.live() {
		k.tasks.Go(func() { k.keep(beside) })
	} else {
		a.console.notef("%s is set once: its token is good until %s; with --token-file or --token-socket it would be kept alive",
			o.envName, k.goodUntil())
	}
	err := cmd.Wait()
	cancel()
	k.tasks.Wait() // a token in flight is saved first
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return &commandError{codeOf(exit)}
	}
	if err != nil {
		return fmt.Errorf("running the command: %w", err)
	}
	return nil
}

// commandError is the exit code of a command that was run; it has said itself
// what was wrong.
type commandError struct{ code int }

func (e *commandError) Error() string { return fmt.Sprintf("the command ended with code %d", e.code) }

func codeOf(e *exec.ExitError) int {
	if s, ok := e.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return e.ExitCode()
}

// handOn takes every signal from now on, and gives them to the command from
// started on: one that comes while the command is being started is not lost.
// A terminal gives its own to the command by itself: once is enough.
func (a *app) handOn() (started func(*os.Process), stop func()) {
	signals, ended := make(chan os.Signal, 16), make(chan struct{})
	take := func(s os.Signal) {
		select {
		case signals <- s:
		default: // sixteen wait already
		}
	}
	a.handler.Store(&take)
	signal.Notify(signals, passedOn()...)
	var giving sync.WaitGroup
	started = func(command *os.Process) {
		giving.Go(func() {
			for {
				select {
				case s := <-signals:
					if s != os.Interrupt && s != syscall.SIGQUIT || !inForeground() {
						_ = command.Signal(s) // it may have ended
					}
				case <-ended:
					return
				}
			}
		})
	}
	return started, func() {
		a.handler.Store(nil)
		signal.Stop(signals)
		close(ended)
		giving.Wait()
	}
}
