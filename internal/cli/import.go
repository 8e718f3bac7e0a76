package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/config"
	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/importer"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
)

type importOptions struct {
	client       clientOptions
	store        storeOptions
	singleWriter bool
	from         string
	takeOver     bool
	replace      bool
	json         bool
}

func (a *app) importCommand() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import SOURCE [GRANT]",
		Short: "take a login over from the program or the file that has it",
		Long: "Makes a grant of a login that another program or a file has, and spends nothing: an access token that\n" +
			"still lives is served. The source is only read. Sources: " + importer.Sources + ".\n\n" +
			"Where a refresh token works once, two who use one login end it: --take-over says that the other program stops.",
		Args:        cobra.RangeArgs(1, 2),
		Annotations: map[string]string{configuresItself: ""}, // the source may say which grant it is
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.readOwn(cmd.Flags()); err != nil {
				return err
			}
			return a.importLogin(cmd.Context(), cmd.Flags(), args, &o)
		},
	}
	f := cmd.Flags()
	registerConfig(f)
	f.StringVar(&o.from, "from", "", "file `PATH` to read instead of the source's own")
	f.BoolVar(&o.takeOver, "take-over", false, "the program that has the login stops using it: the caller's word")
	f.BoolVar(&o.replace, "replace", false, "start a new consent over a grant that is alive")
	f.StringVar(&o.client.provider, "provider", "", "`PRESET` that describes the provider (EVERGRANT_PROVIDER), where the source does not say")
	f.StringVar(&o.client.tokenURL, "token-url", "", "`URL` of the token endpoint; overrides source and preset (EVERGRANT_TOKEN_URL, where the source does not say)")
	f.StringVar(&o.client.clientID, "client-id", "", "client `ID` that the login belongs to (EVERGRANT_CLIENT_ID), where the source does not say")
	f.StringArrayVar(&o.client.params, "param", nil, "setting of the preset, `NAME=VALUE`; repeatable")
	o.store.register(f)
	f.BoolVar(&o.singleWriter, "single-writer", false, "nobody else writes this store: the caller's word")
	f.BoolVar(&o.json, "json", false, "a report on standard output; never a token")
	return cmd
}

// importing is a checked import: the source was read, and nothing was written.
type importing struct {
	source importer.Source
	found  *importer.Found
	preset provider.Preset
	target target
	id     grant.ID
	place  place
	warned []string
	next   string // the command that uses the grant
	// configured is what the configuration says of the grant, and inFile are the flags that
	// were filled from there; empty without it.
	configured config.Grant
	inFile     []string
}

func (a *app) importLogin(ctx context.Context, flags *pflag.FlagSet, args []string, o *importOptions) error {
	i, err := a.planImport(ctx, flags, args, o)
	if err != nil {
		return because(ctx, err)
	}
	s, err := a.connect(i.id, i.place, i.target, o.singleWriter)
	if err != nil {
		return err
	}
	done, err := s.engine.Import(ctx, i.id, i.found.Tokens, o.replace, "imported from "+i.source.Kind())
	switch {
	case errors.Is(err, engine.ErrLiving):
		return usagef("grant %s: %v", i.id, err).
			hint("name another grant, or start a new consent over this one: --replace")
	case errors.Is(err, engine.ErrKnownToken):
		return usagef("grant %s: %v: it was imported before, or is spent", i.id, err).
			hint("sign in again and import the new login")
	case err != nil:
		return because(ctx, fmt.Errorf("grant %s: %w", i.id, err))
	}
	a.warn(i.warned)
	r := newImportReport(s, i, done, a.now())
	if o.json {
		r.Warnings = emptyNotNull(a.warned)
		a.reported = true
		return printJSON(a.stdout, r)
	}
	a.console.notef("%s", r.line())
	a.console.notef("next: %s", r.Next)
	return nil
}

// planImport reads the source and resolves every option. It writes nothing.
func (a *app) planImport(ctx context.Context, flags *pflag.FlagSet, args []string, o *importOptions) (_ *importing, err error) {
	i := &importing{}
	if i.source, err = importer.Parse(args[0]); err != nil {
		return i, usagef("%v", err)
	}
	// Which grant it is may be for the source to say. To read it spends nothing.
	asks := len(args) == 1 && a.env.get("EVERGRANT_GRANT") == "" && len(a.config.Grants) > 0
	if asks {
		if err = a.readSource(ctx, i, o.from); err != nil {
			return i, err
		}
	}
	if err = a.configureImport(i, flags, args[1:], o); err != nil {
		return i, err
	}
	given := o.client
	if err := o.client.fill(a.env); err != nil {
		return i, err
	}
	if i.place, err = o.store.resolve(a); err != nil {
		return i, err
	}
	if !i.place.location.Keeps() || a.env.ci() && !i.place.named {
		return i, usagef("import needs a store that keeps the grant").hint("name it with --store")
	}
	if err := i.place.checkSealing(a.env); err != nil {
		return i, err
	}
	if !asks {
		if err = a.readSource(ctx, i, o.from); err != nil {
			return i, err
		}
	}
	if err = a.leftOver(i.found, given, o.client); err != nil {
		return i, err
	}
	if err = i.resolve(&o.client); err != nil {
		return i, err
	}
	if i.id == "" {
		if i.id, err = grantName(a.env, args[1:], i.target.preset); err != nil {
			return i, err
		}
	}
	a.grant = i.id
	if err := i.mayTakeOver(o.takeOver); err != nil {
		return i, err
	}
	i.found.Settle(i.target.behaviour.Life, a.now())
	if end := i.found.Tokens.RefreshExpiry; !end.IsZero() && !end.After(a.now()) {
		return i, &codedError{code: exitPerson, err: fmt.Errorf("the login in %s ended at %s", i.found.From, stamp(end)),
			hint: "sign in again there, and import the new login"}
	}
	i.warned, i.next = i.warnings(a.now()), i.useOf(flags, o)
	return i, nil
}

func (a *app) readSource(ctx context.Context, i *importing, from string) (err error) {
	i.found, err = i.source.Read(ctx, from, importer.Machine{OS: runtime.GOOS, Getenv: a.env.get})
	switch {
	case errors.Is(err, importer.ErrBusy):
		return &codedError{code: exitLeased, err: err, hint: "try again in a few seconds"}
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return usagef("%v", err)
	}
	return nil
}

// resolve says which provider and which client a found login belongs to: the
// source's word, else the user's, else the preset's. What source and user say
// must not differ, because a token that is sent elsewhere is given away.
func (i *importing) resolve(o *clientOptions) error {
	f := i.found
	preset, err := ownerPreset(f, o)
	if err != nil {
		return err
	}
	params, err := o.parameters()
	if err != nil {
		return err
	}
	switch {
	case f.Tool == "rclone" && or(f.ClientID, o.clientID) == "":
		return usagef("the remote has no client_id of its own, so its login belongs to rclone's built-in client, for which only rclone may act").
			hint("make a client of your own at the provider, put it into the remote with rclone config, and sign in again: rclone config reconnect REMOTE:")
	case f.ClientID != "" && o.clientID != "" && f.ClientID != o.clientID:
		return usagef("the source says that its login belongs to client %s, and --client-id, EVERGRANT_CLIENT_ID or the configuration names another", f.ClientID)
	}
	tokenURL := or(o.tokenURL, f.TokenURL)
	if tokenURL != "" {
		if err := oauth.ValidateTokenURL(tokenURL); err != nil {
			return usagef("%v", err)
		}
	}
	e, err := preset.Resolve(provider.Settings{
		TokenURL: tokenURL, ClientID: or(o.clientID, f.ClientID), Params: params,
		HasSecret: preset.Client.Secret == provider.SecretRequired, // when it is sent; nothing is now
	})
	if err != nil {
		return usagef("%v", err)
	}
	i.preset = preset
	i.target = target{name: e.Provider, behaviour: preset.Behaviour(), bind: e.Bind()}
	if preset.Name != provider.Custom().Name {
		i.target.preset = preset.Name
	}
	return nil
}

func ownerPreset(f *importer.Found, o *clientOptions) (provider.Preset, error) {
	switch {
	case o.provider == "" && f.Provider == "":
		return provider.Custom(), nil
	case o.provider == "":
		p, err := provider.Lookup(f.Provider)
		if err != nil && o.tokenURL != "" {
			return provider.Custom(), nil
		}
		if err != nil {
			return p, usagef("the login belongs to %s, of which there is no preset", f.Provider).
				hint("name its token endpoint with --token-url, or a preset in a file with --provider")
		}
		return p, nil
	}
	p, err := lookup(o.provider)
	if err == nil && f.Provider != "" && p.Name != f.Provider {
		err = usagef("the login in %s belongs to the preset %s, and --provider, EVERGRANT_PROVIDER or the configuration names %s", f.From, f.Provider, p.Name)
	}
	return p, err
}

// contested reports a login that two programs cannot share.
func (i *importing) contested() bool {
	b := i.target.behaviour
	return i.found.Tool != "" && b.Rotates && b.Reuse != grant.ReuseSafe
}

// mayTakeOver says what taking over means, unless the caller knows.
func (i *importing) mayTakeOver(told bool) error {
	if told || !i.contested() {
		return nil
	}
	err := usagef("%s goes on using the login in %s, and its refresh token works once: of the two, whoever renews second loses the login, and the provider may end it for both",
		i.found.Tool, i.found.From)
	if len(i.found.Better) > 0 {
		err = err.hint("better, a login of its own that nobody else uses: " + i.found.Better[0])
		for _, command := range i.found.Better[1:] {
			err = err.hint("and then: " + command)
		}
	}
	if i.preset.Terms.SharedUse == provider.SharedOwnAccount {
		err = err.hint("what the provider has for automation comes before both: evergrant providers " + i.preset.Name)
	}
	return err.hint("or take this one over, and let " + i.found.Tool + " use it no more: --take-over")
}

// warnings are what a person should know of a login that is taken over.
func (i *importing) warnings(now time.Time) []string {
	w := i.found.Warnings
	if i.contested() {
		text := i.found.Tool + " still has the old refresh token, and would spend it: let it use this login no more"
		if i.found.Away != "" {
			text += "; to take it away: " + i.found.Away
		}
		w = append(w, text)
	}
	if i.source.IsFile() {
		w = append(w, "nothing else may present this refresh token from now on; remove "+i.found.From+" once the grant is in use")
	}
	if i.found.SecretAt != "" {
		w = append(w, "the client's secret is not kept in the record: give it to each refresh, by --client-secret-env VAR or --client-secret-file PATH; it is "+i.found.SecretAt)
	}
	if t := i.preset.Terms; t.SharedUse == provider.SharedOwnAccount {
		w = append(w, fmt.Sprintf("terms of %s, as read on %s: %s (%s)", i.preset.Name, t.Checked, t.Summary, t.URL))
	}
	if end := i.found.Tokens.RefreshExpiry; !end.IsZero() && end.Sub(now) < soon {
		w = append(w, fmt.Sprintf("the consent ends at %s (in %s); sign in again before", stamp(end), span(end.Sub(now))))
	}
	return w
}
