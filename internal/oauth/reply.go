package oauth

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

// kind is what a member's value is.
type kind uint8

const (
	kindAbsent kind = iota // also null and ""
	kindText
	kindNumber
	kindList
	kindObject
	kindTruth  // true or false
	kindBroken // a string whose bytes were damaged, a token that is a structure
)

// value is one member of a reply, from JSON or from a form.
type value struct {
	kind kind
	text string          // text, number
	raw  json.RawMessage // list, object
}

type members map[string]value

// put keeps, of equal names, the last one that says something: many parsers take
// the last one, but a null behind a token must not cost it.
func (m members) put(name string, v value) {
	if _, repeated := m[name]; !repeated || v.kind != kindAbsent {
		m[name] = v
	}
}

// refreshOf is the value of a refresh_token. A structure cannot be used, and must
// not be read as "none was given": then the presented one would be believed to
// live on. false gives none.
func refreshOf(v value) value {
	switch {
	case v.kind == kindList, v.kind == kindObject, v.kind == kindTruth && v.text == "true":
		return value{kind: kindBroken}
	case v.kind == kindTruth:
		return value{}
	}
	return v
}

// reply is what could be made of an answer's body.
type reply struct {
	text    []byte // decoded from gzip where it was
	members members
	codes   []string // candidates for the error code, best first; unnamed if an error has none
	texts   []string // what an error says besides; counts only where the preset lists it whole
	whole   bool     // nothing is missing
	read    bool     // members were read strictly
	closed  bool     // salvaged text ends what it began
	html    bool
	opaque  bool // in an encoding that we did not ask for and cannot read
}

// parseReply reads the body strictly, else salvages what it can of a 2xx.
func parseReply(a answer) reply {
	r := reply{text: a.body, whole: a.cut == nil}
	r.decode(a.header.Get("Content-Encoding"))
	if !r.opaque {
		r.text = bytes.TrimPrefix(bytes.TrimSpace(r.text), []byte("\xef\xbb\xbf"))
	}
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	r.html = htmlShaped(r.text) || media == "text/html" && !isObject(r.text)
	switch {
	case r.opaque || r.html: // a page may show a sample reply; that is no chain
	case isObject(r.text):
		if m, ok := parseObject(r.text); ok {
			// A JSON object ends itself: what follows it, or was announced and
			// never came, does not matter.
			r.members, r.read, r.whole = m, true, true
		} else if a.ok() {
			r.members, r.closed = salvage(r.text)
		}
	case media == "application/x-www-form-urlencoded" || formShaped(r.text):
		r.members, r.read = parseForm(r.text, r.whole)
	case a.ok():
		r.members, r.closed = salvage(r.text)
	}
	if r.read {
		r.codes = errorCodes(r.members, a.ok())
		if !a.ok() || len(r.codes) > 0 {
			r.texts = errorTexts(r.members)
		}
		if a.ok() && len(r.codes) == 0 {
			r.descend()
		}
	}
	return r
}

// decode undoes gzip: some servers send it whatever they are asked.
func (r *reply) decode(encoding string) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity", "gzip", "x-gzip":
	default:
		r.opaque = len(r.text) > 0
		return
	}
	if !bytes.HasPrefix(r.text, []byte{0x1f, 0x8b}) {
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(r.text))
	if err != nil {
		r.opaque = true
		return
	}
	z.Multistream(false)
	plain, err := io.ReadAll(io.LimitReader(z, MaxReply+1))
	if err != nil || len(plain) > MaxReply {
		r.whole = false
	}
	r.text = plain
}

// descend looks one level down when the top holds no tokens: some providers
// wrap the token reply. It must be one object only, or nobody knows which.
func (r *reply) descend() {
	if r.members["access_token"].kind != kindAbsent || r.members["refresh_token"].kind != kindAbsent {
		return
	}
	var found members
	for _, v := range r.members {
		if v.kind != kindObject {
			continue
		}
		m, ok := parseObject(v.raw)
		if !ok || m["access_token"].kind != kindText && m["refresh_token"].kind != kindText {
			continue
		}
		if found != nil {
			return
		}
		found = m
	}
	if found != nil {
		r.members = found
	}
}

// holdsTokens reports whether the answer is to be taken as a token reply.
func (r reply) holdsTokens(a answer) bool {
	access, refresh := r.members["access_token"], r.members["refresh_token"]
	if refresh.kind == kindBroken {
		return false
	}
	has := refresh.kind == kindText || refresh.kind == kindNumber
	news := has && refresh.text != a.presented.Reveal()
	switch {
	case !r.read, !r.whole: // only for a refresh token's sake; the new one may be behind an echo, where the text is cut
		return a.ok() && has && (news || r.closed && r.whole)
	case !a.ok(): // tokens under a failing status: only if they are no echo
		return len(r.codes) == 0 && news
	case len(r.codes) > 0: // tokens beside an error, likewise
		return news
	}
	return has || access.kind == kindText
}

// errorCodes finds the error in a reply: RFC 6749 §5.2 (a string), the nested
// object {"error":{"code","type","status"}}, Slack's "ok":false, and, where the status
// says that it is an error, a "code" at the top.
func errorCodes(m members, ok bool) []string {
	var codes []string
	add := func(v value) {
		if v.kind == kindText && v.text != "" {
			codes = append(codes, v.text)
		}
	}
	e := m["error"]
	failed := e.kind == kindObject || e.kind == kindList || e.kind == kindNumber && e.text != "0" || e.kind == kindTruth && e.text == "true" ||
		m["ok"].kind == kindTruth && m["ok"].text == "false"
	add(e)
	if e.kind == kindObject {
		if nested, good := parseObject(e.raw); good {
			add(nested["code"])
			add(nested["type"])
			add(nested["status"])
		}
	}
	if !ok {
		add(m["code"])
		add(m["errorCode"])
		add(m["error_code"])
	}
	if failed && len(codes) == 0 {
		codes = append(codes, unnamed)
	}
	return codes
}

// errorTexts are the members beside the code in which some providers say what
// is wrong, where the code is missing or says too little.
func errorTexts(m members) []string {
	var texts []string
	for _, name := range []string{"reason", "status", "message", "error_description"} {
		if v := m[name]; v.kind == kindText {
			texts = append(texts, v.text)
		}
	}
	return texts
}

func isObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

func htmlShaped(b []byte) bool {
	head := strings.ToLower(string(b[:min(len(b), 64)]))
	return strings.HasPrefix(head, "<!doctype") || strings.HasPrefix(head, "<html")
}

// formShaped recognises a form by its members: some providers answer one
// under any content type.
func formShaped(b []byte) bool {
	if len(b) == 0 || bytes.ContainsAny(b, "{<\n\" ") {
		return false
	}
	for pair := range bytes.SplitSeq(b, []byte("&")) {
		name, _, found := bytes.Cut(pair, []byte("="))
		if found && (string(name) == "access_token" || string(name) == "refresh_token" || string(name) == "error") {
			return true
		}
	}
	return false
}

// parseForm reads a form. The last pair of a cut one is dropped: it may be cut
// itself.
func parseForm(b []byte, whole bool) (members, bool) {
	s := string(b)
	if !whole {
		s = s[:max(0, strings.LastIndexByte(s, '&'))]
	}
	m := members{}
	for pair := range strings.SplitSeq(s, "&") {
		name, val, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		if plain, err := url.QueryUnescape(val); err != nil || !utf8.ValidString(plain) {
			m.put(name, value{kind: kindBroken})
		} else if plain == "" {
			m.put(name, value{})
		} else {
			m.put(name, value{kind: kindText, text: plain})
		}
	}
	return m, true
}

// parseObject reads the first JSON object in b. Names match exactly; of equal
// names see [members.put].
func parseObject(b []byte) (members, bool) {
	var whole json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&whole); err != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(whole)) // a map would keep the last of equal names, whatever it says
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	m := members{}
	for d.More() {
		name, err := d.Token()
		key, ok := name.(string)
		var raw json.RawMessage
		if err != nil || !ok || d.Decode(&raw) != nil {
			return nil, false
		}
		v := valueOf(raw)
		if key == "refresh_token" {
			v = refreshOf(v)
		}
		m.put(key, v)
	}
	return m, true
}

func valueOf(raw json.RawMessage) value {
	switch raw[0] {
	case '"':
		s, ok := unquote(raw)
		switch {
		case !ok:
			return value{kind: kindBroken}
		case s == "":
			return value{}
		}
		return value{kind: kindText, text: s}
	case '{':
		return value{kind: kindObject, raw: raw}
	case '[':
		return value{kind: kindList, raw: raw}
	case 't', 'f':
		return value{kind: kindTruth, text: string(raw)}
	case 'n':
		return value{}
	}
	return value{kind: kindNumber, text: string(raw)}
}

// unquote decodes a JSON string. It reports false where the decoder had to put
// replacement characters for bytes that are no UTF-8, or for half a surrogate
// pair: a token with those is not the token that was sent.
func unquote(literal []byte) (string, bool) {
	var s string
	if err := json.Unmarshal(literal, &s); err != nil {
		return "", false
	}
	if strings.ContainsRune(s, utf8.RuneError) {
		lower := bytes.ToLower(literal)
		meant := bytes.Count(literal, []byte("\ufffd")) + bytes.Count(lower, []byte(`\ufffd`))
		if strings.Count(s, "\ufffd") != meant {
			return "", false
		}
	}
	return s, true
}
