package cli

import (
	"context"
	"fmt"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
)

// target is the provider that a grant lives at, as this call sees it.
type target struct {
	name, title string
	preset      string // its name; "" without one
	behaviour   grant.Behaviour
	bind        grant.Binding
	refresher   grant.Refresher // nil: nothing can be sent

	refreshEnv, accessEnv string   // the preset's variables; "": none
	shadows               []string // variables that the provider's programs prefer
}

// target resolves preset, flags and secrets to one token endpoint and one
// client. With --issuer it asks for the discovery document.
func (a *app) target(ctx context.Context, o clientOptions, t engine.Timing) (target, error) {
	preset := provider.Custom()
	if o.provider != "" {
		var err error
		if preset, err = lookup(o.provider); err != nil {
			return target{}, err
		}
	}
	params, err := o.parameters()
	if err != nil {
		return target{}, err
	}
	secret, err := secretOf(a.env, "--client-secret", o.secretEnv, o.secretFile)
	if err != nil {
		return target{}, err
	}
	key, err := a.signingKey(o)
	if err != nil {
		return target{}, err
	}
	if o.issuer != "" {
		if o.tokenURL, err = a.discover(ctx, o.issuer, t); err != nil {
			return target{}, err
		}
	}
	if o.tokenURL != "" {
		if err := oauth.ValidateTokenURL(o.tokenURL); err != nil {
			return target{}, usagef("token url: %v", err)
		}
	}
	endpoint, err := preset.Resolve(provider.Settings{
		TokenURL: o.tokenURL, ClientID: o.clientID, Auth: o.auth, HasSecret: !secret.IsZero(), HasKey: key != nil,
		Body: o.body, Scope: o.scope, Params: params,
	})
	if err != nil {
		return target{}, usagef("%v", err)
	}
	behaviour := preset.Behaviour()
	client, err := a.client(endpoint, secret, key, t, behaviour)
	if err != nil {
		return target{}, err
	}
	return target{
		preset: named(preset, o),
		name:   endpoint.Provider, title: titleOf(preset, o), behaviour: behaviour, bind: endpoint.Bind(), refresher: client,
		refreshEnv: preset.Env.Refresh, accessEnv: preset.Env.Access, shadows: preset.Env.ShadowedBy,
	}, nil
}

func named(p provider.Preset, o clientOptions) string {
	if o.provider == "" {
		return ""
	}
	return p.Name
}

func titleOf(p provider.Preset, o clientOptions) string {
	if o.provider == "" {
		return "a provider without a preset counts as one that"
	}
	return p.Name
}

func (a *app) client(e provider.Endpoint, secret grant.Secret, key *oauth.SigningKey, t engine.Timing, b grant.Behaviour) (*oauth.Client, error) {
	auth, err := oauth.ParseAuthMethod(e.Auth)
	if err != nil {
		return nil, usagef("--client-auth: %v", err)
	}
	cfg := oauth.Config{
		TokenURL: e.TokenURL, ClientID: e.ClientID, Auth: auth, Secret: secret, Key: key, Scope: e.Scope, ScopeSeparator: e.ScopeSeparator,
		Params: e.Params, Headers: e.Headers, Codes: e.Codes, Statuses: e.Statuses,
		ConnectTimeout: t.Connect, RequestTimeout: engine.RequestTimeout(b, t), UserAgent: userAgent, Now: a.now,
	}
	if e.Body == provider.BodyJSON {
		cfg.Body = oauth.BodyJSON
	}
	client, err := oauth.New(cfg)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return client, nil
}

// signingKey reads the private key of private_key_jwt; nil when none is given.
func (a *app) signingKey(o clientOptions) (*oauth.SigningKey, error) {
	text, err := secretOf(a.env, "--client-key", o.keyEnv, o.keyFile)
	if err != nil {
		return nil, err
	}
	if text.IsZero() {
		if o.keyID != "" {
			return nil, usagef("--client-key-id names a key, and there is none").hint("give --client-key-env or --client-key-file")
		}
		return nil, nil
	}
	key, err := oauth.ParseSigningKey([]byte(text.Reveal()), "", o.keyID)
	if err != nil {
		return nil, usagef("client key: %v", err)
	}
	return key, nil
}

// discover finds the token endpoint of an issuer.
func (a *app) discover(ctx context.Context, issuer string, t engine.Timing) (string, error) {
	if err := oauth.ValidateTokenURL(issuer); err != nil {
		return "", usagef("--issuer: %v", err)
	}
	m, err := oauth.Discover(ctx, issuer, oauth.DiscoverConfig{ConnectTimeout: t.Connect, RequestTimeout: t.Request, UserAgent: userAgent})
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &codedError{code: exitUnreachable, err: fmt.Errorf("finding the token endpoint of the issuer: %w", err),
			hint: "or name it yourself with --token-url"}
	}
	return m.TokenEndpoint, nil
}
