// Package jsonfile reads and edits JSON files that belong to other programs. An
// edit changes the values that it names: order, spacing, numbers and members that
// mean nothing to us stay byte for byte.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Member is one member of an object, as it is written.
type Member struct {
	Name  string
	Value json.RawMessage

	key, from, to int // where the name begins, and where the value is
}

// Object is a JSON object in the order of its text.
type Object []Member

// bom is the byte order mark that some editors put before a text. JSON has none
// (RFC 8259 §8.1), and strict readers refuse it.
const bom = "\xef\xbb\xbf"

// Parse reads a text that is one JSON object. A byte order mark before it is
// passed over. A name that stands there twice is refused, because readers
// disagree on which one counts. No error repeats anything of the text.
func Parse(text []byte) (Object, error) {
	text = bytes.TrimPrefix(text, []byte(bom))
	if err := valid(text); err != nil {
		return nil, err
	}
	at := space(text, 0)
	if text[at] != '{' {
		return nil, errors.New("it is JSON, but no object")
	}
	o, _ := object(text, at)
	return o, o.once()
}

// Get returns the value of the member of that name; false if there is none.
func (o Object) Get(name string) (json.RawMessage, bool) {
	for _, m := range o {
		if m.Name == name {
			return m.Value, true
		}
	}
	return nil, false
}

func (o Object) once() error {
	seen := make(map[string]bool, len(o))
	for _, m := range o {
		if seen[m.Name] {
			return errors.New("a member of its JSON is there twice")
		}
		seen[m.Name] = true
	}
	return nil
}

func valid(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("it is empty")
	}
	if json.Valid(text) {
		return nil
	}
	var any json.RawMessage
	if bad := (*json.SyntaxError)(nil); errors.As(json.Unmarshal(text, &any), &bad) {
		return fmt.Errorf("its JSON is malformed at byte %d of %d", bad.Offset, len(text))
	}
	return errors.New("its JSON is malformed")
}

// object reads the object that begins at a brace of a valid text, and returns
// where it ends.
func object(text []byte, at int) (Object, int) {
	var o Object
	for at = space(text, at+1); text[at] != '}'; {
		if text[at] == ',' {
			at = space(text, at+1)
		}
		m := Member{key: at}
		end := value(text, at)
		_ = json.Unmarshal(text[at:end], &m.Name) // it is valid, so it is a string
		m.from = space(text, space(text, end)+1)  // over the colon
		m.to = value(text, m.from)
		m.Value = text[m.from:m.to]
		o = append(o, m)
		at = space(text, m.to)
	}
	return o, at + 1
}

// value returns where the value that begins there ends.
func value(text []byte, at int) int {
	switch text[at] {
	case '"':
		for at++; text[at] != '"'; at++ {
			if text[at] == '\\' {
				at++
			}
		}
		return at + 1
	case '{', '[':
		for depth := 0; ; {
			switch text[at] {
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			case '"':
				at = value(text, at) - 1
			}
			if at++; depth == 0 {
				return at
			}
		}
	}
	for at < len(text) && !bytes.ContainsRune([]byte(",}] \t\r\n"), rune(text[at])) {
		at++
	}
	return at
}

func space(text []byte, at int) int {
	for at < len(text) && bytes.IndexByte([]byte(" \t\r\n"), text[at]) >= 0 {
		at++
	}
	return at
}
