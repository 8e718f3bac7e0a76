package record

import (
	"encoding/json"
	"errors"
	"fmt"
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

	out      []byte            // writing: the text so far
	extra    map[string]string // writing: members to be put back; reading: those met
	pointers []string          // writing: the keys of extra, sorted

	members []member // reading: members of the object at hand, struck off when asked for
	cursor  int      // reading: where the next one is likely to be
	err     error    // the first failure; later calls do nothing
}

// fail keeps the first failure, with the place of the member. The text never
// carries a value: it may be a token.
func (f *form) fail(name string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("member %s/%s %w", f.path, shorten(escapePointer(name)), err)
	}
}

// take returns the text of a member and strikes it off; "" if it is absent. It
// begins to look behind the member found last: members are asked for in the
// order in which they are written.
func (f *form) take(name string) string {
	if f.err != nil {
		return ""
	}
	for i := range f.members {
		at := (f.cursor + i) % len(f.members)
		if m := &f.members[at]; m.name == name {
			raw := m.raw
			m.raw, f.cursor = "", at+1
			return raw
		}
	}
	return ""
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
	if raw := f.take(name); raw != "" {
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
	if raw == "" {
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
	if raw := f.take(name); raw != "" {
		n, err := strconv.ParseUint(raw, 10, 64)
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
	switch raw := f.take(name); raw {
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
			f.name(name)
			f.out = append(clamp(*p).AppendFormat(append(f.out, '"'), time.RFC3339Nano), '"')
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
	const first, last = -62135596800, 253402300799 // Unix time of the first and the last second
	switch s := t.Unix(); {
	case s < first || s == first && t.Nanosecond() == 0: // the zero time means that there is none
		return time.Unix(first, 1).UTC()
	case s > last:
		return time.Unix(last, 999999999).UTC()
	}
	return t.UTC()
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
			f.enter(name, "", members)
		}
		return
	}
	if raw := f.take(name); raw != "" {
		f.enter(name, raw, members)
	}
}

// optional passes over an object that may be absent as a whole, and whose
// unknown members are then gone with it.
func optional[T any](f *form, name string, p **T, members func(*T)) {
	if f.writing {
		if *p != nil {
			f.name(name)
			f.enter(name, "", func() { members(*p) })
		}
		return
	}
	if raw := f.take(name); raw != "" {
		*p = new(T)
		f.enter(name, raw, func() { members(*p) })
	}
}

// enter does what is common to all objects, the whole record included: it
// opens and closes them, and sees to the members that describe does not name.
func (f *form) enter(step, raw string, members func()) {
	path, outer, cursor := f.path, f.members, f.cursor
	if step != "" {
		f.path += "/" + step
	}
	if f.writing {
		f.out = append(f.out, '{')
		members()
		f.putBack()
		f.out = append(f.out, '}')
	} else if list, err := splitObject(make([]member, 0, 8), raw); err == nil {
		f.read(list, members)
	} else if f.err == nil {
		f.err = fmt.Errorf("member %s %w", f.path, err)
	}
	f.path, f.members, f.cursor = path, outer, cursor
}

// read passes over the members in list and keeps those that nobody asks for.
func (f *form) read(list []member, members func()) {
	f.members, f.cursor = list, 0
	members()
	for _, m := range f.members {
		if m.raw != "" {
			f.keep(f.path+"/"+escapePointer(m.name), m.raw)
		}
	}
}

func (f *form) keep(pointer, raw string) {
	if f.extra == nil {
		f.extra = make(map[string]string)
	}
	// A copy of its own does not hold on to the text of the whole record.
	f.extra[pointer] = strings.Clone(raw)
}

// putBack writes the unknown members of the object at hand, sorted by name.
func (f *form) putBack() {
	if len(f.pointers) == 0 {
		return
	}
	under := f.path + "/"
	first, _ := slices.BinarySearch(f.pointers, under)
	for _, pointer := range f.pointers[first:] {
		step, below := strings.CutPrefix(pointer, under)
		switch {
		case !below:
			return
		case strings.Contains(step, "/"): // it belongs to an object further down
			continue
		}
		raw := f.extra[pointer]
		if !json.Valid([]byte(raw)) {
			f.fail(step, errors.New("is kept from a newer version and is not JSON"))
			return
		}
		f.name(unescapePointer(step))
		f.out = append(f.out, raw...)
	}
}
