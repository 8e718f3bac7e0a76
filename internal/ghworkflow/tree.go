package ghworkflow

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxFile bounds a workflow in bytes.
const MaxFile = 256 << 10

// maxDepth bounds how deep a file is nested; maxOpen, the brackets that may be
// open at once, those in scripts included, bounds the parser, which has no bound
// of its own.
const (
	maxDepth = 64
	maxOpen  = 500
)

// kind is what a node is.
type kind uint8

const (
	isNull kind = iota
	isText      // any scalar, as it is written
	isList
	isMap
)

// node is one value of the file with its place, from 1. Aliases are resolved,
// so a node may be reached by several ways.
type node struct {
	kind         kind
	line, column int
	text         string
	list         []*node
	keys         []*node // texts, as many as list has values; of isMap

	// What [node.secrets], [node.refreshIn], [condition] and [asks] have found,
	// because aliases can make a small file endless to walk.
	inside  *[]string
	refresh *holding
	parsed  *parsedCondition
	asking  *bool
}

// fault is why a text is no workflow.
type fault struct {
	line, column int
	says         string
}

// get returns the value of a key, or nil. It takes a nil node.
func (n *node) get(key string) *node {
	if n == nil || n.kind != isMap {
		return nil
	}
	for i, k := range n.keys {
		if k.text == key {
			return n.list[i]
		}
	}
	return nil
}

// key returns the node of a key itself, for its place.
func (n *node) key(key string) *node {
	for i := range n.keys {
		if n.keys[i].text == key {
			return n.keys[i]
		}
	}
	return n
}

// str is the text of a scalar, and "" of anything else. It takes a nil node.
func (n *node) str() string {
	if n == nil || n.kind != isText {
		return ""
	}
	return n.text
}

// parse reads the one document of a file.
func parse(b []byte) (*node, *fault) {
	switch {
	case len(b) > MaxFile:
		return nil, &fault{says: fmt.Sprintf("a workflow has at most %d bytes here, this is %d", MaxFile, len(b))}
	case !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0:
		return nil, &fault{says: "it is no text in UTF-8"}
	}
	if bad := tooDeep(b); bad != nil {
		return nil, bad
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, faultOf(err)
	}
	t := tree{anchors: map[string]*node{}}
	var root *node
	for _, doc := range file.Docs {
		if doc == nil || doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if root != nil {
			return nil, at(doc.Body, "a second document; a file is one workflow")
		}
		var bad *fault
		if root, bad = t.convert(doc.Body, 0); bad != nil {
			return nil, bad
		}
	}
	if root == nil || root.kind == isNull {
		return nil, &fault{says: "the file is empty"}
	}
	return root, nil
}

// tooDeep counts brackets, and the marks at the start of a line, before the
// parser recurses over them. It does not know strings, and errs towards
// refusing: no workflow has so many.
func tooDeep(b []byte) *fault {
	line, open := 0, 0
	for text := range bytes.Lines(b) {
		line++
		for _, c := range text {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			if open > maxOpen {
				return &fault{line, 1, "it is nested too deep"}
			}
		}
		marks := len(text) - len(bytes.TrimLeft(text, "- ?:\t"))
		if start := bytes.TrimLeft(text, " "); marks-(len(text)-len(start)) > maxOpen {
			return &fault{line, 1, "it is nested too deep"}
		}
	}
	return nil
}

func faultOf(err error) *fault {
	f := &fault{says: "it is not YAML: " + named(strings.Join(strings.Fields(err.Error()), " "))}
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil && y.GetToken().Position != nil {
		pos := y.GetToken().Position
		f.line, f.column = pos.Line, pos.Column
		f.says = "it is not YAML: " + strings.Join(strings.Fields(y.GetMessage()), " ")
	}
	return f
}

// at is a fault at a node of the parser.
func at(n ast.Node, says string) *fault {
	f := &fault{says: says}
	if n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
		f.line, f.column = n.GetToken().Position.Line, n.GetToken().Position.Column
	}
	return f
}

// tree converts the parser's nodes.
type tree struct {
	anchors map[string]*node
}

func (t *tree) convert(n ast.Node, depth int) (*node, *fault) {
	if depth > maxDepth {
		return nil, at(n, "it is nested too deep")
	}
	to := &node{}
	if f := at(n, ""); n != nil {
		to.line, to.column = f.line, f.column
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return to, nil
	case *ast.AnchorNode:
		inner, bad := t.convert(n.Value, depth+1)
		if bad == nil && n.Name != nil && n.Name.GetToken() != nil {
			t.anchors[n.Name.GetToken().Value] = inner
		}
		return inner, bad
	case *ast.AliasNode:
		return t.alias(n)
	case *ast.TagNode:
		return t.convert(n.Value, depth+1)
	case *ast.MappingValueNode:
		return to, t.entries(to, []*ast.MappingValueNode{n}, depth)
	case *ast.MappingNode:
		return to, t.entries(to, n.Values, depth)
	case *ast.SequenceNode:
		to.kind = isList
		for _, v := range n.Values {
			inner, bad := t.convert(v, depth+1)
			if bad != nil {
				return nil, bad
			}
			to.list = append(to.list, inner)
		}
		return to, nil
	}
	return to, scalar(to, n)
}

// alias finds what an alias stands for. What it names must come before it, so
// that no node is inside itself.
func (t *tree) alias(n *ast.AliasNode) (*node, *fault) {
	if n.Value != nil && n.Value.GetToken() != nil {
		if named := t.anchors[n.Value.GetToken().Value]; named != nil {
			return named, nil
		}
	}
	return nil, at(n, "an alias whose anchor is not before it")
}

func (t *tree) entries(to *node, values []*ast.MappingValueNode, depth int) *fault {
	to.kind = isMap
	for _, v := range values {
		if v == nil || v.Key == nil {
			return at(v, "a key is missing")
		}
		key, bad := t.convert(v.Key, depth+1)
		if bad != nil {
			return bad
		}
		value, bad := t.convert(v.Value, depth+1)
		if bad != nil {
			return bad
		}
		if len(to.keys) == 0 {
			to.line, to.column = key.line, key.column
		}
		to.keys, to.list = append(to.keys, key), append(to.list, value)
	}
	return nil
}

// scalar fills in the text of a scalar, as it was written where it is no string.
func scalar(to *node, n ast.Node) *fault {
	to.kind = isText
	switch n := n.(type) {
	case *ast.StringNode:
		to.text = n.Value
	case *ast.LiteralNode:
		if n.Value != nil {
			to.text = n.Value.Value
		}
	case *ast.MappingKeyNode:
		return at(n, "a key that is no word")
	default:
		if n.GetToken() == nil {
			return at(n, "it is not YAML")
		}
		to.text = n.GetToken().Value
	}
	return nil
}
