package oauth

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"evergrant/internal/grant"
)

// salvage finds members in text that is no valid JSON: cut, with a comma too
// many, or with something in front. It knows the names of a token reply only. As
// in whole JSON the outermost object counts that has a token, and if two of them
// have different refresh tokens, nobody knows which. A value that is cut is not
// known either; one before it in the text, or deeper, does not stand in for it. So
// a token inside an object counts only if the text ends what it began: what
// is missing may be the one around it.
//
// closed reports that the text ends what it began, so that no member is missing.
func salvage(b []byte) (m members, closed bool) {
	found, closed := sites(b)
	level := 0
	for _, s := range found {
		if s.token() && s.depth > 0 && (level == 0 || s.depth < level) {
			level = s.depth
		}
	}
	if level > 1 && !closed {
		return members{"refresh_token": {kind: kindBroken}}, false
	}
	m = members{}
	object := -1
	for _, s := range found {
		if s.name != "refresh_token" || s.depth != level {
			continue
		}
		was, v := m[s.name], refreshOf(valueAt(s.rest))
		if was.kind != kindAbsent && v.kind != kindAbsent && s.object != object && (was.kind != v.kind || was.text != v.text) {
			m[s.name] = value{kind: kindBroken}
			break
		}
		m.put(s.name, v)
		if v.kind != kindAbsent {
			object = s.object
		}
	}
	for _, s := range found {
		if s.name != "refresh_token" && s.depth == level && s.object == object {
			m.put(s.name, valueAt(s.rest))
		}
	}
	return m, closed
}

// site is where a member's name stands in a text.
type site struct {
	name   string
	depth  int    // how many objects are open there
	object int    // where the innermost of them begins; -1: none is open
	rest   []byte // from the value on
}

func (s site) token() bool { return s.name == "refresh_token" || s.name == "access_token" }

// sites finds the members of a token reply by their names. What is in front of
// the first object is prose. A name counts also where a text seems to be open: a
// quote too many may stand before it. But a quote behind a backslash belongs to a
// text that quotes JSON.
func sites(b []byte) (found []site, closed bool) {
	start := bytes.IndexByte(b, '{')
	var open []int
	inText := false
	for i := max(start, 0); i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && inText:
			i++
		case c == '"':
			if name, rest := nameAt(b[i:]); name != "" && (i == 0 || b[i-1] != '\\') {
				s := site{name: name, depth: len(open), object: -1, rest: rest}
				if len(open) > 0 {
					s.object = open[len(open)-1]
				}
				found = append(found, s)
			}
			inText = !inText
		case inText:
		case c == '{':
			open = append(open, i)
		case c == '}' && len(open) > 0:
			open = open[:len(open)-1]
		}
	}
	return found, start >= 0 && len(open) == 0 && !inText
}

// nameAt reads one of the names of a token reply, in quotes and with the colon
// behind it, at the start of b.
func nameAt(b []byte) (name string, rest []byte) {
	for _, name := range [...]string{"refresh_token", "access_token", "token_type", "scope",
		"expires_in", "refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"} {
		after, ok := bytes.CutPrefix(b, []byte(`"`+name+`"`))
		if !ok {
			continue
		}
		if after, ok = bytes.CutPrefix(bytes.TrimLeft(after, " \t\r\n"), []byte(":")); ok {
			return name, bytes.TrimLeft(after, " \t\r\n")
		}
	}
	return "", nil
}

// valueAt reads the value at the start of b as [valueOf] does. What is cut or
// cannot be read is kindBroken, and so are lists and objects.
func valueAt(b []byte) value {
	switch {
	case len(b) == 0:
		return value{kind: kindBroken}
	case b[0] == '"':
		return textAt(b)
	case bytes.HasPrefix(b, []byte("null")):
		return value{}
	case bytes.HasPrefix(b, []byte("true")), bytes.HasPrefix(b, []byte("false")):
		return value{kind: kindTruth, text: string(b[:bytes.IndexByte(b, 'e')+1])}
	}
	end := bytes.IndexFunc(b, func(r rune) bool { return !strings.ContainsRune("+-.0123456789eE", r) })
	if end <= 0 {
		return value{kind: kindBroken}
	}
	return value{kind: kindNumber, text: string(b[:end])}
}

func textAt(b []byte) value {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return valueOf(escapeControls(b[:i+1]))
		}
	}
	return value{kind: kindBroken}
}

// mayHold reports whether a text may hold a whole refresh token that could not be
// read. A value that is cut itself is worth nothing, nor is the presented token:
// keeping it would put a person between the grant and its recovery.
func mayHold(b []byte, presented grant.Secret) bool {
	const name = "refresh_token"
	for rest := b; ; {
		_, after, found := bytes.Cut(rest, []byte(name+"="))
		if !found {
			break
		}
		end := bytes.IndexAny(after, "&\"'<> \t\r\n")
		if end < 0 {
			return true // a form: nothing tells the end of its last value
		}
		if plain, err := url.QueryUnescape(string(after[:end])); err != nil || plain != presented.Reveal() {
			return true
		}
		rest = after
	}
	for {
		_, after, found := bytes.Cut(b, []byte(name+`"`))
		if !found {
			return false
		}
		b = after
		v := bytes.TrimLeft(after, " \t\r\n:")
		if len(v) == 0 || v[0] == '"' && bytes.IndexByte(v[1:], '"') < 0 || bytes.IndexByte([]byte(",]}"), v[0]) >= 0 {
			continue // cut, or the name is a value itself, such as a grant_type
		}
		if v := refreshOf(valueAt(v)); v.kind != kindAbsent && v.text != presented.Reveal() {
			return true
		}
	}
}

// quotes undoes the ways in which a page writes the quotes of JSON.
func quotes(page []byte) []byte {
	return []byte(strings.NewReplacer("&quot;", `"`, "&#34;", `"`, "&#x22;", `"`, "&#39;", `"`, `\"`, `"`, "'", `"`).Replace(string(page)))
}

// escapeControls mends a string that holds raw line breaks or other control
// characters, which JSON forbids.
func escapeControls(literal []byte) []byte {
	var out bytes.Buffer
	for _, c := range literal {
		if c < ' ' {
			fmt.Fprintf(&out, `\u%04x`, c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.Bytes()
}
