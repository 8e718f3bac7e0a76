package cli

import (
	"evergrant/internal/grant"
	"evergrant/internal/store"
)

// seed reads the refresh token to start from. A variable that is not set counts as one
// that is empty: once there is a record no start is needed, and whoever calls later, as a
// cron job does, has no such variable any more. The variable of a store that is read
// as a snapshot is a start while it holds a bare token, and never its record.
func (a *app) seed(fromEnv, presetEnv string, loc store.Location) (grant.Secret, string, error) {
	if fromEnv != "" && fromEnv == loc.Variable() {
		return cleanToken("the variable "+showName(fromEnv), loc.Seed())
	}
	if fromEnv != "" {
		if err := variable("--from-env", fromEnv); err != nil {
			return grant.Secret{}, "", err
		}
		return cleanToken("the variable "+showName(fromEnv), grant.NewSecret(a.env.get(fromEnv)))
	}
	for _, name := range []string{loc.Variable(), "EVERGRANT_REFRESH_TOKEN", presetEnv} {
		s := grant.NewSecret(a.env.get(name))
		if name == loc.Variable() {
			s = loc.Seed()
		}
		if !s.IsZero() {
			return cleanToken("the variable "+name, s)
		}
	}
	return grant.Secret{}, "", nil
}

// emptied is the first of these variables that is set and empty; "" where none is.
func (e environment) emptied(names ...string) string {
	for _, name := range names {
		if v, set := e(name); name != "" && set && v == "" {
			return name
		}
	}
	return ""
}

// unset is the variable, if it is named and not set, else "".
func (e environment) unset(name string) string {
	if _, set := e(name); name == "" || set {
		return ""
	}
	return name
}

// notSet says that a variable is not there.
func notSet(name string) string { return "the variable " + showName(name) + " is not set" }

// emptyWords tell of the variable that has no refresh token to start from; none where
// there is no such variable.
func (p plan) emptyWords() []string {
	if p.emptied == "" {
		return nil
	}
	return []string{"the variable " + showName(p.emptied) + " is set and empty: a file that is not there leaves it so"}
}
