package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const (
	major = 1
	minor = 1 // 1: "replaces" and "account"
)

// minorPointer is where the minor version of a newer writer is kept.
const minorPointer = "/minor"

// maxGeneration is far above what a count of refreshes reaches, and far below
// where one more would wrap around to 0.
const maxGeneration = 1 << 53

// describe is the wire form; see the package's comment for the picture.
func describe(f *form, c *grant.Credential) {
	f.text("grant", (*string)(&c.Grant))
	f.text("provider", &c.Provider)
	f.text("consent", &c.Consent)
	f.text("replaces", &c.Replaces)
	f.object("account", c.Account != grant.Account{}, func() {
		f.text("id", &c.Account.ID)
		f.text("name", &c.Account.Name)
	})
	f.object("bind", c.Bind != grant.Binding{}, func() {
		f.text("token_url", &c.Bind.TokenURL)
		f.text("client_id", &c.Bind.ClientID)
	})
	f.number("generation", &c.Generation)
	f.object("tokens", true, func() { tokens(f, &c.Tokens) })
	optional(f, "lease", &c.Lease, func(l *grant.Lease) {
		f.text("holder", &l.Holder)
		f.time("until", &l.Until)
		f.duration("ttl", &l.TTL)
		f.text("spends", &l.Spends)
	})
	optional(f, "doubt", &c.Doubt, func(d *grant.Doubt) {
		f.text("spends", &d.Spends)
		sends := uint64(d.Sends)
		f.number("sends", &sends)
		if !f.writing { // what is written may be shared
			d.Sends = uint(sends)
		}
		f.time("first", &d.First)
		f.time("last", &d.Last)
	})
	f.text("writer", &c.Writer)
	f.texts("seeds", &c.Seeds)
	f.texts("spent", &c.Spent)
	f.secret("raw", &c.Raw)
	f.events("events", &c.Events)
	f.state("state", &c.State)
	f.text("reason", &c.Reason)
}

func tokens(f *form, t *grant.TokenSet) {
	f.object("access", true, func() {
		f.text("grant", (*string)(&t.Access.Grant))
		f.number("generation", &t.Access.Generation)
		f.secret("value", &t.Access.Value)
		f.text("type", &t.Access.Type)
		f.texts("scope", &t.Access.Scope)
		f.time("expiry", &t.Access.Expiry)
		f.truth("expiry_assumed", &t.Access.ExpiryAssumed)
	})
	f.secret("refresh", &t.Refresh)
	f.time("refresh_expiry", &t.RefreshExpiry)
	f.time("obtained_at", &t.ObtainedAt)
}

func (f *form) events(name string, p *[]grant.Event) {
	event := func(e *grant.Event) {
		f.time("at", &e.At)
		f.text("by", &e.By)
		f.text("what", &e.What)
		f.text("note", &e.Note)
	}
	if f.writing {
		if len(*p) == 0 {
			return
		}
		f.name(name)
		f.out = append(f.out, '[')
		steps := f.eventSteps(name, *p)
		for i := range *p {
			if i > 0 {
				f.out = append(f.out, ',')
			}
			f.enter(steps[i], "", func() { event(&(*p)[i]) })
		}
		f.out = append(f.out, ']')
		return
	}
	raw := f.take(name)
	if raw == "" {
		return
	}
	items, err := splitArray(raw)
	if err != nil {
		f.fail(name, err)
		return
	}
	events := make([]grant.Event, len(items))
	unknown := make(map[int]map[string]string) // by the event's index
	met := f.extra
	for i := 0; i < len(items) && f.err == nil; i++ {
		f.extra = nil
		f.enter(name+"/"+strconv.Itoa(i), items[i], func() { event(&events[i]) })
		if f.extra != nil {
			unknown[i] = f.extra
		}
	}
	f.extra = met
	*p = events
	if len(unknown) == 0 {
		return
	}
	steps := eventSteps(events)
	for i, members := range unknown {
		for pointer, value := range members {
			f.keep(f.path+"/"+name+"/"+steps[i]+pointer[strings.LastIndexByte(pointer, '/'):], value)
		}
	}
}

// eventSteps names the events for the pointers of their unknown members. Where
// no event has one, the names do not matter, and nothing is hashed.
func (f *form) eventSteps(name string, events []grant.Event) []string {
	under := f.path + "/" + name + "/"
	if !slices.ContainsFunc(f.pointers, func(p string) bool { return strings.HasPrefix(p, under) }) {
		return slices.Repeat([]string{name}, len(events))
	}
	steps := eventSteps(events)
	for i, step := range steps {
		steps[i] = name + "/" + step
	}
	return steps
}

// eventSteps names events in a way that outlives the older ones: by a digest,
// and by how many equal ones come later.
func eventSteps(events []grant.Event) []string {
	steps := make([]string, len(events))
	later := make(map[[sha256.Size]byte]int)
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q", e.At.UTC().Format(time.RFC3339Nano), e.By, e.What, e.Note))
		steps[i] = hex.EncodeToString(sum[:8]) + "-" + strconv.Itoa(later[sum])
		later[sum]++
	}
	return steps
}

// marshal writes the wire form.
func marshal(c grant.Credential) ([]byte, error) {
	f := &form{writing: true, extra: c.Extra}
	f.out = make([]byte, 0, 2048+128*len(c.Events)+len(c.Tokens.Access.Value.Reveal())+len(c.Raw.Reveal()))
	m := strconv.Itoa(minor)
	for pointer := range c.Extra {
		if pointer == minorPointer {
			m = c.Extra[pointer]
			continue
		}
		f.pointers = append(f.pointers, pointer)
	}
	slices.Sort(f.pointers)
	f.enter("", "", func() {
		f.out = fmt.Appendf(f.out, `"evergrant":%d,"minor":%s`, major, m)
		describe(f, &c)
	})
	if f.err != nil {
		return nil, f.err
	}
	return f.out, nil
}

// unmarshal reads the wire form from the members of a record.
func unmarshal(members []member) (grant.Credential, error) {
	f := new(form)
	var c grant.Credential
	f.read(members, func() {
		for _, name := range []string{"evergrant", "grant", "generation", "tokens", "state"} {
			if !slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
				f.fail(name, errors.New("is missing"))
			}
		}
		var v, m uint64
		f.number("evergrant", &v)
		f.number("minor", &m)
		if m > minor && m <= math.MaxInt32 {
			f.keep(minorPointer, strconv.FormatUint(m, 10))
		}
		describe(f, &c)
		if c.Generation > maxGeneration {
			f.fail("generation", errors.New("is beyond any count"))
		}
	})
	if f.err != nil {
		return grant.Credential{}, f.err
	}
	c.Extra = f.extra
	return c, nil
}
