package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/config"
	"evergrant/internal/grant"
)

// app is one run of the program: its streams, its environment, and the flags
// that every command has.
type app struct {
	args    []string
	env     environment
	stdin   io.Reader
	stdout  io.Writer
	console *console

	verbose, quiet bool
	began          bool // a command's run has begun; errors before it are usage

	// For the report of a failure with --json:
	json     bool     // it was asked for
	reported bool     // a report with the failure in it was printed
	grant    grant.ID // once it is known
	warned   []string // so far
	config   config.File
	// unconfigured is the grant of this call that config does not have.
	unconfigured string
	step         *actionStep // while this is a step of the GitHub Action
	inBackground bool        // this is the process that keeps a token alive beside a job
	// handler takes the signals instead, while a command runs beside this program.
	handler atomic.Pointer[func(os.Signal)]
	// speedUp and clockOffset are for tests and the demonstration. They are
	// hidden, and say so when used.
	speedUp     int
	clockOffset time.Duration
}

// Main runs the command line args, without the program's name, and returns the
// exit code. It handles signals for the time of its run.
func Main(args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{args: args, env: env, stdin: stdin, stdout: stdout, console: newConsole(stderr)}
	if err := refuseTokens(args); err != nil {
		a.json = asksJSON(args)
		return a.end(err)
	}
	ctx, stop := a.signals(context.Background())
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(a.console)
	complete(root)
	inOurWords(root)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.began {
		a.json = asksJSON(args)
		if u := (*usageError)(nil); !errors.As(err, &u) {
			err = usagef("%s", scrubbed(err.Error(), args)).hint("evergrant help lists the commands, and evergrant COMMAND --help its flags")
		}
	}
	return a.end(err)
}

func (a *app) root() *cobra.Command {
	var tellVersion bool
	root := &cobra.Command{
		Use:   "evergrant",
		Short: "keeps rotating OAuth refresh tokens alive",
		Long: "evergrant keeps rotating OAuth refresh tokens alive for CI jobs, agents and scripts.\n" +
			"It hands out access tokens, refreshes when it must, and saves the next refresh token\n" +
			"before it delivers anything.\n\n" + exitCodes,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if tellVersion {
				return a.tellVersion()
			}
			return usagef("no command was given").hint("evergrant help lists the commands; evergrant demo shows what it does")
		},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.begin() },
	}
	root.Flags().BoolVar(&tellVersion, "version", false, "print the version")
	flags := root.PersistentFlags()
	flags.BoolP("help", "h", false, "this text")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "the reasons of each step, on standard error")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "only errors on standard error")
	flags.IntVar(&a.speedUp, "speed-up", 1, "divide the protocol's durations, for demonstrations and tests")
	flags.DurationVar(&a.clockOffset, "clock-offset", 0, "shift this process's clock, for tests")
	_ = flags.MarkHidden("speed-up")
	_ = flags.MarkHidden("clock-offset")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(a.help)
	root.SetHelpCommand(a.helpCommand())
	root.AddCommand(a.refreshCommand(), a.tokenCommand(), a.runCommand(), a.handoverCommand(), a.loginCommand(), a.logoutCommand(), a.statusCommand(), a.doctorCommand(), a.repairCommand(), a.importCommand(), a.rescueCommand(),
		a.providersCommand(), a.keyCommand(), a.simulateCommand(), a.demoCommand(), a.versionCommand(), a.actionCommand(), a.initCommand())
	a.noteBeginning(root)
	exemplify(root)
	return root
}

// noteBeginning lets Main tell the errors of a command's run from those of the
// parser, which checks some flags at the last moment before it.
func (a *app) noteBeginning(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			if f := cmd.Flags().Lookup("json"); f != nil {
				a.json = f.Value.String() == "true"
			}
			if err := notEmpty(cmd.Flags()); err != nil {
				return err
			}
			if _, itself := cmd.Annotations[configuresItself]; !itself {
				if err := a.configure(cmd, args); err != nil {
					return err
				}
			}
			return a.elsewhere(run(cmd, args))
		}
	}
	for _, sub := range cmd.Commands() {
		a.noteBeginning(sub)
	}
}

// notEmpty refuses a flag that was given and is empty, as a variable of a shell that is
// not set leaves it: without it the call would mean something else, protect less than
// what was meant, or spend a token.
func notEmpty(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		refused := strings.HasSuffix(f.Name, "-env") || strings.HasSuffix(f.Name, "-file") ||
			slices.Contains([]string{"token-socket", "store", "config", "out", "provider", "token-url", "issuer", "client-id", "client-auth"}, f.Name)
		if !refused || f.Value.String() != "" || err != nil {
			return
		}
		hint := "leave the flag out, or fill what it is made of: a variable that is not set?"
		if f.Name == "token-socket" || f.Name == "token-file" {
			hint = "look whether the variable that it comes from is set: evergrant run and the Action's keep-fresh set " + tokenSocketVar + " and " + tokenFileVar + " for what they run"
		}
		err = usagef("--%s is given and empty", f.Name).hint(hint)
	})
	return err
}

// begin checks the flags that every command has.
func (a *app) begin() error {
	switch {
	case a.verbose && a.quiet:
		return usagef("-v and -q exclude each other")
	case a.speedUp < 1 || a.speedUp > 1000:
		return usagef("--speed-up must be between 1 and 1000")
	}
	a.console.quiet = a.quiet
	if a.speedUp > 1 {
		a.console.notef("the protocol's durations are divided by %d: for demonstrations and tests only", a.speedUp)
	}
	if a.clockOffset != 0 {
		a.console.notef("the clock is shifted by %v: for tests only", a.clockOffset)
	}
	return nil
}

// now is this process's clock.
func (a *app) now() time.Time { return time.Now().Add(a.clockOffset) }

// logger writes the engine's progress to standard error: what is waited for by
// default, the reasons of each step with -v, nothing with -q.
func (a *app) logger() *slog.Logger {
	switch {
	case a.verbose:
		return slog.New(reasons(a.console))
	case a.quiet:
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(newProgress(a.console))
}

// signals returns a context that the first SIGINT, SIGTERM, SIGQUIT or SIGHUP cancels.
// Later ones are only noted: the engine ends by itself, soon, and to die in a
// save is the one thing that must not happen. SIGPIPE is taken so that a
// closed pipe becomes an error of its write; it is caught and not ignored,
// because children would inherit that.
func (a *app) signals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	caught := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) { // nohup means it
		caught = append(caught, syscall.SIGHUP)
	}
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, caught...)
	go func() {
		for s := range ch {
			give := a.handler.Load()
			switch {
			case s == syscall.SIGPIPE:
			case give != nil:
				(*give)(s)
			case ctx.Err() == nil:
				a.console.notef("%v: stopping; what is in flight is saved first", s)
				cancel(errInterrupted)
			default:
				a.console.notef("%v: already stopping; this ends by itself", s)
			}
		}
	}()
	// They stay caught until the process has ended: one that came behind the last
	// line would kill a run that has saved and delivered, and take its exit code.
	return ctx, func() { cancel(nil) }
}
