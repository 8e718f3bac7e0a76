// Package config reads the configuration file: named grants, each with the
// settings that the flags have.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxFile bounds a configuration file, in bytes.
const MaxFile = 1 << 20

// Kind is what a setting holds.
type Kind uint8

// Kinds of settings.
const (
	Text     Kind = iota + 1
	List          // of texts; one text stands for a list of one
	Switch        // true or false
	Duration      // as Go writes it: 90s, 30m, 1h30m
	Count         // a number that is not negative
)

// File is a configuration file that was read:
//
//	defaults:                 # for every grant that does not say otherwise
//	  store: git:https://forge.example/acme/grants
//	  key-file: evergrant.key # beside this file
//	grants:
//	  acme/claude:
//	    provider: claude
//	    sink: [file:/run/claude-token]
//	  acme/gitlab:
//	    provider: gitlab
//	    client-id: 5f3c
//	    min-ttl: 20m
type File struct {
	Path   string
	Grants []Grant // in the order of the file
}

// Grant is the settings of one grant, defaults included, by name.
type Grant struct {
	Name     string
	Settings []Setting
	At       string // where it stands, as PATH:LINE:COLUMN
}

// Setting is one setting with its values as a flag would have them.
type Setting struct {
	Name   string
	Values []string
	At     string
}

// Grant returns the grant of a name.
func (f File) Grant(name string) (Grant, bool) {
	i := slices.IndexFunc(f.Grants, func(g Grant) bool { return g.Name == name })
	if i < 0 {
		return Grant{}, false
	}
	return f.Grants[i], true
}

// Has reports whether the file says anything of a setting for the grant.
func (g Grant) Has(setting string) bool {
	return slices.ContainsFunc(g.Settings, func(s Setting) bool { return s.Name == setting })
}

// Parse reads a file. Settings that kinds does not name are refused, and so is a
// value of another kind. The error is one line for a user, with path, line and
// column; it repeats names and no value, which may be a secret in a wrong place.
func Parse(b []byte, path string, kinds map[string]Kind) (File, error) {
	f := File{Path: path}
	if len(b) > MaxFile {
		return f, fmt.Errorf("%s: a configuration has at most %d bytes, this is %d", path, MaxFile, len(b))
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return f, located(err, path)
	}
	r := reader{path, kinds}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return f, fmt.Errorf("%s: one document with the member grants is expected", path)
	}
	members, err := r.mapping(tree.Docs[0].Body)
	if err != nil {
		return f, err
	}
	var defaults []Setting
	for _, m := range members {
		switch m.name {
		case "defaults":
			if defaults, err = r.settings(m.value); err != nil {
				return f, err
			}
		case "grants":
			if f.Grants, err = r.grants(m.value); err != nil {
				return f, err
			}
		default:
			return f, fmt.Errorf("%s: %s is no member of a configuration; there are defaults and grants", m.at, shown(m.name))
		}
	}
	if len(f.Grants) == 0 {
		return f, fmt.Errorf("%s: there are no grants in it", path)
	}
	for i, g := range f.Grants {
		for _, d := range defaults {
			if !slices.ContainsFunc(g.Settings, func(s Setting) bool { return s.Name == d.Name }) {
				f.Grants[i].Settings = append(f.Grants[i].Settings, d)
			}
		}
	}
	return f, nil
}

// reader turns nodes into settings.
type reader struct {
	path  string
	kinds map[string]Kind
}

type member struct {
	name  string
	value ast.Node
	at    string
}

func (r reader) at(n ast.Node) string {
	if t := n.GetToken(); t != nil {
		return fmt.Sprintf("%s:%d:%d", r.path, t.Position.Line, t.Position.Column)
	}
	return r.path
}

// mapping returns the members of a mapping, each name once.
func (r reader) mapping(n ast.Node) ([]member, error) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, fmt.Errorf("%s: names with values are expected here", r.at(n))
	}
	var members []member
	for _, v := range values {
		name, ok := v.Key.(ast.ScalarNode)
		if !ok {
			return nil, fmt.Errorf("%s: a name is expected here", r.at(v.Key))
		}
		m := member{text(name), v.Value, r.at(v.Key)}
		if slices.ContainsFunc(members, func(o member) bool { return o.name == m.name }) {
			return nil, fmt.Errorf("%s: %s stands there twice", m.at, shown(m.name))
		}
		members = append(members, m)
	}
	return members, nil
}

func (r reader) grants(n ast.Node) ([]Grant, error) {
	members, err := r.mapping(n)
	if err != nil {
		return nil, err
	}
	var grants []Grant
	for _, m := range members {
		g := Grant{Name: m.name, At: m.at}
		if _, none := m.value.(*ast.NullNode); !none {
			if g.Settings, err = r.settings(m.value); err != nil {
				return nil, err
			}
		}
		grants = append(grants, g)
	}
	return grants, nil
}

func (r reader) settings(n ast.Node) ([]Setting, error) {
	members, err := r.mapping(n)
	if err != nil {
		return nil, err
	}
	var settings []Setting
	for _, m := range members {
		kind, ok := r.kinds[m.name]
		if !ok {
			return nil, fmt.Errorf("%s: %s is no setting of a grant", m.at, shown(m.name))
		}
		s := Setting{Name: m.name, At: m.at}
		if s.Values, err = r.values(m.value, kind); err != nil {
			return nil, err
		}
		settings = append(settings, s)
	}
	return settings, nil
}

func (r reader) values(n ast.Node, kind Kind) ([]string, error) {
	if list, ok := n.(*ast.SequenceNode); ok && kind == List {
		var values []string
		for _, item := range list.Values {
			v, err := r.value(item, Text)
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
		return values, nil
	}
	v, err := r.value(n, kind)
	return []string{v}, err
}

func (r reader) value(n ast.Node, kind Kind) (string, error) {
	scalar, ok := n.(ast.ScalarNode)
	if _, none := n.(*ast.NullNode); !ok || none {
		return "", fmt.Errorf("%s: a value is expected here, %s", r.at(n), kind)
	}
	v := text(scalar)
	fits := true
	switch kind {
	case Switch:
		fits = v == "true" || v == "false"
	case Duration:
		_, err := time.ParseDuration(v)
		fits = err == nil
	case Count:
		_, err := strconv.ParseUint(v, 10, 64)
		fits = err == nil
	default:
		fits = v != "" && !strings.ContainsAny(v, "\n\r\x00")
	}
	if !fits {
		return "", fmt.Errorf("%s: the value must be %s", r.at(n), kind)
	}
	return v, nil
}

func (k Kind) String() string {
	switch k {
	case List:
		return "a text or a list of texts"
	case Switch:
		return "true or false"
	case Duration:
		return "a duration such as 30m"
	case Count:
		return "a number"
	}
	return "a text on one line"
}

// text is a scalar as it was written, without its quotes: 010 stays 010.
func text(n ast.ScalarNode) string {
	if s, ok := n.(*ast.LiteralNode); ok {
		return s.Value.Value
	}
	return n.GetToken().Value
}

// shown repeats a name only if it can be one.
func shown(name string) string {
	if len(name) > 40 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-_") != "" {
		return "a name that is not repeated here"
	}
	return name
}

func located(err error, path string) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		pos := at.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", path, pos.Line, pos.Column, strings.Join(strings.Fields(at.GetMessage()), " "))
	}
	return fmt.Errorf("%s: it is not YAML", path)
}
