package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
)

type logoutOptions struct {
	client       clientOptions
	store        storeOptions
	singleWriter bool
	revokeURL    string
	keepRemote   bool
	wait         time.Duration
	timeout      time.Duration
	json         bool
}

func (a *app) logoutCommand() *cobra.Command {
	var o logoutOptions
	cmd := &cobra.Command{
		Use:   "logout [GRANT]",
		Short: "end a grant: revoke its refresh token, and retire its record",
		Long: "Has the provider revoke the refresh token (RFC 7009), where an endpoint for it is known, and retires the record:\n" +
			"nothing refreshes it any more, and its tokens are removed. No refresh runs meanwhile. Where nobody knows whether the\n" +
			"token was revoked, the record is retired all the same, and another logout asks again.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.logout(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	registerConfig(f)
	o.client.register(f)
	o.store.register(f)
	f.StringVar(&o.revokeURL, "revoke-url", "", "`URL` of the revocation endpoint; overrides preset and issuer")
	f.BoolVar(&o.keepRemote, "keep-remote", false, "retire the record and ask the provider nothing: the token stays good wherever else it is")
	f.BoolVar(&o.singleWriter, "single-writer", false, "nobody else writes this store: the caller's word")
	f.DurationVar(&o.wait, "wait", 3*time.Minute, "how long to wait for another holder")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "bound on the whole call; a save in progress is finished first")
	f.BoolVar(&o.json, "json", false, "a report on standard output; never a token")
	cmd.MarkFlagsMutuallyExclusive("revoke-url", "keep-remote")
	return cmd
}

// logoutReport is the JSON report of logout.
type logoutReport struct {
	Grant    grant.ID `json:"grant"`
	Action   string   `json:"action"`  // logged_out, or none: it was already
	Revoked  string   `json:"revoked"` // at the provider: yes, no or unknown
	State    string   `json:"state"`
	Warnings []string `json:"warnings"`
	Store    string   `json:"store"`
}

func (a *app) logout(parent context.Context, args []string, o logoutOptions) error {
	ctx, cancel := within(parent, o.timeout)
	defer cancel()
	id, p, err := a.planLogout(args, &o)
	if err != nil {
		return err
	}
	t, revokeURL := target{}, ""
	if !o.keepRemote {
		if t, revokeURL, err = a.revoker(ctx, p, o); err != nil {
			return because(ctx, err)
		}
	}
	client, _ := t.refresher.(*oauth.Client)
	t.refresher = nil
	s, err := a.connect(id, p, t, o.singleWriter)
	if err != nil {
		return err
	}
	var revoke func(context.Context, grant.Secret) (engine.Revocation, error)
	if revokeURL != "" && client != nil {
		revoke = func(ctx context.Context, token grant.Secret) (engine.Revocation, error) {
			return a.revoke(client.Revoke(ctx, revokeURL, token))
		}
	}
	out, err := s.engine.Retire(ctx, id, engine.Request{Wait: o.wait}, revoke)
	for _, w := range out.Warnings {
		a.warn([]string{inWords(w)})
	}
	if err != nil {
		return because(ctx, fmt.Errorf("grant %s: %w", id, err))
	}
	why := a.otherServer(o.client)
	if why != "" {
		why += ": "
	}
	a.warn(remains(out, o.keepRemote, revoke != nil, why))
	r := logoutReport{Grant: id, Action: "logged_out", Revoked: out.Revocation.String(), State: grant.Retired.String(), Warnings: emptyNotNull(a.warned), Store: p.location.String()}
	if out.Before && out.Revocation == engine.NotRevoked {
		r.Action = "none"
	}
	if o.json {
		a.reported = true
		return printJSON(a.stdout, r)
	}
	a.console.notef("%s: %s", id, map[string]string{"none": "was logged out already"}[r.Action]+map[string]string{
		"logged_out": "logged out; revoked at the provider: " + r.Revoked}[r.Action])
	return nil
}

func (a *app) planLogout(args []string, o *logoutOptions) (grant.ID, place, error) {
	if o.wait < 0 || o.timeout < 0 {
		return "", place{}, usagef("--wait and --timeout cannot be negative")
	}
	if err := o.client.fill(a.env); err != nil {
		return "", place{}, err
	}
	p, err := o.store.resolve(a)
	if err != nil {
		return "", p, err
	}
	if !p.location.Keeps() || a.env.ci() && !p.named {
		return "", p, usagef("logout needs the store that holds the grant").hint("name it with --store")
	}
	if err := p.checkSealing(a.env); err != nil {
		return "", p, err
	}
	if err := p.missing(); err != nil {
		return "", p, err
	}
	preset := ""
	if o.client.provider != "" {
		found, err := lookup(o.client.provider)
		if err != nil {
			return "", p, err
		}
		preset = found.Name
	}
	a.grant, err = grantName(a.env, args, preset)
	return a.grant, p, err
}

// revoker finds the revocation endpoint, and the client that may ask it.
func (a *app) revoker(ctx context.Context, p place, o logoutOptions) (target, string, error) {
	preset := provider.Custom()
	if o.client.provider != "" {
		var err error
		if preset, err = lookup(o.client.provider); err != nil {
			return target{}, "", err
		}
	}
	params, err := o.client.parameters()
	if err != nil {
		return target{}, "", err
	}
	address := ""
	if o.client.issuer != "" {
		m, err := a.askIssuer(ctx, o.client.issuer, loginPlan{place: p})
		if err != nil {
			return target{}, "", err
		}
		o.client.tokenURL, o.client.issuer, address = m.TokenEndpoint, "", m.RevocationEndpoint
	}
	ways, err := preset.Ways(provider.Settings{TokenURL: o.client.tokenURL, Params: params})
	if err != nil {
		return target{}, "", usagef("%v", err)
	}
	address = or(o.revokeURL, or(address, ways.RevokeURL))
	if address != "" {
		if err := oauth.ValidateEndpoint(address); err != nil {
			return target{}, "", usagef("the revocation endpoint %v", err)
		}
	}
	t, err := a.target(o.client, a.timing(p))
	var usage *usageError
	if errors.As(err, &usage) {
		err = usage.hint("or retire the record alone: --keep-remote")
	}
	return t, address, err
}

// revoke maps the client's answer. An error says that the token lives on for
// certain, so that the grant may as well.
func (a *app) revoke(err error) (engine.Revocation, error) {
	failed := (*oauth.StepError)(nil)
	switch {
	case err == nil:
		return engine.Revoked, nil
	case errors.As(err, &failed) && failed.Fate == grant.InDoubt:
		a.warn([]string{failed.Error()})
		return engine.RevokedPerhaps, nil
	case errors.As(err, &failed):
		code := exitUnreachable
		if failed.Fate != grant.Unspent {
			code = exitRequestError
		}
		return 0, &codedError{code: code, err: fmt.Errorf("%w; nothing was changed", err), hint: "try again, or retire the record alone: --keep-remote"}
	}
	return 0, err
}

// remains says what a person may still have to do at the provider.
func remains(out engine.Retirement, keep, asked bool, why string) []string {
	switch {
	case out.Revocation == engine.RevokedPerhaps:
		return []string{"whether the provider revoked the token is unknown; call logout again to ask once more, or end the access at the provider's own page"}
	case keep || asked || out.Before:
		return nil
	}
	return []string{why + "no revocation endpoint is known, so the provider still takes the token until it ends: end the access at the provider's own page, or name the endpoint with --revoke-url or --issuer"}
}
