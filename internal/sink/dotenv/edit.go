package dotenv

import (
	"errors"
	"strings"
)

// set returns text with the assignment of name replaced, or appended when there
// is none. With several, the last one is replaced, because that is the one
// whose value counts for shells, docker, node and python readers.
func set(text, name, value string) string {
	begin, end := find(text, name)
	if begin < 0 {
		eol := "\n"
		if strings.Contains(text, "\r\n") {
			eol = "\r\n"
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += eol
		}
		return text + name + "=" + value + eol
	}
	return text[:begin] + value + text[end:]
}

// find returns where the value of the last assignment of name begins and ends:
// after the equals sign, and before a comment or the end of the line. A quoted
// value may go over several lines, and what looks like an assignment inside it
// is none.
func find(text, name string) (begin, end int) {
	begin, end = -1, -1
	for at := 0; at < len(text); {
		line := text[at:]
		if n := strings.IndexByte(line, '\n'); n >= 0 {
			line = line[:n+1]
		}
		key, from, ok := assignment(line)
		if !ok {
			at += len(line)
			continue
		}
		from += at
		to, next := valueEnd(text, from)
		if key == name {
			begin, end = from, to
		}
		at = next
	}
	return begin, end
}

// assignment splits "export NAME = value" and returns the name and where the
// value begins in the line.
func assignment(line string) (name string, from int, ok bool) {
	head, _, found := strings.Cut(line, "=")
	if !found {
		return "", 0, false
	}
	name = strings.TrimSpace(head)
	name = strings.TrimSpace(strings.TrimPrefix(name, "export "))
	if !identifier(name) {
		return "", 0, false
	}
	return name, len(head) + 1, true
}

// valueEnd returns where the value that begins at from ends, and where the
// next line begins.
func valueEnd(text string, from int) (end, next int) {
	rest := text[from:]
	eol := len(rest)
	if n := strings.IndexByte(rest, '\n'); n >= 0 {
		eol = n + 1
	}
	lead := eol - len(strings.TrimLeft(rest[:eol], " \t"))
	if lead < eol && strings.IndexByte(`"'`+"`", rest[lead]) >= 0 {
		if close := closing(rest, lead); close >= 0 {
			end, next := from+close+1, len(text)
			if n := strings.IndexByte(text[end:], '\n'); n >= 0 {
				next = end + n + 1
			}
			return end + tailEnd(text[end:next]), next
		}
	}
	return from + tailEnd(rest[:eol]), from + eol
}

// tailEnd returns where the value ends in the rest of its line: before a comment
// or blanks. Text behind a closing quote is part of the value: left there, it
// would stick to a bare one that replaces the quoted.
func tailEnd(rest string) int {
	rest = strings.TrimRight(rest, "\r\n")
	if n := strings.Index(rest, " #"); n >= 0 {
		rest = rest[:n]
	}
	return len(strings.TrimRight(rest, " \t"))
}

// closing finds the quote that ends the one at position at; -1 if none does.
func closing(s string, at int) int {
	q := s[at]
	for i := at + 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && q == '"':
			i++
		case s[i] == q:
			return i
		}
	}
	return -1
}

// bare holds the bytes that need no quotes for any reader.
const bare = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=:@%,"

func quote(v string) (string, error) {
	switch {
	case strings.Trim(v, bare) == "":
		return v, nil
	case strings.ContainsRune(v, '\\'):
	case !strings.ContainsRune(v, '\''):
		return "'" + v + "'", nil
	case !strings.ContainsAny(v, "\"$`!"):
		return `"` + v + `"`, nil
	}
	return "", errors.New("the access token holds characters that no quoting carries safely through an environment file; use file:PATH")
}
