package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const (
	major = 1
	minor = 0
)

// minorPointer is where the minor version of a newer writer is kept.
const minorPointer = "/minor"

// describe is the wire form; see the package's comment for the picture.
func describe(f *form, c *grant.Credential) {
	f.text("grant", (*string)(&c.Grant))
	f.text("provider", &c.Provider)
	f.text("consent", &c.Consent)
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
		for i := range *p {
			if i > 0 {
				f.out = append(f.out, ',')
			}
			f.enter(name+"/"+eventStep((*p)[i:]), nil, func() { event(&(*p)[i]) })
		}
		f.out = append(f.out, ']')
		return
	}
	raw := f.take(name)
	if raw == nil {
		return
	}
	items, err := splitArray(raw)
	if err != nil {
		f.fail(name, err)
		return
	}
	// The step of an event depends on those behind it, so the last comes first.
	events := make([]grant.Event, len(items))
	for i := len(items) - 1; i >= 0 && f.err == nil; i-- {
		at := i
		met := f.extra
		f.extra = nil
		f.enter(fmt.Sprintf("%s/%d", name, at), items[at], func() { event(&events[at]) })
		unknown := f.extra
		f.extra = met
		for pointer, value := range unknown {
			member := pointer[strings.LastIndexByte(pointer, '/'):]
			f.keep(f.path+"/"+name+"/"+eventStep(events[at:])+member, value)
		}
	}
	*p = events
}

// eventStep names the first of events for a pointer that outlives older ones.
func eventStep(events []grant.Event) string {
	print := func(e grant.Event) string {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q", e.At.UTC().Format(time.RFC3339Nano), e.By, e.What, e.Note))
		return hex.EncodeToString(sum[:8])
	}
	first, later := print(events[0]), 0
	for _, e := range events[1:] {
		if print(e) == first {
			later++
		}
	}
	return first + "-" + strconv.Itoa(later)
}

// marshal writes the wire form.
func marshal(c grant.Credential) ([]byte, error) {
	f := &form{writing: true, extra: maps.Clone(c.Extra)}
	f.out = make([]byte, 0, 2048+len(c.Raw.Reveal()))
	m := strconv.Itoa(minor)
	if kept, ok := f.extra[minorPointer]; ok {
		m = kept
		delete(f.extra, minorPointer)
	}
	f.enter("", nil, func() {
		f.out = fmt.Appendf(f.out, `"evergrant":%d,"minor":%s`, major, m)
		describe(f, &c)
	})
	if f.err != nil {
		return nil, f.err
	}
	return f.out, nil
}

// unmarshal reads the wire form from raw, which must be valid JSON.
func unmarshal(raw []byte) (grant.Credential, error) {
	f := new(form)
	var c grant.Credential
	f.enter("", raw, func() {
		for _, name := range []string{"evergrant", "grant", "generation", "tokens", "state"} {
			if f.members[name] == nil {
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
	})
	if f.err != nil {
		return grant.Credential{}, f.err
	}
	c.Extra = f.extra
	return c, nil
}
