package record

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// member is one name and its value as it stands in the text.
type member struct {
	name string
	raw  []byte
}

// splitObject returns the members of raw, which must be valid JSON, in order.
// encoding/json will not do: it takes names in any case, and a name twice.
func splitObject(raw []byte) ([]member, error) {
	if raw[0] != '{' {
		return nil, errors.New("is not an object")
	}
	var members []member
	seen := make(map[string]bool)
	for at := next(raw, 1); raw[at] != '}'; {
		if raw[at] == ',' {
			at = next(raw, at+1)
		}
		end := skip(raw, at)
		name, err := unquote(raw[at:end])
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("has the member %q twice", shorten(name))
		}
		seen[name] = true
		at = next(raw, next(raw, end)+1) // over the colon
		end = skip(raw, at)
		members = append(members, member{name, raw[at:end]})
		at = next(raw, end)
	}
	return members, nil
}

// splitArray returns the items of raw, which must be valid JSON.
func splitArray(raw []byte) ([][]byte, error) {
	if raw[0] != '[' {
		return nil, errors.New("is not a list")
	}
	var items [][]byte
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
func next(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\t' || raw[at] == '\n' || raw[at] == '\r') {
		at++
	}
	return at
}

// skip returns the place behind the value that starts at at.
func skip(raw []byte, at int) int {
	for depth := 0; at < len(raw); {
		switch raw[at] {
		case '"':
			for at++; raw[at] != '"'; at++ {
				if raw[at] == '\\' {
					at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		at++
		if depth == 0 && (at == len(raw) || strings.IndexByte(",:]} \t\r\n", raw[at]) >= 0) {
			return at
		}
	}
	return at
}

func unquote(raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", errors.New("is not a string")
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

// text reads a string, or the object that stands for one that is not UTF-8.
func text(raw []byte) (string, error) {
	if raw[0] != '{' {
		return unquote(raw)
	}
	members, err := splitObject(raw)
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
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
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
