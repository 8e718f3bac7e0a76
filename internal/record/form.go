package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// form is one pass over the members of a record: it reads them or writes
// them. describe names each member once, for both directions.
type form struct {
	writing bool
	path    string // JSON pointer of the object at hand

	out   []byte            // writing: the text so far
	extra map[string]string // writing: members still to be put back; reading: those met

	members map[string][]byte // reading: members of the object at hand not yet asked for
	order   []string          // reading: their names as they came
	err     error             // the first failure; later calls do nothing
}

// fail keeps the first failure, with the place of the member. The text never
// carries a value: it may be a token.
func (f *form) fail(name string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("member %s/%s %w", f.path, shorten(escapePointer(name)), err)
	}
}

// take returns the text of a member and strikes it off; nil if it is absent.
func (f *form) take(name string) []byte {
	raw := f.members[name]
	delete(f.members, name)
	if f.err != nil {
		return nil
	}
	return raw
}

func (f *form) name(name string) {
	if last := f.out[len(f.out)-1]; last != '{' && last != '[' {
		f.out = append(f.out, ',')
	}
	f.out = append(appendString(f.out, name), ':')
}

func (f *form) text(name string, p *string) {
	if f.writing {
		if *p != "" {
			f.name(name)
			f.out = appendText(f.out, *p)
		}
		return
	}
	if raw := f.take(name); raw != nil {
		s, err := text(raw)
		if err != nil {
			f.fail(name, errors.New("is not a string"))
			return
		}
		*p = s
	}
}

func (f *form) secret(name string, p *grant.Secret) {
	s := p.Reveal()
	f.text(name, &s)
	if !f.writing {
		*p = grant.NewSecret(s)
	}
}

func (f *form) texts(name string, p *[]string) {
	if f.writing {
		if len(*p) > 0 {
			f.name(name)
			f.out = append(f.out, '[')
			for i, s := range *p {
				if i > 0 {
					f.out = append(f.out, ',')
				}
				f.out = appendText(f.out, s)
			}
			f.out = append(f.out, ']')
		}
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
	for _, item := range items {
		s, err := text(item)
		if err != nil {
			f.fail(name, errors.New("is not a list of strings"))
			return
		}
		*p = append(*p, s)
	}
}

func (f *form) number(name string, p *uint64) {
	if f.writing {
		f.name(name)
		f.out = strconv.AppendUint(f.out, *p, 10)
		return
	}
	if raw := f.take(name); raw != nil {
		n, err := strconv.ParseUint(string(raw), 10, 64)
		if err != nil {
			f.fail(name, errors.New("is not a whole number from 0 to 18446744073709551615"))
			return
		}
		*p = n
	}
}

func (f *form) truth(name string, p *bool) {
	if f.writing {
		if *p {
			f.name(name)
			f.out = append(f.out, "true"...)
		}
		return
	}
	switch raw := string(f.take(name)); raw {
	case "":
	case "true", "false":
		*p = raw == "true"
	default:
		f.fail(name, errors.New("is neither true nor false"))
	}
}

func (f *form) time(name string, p *time.Time) {
	if f.writing {
		if !p.IsZero() {
			s := clamp(*p).Format(time.RFC3339Nano)
			f.text(name, &s)
		}
		return
	}
	var s string
	f.text(name, &s)
	if s == "" || f.err != nil {
		return
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		f.fail(name, errors.New("is not a time as in RFC 3339"))
		return
	}
	*p = clamp(t)
}

// clamp brings t into the years that RFC 3339 can write. A provider that names
// an absurd expiry must not make a record that cannot be saved.
func clamp(t time.Time) time.Time {
	t = t.UTC()
	if first := time.Unix(0, 1).AddDate(-1969, 0, 0).UTC(); t.Before(first) {
		return first
	}
	if last := time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC); t.After(last) {
		return last
	}
	return t
}

func (f *form) duration(name string, p *time.Duration) {
	if f.writing {
		if *p != 0 {
			s := p.String()
			f.text(name, &s)
		}
		return
	}
	var s string
	f.text(name, &s)
	if s == "" || f.err != nil {
		return
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		f.fail(name, errors.New("is not a duration"))
		return
	}
	*p = d
}

func (f *form) state(name string, p *grant.State) {
	words := [...]string{grant.Live: "live", grant.NeedsConsent: "needs_consent", grant.Retired: "retired"}
	if f.writing {
		if int(*p) >= len(words) {
			f.fail(name, errors.New("is none of the known states"))
			return
		}
		f.text(name, &words[*p])
		return
	}
	var s string
	f.text(name, &s)
	at := slices.Index(words[:], s)
	if at < 0 {
		f.fail(name, errors.New("is none of live, needs_consent, retired"))
		return
	}
	*p = grant.State(at)
}

// object passes over a nested object. When writing, it is left out if it holds
// nothing, neither known nor unknown.
func (f *form) object(name string, present bool, members func()) {
	if f.writing {
		under := f.path + "/" + name + "/"
		for pointer := range f.extra {
			present = present || strings.HasPrefix(pointer, under)
		}
		if present {
			f.name(name)
			f.enter(name, nil, members)
		}
		return
	}
	if raw := f.take(name); raw != nil {
		f.enter(name, raw, members)
	}
}

// optional passes over an object that may be absent as a whole, and whose
// unknown members are then gone with it.
func optional[T any](f *form, name string, p **T, members func(*T)) {
	if f.writing {
		if *p != nil {
			f.name(name)
			f.enter(name, nil, func() { members(*p) })
		}
		return
	}
	if raw := f.take(name); raw != nil {
		*p = new(T)
		f.enter(name, raw, func() { members(*p) })
	}
}

// enter does what is common to all objects, the whole record included: it
// opens and closes them, and sees to the members that describe does not name.
func (f *form) enter(step string, raw []byte, members func()) {
	path, outer, order := f.path, f.members, f.order
	if step != "" {
		f.path += "/" + step
	}
	if f.writing {
		f.out = append(f.out, '{')
		members()
		f.putBack()
		f.out = append(f.out, '}')
	} else if f.open(raw) {
		members()
		for _, name := range f.order {
			if raw, unknown := f.members[name]; unknown {
				f.keep(f.path+"/"+escapePointer(name), string(raw))
			}
		}
	}
	f.path, f.members, f.order = path, outer, order
}

func (f *form) open(raw []byte) bool {
	list, err := splitObject(raw)
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("member %s %w", f.path, err)
		if f.path == "" {
			f.err = fmt.Errorf("it %w", err)
		}
	}
	f.members, f.order = make(map[string][]byte, len(list)), nil
	for _, m := range list {
		f.members[m.name] = m.raw
		f.order = append(f.order, m.name)
	}
	return f.err == nil
}

func (f *form) keep(pointer, raw string) {
	if f.extra == nil {
		f.extra = make(map[string]string)
	}
	f.extra[pointer] = raw
}

// putBack writes the unknown members of the object at hand, sorted by name.
func (f *form) putBack() {
	for _, pointer := range slices.Sorted(maps.Keys(f.extra)) {
		at := strings.LastIndexByte(pointer, '/')
		if at < 0 || pointer[:at] != f.path {
			continue
		}
		raw := f.extra[pointer]
		if !json.Valid([]byte(raw)) {
			f.fail(pointer[at+1:], errors.New("is kept from a newer version and is not JSON"))
			return
		}
		f.name(unescapePointer(pointer[at+1:]))
		f.out = append(f.out, raw...)
	}
}
