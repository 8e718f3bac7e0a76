package cli

import (
	"context"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/importer"
	"evergrant/internal/provider"
)

// otherServer says which setting names another server than the preset, whose pages
// for signing in and out do not count then; "": none does.
func (a *app) otherServer(o clientOptions) string {
	if o.provider == "" || o.tokenURL == "" {
		return ""
	}
	p, err := lookup(o.provider)
	if err != nil || p.SignIn.AuthorizeURL+p.SignIn.DeviceURL+p.SignIn.RevokeURL == "" {
		return ""
	}
	params, err := o.parameters()
	if err != nil {
		return ""
	}
	if w, err := p.Ways(provider.Settings{TokenURL: o.tokenURL, Params: params}); err != nil || w.AuthorizeURL+w.DeviceURL+w.RevokeURL != "" {
		return ""
	}
	name := "--token-url"
	if a.env.get("EVERGRANT_TOKEN_URL") == o.tokenURL {
		name = "EVERGRANT_TOKEN_URL"
	}
	return name + " names another server than the preset " + p.Name
}

// recordTells adds to a mistake of a call that says nothing of the provider what the
// grant's record says: settings are not taken from there, because whoever can write
// a store must not say where tokens are sent.
func (a *app) recordTells(err error, args []string, o clientOptions, p place) error {
	if o.provider != "" || o.tokenURL != "" || o.issuer != "" || !p.location.Keeps() || !p.location.Present() {
		return err
	}
	id, wrong := grantName(a.env, args, "")
	if wrong != nil {
		return err
	}
	st, wrong := p.open()
	if wrong != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, wrong := st.Load(ctx, id)
	if wrong != nil {
		return err
	}
	return usagef("%v", err).hint("the record of " + string(id) + " says: " + strings.Join(settingsOf(c), " "))
}

// settingsOf are the flags that say where a record's tokens belong.
func settingsOf(c grant.Credential) (words []string) {
	p, err := provider.Lookup(c.Provider)
	if err == nil {
		words = append(words, "--provider", p.Name)
	}
	if err != nil || p.TokenURL != c.Bind.TokenURL {
		words = append(words, "--token-url", shellWord(c.Bind.TokenURL))
	}
	if c.Bind.ClientID != "" && (err != nil || p.Client.ID != c.Bind.ClientID) {
		words = append(words, "--client-id", shellWord(c.Bind.ClientID))
	}
	return words
}

// leftOver refuses variables that would bind a login to another place than the one
// that its source says: they are likely to be left over from something else, such as
// a trial. A flag is meant.
func (a *app) leftOver(f *importer.Found, given, o clientOptions) error {
	if f.Provider == "" {
		return nil
	}
	p, err := provider.Lookup(f.Provider)
	if err != nil {
		return nil
	}
	own, err := p.Resolve(provider.Settings{TokenURL: f.TokenURL, ClientID: f.ClientID, HasSecret: p.Client.Secret == provider.SecretRequired})
	var names []string
	for _, v := range []struct{ name, flag, value, own string }{
		{"EVERGRANT_PROVIDER", given.provider, o.provider, p.Name},
		{"EVERGRANT_TOKEN_URL", given.tokenURL, o.tokenURL, own.TokenURL},
		{"EVERGRANT_CLIENT_ID", given.clientID, o.clientID, own.ClientID},
	} {
		if v.flag == "" && v.value != "" && (err == nil || v.name == "EVERGRANT_PROVIDER") && v.value != v.own {
			names = append(names, v.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	verb := " says"
	if len(names) > 1 {
		verb = " say"
	}
	return usagef("the login in %s is one of %s, and %s%s otherwise", f.From, p.Name, strings.Join(names, ", "), verb).
		hint("if they are left over from something else: unset "+strings.Join(names, " "), "if they are meant, say so by flags: --provider, --token-url, --client-id")
}
