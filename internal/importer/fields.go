package importer

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/jsonfile"
)

// Limits of what is believed, as the token client has them for answers.
const (
	maxToken  = 64 << 10
	maxScopes = 256
	maxWord   = 1024
	// milliseconds: a count of seconds reaches it in the year 5138, one of
	// milliseconds reached it in 1973.
	milliseconds = 1e11
)

// fields are the members of an object in a file. The first mistake is kept in
// err, with the file and the member named and nothing of its value.
type fields struct {
	where  string
	object jsonfile.Object
	err    error
}

// parse reads a file's text.
func parse(path string, text []byte) (*fields, error) {
	o, err := jsonfile.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &fields{where: path, object: o}, nil
}

func (f *fields) fail(name, says string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: its member %s %s", f.where, name, says)
	}
}

// raw is the first member of these names that is there, and not null.
func (f *fields) raw(names ...string) (name string, raw json.RawMessage) {
	for _, n := range names {
		if v, ok := f.object.Get(n); ok && string(v) != "null" {
			return n, v
		}
	}
	return "", nil
}

// inner is the object under a name; nil if there is none.
func (f *fields) inner(name string) *fields {
	_, raw := f.raw(name)
	if raw == nil {
		return nil
	}
	o, err := jsonfile.Parse(raw)
	if raw[0] != '{' || err != nil {
		f.fail(name, "must be an object, each of whose members is there once")
		return nil
	}
	return &fields{where: f.where + ": in " + name, object: o}
}

// text is a string; "" if there is none.
func (f *fields) text(names ...string) string {
	name, raw := f.raw(names...)
	if raw == nil {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		f.fail(name, "must be a text in quotes")
	}
	return s
}

// word is a short printable text.
func (f *fields) word(names ...string) string {
	s := f.text(names...)
	if len(s) > maxWord || !visible(s) {
		name, _ := f.raw(names...)
		f.fail(name, fmt.Sprintf("must be at most %d printable characters without spaces", maxWord))
		return ""
	}
	return s
}

// token is a secret as RFC 6749 appendix A spells tokens; zero if there is none.
func (f *fields) token(names ...string) grant.Secret {
	s := f.text(names...)
	if name, _ := f.raw(names...); len(s) > maxToken {
		f.fail(name, fmt.Sprintf("is longer than %d KiB", maxToken>>10))
	} else if at := strings.IndexFunc(s, func(r rune) bool { return r <= 0x20 || r > 0x7e }); at >= 0 {
		f.fail(name, fmt.Sprintf("holds a character that no token has, at position %d of %d", at+1, len(s)))
	} else {
		return grant.NewSecret(s)
	}
	return grant.Secret{}
}

// moment is a point in time: RFC 3339, or seconds or milliseconds since 1970;
// zero if there is none.
func (f *fields) moment(names ...string) time.Time {
	name, raw := f.raw(names...)
	if raw == nil {
		return time.Time{}
	}
	s := strings.Trim(string(raw), `"`)
	if s == "" {
		return time.Time{}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if n >= milliseconds {
			n /= 1000
		}
		if n > 0 && n < milliseconds {
			whole, part := math.Modf(n)
			return time.Unix(int64(whole), int64(math.Round(part*1e3))*int64(time.Millisecond)).UTC()
		}
	} else if t, err := time.Parse(time.RFC3339, s); err == nil && (t.IsZero() || t.Year() >= 1970) {
		return t.UTC()
	}
	if s == "0" {
		return time.Time{} // as good as none, like the year 1
	}
	f.fail(name, "must be a time: RFC 3339 in quotes, or seconds or milliseconds since 1970")
	return time.Time{}
}

// span is a number of seconds; 0 if there is none.
func (f *fields) span(names ...string) time.Duration {
	name, raw := f.raw(names...)
	if raw == nil {
		return 0
	}
	n, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > milliseconds {
		f.fail(name, "must be a number of seconds")
		return 0
	}
	return time.Duration(min(n, 100*365*86400) * float64(time.Second))
}

// scopes is a list of texts, or a text of words.
func (f *fields) scopes(names ...string) (scope []string) {
	name, raw := f.raw(names...)
	if raw == nil {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		scope = strings.Fields(text)
	} else if json.Unmarshal(raw, &scope) != nil {
		f.fail(name, "must be a list of texts, or a text of words")
		return nil
	}
	for _, s := range scope {
		if s == "" || len(s) > maxWord || !visible(s) || len(scope) > maxScopes {
			f.fail(name, fmt.Sprintf("must be at most %d words of printable characters", maxScopes))
			return nil
		}
	}
	return scope
}

func visible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= 0x20 || r > 0x7e }) < 0
}
