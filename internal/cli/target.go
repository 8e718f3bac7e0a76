package cli

import (
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
	discovery   *discovery      // with --issuer; bind lacks the token URL until settle

	refreshEnv, accessEnv string   // the preset's variables; "": none
	fixed                 bool     // a consent ends when it ends, however often it is used
	shadows               []string // variables that the provider's programs prefer
}

// target resolves preset, flags and secrets to one token endpoint and one
// client. It sends nothing: with --issuer, settle says when the issuer is asked.
func (a *app) target(o clientOptions, t engine.Timing) (target, error) {
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
	secret, err := a.secretOf("--client-secret", o.secretEnv, o.secretFile)
	if err != nil {
		return target{}, err
	}
	key, err := a.signingKey(o)
	if err != nil {
		return target{}, err
	}
	behaviour := preset.Behaviour()
	resolve := func(tokenURL string) (provider.Endpoint, *oauth.Client, error) {
		if tokenURL != "" {
			if err := oauth.ValidateTokenURL(tokenURL); err != nil {
				return provider.Endpoint{}, nil, usagef("%v", err)
			}
		}
		e, err := preset.Resolve(provider.Settings{
			TokenURL: tokenURL, ClientID: o.clientID, Auth: o.auth, HasSecret: !secret.IsZero(), HasKey: key != nil,
			Body: o.body, Scope: o.scope, Params: params,
		})
		if err != nil {
			return e, nil, usagef("%v", err)
		}
		client, err := a.client(e, secret, key, t, behaviour)
		return e, client, err
	}
	found := target{
		preset: named(preset, o), title: titleOf(preset, o), behaviour: behaviour,
		refreshEnv: preset.Env.Refresh, accessEnv: preset.Env.Access, shadows: preset.Env.ShadowedBy,
		fixed: preset.Lifetimes.Absolute != 0 && preset.Lifetimes.Idle == 0,
	}
	if o.issuer != "" {
		found.discovery = &discovery{client: func(tokenURL string) (grant.Refresher, error) {
			_, client, err := resolve(tokenURL)
			return client, err
		}}
		if found.discovery.find, err = a.discoverer(o.issuer, t); err != nil {
			return target{}, err
		}
	}
	// Every setting is checked now. The issuer stands in for the endpoint that it
	// is going to name.
	endpoint, client, err := resolve(or(o.tokenURL, o.issuer))
	if err != nil {
		return target{}, err
	}
	found.name, found.bind, found.refresher = endpoint.Provider, endpoint.Bind(), client
	if found.discovery != nil {
		found.bind.TokenURL, found.refresher = "", nil
	}
	return found, nil
}

// or returns the first of two texts that says something.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
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
	body, err := oauth.ParseBody(e.Body)
	if err != nil {
		return nil, usagef("--body: %v", err)
	}
	cfg := oauth.Config{
		TokenURL: e.TokenURL, ClientID: e.ClientID, Auth: auth, Secret: secret, Key: key, Body: body, Scope: e.Scope, ScopeSeparator: e.ScopeSeparator,
		Params: e.Params, Headers: e.Headers, Codes: e.Codes, Statuses: e.Statuses,
		ConnectTimeout: t.Connect, RequestTimeout: engine.RequestTimeout(b, t), UserAgent: userAgent, Now: a.now,
	}
	client, err := oauth.New(cfg)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return client, nil
}

// signingKey reads the private key of private_key_jwt; nil when none is given.
func (a *app) signingKey(o clientOptions) (*oauth.SigningKey, error) {
	text, err := a.secretOf("--client-key", o.keyEnv, o.keyFile)
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
