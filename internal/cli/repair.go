package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

type repairOptions struct {
	client       clientOptions
	store        storeOptions
	singleWriter bool
	fromEnv      string
	generation   uint64

	adopt, rebind, retryInDoubt, acceptRollback bool
}

func (a *app) repairCommand() *cobra.Command {
	var o repairOptions
	cmd := &cobra.Command{
		Use:   "repair GRANT",
		Short: "a person's word where the protocol stops",
		Long: "A person's word where the protocol stops. Exactly one repair is named, and it is recorded in the grant's story.\n" +
			"In CI it is done only with --generation, so that a job that runs again does not repeat it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.repair(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	registerConfig(f)
	o.client.register(f)
	o.store.register(f)
	f.BoolVar(&o.adopt, "adopt", false, "start a new consent from the refresh token in --from-env")
	f.BoolVar(&o.rebind, "rebind", false, "move the grant to the token URL and client id given now")
	f.BoolVar(&o.retryInDoubt, "retry-in-doubt", false, "present the token of unknown fate again now, not after the quiet time")
	f.BoolVar(&o.acceptRollback, "accept-rollback", false, "go on with a store that is older than this machine remembers")
	f.StringVar(&o.fromEnv, "from-env", "", "environment variable `VAR` with the refresh token to adopt")
	f.Uint64Var(&o.generation, "generation", 0, "do it only if the record has generation `N`; needed in CI")
	f.BoolVar(&o.singleWriter, "single-writer", false, "nobody else writes this store: the caller's word")
	cmd.MarkFlagsOneRequired("adopt", "rebind", "retry-in-doubt", "accept-rollback")
	cmd.MarkFlagsMutuallyExclusive("adopt", "rebind", "retry-in-doubt", "accept-rollback")
	return cmd
}

func (a *app) repair(ctx context.Context, args []string, o repairOptions) error {
	if err := o.client.fill(a.env); err != nil {
		return err
	}
	id, err := grantName(a.env, args, "")
	if err != nil {
		return err
	}
	p, err := o.store.resolve(a)
	if err != nil {
		return err
	}
	if !p.location.Keeps() || a.env.ci() && !p.named {
		return usagef("repair needs the store that holds the grant").hint("name it with --store")
	}
	if err := p.checkSealing(a.env); err != nil {
		return err
	}
	var t target
	if !o.adopt && !o.rebind && !o.retryInDoubt && !o.acceptRollback { // one was given as false
		return usagef("repair needs one of --adopt, --rebind, --retry-in-doubt, --accept-rollback")
	}
	if o.adopt || o.rebind {
		if t, err = a.target(o.client, a.timing(p)); err == nil {
			t, err = a.discovered(ctx, t)
		}
		if err != nil {
			return because(ctx, err)
		}
	} else if err := p.missing(); err != nil && !o.acceptRollback { // a store may be lost as a whole
		return err
	}
	t.refresher = nil // no repair presents a token
	s, err := a.connect(id, p, t, o.singleWriter)
	if err != nil {
		return err
	}
	if err := a.checkGeneration(ctx, s, o.generation); err != nil {
		return err
	}
	switch err := a.doRepair(ctx, s, o); {
	case errors.Is(err, engine.ErrKnownToken):
		return usagef("grant %s: %v: it was adopted before, or is spent", id, err).hint("sign in again, and adopt the new refresh token")
	case err != nil:
		return because(ctx, fmt.Errorf("grant %s: %w", id, err))
	}
	return nil
}

func (a *app) doRepair(ctx context.Context, s *session, o repairOptions) error {
	done := ""
	var err error
	switch {
	case o.adopt:
		var seed grant.Secret
		var warning string
		if name := a.env.unset(o.fromEnv); name != "" && variable("--from-env", name) == nil {
			return usagef("--from-env: %s", notSet(name))
		}
		if seed, warning, err = a.seed(o.fromEnv, s.provider.refreshEnv, s.place.location); err != nil {
			return err
		}
		a.warn(nonEmpty(warning))
		done, err = "a new consent starts from the refresh token given", s.engine.Adopt(ctx, s.id, seed)
	case o.rebind:
		done, err = "bound to "+s.provider.bind.TokenURL, s.engine.Rebind(ctx, s.id)
	case o.retryInDoubt:
		done, err = "the next refresh presents the token of unknown fate at once", s.engine.RetryInDoubt(ctx, s.id)
	case o.acceptRollback:
		done, err = "the store is accepted as it is", acceptRollback(ctx, s)
	}
	if err != nil {
		return err
	}
	a.console.notef("%s: %s", s.id, done)
	return nil
}

// acceptRollback is for a store that has lost a record or an end of one. Where
// neither store nor machine knows the grant, its name is mistyped.
func acceptRollback(ctx context.Context, s *session) error {
	if _, _, err := s.store.Load(ctx, s.id); errors.Is(err, grant.ErrNotFound) {
		known, merr := s.place.marks.Mark(ctx, s.id)
		if merr == nil && known == (grant.Mark{}) {
			return fmt.Errorf("%w, and this machine remembers none", grant.ErrNotFound)
		}
	}
	return s.engine.AcceptRollback(ctx, s.id)
}

// checkGeneration holds a repair to the record it was meant for.
func (a *app) checkGeneration(ctx context.Context, s *session, want uint64) error {
	if want == 0 && !a.env.ci() {
		return nil
	}
	if want == 0 {
		return usagef("in CI a repair needs --generation, the generation it is meant for: a job that runs again must not repeat it").
			hint("evergrant status GRANT shows it")
	}
	c, _, err := s.store.Load(ctx, s.id)
	switch {
	case errors.Is(err, grant.ErrNotFound), errors.Is(err, grant.ErrUnreadable):
		return fmt.Errorf("grant %s: %w", s.id, err)
	case err != nil:
		return fmt.Errorf("grant %s: %w: %w", s.id, engine.ErrStore, err)
	case c.Generation != want:
		return usagef("grant %s has generation %d and the repair is meant for %d; nothing was changed", s.id, c.Generation, want)
	}
	return nil
}
