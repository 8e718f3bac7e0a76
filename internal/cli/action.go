package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/atomicfile"
	"evergrant/internal/ghaction"
	"evergrant/internal/grant"
	"evergrant/internal/workflow"
)

// actionCommand is what action.yml runs, by a shim that has no logic. People
// have refresh.
func (a *app) actionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "action main|post|keep",
		Short:     "the steps of the GitHub Action",
		Hidden:    true,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"main", "post", "keep"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "keep" { // it has the job's variables from its pipe
				return a.actionKeep(cmd.Context())
			}
			if !a.env.githubActions() {
				return usagef("action is what the GitHub Action runs, and GITHUB_ACTIONS is not true here").
					hint("elsewhere the same is: evergrant refresh")
			}
			switch args[0] {
			case "main":
				return a.actionMain(cmd.Context())
			case "post":
				return a.actionPost(cmd.Context())
			}
			return usagef("there are two steps, action main and action post, and action keep, which main starts")
		},
	}
}

// actionStep is a step of the GitHub Action under way. A nil one is none.
type actionStep struct {
	ghaction.Step
	app     *app
	raw     environment // the runner's, of which the program sees little
	warned  bool        // of a proxy that can read the tokens
	writers []string    // of the records whose rescue block is in a log
}

// sets reports whether the job has set a variable that does not get here.
func (s *actionStep) sets(name string) bool { return s != nil && s.Sets(name) }

// rescued tells the post step that this record's block is in the log already.
func (s *actionStep) rescued(c grant.Credential) {
	if s == nil {
		return
	}
	s.writers = append(s.writers, c.Writer)
	// If it cannot be told, the block is printed twice.
	_ = workflow.Set(s.app.env.get("GITHUB_STATE"), workflow.Value{Name: ghaction.Rescued, Text: strings.Join(s.writers, "\n")})
}

// announced reports whether an earlier step's log has the record's block.
func (s *actionStep) announced(c grant.Credential) bool {
	told := append(strings.Split(s.app.env.get("STATE_"+ghaction.Rescued), "\n"), s.writers...)
	return c.Writer != "" && slices.Contains(told, c.Writer)
}

// beginStep turns to the runner: from here on warnings are annotations, secrets
// are masked, and the environment is what the step's inputs say.
func (a *app) beginStep() (*actionStep, error) {
	if a.step != nil {
		return a.step, nil
	}
	a.console.annotate = true
	a.verbose = a.verbose || a.env.get("RUNNER_DEBUG") == "1"
	mask := workflow.NewMasker(a.console)
	for _, line := range ghaction.Secrets(a.env) {
		if err := mask.Mask(line); err != nil {
			return nil, err
		}
	}
	step, err := ghaction.Read(a.env)
	if err != nil {
		return nil, usagef("%v", err)
	}
	a.step = &actionStep{Step: step, app: a, raw: a.env}
	a.env = step.Lookup
	return a.step, nil
}

// options parses the inputs as the flags that they are.
func (s *actionStep) options() (o refreshOptions, args []string, err error) {
	flags := pflag.NewFlagSet("action", pflag.ContinueOnError)
	o.register(flags)
	o.registerReport(flags)
	for _, arg := range s.Args {
		if refuseTokens([]string{arg}) != nil {
			name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			if !strings.HasPrefix(arg, "--") {
				name = "grant"
			}
			return o, nil, usagef("input %s looks like a secret; it is refused and not repeated here", name).
				hint("secrets are for the inputs key, refresh-token, client-secret and github-token")
		}
	}
	if err := flags.Parse(s.Args); err != nil {
		return o, nil, usagef("%v", flagError(&cobra.Command{}, err)) // without the hint to --help
	}
	o.minTTLSet = flags.Changed("min-ttl")
	return o, flags.Args(), nil
}

func (a *app) actionMain(ctx context.Context) error {
	env := a.env
	r, err := a.actionRefresh(ctx)
	switch {
	case r != nil && err == nil:
		a.summarise(env, workflow.Plain(r.line()), a.warned)
	case err != nil:
		return a.failStep(env, r, err)
	}
	return nil
}

func (a *app) actionRefresh(ctx context.Context) (*refreshReport, error) {
	step, err := a.beginStep()
	if err != nil {
		return nil, err
	}
	o, args, err := step.options()
	if err != nil {
		return nil, err
	}
	if key, refreshToken := step.HasSecrets(); !key && !(o.store.url == "none:" && refreshToken) {
		return nil, noSecrets(o.store.url == "none:", step.HasOtherSecrets())
	}
	if err := workflow.CheckFile("GITHUB_OUTPUT", a.env.get("GITHUB_OUTPUT")); err != nil {
		return nil, usagef("%v", err)
	}
	if err := step.checkJob(o.store.url); err != nil {
		return nil, err
	}
	if err := step.checkKeep(); err != nil {
		return nil, err
	}
	a.warn(step.outlivesItsStore(o.store.url))
	r, err := a.fetch(ctx, args, o)
	if unsaved := (*unsavedError)(nil); errors.As(err, &unsaved) && unsaved.kept.block {
		unsaved.kept.path = "" // the runner empties its folder
	}
	if r == nil {
		return nil, err
	}
	if serr := workflow.Set(a.env.get("GITHUB_OUTPUT"), outputs(*r)...); serr != nil {
		serr = fmt.Errorf("setting the outputs: %w", serr)
		if err != nil {
			a.console.warnf("%v", serr)
		} else {
			err = &deliveryError{[]error{serr}}
		}
	}
	a.console.notef("%s", r.line())
	if err == nil && step.Keep > 0 {
		err = a.keepInBackground(ctx)
	}
	// The first token set of a grant's first consent is generation 2.
	if r.Action == "refreshed" && r.Generation == 2 && r.Rotated && !o.noCreate && err == nil {
		a.console.annotatef(workflow.Notice, "evergrant", "grant %s has its first token from this run: set no-create: true in the workflow now, so that a record which disappears is never taken for a new start", r.Grant)
	}
	return r, err
}

// noSecrets is for a run that GitHub gives no secrets: an expression that names
// one is then an empty text, and so is a name that does not exist.
func noSecrets(keepsNothing, hasOthers bool) error {
	empty, secret := "key", "EVERGRANT_KEY"
	if keepsNothing {
		empty, secret = "refresh-token", "NAME"
	}
	if hasOthers {
		return usagef("input %s is empty", empty).
			hint("give " + empty + ": ${{ secrets." + secret + " }} under with:, because env: is not read here; and look whether there is a secret of that name")
	}
	return usagef("this run has no secrets: input %s is empty", empty).
		hint("nothing, if this is a run of a fork or of Dependabot: those get none; else set the secret, or mend its name in the workflow")
}

// outputs are the step's, without the token, which is a sink's work.
func outputs(r refreshReport) []workflow.Value {
	consent := ""
	if r.ConsentEndsAt != nil {
		consent = *r.ConsentEndsAt
	}
	return []workflow.Value{
		{Name: "token-type", Text: r.TokenType}, {Name: "expires-at", Text: r.ExpiresAt},
		{Name: "expires-at-ms", Text: strconv.FormatInt(r.expires.UnixMilli(), 10)},
		{Name: "expires-in", Text: strconv.FormatInt(r.ExpiresIn, 10)},
		{Name: "generation", Text: strconv.FormatUint(r.Generation, 10)}, {Name: "action", Text: r.Action},
		{Name: "rotated", Text: strconv.FormatBool(r.Rotated)}, {Name: "consent-ends-at", Text: consent}, {Name: "state", Text: r.State},
	}
}

// failStep tells a failure once beside the job's result, and once in the step's
// summary. r is the report of a token that was had all the same, or nil.
func (a *app) failStep(env environment, r *refreshReport, err error) error {
	v := verdictOf(err)
	line := oneLine(v.Error)
	if hint := v.Hint; hint != nil {
		line += ". What to do: " + oneLine(*hint)
	}
	title := fmt.Sprintf("evergrant: %s, code %d", strings.ReplaceAll(v.Class, "_", " "), v.Code)
	a.console.annotatef(workflow.Error, title, "%s", line)
	told := "failed: " + workflow.Plain(ghaction.Words(line)) + fmt.Sprintf(" (code %d)", v.Code)
	if r != nil {
		told = workflow.Plain(r.line()) + ". But it " + told
	}
	a.summarise(env, told, a.warned)
	return &commandError{v.Code}
}

// summarise writes the one line of the step's summary. A runner without
// summaries does not keep a token from its job.
func (a *app) summarise(env environment, told string, warnings []string) {
	path := env.get("GITHUB_STEP_SUMMARY")
	if path == "" {
		return
	}
	var line strings.Builder
	line.WriteString("**evergrant** " + told)
	for _, w := range warnings {
		line.WriteString(". Warning: " + workflow.Plain(ghaction.Words(oneLine(w))))
	}
	if err := workflow.Summarise(path, line.String()); err != nil {
		a.console.warnf("the step's summary cannot be written: %v", atomicfile.Bare(err))
	}
}
