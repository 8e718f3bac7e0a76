package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"evergrant/internal/config"
	"evergrant/internal/grant"
)

// readOwn reads the configuration for a command that works on more than one grant, or
// learns only later on which: no one's settings are its own.
func (a *app) readOwn(given *pflag.FlagSet) (err error) {
	a.config, _, err = a.readConfig(given.Lookup("config").Value.String())
	return err
}

// namesStore reports whether a flag or a variable names the store, which wins over
// what the configuration says of each grant.
func (o *storeOptions) namesStore(env environment) bool {
	return o.url != "" || env.get("EVERGRANT_STORE") != ""
}

// namesKey reports the same of the sealing key.
func (o *storeOptions) namesKey(env environment) bool {
	return o.keyEnv != "" || o.keyFile != "" || env.get("EVERGRANT_KEY") != ""
}

// storeOf are the settings of one grant's store: what is given on the command line, then
// what the configuration says of the grant.
func (a *app) storeOf(g config.Grant, given *pflag.FlagSet) (storeOptions, error) {
	var o storeOptions
	if _, err := grantName(a.env, []string{g.Name}, ""); err != nil {
		return o, err
	}
	flags := pflag.NewFlagSet(g.Name, pflag.ContinueOnError)
	o.register(flags)
	return o, errors.Join(hand(given, flags), a.apply(flags, g))
}

// hand sets the flags of one set that were given in another.
func hand(given, flags *pflag.FlagSet) error {
	var wrong error
	given.Visit(func(f *pflag.Flag) {
		if flags.Lookup(f.Name) == nil {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			wrong = errors.Join(wrong, flags.Set(f.Name, v))
		}
	})
	return wrong
}

// notConfigured refuses a grant that the configuration does not have, where no store is
// named: the default folder is not where such a configuration keeps its grants.
func (a *app) notConfigured(id grant.ID) error {
	return usagef("%s has no grant %s; it has %s", shownPath(a.config.Path), id, strings.Join(a.configuredNames(), ", ")).
		hint("name the store of that grant with --store, and its key with --key-file or --key-env, or write the grant into the configuration")
}

// configuredNames are the names of the configuration's grants, in its order.
func (a *app) configuredNames() []string {
	names := make([]string, len(a.config.Grants))
	for i, g := range a.config.Grants {
		names[i] = g.Name
	}
	return names
}

// ofGrant says of a mistake in the settings of which grant it is.
func ofGrant(name string, err error) error {
	if u := (*usageError)(nil); errors.As(err, &u) {
		return usagef("grant %s: %v", name, err).hint(u.hints...)
	}
	return fmt.Errorf("grant %s: %w", name, err)
}
