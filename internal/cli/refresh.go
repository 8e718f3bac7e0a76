package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/sink"
	"evergrant/internal/store"
	"evergrant/internal/workflow"
)

// refreshOptions are the flags of refresh and token.
type refreshOptions struct {
	client clientOptions
	store  storeOptions
	notify notifyOptions

	fromEnv         string
	namedSeed       bool // only the variable of --from-env: grants that are refreshed together have none in common
	noCreate        bool
	minTTL          time.Duration
	minTTLSet       bool
	after           uint64
	force           bool
	wait, timeout   time.Duration
	bestEffort      bool
	noRevokeRunning bool
	singleWriter    bool
	minGeneration   uint64
	sinks           []string
	json            bool
}

func (o *refreshOptions) register(f *pflag.FlagSet) {
	registerConfig(f)
	o.client.register(f)
	o.store.register(f)
	o.notify.register(f)
	f.StringVar(&o.fromEnv, "from-env", "", "environment variable `VAR` with a refresh token to start from (default EVERGRANT_REFRESH_TOKEN, or the preset's)")
	f.BoolVar(&o.noCreate, "no-create", false, "an absent record is an error, never a start")
	f.DurationVar(&o.minTTL, "min-ttl", 0, "life that the access token must have left (default 30m, or 10 % of the life where a refresh ends the running token)")
	f.Uint64Var(&o.after, "after", 0, "the API refused the token of generation `N`: only a newer one will do")
	f.BoolVar(&o.force, "force", false, "refresh even if enough life is left")
	f.DurationVar(&o.wait, "wait", 3*time.Minute, "how long to wait for another holder or for the next allowed moment")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "bound on the whole call; a save in progress is finished first")
	f.BoolVar(&o.bestEffort, "best-effort", false, "deliver a living access token even if its life is below --min-ttl")
	f.BoolVar(&o.noRevokeRunning, "no-revoke-running", false, "refuse a refresh that would end a running job's token")
	f.BoolVar(&o.singleWriter, "single-writer", false, "nobody else writes this store: the caller's word")
	f.Uint64Var(&o.minGeneration, "min-generation", 0, "the store must be at generation `N` at least, else it was rolled back")
}

func (a *app) refreshCommand() *cobra.Command {
	var o refreshOptions
	var all bool
	cmd := &cobra.Command{
		Use:   "refresh [GRANT]",
		Short: "make sure that a grant has a living access token, and deliver it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				if len(args) > 0 {
					return usagef("--all refreshes every grant, and one is named")
				}
				return a.refreshAll(cmd.Context(), cmd.Flags())
			}
			o.minTTLSet = cmd.Flags().Changed("min-ttl")
			return a.refresh(cmd.Context(), args, o)
		},
	}
	o.register(cmd.Flags())
	o.registerReport(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "refresh every grant of the configuration")
	return cmd
}

// registerReport adds what refresh has and token has not.
func (o *refreshOptions) registerReport(f *pflag.FlagSet) {
	f.StringArrayVar(&o.sinks, "sink", nil, "where the access token goes, as a `URL`; repeatable: "+sink.Schemes)
	f.BoolVar(&o.json, "json", false, "a report on standard output; never a token")
}

func (a *app) tokenCommand() *cobra.Command {
	var o refreshOptions
	cmd := &cobra.Command{
		Use:   "token [GRANT]",
		Short: "print a living access token, and nothing else, on standard output",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.minTTLSet = cmd.Flags().Changed("min-ttl")
			o.sinks = []string{"stdout:"}
			return a.refresh(cmd.Context(), args, o)
		},
	}
	o.register(cmd.Flags())
	return cmd
}

// plan is a checked refresh: nothing has been sent or written, and whatever
// can be known to fail has failed.
type plan struct {
	id      grant.ID
	target  target
	place   place
	request engine.Request
	sinks   []sink.Sink
	mask    *workflow.Masker
	notices notices
	warned  []string
	emptied string // a variable for a first refresh token that is set and empty
	unset   string // the variable that was named for one, and that is not set
}

func (a *app) refresh(parent context.Context, args []string, o refreshOptions) error {
	r, err := a.fetch(parent, args, o)
	if r == nil {
		return err
	}
	if rerr := a.tell(*r, err, o); err == nil && rerr != nil {
		err = &deliveryError{[]error{rerr}}
	}
	return err
}

// fetch gets an access token and delivers it. With a report the token was had,
// whatever the error says.
func (a *app) fetch(parent context.Context, args []string, o refreshOptions) (*refreshReport, error) {
	ctx, cancel := within(parent, o.timeout)
	defer cancel()
	p, err := a.plan(args, o)
	if err != nil {
		return nil, err
	}
	s, out, err := a.obtain(ctx, p, o)
	if out.Access.Value.IsZero() {
		return nil, err
	}
	delivered, derr := a.deliver(ctx, p, out.Access)
	s.listener.heard(ctx, out, err)
	if err != nil && derr != nil {
		a.console.warnf("%v", derr)
	}
	if err == nil {
		err = derr
	}
	r := newRefreshReport(s, out, delivered, a.now())
	return &r, err
}

// obtain makes sure that there is an access token. An outcome that has one is
// good whatever the error says: with an *unsavedError it was had and not saved. Who
// called delivers it, and then lets people hear of the outcome: no token waits for that.
func (a *app) obtain(ctx context.Context, p plan, o refreshOptions) (*session, engine.Outcome, error) {
	s, err := a.begun(ctx, p, o)
	if err != nil {
		return nil, engine.Outcome{}, because(ctx, err)
	}
	held := s.hold(&p.request)
	out, err := s.engine.Access(ctx, p.id, p.request)
	out.Warnings = append(p.warned, a.consider(out)...)
	if o.minTTLSet && out.Life > 0 && o.minTTL > out.Life {
		out.Warnings = append(out.Warnings, fmt.Sprintf("--min-ttl asks for %s, and the provider gave a token of %s: no more can be had", span(o.minTTL), span(out.Life)))
	}
	a.warn(out.Warnings)
	unsaved := (*engine.UnsavedError)(nil)
	switch {
	case errors.As(err, &unsaved):
		err = &unsavedError{err, s.kept}
	case held && errors.Is(err, engine.ErrWouldRevoke):
		err, out = s.held(), engine.Outcome{}
	case err != nil:
		err, out = a.explain(p, because(ctx, err)), engine.Outcome{}
	}
	if out.Access.Value.IsZero() {
		s.listener.heard(ctx, out, err)
	}
	return s, out, err
}

// begun opens the store and builds the engine.
func (a *app) begun(ctx context.Context, p plan, o refreshOptions) (*session, error) {
	if o.noCreate {
		if err := p.place.missing(); err != nil {
			return nil, err
		}
	}
	unasked, err := a.checkSinks(ctx, p)
	if err != nil {
		return nil, err
	}
	st, err := p.place.open()
	if err != nil {
		return nil, err
	}
	st, ears, err := a.listen(p, st)
	if err != nil {
		return nil, err
	}
	t, err := a.settle(ctx, st, p.place, p.id, p.target, !o.noCreate && !p.request.Seed.IsZero())
	if err != nil {
		return nil, err
	}
	s, err := a.session(p.id, p.place, st, t, o.singleWriter)
	if err == nil {
		s.listener, s.unasked = ears, unasked
	}
	return s, err
}

// explain adds what the engine cannot know: which flag named a generation, what
// the issuer said, and that a CI system hands an empty variable to a run that may
// not see the secret.
func (a *app) explain(p plan, err error) error {
	var (
		moved *movedError
		found *discoveryError
	)
	switch {
	case errors.As(err, &moved):
		return fmt.Errorf("grant %s: %w", p.id, moved)
	case errors.As(err, &found) && !found.passing():
		return &codedError{code: exitUnreachable, err: fmt.Errorf("grant %s: %w", p.id, found), hint: hintDiscovery}
	case errors.Is(err, engine.ErrAhead):
		named := fmt.Sprintf("--min-generation %d", p.request.MinGeneration)
		if p.request.After > p.request.MinGeneration {
			named = fmt.Sprintf("--after %d", p.request.After)
		}
		return fmt.Errorf("%w (by %s)", err, named)
	case p.request.NoCreate && errors.Is(err, grant.ErrNotFound):
		return &codedError{code: exitStore, err: err, hint: "look whether the grant's name and the store are those of the run that made the record, and whether somebody deleted it; " +
			"only if the grant is to start anew: sign in again, put the new refresh token where the first one was, and run once without --no-create"}
	case !errors.Is(err, engine.ErrNoToken):
		return err
	}
	return a.explainNoStart(p, err)
}

// explainNoStart is for a grant that has no record and nothing to start from.
func (a *app) explainNoStart(p plan, err error) error {
	where, why := "", ""
	if p.unset != "" {
		why = "; --from-env: " + notSet(p.unset)
	}
	var hints []string
	switch {
	case a.env.ci():
		hints = []string{"this run sees no refresh token: a secret is empty in runs of forks and of Dependabot, and when its name is misspelt",
			"elsewhere, put a refresh token into a variable and name it: --from-env VAR"}
	case p.place.named && p.place.missing() != nil:
		where = fmt.Sprintf("; there is no store at %s yet", p.place.location)
		hints = []string{"check --store, or put a refresh token into a variable and name it: --from-env VAR"}
	case !p.place.named && p.place.location.Keeps():
		where = "; the store is " + p.place.whereabouts()
		hints = append(p.emptyWords(), "name the store where the record is: --store URL or EVERGRANT_STORE; or put a refresh token into a variable and name it: --from-env VAR")
	case p.emptied != "":
		hints = append(p.emptyWords(), "or put a refresh token into another variable and name it: --from-env VAR")
	case p.unset != "":
		hints = []string{"put a refresh token into it, or sign in: evergrant login"}
	default:
		return err
	}
	return usagef("%v%s%s", err, where, why).hint(hints...)
}

// plan resolves every option. It sends nothing and waits for nothing; only to explain a
// mistake does it look into the store.
func (a *app) plan(args []string, o refreshOptions) (plan, error) {
	var p plan
	if err := o.check(); err != nil {
		return p, err
	}
	err := o.client.fill(a.env)
	if err != nil {
		return p, err
	}
	if p.place, err = o.store.resolve(a); err != nil {
		return p, err
	}
	if p.target, err = a.target(o.client, a.timing(p.place)); err != nil {
		return p, a.recordTells(err, args, o.client, p.place)
	}
	if p.id, err = grantName(a.env, args, p.target.preset); err != nil {
		return p, err
	}
	a.grant = p.id
	if p.place, err = a.checkPlace(p.place, p.target); err != nil {
		return p, err
	}
	if err = a.openSinks(&p, o.sinks, &o.store); err != nil {
		return p, err
	}
	if p.notices, err = o.notify.receivers(a.env); err != nil {
		return p, err
	}
	p.request = engine.Request{
		MinTTL: o.life(p.target.behaviour), After: o.after, Force: o.force, Wait: o.wait, BestEffort: o.bestEffort,
		NoRevokeRunning: o.noRevokeRunning, NoCreate: o.noCreate, MinGeneration: o.minGeneration,
	}
	var warning string
	if o.fromEnv != "" || !o.namedSeed {
		if p.request.Seed, warning, err = a.seed(o.fromEnv, p.target.refreshEnv, p.place.location); err != nil {
			return p, err
		}
	}
	p.warned = append(p.warned, nonEmpty(warning)...)
	if p.request.Seed.IsZero() {
		p.emptied, p.unset = a.env.emptied(o.fromEnv, "EVERGRANT_REFRESH_TOKEN", p.target.refreshEnv), a.env.unset(o.fromEnv)
	}
	for _, name := range p.target.shadows {
		if a.env.get(name) != "" || a.step.sets(name) {
			p.warned = append(p.warned, fmt.Sprintf("%s is set, and the programs of %s prefer it to this token", name, p.target.title))
		}
	}
	return p, nil
}

func (o *refreshOptions) check() error {
	switch {
	case o.minTTL < 0 || o.wait < 0 || o.timeout < 0:
		return usagef("--min-ttl, --wait and --timeout cannot be negative")
	case o.json && slices.Contains(o.sinks, "stdout:"):
		return usagef("--json puts a report on standard output and --sink stdout: the token: choose one")
	}
	return nil
}

// life is the default of --min-ttl. Where a refresh ends the running token,
// nobody's job is cut short unless the token is nearly over anyway.
func (o *refreshOptions) life(b grant.Behaviour) time.Duration {
	switch {
	case o.minTTLSet:
		return o.minTTL
	case b.RevokesAccess && b.Life > 0:
		return b.Life / 10
	case b.RevokesAccess:
		return 6 * time.Minute
	}
	return 30 * time.Minute
}

// checkPlace holds the two rules that protect a login from a job's defaults:
// an implicit store that vanishes with its runner, and a store that would have
// no rescue block.
func (a *app) checkPlace(p place, t target) (place, error) {
	switch {
	case a.env.ci() && !p.named && t.behaviour.Rotates:
		return p, usagef("no store is named, and in CI the default one vanishes with the runner: %s rotates its refresh tokens, so the next run would spend a dead one", t.title).
			hint("name a repository of your forge, or a folder that outlives the job, both sealed: --store git: or --store file:/var/lib/evergrant",
				"evergrant key new makes the key; keep it as a secret of the CI system, in the variable EVERGRANT_KEY")
	case a.env.ci() && !p.named:
		p.location = store.None()
	case !p.location.Keeps() && t.behaviour.Rotates:
		return p, usagef("store none: keeps nothing, and %s rotates its refresh tokens: the next one would be lost", t.title).
			hint("name a store that keeps it, as in --store file:/var/lib/evergrant")
	}
	return p, p.checkSealing(a.env)
}

// soon is when the end of a consent is worth a warning.
const soon = 5 * 24 * time.Hour

// consider adds what a person should know of a good outcome.
func (a *app) consider(out engine.Outcome) []string {
	w := make([]string, len(out.Warnings))
	for i, text := range out.Warnings {
		w[i] = inWords(text)
	}
	if left := out.ConsentEnds.Sub(a.now()); !out.ConsentEnds.IsZero() && left < soon && left > 0 {
		w = append(w, fmt.Sprintf("the consent ends at %s (in %s); sign in again before", stamp(out.ConsentEnds), span(left)))
	}
	return w
}

func (a *app) warn(warnings []string) {
	a.warned = append(a.warned, warnings...)
	for _, w := range warnings {
		a.console.warnf("%s", w)
	}
}

// tell prints the report: JSON if asked for, with the failure that the token was
// had in spite of, else one line for a person, unless the token itself is what
// was asked for.
func (a *app) tell(r refreshReport, failed error, o refreshOptions) error {
	if o.json {
		if failed != nil {
			v := verdictOf(failed)
			r.Verdict = &v
		}
		a.reported = true
		return printJSON(a.stdout, r)
	}
	if !slices.ContainsFunc(o.sinks, func(u string) bool { return strings.HasPrefix(u, "stdout:") }) {
		a.console.notef("%s", r.line())
	}
	return nil
}
