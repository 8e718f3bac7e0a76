package oauth

import (
	"bytes"
	"fmt"
	"strings"
)

// salvage finds members in text that is no valid JSON: cut, with a comma too
// many, or with something in front. It knows the names of a token reply only,
// and takes only values that are complete.
func salvage(b []byte) members {
	m := members{}
	for _, name := range []string{"refresh_token", "access_token", "token_type", "scope",
		"expires_in", "refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"} {
		if v := find(b, name); v.kind != kindAbsent {
			m[name] = v
		}
	}
	return m
}

// find returns the last complete value of the member name in b, however deep
// it sits. A quote behind a backslash belongs to a text that quotes JSON.
func find(b []byte, name string) value {
	key := []byte(`"` + name + `"`)
	var found value
	for at := 0; ; {
		i := bytes.Index(b[at:], key)
		if i < 0 {
			return found
		}
		start := at + i
		at = start + len(key)
		if start > 0 && b[start-1] == '\\' {
			continue
		}
		rest := bytes.TrimLeft(b[at:], " \t\r\n")
		if len(rest) == 0 || rest[0] != ':' {
			continue
		}
		if v := complete(bytes.TrimLeft(rest[1:], " \t\r\n")); v.kind != kindAbsent {
			found = v
		}
	}
}

// mayHold reports whether a cut text may hold a whole value of the member that
// find could not read. A value that is cut itself is worth nothing, and keeping
// it would put a person between the grant and its recovery.
func mayHold(b []byte, name string) bool {
	if bytes.Contains(b, []byte(name+"=")) {
		return true // a form: nothing tells the end of its last value
	}
	for {
		i := bytes.Index(b, []byte(name+`"`))
		if i < 0 {
			return false
		}
		b = b[i+len(name)+1:]
		rest := bytes.TrimLeft(b, " \t\r\n:")
		if len(rest) > 0 && (rest[0] != '"' || bytes.IndexByte(rest[1:], '"') >= 0) {
			return true
		}
	}
}

// complete reads the string or number at the start of b, if its end is there.
func complete(b []byte) value {
	if len(b) == 0 {
		return value{}
	}
	if b[0] != '"' {
		end := bytes.IndexFunc(b, func(r rune) bool { return !strings.ContainsRune("+-.0123456789eE", r) })
		if end <= 0 {
			return value{}
		}
		return value{kind: kindNumber, text: string(b[:end])}
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			if s, ok := unquote(escapeControls(b[:i+1])); ok && s != "" {
				return value{kind: kindText, text: s}
			}
			return value{}
		}
	}
	return value{}
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
