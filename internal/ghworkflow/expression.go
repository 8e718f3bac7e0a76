package ghworkflow

import (
	"encoding/json"
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// expression is a parsed expression of GitHub's language
// (https://docs.github.com/en/actions/reference/workflows-and-actions/expressions).
// A reference to a context is one node with its path in small letters.
type expression struct {
	op   string // "||", "&&", "!", "==", "!=", another comparison, "call", "path", "text"; "" for what is not understood
	text string // of call, path, text
	args []expression
}

// Limits of an expression: GitHub's for its length, ours for its depth.
const (
	maxExpression = 21000
	maxNesting    = 50
)

// lexeme is one part of an expression: a string, a number or name with its
// path, or an operator.
var lexeme = pattern.Of(`^\s*('(?:[^']|'')*'|[A-Za-z_][\w-]*(?:\s*\.\s*(?:[A-Za-z_][\w-]*|\*))*|-?\.?\d[\w.+-]*|&&|\|\||[!=<>]=|[!<>()\[\],.*])`)

// parseExpression reads an expression; what it cannot read is one without op.
func parseExpression(s string) expression {
	if len(s) > maxExpression {
		return expression{}
	}
	p := &expressionParser{}
	for rest := s; strings.TrimSpace(rest) != ""; {
		m := lexeme.FindStringSubmatchIndex(rest)
		if m == nil {
			return expression{}
		}
		p.lexemes = append(p.lexemes, rest[m[2]:m[3]])
		rest = rest[m[1]:]
	}
	e := p.either(0)
	if p.bad || len(p.lexemes) > 0 {
		return expression{}
	}
	return e
}

type expressionParser struct {
	lexemes []string
	bad     bool
}

func (p *expressionParser) peek() string {
	if len(p.lexemes) == 0 {
		return ""
	}
	return p.lexemes[0]
}

// take removes the next lexeme if it is one of these, and returns it.
func (p *expressionParser) take(any ...string) string {
	s := p.peek()
	if s == "" || !slices.Contains(any, s) {
		return ""
	}
	p.lexemes = p.lexemes[1:]
	return s
}

// either reads operands of "||".
func (p *expressionParser) either(depth int) expression {
	e := p.both(depth)
	for p.take("||") != "" {
		e = expression{op: "||", args: []expression{e, p.both(depth)}}
	}
	return e
}

func (p *expressionParser) both(depth int) expression {
	e := p.compared(depth)
	for p.take("&&") != "" {
		e = expression{op: "&&", args: []expression{e, p.compared(depth)}}
	}
	return e
}

func (p *expressionParser) compared(depth int) expression {
	e := p.unary(depth)
	for op := p.take("==", "!=", "<", ">", "<=", ">="); op != ""; op = p.take("==", "!=", "<", ">", "<=", ">=") {
		e = expression{op: op, args: []expression{e, p.unary(depth)}}
	}
	return e
}

func (p *expressionParser) unary(depth int) expression {
	if depth > maxNesting {
		p.bad = true
		return expression{}
	}
	if p.take("!") != "" {
		return expression{op: "!", args: []expression{p.unary(depth + 1)}}
	}
	return p.indexed(p.primary(depth), depth)
}

// indexed reads what may follow a value: [index] and .name.
func (p *expressionParser) indexed(e expression, depth int) expression {
	for {
		switch {
		case p.take("[") != "":
			index := p.either(depth + 1)
			p.expect("]")
			name := "*"
			if index.op == "text" {
				name = strings.ToLower(index.text)
			}
			if e.op != "path" {
				e = expression{}
				continue
			}
			e.text += "." + name
		case p.take(".") != "":
			if p.peek() == "" {
				p.bad = true
				return e
			}
			e.text += "." + strings.ToLower(p.lexemes[0])
			p.lexemes = p.lexemes[1:]
		default:
			return e
		}
	}
}

func (p *expressionParser) expect(s string) {
	if p.take(s) == "" {
		p.bad = true
	}
}

func (p *expressionParser) primary(depth int) expression {
	s := p.peek()
	if p.take("(") != "" {
		e := p.either(depth + 1)
		p.expect(")")
		return e
	}
	if s == "" || strings.ContainsAny(s[:1], "&|!=<>()[],.*") {
		p.bad = true
		return expression{}
	}
	p.lexemes = p.lexemes[1:]
	switch {
	case s[0] == '\'':
		return expression{op: "text", text: strings.ReplaceAll(s[1:len(s)-1], "''", "'")}
	case p.take("(") != "":
		return p.call(s, depth)
	}
	return expression{op: "path", text: strings.Join(strings.Fields(strings.ToLower(s)), "")}
}

func (p *expressionParser) call(name string, depth int) expression {
	e := expression{op: "call", text: strings.ToLower(name)}
	if p.take(")") != "" {
		return e
	}
	for {
		e.args = append(e.args, p.either(depth+1))
		if p.take(",") == "" {
			break
		}
	}
	p.expect(")")
	return e
}

// strings returns the texts that a value can be: of a text itself, or of the
// list that fromJSON makes of one.
func (e expression) strings() []string {
	switch {
	case e.op == "text":
		return []string{e.text}
	case e.op == "call" && e.text == "fromjson" && len(e.args) == 1 && e.args[0].op == "text":
		var list []string
		if json.Unmarshal([]byte(e.args[0].text), &list) == nil {
			return list
		}
	}
	return nil
}

// calls reports whether one of these functions is called anywhere inside.
func (e expression) calls(names ...string) bool {
	return e.op == "call" && slices.Contains(names, e.text) ||
		slices.ContainsFunc(e.args, func(a expression) bool { return a.calls(names...) })
}

// implies reports whether a condition can only hold where leaf does, for a run
// of that occasion: leaf is asked of every part that is no "&&" or "||". What is
// not understood implies nothing.
func (e expression) implies(o occasion, leaf func(expression) bool) bool {
	switch e.op {
	case "&&":
		return e.args[0].implies(o, leaf) || e.args[1].implies(o, leaf)
	case "||":
		return e.args[0].implies(o, leaf) && e.args[1].implies(o, leaf)
	case "path":
		if e.text == "false" {
			return true
		}
	case "==", "!=":
		path, text := e.args[0], e.args[1]
		if path.op == "text" {
			path, text = text, path
		}
		if is, known := o.tells(path); known && text.op == "text" {
			return strings.EqualFold(text.text, is) == (e.op == "!=")
		}
	case "call":
		if e.text != "contains" || len(e.args) != 2 {
			break
		}
		if is, known := o.tells(e.args[1]); known {
			names := e.args[0].strings()
			return names != nil && e.args[0].op == "call" && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, is) })
		}
	}
	return leaf(e)
}

// tells is what a path holds on that occasion, where that is known.
func (o occasion) tells(e expression) (is string, known bool) {
	switch {
	case e.op == "path" && e.text == "github.event_name":
		return o.event, true
	case e.op == "path" && e.text == "github.event.action":
		return o.action, true
	}
	return "", false
}

// inserted matches the places where an expression is put into a text.
var inserted = pattern.Of(`(?s)\$\{\{(.*?)\}\}`)

// condition is an if: of a job or step. always says that it holds whatever the
// expression says, because text stands outside ${{ }} and makes it a string.
func condition(n *node) (e expression, always bool) {
	if n == nil {
		return parseCondition("")
	}
	if n.parsed == nil {
		n.parsed = &parsedCondition{}
		n.parsed.expression, n.parsed.always = parseCondition(n.str())
	}
	return n.parsed.expression, n.parsed.always
}

// parsedCondition is what [condition] returns.
type parsedCondition struct {
	expression
	always bool
}

func parseCondition(s string) (e expression, always bool) {
	m := inserted.FindStringSubmatchIndex(s)
	switch {
	case m == nil:
		return parseExpression(s), false
	case m[0] == 0 && m[1] == len(s):
		return parseExpression(s[m[2]:m[3]]), false
	}
	return expression{}, true
}
