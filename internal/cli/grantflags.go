package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

// clientOptions say which provider is asked, and as which client.
type clientOptions struct {
	provider, tokenURL, issuer  string
	clientID, auth, body, scope string
	secretEnv, secretFile       string
	keyEnv, keyFile, keyID      string
	params                      []string
}

func (o *clientOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.provider, "provider", "", "`PRESET` that describes the provider (EVERGRANT_PROVIDER); see evergrant providers")
	f.StringVar(&o.tokenURL, "token-url", "", "`URL` of the token endpoint (EVERGRANT_TOKEN_URL); overrides the preset")
	f.StringVar(&o.issuer, "issuer", "", "find the token endpoint by discovery at the issuer `URL` (RFC 8414, OpenID)")
	f.StringVar(&o.clientID, "client-id", "", "client `ID` (EVERGRANT_CLIENT_ID); overrides the preset")
	f.StringVar(&o.secretEnv, "client-secret-env", "", "environment variable `VAR` that holds the client secret")
	f.StringVar(&o.secretFile, "client-secret-file", "", "file `PATH` that holds the client secret")
	f.StringVar(&o.auth, "client-auth", "", "`METHOD`: none, client_secret_basic, client_secret_post or private_key_jwt")
	f.StringVar(&o.keyEnv, "client-key-env", "", "environment variable `VAR` that holds the private key of private_key_jwt (PEM or JWK)")
	f.StringVar(&o.keyFile, "client-key-file", "", "file `PATH` that holds the private key of private_key_jwt (PEM or JWK)")
	f.StringVar(&o.keyID, "client-key-id", "", "key id `KID` that the provider knows the private key by")
	f.StringVar(&o.body, "body", "", "`FORM`: form or json (EVERGRANT_BODY): how the token request is written")
	f.StringVar(&o.scope, "scope", "", "`SCOPE` to ask for; most providers want none in a refresh")
	f.StringArrayVar(&o.params, "param", nil, "extra request parameter or preset setting, `NAME=VALUE`; repeatable")
}

// fill takes from the environment what no flag said. A flag wins over every
// variable that speaks of the same thing, as --issuer and EVERGRANT_TOKEN_URL do.
func (o *clientOptions) fill(env environment) error {
	if o.issuer != "" && o.tokenURL != "" {
		return usagef("--issuer finds the token endpoint and --token-url names it: give one of them")
	}
	for _, d := range []struct {
		to   *string
		name string
	}{
		{&o.provider, "EVERGRANT_PROVIDER"}, {&o.tokenURL, "EVERGRANT_TOKEN_URL"},
		{&o.clientID, "EVERGRANT_CLIENT_ID"}, {&o.body, "EVERGRANT_BODY"},
	} {
		if *d.to == "" && (d.name != "EVERGRANT_TOKEN_URL" || o.issuer == "") {
			*d.to = env.get(d.name)
		}
	}
	switch {
	case o.body != "" && o.body != provider.BodyForm && o.body != provider.BodyJSON:
		return usagef("--body is %s; it must be form or json", shown(o.body))
	case o.secretEnv != "" && o.secretFile != "":
		return usagef("--client-secret-env and --client-secret-file exclude each other")
	case o.keyEnv != "" && o.keyFile != "":
		return usagef("--client-key-env and --client-key-file exclude each other")
	}
	return nil
}

// parameters splits the --param flags. Parameters that carry secrets have
// flags of their own, which read them from a safer place.
func (o *clientOptions) parameters() (map[string]string, error) {
	params := map[string]string{}
	for _, p := range o.params {
		name, value, ok := strings.Cut(p, "=")
		switch lower := strings.ToLower(name); {
		case name == "":
			return nil, usagef("--param is written NAME=VALUE")
		case slices.Contains([]string{"grant_type", "client_id", "client_assertion_type", "scope"}, lower):
			return nil, usagef("--param %s is refused: it has a flag or a fixed value of its own", lower)
		case namesSecret(lower):
			return nil, usagef("--param %s is refused: a secret is never given as an argument", shown(name)).
				hint("use --client-secret-env, --client-key-env or --from-env")
		}
		if !ok {
			return nil, usagef("--param %s has no value: it is written NAME=VALUE", shown(name))
		}
		if _, twice := params[name]; twice {
			return nil, usagef("--param %s is given twice", shown(name))
		}
		params[name] = value
	}
	return params, nil
}

// namesSecret reports that a request parameter of that name, in small letters,
// carries a secret.
func namesSecret(name string) bool {
	for _, part := range []string{"secret", "token", "password", "assertion"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return slices.Contains([]string{"code", "code_verifier", "api_key", "apikey"}, name)
}

// secretOf reads a secret from the variable or the file that a pair of flags
// names; the zero Secret when neither is given. A newline at the end is cut,
// because editors and echo add one.
func (a *app) secretOf(flag, variable, path string) (grant.Secret, error) {
	var (
		s   grant.Secret
		err error
	)
	switch {
	case variable != "":
		s, err = a.env.secretVariable(flag+"-env", variable)
		if err == nil && s.IsZero() {
			err = usagef("%s-env: the variable %s is empty", flag, showName(variable)).
				hint("in CI a secret is empty when this run may not see it (a fork, Dependabot), or when its name is misspelt")
		}
	case path != "":
		s, err = a.secretFile(flag+"-file", path)
	}
	if err != nil {
		return grant.Secret{}, err
	}
	return grant.NewSecret(strings.TrimRight(s.Reveal(), "\r\n")), nil
}

// grantName picks the name of the grant: the argument, EVERGRANT_GRANT, the
// preset's name, or "default".
func grantName(env environment, args []string, preset string) (grant.ID, error) {
	name := "default"
	switch {
	case len(args) > 0:
		name = args[0]
	case env.get("EVERGRANT_GRANT") != "":
		name = env.get("EVERGRANT_GRANT")
	case preset != "":
		name = preset
	}
	if opaque(name) || looksLikeToken(name) {
		return "", usagef("the name of the grant looks like a secret; it is refused and not repeated here").
			hint("the refresh token goes into an environment variable: --from-env VAR")
	}
	id, err := grant.ParseID(name)
	if err != nil {
		return "", usagef("%v", err)
	}
	return id, nil
}
