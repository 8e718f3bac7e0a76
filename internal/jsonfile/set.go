package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Edit gives one member a value. Path leads to it from the outermost object; what
// is missing on the way, or null, becomes an object.
type Edit struct {
	Path  []string
	Value any // what encoding/json makes of it
}

// Set applies the edits, in order, to a text that [Parse] accepts; an empty text
// is an empty object. Every byte that no edit names stays, but for a byte order
// mark, which strict readers refuse. A member that is new comes last in its
// object, spaced like the one before it.
func Set(text []byte, edits ...Edit) ([]byte, error) {
	text = bytes.TrimPrefix(text, []byte(bom))
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}\n")
	}
	for _, e := range edits {
		raw, err := json.Marshal(e.Value)
		if err != nil {
			return nil, fmt.Errorf("a value cannot be written as JSON: %w", err)
		}
		if _, err := Parse(text); err != nil {
			return nil, err
		}
		if text, err = set(text, space(text, 0), e.Path, raw); err != nil {
			return nil, err
		}
	}
	return text, nil
}

func set(text []byte, at int, path []string, raw []byte) ([]byte, error) {
	o, end := object(text, at)
	if err := o.once(); err != nil {
		return nil, err
	}
	name, rest := path[0], path[1:]
	for _, m := range o {
		switch {
		case m.Name != name:
		case len(rest) == 0:
			return splice(text, m.from, m.to, raw), nil
		case m.Value[0] == '{':
			return set(text, m.from, rest, raw)
		case string(m.Value) == "null":
			return splice(text, m.from, m.to, nested(rest, raw)), nil
		default:
			return nil, fmt.Errorf("its member %s is no object", name)
		}
	}
	return add(text, o, at, end, name, nested(rest, raw)), nil
}

// nested wraps a value into the objects that are missing around it.
func nested(path []string, raw []byte) []byte {
	for i := len(path) - 1; i >= 0; i-- {
		raw = splice([]byte(`{`+quoted(path[i])+`:}`), len(quoted(path[i]))+2, len(quoted(path[i]))+2, raw)
	}
	return raw
}

// add puts a member behind the last one of an object that begins and ends there.
func add(text []byte, o Object, begin, end int, name string, raw []byte) []byte {
	if len(o) == 0 {
		return splice(text, begin+1, end-1, append([]byte(quoted(name)+":"), raw...))
	}
	last := o[len(o)-1]
	lead := last.key
	for bytes.IndexByte([]byte(" \t\r\n"), text[lead-1]) >= 0 {
		lead--
	}
	var b []byte
	b = append(b, ',')
	b = append(b, text[lead:last.key]...)
	b = append(b, quoted(name)...)
	b = append(b, text[value(text, last.key):last.from]...) // the colon, as they space it
	b = append(b, raw...)
	return splice(text, last.to, last.to, b)
}

func quoted(name string) string {
	b, _ := json.Marshal(name) // a string always has a form
	return string(b)
}

func splice(text []byte, from, to int, with []byte) []byte {
	b := make([]byte, 0, len(text)-(to-from)+len(with))
	b = append(b, text[:from]...)
	b = append(b, with...)
	return append(b, text[to:]...)
}
