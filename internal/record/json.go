package record

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// member is one name and its value as it stands in the text; an empty value
// marks one that has been read.
type member struct{ name, raw string }

// fewMembers is how many names are compared one by one before a map is made: a
// record has fewer, and whatever a stranger made must not cost a square.
const fewMembers = 32

// splitObject appends the members of raw, which must be valid JSON, in order.
// encoding/json will not do: it takes names in any case, and a name twice.
func splitObject(list []member, raw string) ([]member, error) {
	if raw[0] != '{' {
		return nil, errors.New("is not an object")
	}
	start := len(list)
	var seen map[string]bool
	for at := next(raw, 1); raw[at] != '}'; {
		if raw[at] == ',' {
			at = next(raw, at+1)
		}
		end := skip(raw, at)
		name, err := unquote(raw[at:end])
		if err != nil {
			return nil, err
		}
		if seen == nil && len(list)-start == fewMembers {
			seen = make(map[string]bool)
			for _, m := range list[start:] {
				seen[m.name] = true
			}
		}
		if seen[name] || seen == nil && slices.ContainsFunc(list[start:], func(m member) bool { return m.name == name }) {
			return nil, fmt.Errorf("has the member %q twice", shorten(name))
		}
		if seen != nil {
			seen[name] = true
		}
		at = next(raw, next(raw, end)+1) // over the colon
		end = skip(raw, at)
		list = append(list, member{name, raw[at:end]})
		at = next(raw, end)
	}
	return list, nil
}

// splitArray returns the items of raw, which must be valid JSON.
func splitArray(raw string) ([]string, error) {
	if raw[0] != '[' {
		return nil, errors.New("is not a list")
	}
	var items []string
	for at := next(raw, 1); raw[at] != ']'; {
		if raw[at] == ',' {
			at = next(raw, at+1)
		}
		end := skip(raw, at)
		items = append(items, raw[at:end])
		at = next(raw, end)
	}
	return items, nil
}

// next returns the place of the first byte from at on that is not white space.
func next(raw string, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\t' || raw[at] == '\n' || raw[at] == '\r') {
		at++
	}
	return at
}

// skip returns the place behind the value that starts at at.
func skip(raw string, at int) int {
	for depth := 0; ; at++ {
		switch raw[at] {
		case '"':
			at = skipString(raw, at)
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			continue
		default: // a number or a word
			for at+1 < len(raw) && strings.IndexByte(",:]} \t\r\n", raw[at+1]) < 0 {
				at++
			}
		}
		if depth == 0 {
			return at + 1
		}
	}
}

// skipString returns the place of the quote that ends the string at at.
func skipString(raw string, at int) int {
	for at++; raw[at] != '"'; at++ {
		if raw[at] == '\\' {
			at++
		}
	}
	return at
}

// unquote reads a string. Most have no escape and are what stands between the
// quotes; whatever else is there is for encoding/json.
func unquote(raw string) (string, error) {
	if raw[0] != '"' {
		return "", errors.New("is not a string")
	}
	if s := raw[1 : len(raw)-1]; strings.IndexByte(s, '\\') < 0 && utf8.ValidString(s) {
		return s, nil
	}
	var s string
	err := json.Unmarshal([]byte(raw), &s)
	return s, err
}

// text reads a string, or the object that stands for one that is not UTF-8.
func text(raw string) (string, error) {
	if raw[0] != '{' {
		return unquote(raw)
	}
	members, err := splitObject(nil, raw)
	if err != nil {
		return "", err
	}
	if len(members) != 1 || members[0].name != "base64" {
		return "", errors.New("is not a string")
	}
	s, err := unquote(members[0].raw)
	if err != nil {
		return "", err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || utf8.Valid(b) {
		return "", errors.New("is not a string")
	}
	return string(b), nil
}

// appendText is the inverse of text.
func appendText(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		b = append(b, `{"base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, []byte(s))
		return append(b, `"}`...)
	}
	return appendString(b, s)
}

// appendString writes a JSON string (RFC 8259 §7) with the escapes that the
// grammar demands and no others.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0 // where the bytes begin that need no escape
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return append(append(b, s[plain:]...), '"')
}

// escapePointer writes a member's name as a step of a JSON pointer (RFC 6901 §3).
func escapePointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func unescapePointer(step string) string {
	return strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
}

// shorten keeps foreign text in an error to a length that a line can bear.
func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
