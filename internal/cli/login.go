package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/login"
	"evergrant/internal/oauth"
)

type loginOptions struct {
	client       clientOptions
	store        storeOptions
	singleWriter bool

	authorizeURL, deviceURL, redirectURI string
	port                                 uint16
	paste, device, noBrowser             bool
	replace                              bool
	timeout                              time.Duration
	json                                 bool
}

func (a *app) loginCommand() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login [GRANT]",
		Short: "sign in at a provider, and make a grant of it",
		Long: "Signs a person in and makes a grant of the consent. Without a flag it takes the way that works where it is\n" +
			"called, and says which: the system's browser, answered on a port of this machine; where no browser is in sight\n" +
			"(SSH, no display) a code that is entered on another device, or an answer that is pasted.\n\n" +
			"The refresh token goes into the store and nowhere else. Whose account it is, is shown as far as the provider tells.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.login(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	registerConfig(f)
	o.client.register(f)
	f.Lookup("scope").Usage = "`SCOPE` to ask for, in place of the preset's (default \"openid offline_access\" where an issuer knows them)"
	f.Lookup("param").Usage = "extra parameter of the authorization request, or preset setting, `NAME=VALUE`; repeatable"
	o.store.register(f)
	o.registerWays(f)
	f.BoolVar(&o.replace, "replace", false, "sign in over a grant that lives, whosever account it is and wherever it belongs")
	f.BoolVar(&o.singleWriter, "single-writer", false, "nobody else writes this store: the caller's word")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "bound on the whole call; a save in progress is finished first")
	f.BoolVar(&o.json, "json", false, "a report on standard output; never a token")
	cmd.MarkFlagsMutuallyExclusive("paste", "device")
	cmd.MarkFlagsMutuallyExclusive("device", "no-browser")
	cmd.MarkFlagsMutuallyExclusive("device", "port")
	cmd.MarkFlagsMutuallyExclusive("device", "redirect-uri")
	return cmd
}

func (o *loginOptions) registerWays(f *pflag.FlagSet) {
	f.StringVar(&o.authorizeURL, "authorize-url", "", "`URL` of the authorization endpoint; overrides preset and issuer")
	f.StringVar(&o.deviceURL, "device-url", "", "`URL` of the device authorization endpoint; overrides preset and issuer")
	f.StringVar(&o.redirectURI, "redirect-uri", "", "redirect `URI` as it is registered with the client (default http://127.0.0.1:PORT/callback); an https one means --paste")
	f.Uint16Var(&o.port, "port", 0, "`PORT` of this machine that the browser comes back to (default a free one, or 8917 where it must be registered)")
	f.BoolVar(&o.paste, "paste", false, "no port: the answer that the browser shows is pasted into the terminal")
	f.BoolVar(&o.device, "device", false, "enter a code on another device (RFC 8628)")
	f.BoolVar(&o.noBrowser, "no-browser", false, "open no browser: print the address alone")
}

// login signs a person in. What could keep the result from being saved is found
// out before, so that nobody has to sign in twice.
func (a *app) login(parent context.Context, args []string, o loginOptions) error {
	ctx, cancel := within(parent, o.timeout)
	defer cancel()
	l, err := a.planLogin(ctx, args, o)
	if err != nil {
		return because(ctx, err)
	}
	s, err := a.connect(l.id, l.place, l.target, o.singleWriter)
	if err != nil {
		return err
	}
	arrival, err := s.engine.Expect(ctx, l.id, o.replace)
	if errors.Is(err, engine.ErrLiving) {
		return usagef("grant %s: %v", l.id, err).hint("name another grant, or start a new consent over this one: --replace")
	}
	if err != nil {
		return because(ctx, fmt.Errorf("grant %s: %w", l.id, err))
	}
	issued, finish, err := a.consent(ctx, l, arrival)
	if err != nil {
		finish(failedPage(err))
		return because(ctx, signInError(err))
	}
	r, err := a.keep(ctx, s, l, arrival, issued)
	if unsaved := (*unsavedError)(nil); err != nil && !errors.As(err, &unsaved) {
		finish(failedPage(err))
		return err
	}
	finish(login.Ending{OK: true, Title: "Signed in", Say: fmt.Sprintf("The grant %s is yours to use. You can close this page and go back to the terminal.", l.id)})
	return a.tellLogin(r, err, o)
}

// keep makes the sign-in durable, and says whose it is. It has a report with a nil
// error, and with an *unsavedError.
func (a *app) keep(ctx context.Context, s *session, l loginPlan, arrival *engine.Arrival, issued oauth.Issued) (loginReport, error) {
	if issued.Tokens.Refresh.IsZero() {
		return loginReport{}, &codedError{code: exitRequestError, hint: hintNoRefresh,
			err: fmt.Errorf("grant %s: the sign-in yielded no refresh token, so there is nothing to keep alive; nothing was saved", l.id)}
	}
	who := a.identify(ctx, l, issued)
	done, err := arrival.Save(ctx, engine.SignIn{Tokens: issued.Tokens, Account: who.Account, Note: "signed in by " + l.way.String()})
	for _, w := range arrival.Warnings() {
		a.warn([]string{inWords(w)})
	}
	unsaved := (*engine.UnsavedError)(nil)
	switch {
	case errors.As(err, &unsaved):
		err = &unsavedError{fmt.Errorf("grant %s: signed in, but not saved in the store: %w", l.id, unsaved.Err), s.kept}
	case errors.Is(err, engine.ErrOtherAccount):
		return loginReport{}, &codedError{code: exitPerson, err: fmt.Errorf("grant %s: %w; nothing was changed", l.id, err),
			hint: "sign out in the browser and sign in as that account, name another grant, or say that the account changes: --replace"}
	case err != nil:
		return loginReport{}, fmt.Errorf("grant %s: %w", l.id, err)
	}
	return newLoginReport(s, l, issued, who, done, a.now()), err
}

const hintNoRefresh = "ask for offline access, as the provider calls it: --scope 'openid offline_access', or a --param such as access_type=offline; or let the client have the refresh token grant"

// identify says whose consent it is. The userinfo endpoint is asked only for what
// the token answer left open, and not for long: the tokens are not saved yet.
func (a *app) identify(ctx context.Context, l loginPlan, issued oauth.Issued) oauth.Identity {
	who := issued.Identity
	if who.Mismatch {
		a.warn([]string{"the ID token names another issuer or client, so whose account it is was not taken from it"})
	}
	if l.userinfoURL == "" || issued.Tokens.Access.Value.IsZero() || who.Account.ID != "" && who.Account.Name != "" {
		return who
	}
	ctx, cancel := context.WithTimeout(ctx, maxUserinfo/time.Duration(a.speedUp))
	defer cancel()
	more, err := l.client.Userinfo(ctx, l.userinfoURL, issued.Tokens.Access.Value)
	switch {
	case err != nil:
		a.logger().Debug("whose account it is could not be asked", "cause", err)
		return who
	case who.Account.ID != "" && more.Account.ID != who.Account.ID: // OpenID Connect Core §5.3.2
		a.warn([]string{"the userinfo endpoint speaks of another account than the ID token, and was not listened to"})
		return who
	case who.From == "":
		who.From = more.From
	}
	return oauth.Identity{Account: grant.Account{ID: more.Account.ID, Name: or(who.Account.Name, more.Account.Name)}, From: who.From}
}

// maxUserinfo bounds the question whose account it is.
const maxUserinfo = 5 * time.Second
