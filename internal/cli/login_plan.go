package cli

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/login"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
)

// loginPlan is a checked sign-in: nobody was asked for a consent yet.
type loginPlan struct {
	id     grant.ID
	place  place
	target target
	client *oauth.Client
	way    way
	why    string // why that way was taken; "": it was asked for, or is the usual one
	opens  bool   // a browser is opened

	asking                 login.Asking // with RedirectURI as it is registered, perhaps without a port
	deviceURL, userinfoURL string
	deviceParams           map[string]string
	registered             bool // only a redirect URI on https will do, and the user names none
}

// way is how the person's answer comes back.
type way uint8

const (
	byBrowser way = iota
	byPaste
	byDevice
)

func (w way) String() string { return [...]string{"browser", "paste", "device"}[w] }

// planLogin resolves every option. It asks the issuer, where one is named, and
// writes nothing.
func (a *app) planLogin(ctx context.Context, args []string, o loginOptions) (l loginPlan, err error) {
	if o.timeout < 0 {
		return l, usagef("--timeout cannot be negative")
	}
	if err := o.client.fill(a.env); err != nil {
		return l, err
	}
	preset := provider.Custom()
	if o.client.provider != "" {
		if preset, err = lookup(o.client.provider); err != nil {
			return l, err
		}
	}
	if tool := preset.SignIn.OwnTool; len(tool) > 0 {
		return l, ownTool(preset)
	}
	if l.place, err = o.store.resolve(a); err != nil {
		return l, err
	}
	if !l.place.location.Keeps() || a.env.ci() && !l.place.named {
		return l, usagef("login needs a store that keeps the grant").hint("name it with --store")
	}
	if err := l.place.checkSealing(a.env); err != nil {
		return l, err
	}
	if l.id, err = grantName(a.env, args, named(preset, o.client)); err != nil {
		return l, err
	}
	a.grant = l.id
	if err := a.planTarget(ctx, &l, preset, &o); err != nil {
		return l, err
	}
	if l.asking.ClientID == "" {
		return l, usagef("a sign-in needs a client: give its id with --client-id").hint("a client is made at the provider, as a native or desktop application")
	}
	return l, a.planWay(&l, o)
}

// ownTool says how to sign in where the provider keeps that to its own program.
func ownTool(p provider.Preset) error {
	err := usagef("%s: signing in is left to the provider's own program, whose login is then imported", p.Title)
	for i, command := range p.SignIn.OwnTool {
		err = err.hint(strings.Repeat("then: ", min(i, 1)) + command)
	}
	return err
}

// planTarget finds the endpoints: the flags' word, else the issuer's, else the
// preset's.
func (a *app) planTarget(ctx context.Context, l *loginPlan, preset provider.Preset, o *loginOptions) error {
	params, err := o.client.parameters()
	if err != nil {
		return err
	}
	settings := provider.Settings{TokenURL: o.client.tokenURL, Params: params}
	found := oauth.Metadata{}
	if o.client.issuer != "" {
		if found, err = a.askIssuer(ctx, o.client.issuer, *l); err != nil {
			return err
		}
		o.client.tokenURL, o.client.issuer, settings.TokenURL = found.TokenEndpoint, "", found.TokenEndpoint
	}
	ways, err := preset.Ways(settings)
	if err != nil {
		return usagef("%v", err)
	}
	// What the user adds is for the question to the person; the token request has
	// what the preset says.
	o.client.params = nil
	asked := maps.Clone(ways.Params)
	if asked == nil {
		asked = map[string]string{}
	}
	l.deviceParams = map[string]string{}
	for name, value := range params {
		if _, setting := preset.Vars[name]; setting {
			o.client.params = append(o.client.params, name+"="+value)
			continue
		}
		if slices.Contains(provider.AuthorizeParams(), name) {
			return usagef("--param %s is refused: it has a flag or a fixed value of its own", name)
		}
		asked[name], l.deviceParams[name] = value, value
	}
	if l.target, err = a.target(o.client, a.timing(l.place)); err != nil {
		return err
	}
	client, ok := l.target.refresher.(*oauth.Client)
	if !ok {
		return errors.New("a sign-in needs a token endpoint")
	}
	l.client, l.userinfoURL = client, found.UserinfoEndpoint
	l.deviceURL = or(o.deviceURL, or(found.DeviceAuthorizationEndpoint, ways.DeviceURL))
	l.asking = login.Asking{
		AuthorizeURL: or(o.authorizeURL, or(found.AuthorizationEndpoint, ways.AuthorizeURL)), ClientID: l.target.bind.ClientID,
		Scope: scopeOf(o.client.scope, ways, found), Params: asked, Issuer: found.Issuer, IssRequired: found.IssParameter,
	}
	if _, given := asked["prompt"]; !given && found.Issuer != "" && slices.Contains(strings.Fields(l.asking.Scope), "offline_access") {
		asked["prompt"] = "consent" // OpenID Connect Core §11 wants it
	}
	l.asking.RedirectURI = redirectOf(*o, ways)
	l.registered = ways.Redirect == provider.RedirectHTTPS && ways.AuthorizeURL != "" && o.redirectURI == ""
	return checkEndpoints(*l, *o)
}

func (a *app) askIssuer(ctx context.Context, issuer string, l loginPlan) (oauth.Metadata, error) {
	if err := oauth.ValidateEndpoint(issuer); err != nil {
		return oauth.Metadata{}, usagef("--issuer %v", err)
	}
	t := a.timing(l.place)
	m, err := oauth.Discover(ctx, issuer, oauth.DiscoverConfig{ConnectTimeout: t.Connect, RequestTimeout: t.Request, UserAgent: userAgent})
	switch {
	case err != nil && ctx.Err() != nil:
		return m, ctx.Err()
	case err != nil:
		return m, &codedError{code: exitUnreachable, err: &discoveryError{err}, hint: "or name the endpoints yourself: --authorize-url or --device-url, and --token-url"}
	case strings.HasPrefix(issuer, "https:"):
		for _, u := range []string{m.AuthorizationEndpoint, m.DeviceAuthorizationEndpoint, m.UserinfoEndpoint} {
			if u != "" && !strings.HasPrefix(u, "https:") {
				return m, &codedError{code: exitUnreachable, err: errors.New("discovery: the issuer is https and names an endpoint that is not")}
			}
		}
	}
	return m, nil
}

// scopeOf is what is asked for: the user's word, the preset's, or what an issuer
// knows of what it takes to get a refresh token.
func scopeOf(given string, ways provider.Ways, m oauth.Metadata) string {
	switch {
	case given != "" || m.Issuer == "":
		return or(given, ways.Scope)
	case ways.Scope != "":
		return ways.Scope
	}
	var known []string
	for _, s := range []string{"openid", "offline_access"} {
		if slices.Contains(m.Scopes, s) {
			known = append(known, s)
		}
	}
	return strings.Join(known, " ")
}

// redirectOf is the redirect URI: as the user registered it, else on this machine.
// It lacks a port where any will do.
func redirectOf(o loginOptions, ways provider.Ways) string {
	uri := or(o.redirectURI, or(ways.RedirectURI, login.DefaultRedirect))
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.Port() != "" {
		return uri
	}
	port := int(o.port)
	if port == 0 && ways.Redirect == provider.RedirectFixed && ways.AuthorizeURL != "" && o.redirectURI == "" {
		port = login.Port
	}
	if port == 0 {
		return uri
	}
	if with, err := login.LoopbackURI(uri, port); err == nil {
		return with
	}
	return uri
}

func checkEndpoints(l loginPlan, o loginOptions) error {
	for _, e := range []struct{ name, url string }{
		{"--authorize-url", o.authorizeURL}, {"--device-url", o.deviceURL}, {"the authorization endpoint", l.asking.AuthorizeURL},
		{"the device endpoint", l.deviceURL},
	} {
		if e.url == "" {
			continue
		}
		if err := oauth.ValidateEndpoint(e.url); err != nil {
			return usagef("%s %v", e.name, err)
		}
	}
	u, err := url.Parse(l.asking.RedirectURI)
	switch {
	case err != nil || u.Host == "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return usagef("--redirect-uri must be https://HOST/PATH, or http://127.0.0.1:PORT/PATH on this machine")
	case u.Scheme == "http" && oauth.ValidateEndpoint(l.asking.RedirectURI) != nil:
		return usagef("--redirect-uri is http and not on this machine: the answer would be readable on its way")
	case o.port != 0 && u.Scheme == "https":
		return usagef("--port is for an answer that comes to this machine, and the redirect URI is https")
	}
	return nil
}

// planWay chooses how the answer comes back: as asked, else as it can work here.
func (a *app) planWay(l *loginPlan, o loginOptions) error {
	seat := login.SeatOf(a.env.get, runtime.GOOS)
	hosted := strings.HasPrefix(l.asking.RedirectURI, "https:")
	elsewhere := "there is no display here"
	if seat.Remote {
		elsewhere = "this is a session by SSH"
	}
	l.opens = seat.Display && !o.noBrowser
	switch {
	case o.device:
		l.way = byDevice
	case o.paste:
		l.way = byPaste
	case l.asking.AuthorizeURL == "" && l.deviceURL != "":
		l.way, l.why = byDevice, "the provider has no other way that is known"
	case hosted:
		l.way, l.why = byPaste, "the client's redirect URI is not on this machine"
	case o.noBrowser || seat.Display:
		l.way = byBrowser
	case l.deviceURL != "":
		l.way, l.why = byDevice, elsewhere
	default:
		l.way, l.why = byPaste, elsewhere
	}
	switch {
	case (l.asking.AuthorizeURL == "" || l.way == byDevice && l.deviceURL == "") && l.asking.Issuer == "" && a.otherServer(o.client) != "":
		return usagef("%s, so the preset's sign-in pages do not count", a.otherServer(o.client)).
			hint("if the provider itself is meant: unset EVERGRANT_TOKEN_URL; else name where that server lets people sign in: --issuer URL, or --authorize-url (or --device-url)")
	case l.way == byDevice && l.deviceURL == "":
		return usagef("the provider has no device endpoint that is known").hint("name it with --device-url, or sign in by --paste")
	case l.way != byDevice && l.asking.AuthorizeURL == "":
		return noEndpoint(*l)
	case l.way != byDevice && l.registered:
		return usagef("%s sends the browser to registered https pages only", l.target.title).
			hint("name the one that is registered with your client: --redirect-uri https://HOST/PATH; its answer is then pasted")
	case l.way == byPaste && !o.paste && !a.terminal():
		return usagef("a person has to paste the answer of the sign-in, and there is no terminal").hint("call it in a terminal, or with --device where the provider knows that")
	case a.env.ci() && !o.device && !o.paste && !o.noBrowser:
		return usagef("a sign-in needs a person, and this is a job of a CI system").hint("sign in on your machine into the store that the job uses")
	}
	return nil
}

func noEndpoint(l loginPlan) error {
	if l.target.preset != "" {
		return usagef("no source tells where %s lets people sign in", l.target.title).
			hint("name it with --authorize-url (or --device-url) from the provider's pages, or sign in there and start the grant with --from-env")
	}
	return usagef("where to sign in is not known").hint("give --issuer, or --authorize-url (or --device-url) with --token-url, or a preset with --provider")
}
