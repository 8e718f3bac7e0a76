package cli

import (
	"github.com/spf13/pflag"

	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// homes are the places that records are put back into: those that the configuration
// says of its grants, and the one that was named, or is the default, for all others.
type homes struct {
	app        *app
	configured []*home // in the order of the configuration
	rest       *home   // nil: a grant that the configuration does not have has none
}

// home is where the records of a grant live, and their key.
type home struct {
	grant grant.ID // "": any
	place place
	err   error // the settings cannot be used; of one grant, that hinders no other
}

// homes resolves them all. Nothing is opened.
func (a *app) homes(given *pflag.FlagSet, o storeOptions) (*homes, error) {
	h := &homes{app: a}
	if len(a.config.Grants) == 0 || o.namesStore(a.env) {
		p, err := a.homeFor(o)
		if err != nil {
			return nil, err
		}
		h.rest = &home{place: p}
	}
	for _, g := range a.config.Grants {
		t := &home{grant: grant.ID(g.Name)}
		of, err := a.storeOf(g, given)
		if err == nil {
			of.blind = o.blind
			t.place, err = a.homeFor(of)
		}
		if err != nil {
			t.err = ofGrant(g.Name, err)
		}
		h.configured = append(h.configured, t)
	}
	return h, nil
}

func (a *app) homeFor(o storeOptions) (place, error) {
	p, err := o.resolve(a)
	if err == nil && (!p.location.Keeps() || a.env.ci() && !p.named) {
		err = usagef("rescue needs the store that the record belongs in").hint("name it with --store")
	}
	return p, err
}

// of is the home of a grant.
func (h *homes) of(id grant.ID) (*home, error) {
	for _, t := range h.configured {
		if t.grant == id {
			return t, t.err
		}
	}
	if h.rest == nil {
		return nil, h.app.notConfigured(id)
	}
	return h.rest, nil
}

// anyKey says what lacks where no block could be opened, whatever it is.
func (h *homes) anyKey() error {
	var lacks error
	for _, t := range h.all() {
		err := t.keyed()
		if err == nil {
			return nil
		}
		if lacks == nil {
			lacks = err
		}
	}
	return lacks
}

// keyed says what lacks to open a block of this home.
func (t *home) keyed() error {
	switch {
	case t.err != nil:
		return t.err
	case t.place.codec.Sealed():
		return nil
	}
	err := usagef("a rescue block is sealed, and there is no key to open it").
		hint("give the sealing key that the job had: EVERGRANT_KEY, --key-env or --key-file")
	if t.grant != "" {
		return ofGrant(string(t.grant), err)
	}
	return err
}

func (h *homes) all() []*home {
	if h.rest == nil {
		return h.configured
	}
	return append([]*home{h.rest}, h.configured...)
}

// open opens a block by the key of the grant that its header names, and by every other
// key in turn where that does not do: nothing protects a header. Whose record it is, the
// record says; then that grant's own key has to open it, so that who has one grant's key
// can put back no record of another.
func (h *homes) open(b record.Block) (grant.Credential, error) {
	id, err := grant.ParseID(b.Grant())
	said := err == nil // by a header that can be read
	turn := h.all()
	var first error
	if said {
		t, err := h.of(id)
		if first = err; err == nil || t != nil {
			turn = append([]*home{t}, turn...)
		}
	}
	for _, t := range turn {
		c, err := t.open(b)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		own, err := h.of(c.Grant)
		if err == nil && own != t {
			_, err = own.open(b)
		}
		return c, err
	}
	return grant.Credential{}, first
}

func (t *home) open(b record.Block) (grant.Credential, error) {
	if err := t.keyed(); err != nil {
		return grant.Credential{}, err
	}
	return b.Open(t.place.codec)
}
