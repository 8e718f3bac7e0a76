package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"evergrant/internal/grant"
)

// keptAt is a place of the configuration, and the keys of its grants.
type keptAt struct {
	shown  string // for a person
	place  string // what makes it the same place
	grants []string
	all    []storeOptions
	wrong  error // of its first grant whose place cannot be told
}

// keptPlaces are the places of the configuration's grants that keep anything, each once.
func (a *app) keptPlaces(given *pflag.FlagSet) []*keptAt {
	var places []*keptAt
	for _, g := range a.config.Grants {
		o, err := a.storeOf(g, given)
		o.blind = true // it is only told which store it is
		k := &keptAt{shown: "the store of " + g.Name, place: "grant:" + g.Name}
		if err == nil {
			loc, _, lerr := o.locate(a.env)
			if err = lerr; err == nil {
				if !loc.Keeps() {
					continue
				}
				k.shown, k.place = loc.String(), loc.Place()
			}
		}
		if err != nil {
			k.wrong = ofGrant(g.Name, err)
		}
		i := slices.IndexFunc(places, func(other *keptAt) bool { return other.place == k.place })
		if i >= 0 {
			k = places[i]
		} else {
			places = append(places, k)
		}
		k.grants, k.all = append(k.grants, g.Name), append(k.all, o)
	}
	return places
}

// storeToSeal is the store that key rotate works on: the one that is named, with
// the key of the configured grants that live there if none is given; else the one in which
// all the configured grants live. keyOf is where the configuration has that key.
func (a *app) storeToSeal(o storeOptions, given *pflag.FlagSet) (of storeOptions, keyOf string, err error) {
	if len(a.config.Grants) == 0 {
		return o, "", nil
	}
	places := a.keptPlaces(given)
	if o.namesStore(a.env) {
		loc, _, err := o.locate(a.env)
		if err != nil {
			return o, "", err
		}
		if places = slices.DeleteFunc(places, func(k *keptAt) bool { return k.place != loc.Place() }); len(places) == 0 {
			return o, "", nil
		}
	}
	switch {
	case len(places) == 0:
		return o, "", usagef("no grant of %s has a store that keeps it, so there is nothing to re-seal", shownPath(a.config.Path)).hint("name one with --store")
	case len(places) > 1:
		names := make([]string, len(places))
		for i, k := range places {
			names[i] = k.shown
		}
		return o, "", usagef("the grants of %s live in more than one store: %s", shownPath(a.config.Path), strings.Join(names, ", ")).
			hint("re-seal one at a time with --store")
	case places[0].wrong != nil:
		return o, "", places[0].wrong
	}
	k := places[0]
	of, _, err = a.oneKey(k.grants, k.all)
	of.blind = o.blind
	if err != nil || o.namesKey(a.env) {
		return of, "", err
	}
	switch {
	case of.keyFile != "":
		keyOf = shownPath(of.keyFile)
	case of.keyEnv != "":
		keyOf = "the one in the variable " + showName(of.keyEnv)
	}
	return of, keyOf, nil
}

// keyToShow is the key that is given, else the one that the configuration's grants share.
func (a *app) keyToShow(o storeOptions, given *pflag.FlagSet) (grant.Secret, error) {
	if o.namesKey(a.env) || len(a.config.Grants) == 0 {
		return o.identity(a)
	}
	var names []string
	var all []storeOptions
	for _, g := range a.config.Grants {
		of, err := a.storeOf(g, given)
		if err != nil {
			return grant.Secret{}, ofGrant(g.Name, err)
		}
		names, all = append(names, g.Name), append(all, of)
	}
	_, key, err := a.oneKey(names, all)
	return key, err
}

// oneKey is the key that grants share, and the settings of the first that has it; a grant
// without a key has no say.
func (a *app) oneKey(names []string, all []storeOptions) (of storeOptions, key grant.Secret, err error) {
	of = all[0]
	first := ""
	for i, o := range all {
		k, err := o.identity(a)
		switch {
		case err != nil:
			return of, key, ofGrant(names[i], err)
		case k.IsZero():
		case key.IsZero():
			of, key, first = o, k, names[i]
		case k.Digest() != key.Digest():
			return of, key, usagef("grants %s and %s of %s have keys of their own", first, names[i], shownPath(a.config.Path)).
				hint("name the key that is meant with --key-file or --key-env")
		}
	}
	return of, key, nil
}
