package provider

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// maxFile bounds a preset file in bytes; the embedded ones have some 5,000.
const maxFile = 64 * 1024

// Parse reads one preset. Keys that it does not know are refused. The error is
// one line that starts with origin (a file's path) and, where the text has one,
// the line and column; it does not repeat the text.
func Parse(b []byte, origin string) (Preset, error) {
	if len(b) > maxFile {
		return Preset{}, fmt.Errorf("%s: a preset has at most %d bytes, this is %d", origin, maxFile, len(b))
	}
	p := Preset{Origin: origin}
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := d.Decode(&p); err != nil {
		if errors.Is(err, io.EOF) {
			return Preset{}, fmt.Errorf("%s: the file is empty", origin)
		}
		return Preset{}, located(err, origin)
	}
	if err := d.Decode(&Preset{}); !errors.Is(err, io.EOF) {
		return Preset{}, fmt.Errorf("%s: one preset a file, and there is a second document", origin)
	}
	if f := p.check(); f != nil {
		return Preset{}, fmt.Errorf("%s%s: %s: %s", origin, place(b, f.path), f.path, f.says)
	}
	return p, nil
}

// located turns an error of the decoder into one line.
func located(err error, origin string) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		pos := at.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", origin, pos.Line, pos.Column, oneLine(at.GetMessage()))
	}
	return fmt.Errorf("%s: %s", origin, oneLine(err.Error()))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// place finds the line and column of a field, or of the nearest field around
// it that is written out. It runs on the way to an error only.
func place(b []byte, path string) string {
	for path != "" {
		if q, err := yaml.PathString("$." + path); err == nil {
			if n, err := q.ReadNode(bytes.NewReader(b)); err == nil && n != nil && n.GetToken() != nil {
				pos := n.GetToken().Position
				return fmt.Sprintf(":%d:%d", pos.Line, pos.Column)
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return ""
}

// fault is what is wrong with a field, the field named by its path in the file.
type fault struct{ path, says string }

// check finds the first thing that makes a preset incomplete or inconsistent.
func (p Preset) check() *fault {
	for _, f := range []func() *fault{
		p.checkName, p.checkURL, p.checkRetired, p.checkWords, p.checkRequest,
		p.checkRefresh, p.checkErrors, p.checkEnv, p.checkSignIn, p.checkSources,
	} {
		if bad := f(); bad != nil {
			return bad
		}
	}
	return nil
}

func (p Preset) checkName() *fault {
	switch {
	case !isName(p.Name) || p.Name == customName:
		return &fault{"name", fmt.Sprintf("must be lower-case letters, digits and hyphens, and not %q", customName)}
	case strings.TrimSpace(p.Title) == "":
		return &fault{"title", "must be given"}
	}
	return nil
}

func (p Preset) checkURL() *fault {
	rest := p.TokenURL
	for _, name := range p.varNames() {
		v, path := p.Vars[name], "vars."+name
		switch {
		case !isVarName(name) || slices.Contains(reservedParams(), name):
			return &fault{path, "a placeholder's name is lower-case letters and underscores, and no parameter of OAuth"}
		case !strings.Contains(rest, "{"+name+"}"):
			return &fault{path, "token_url has no such placeholder"}
		case v.Kind != KindHost && v.Kind != KindSegment:
			return &fault{path + ".kind", oneOf(KindHost, KindSegment)}
		case v.About == "":
			return &fault{path + ".about", "must be given"}
		case v.Default != "" && checkVar(v.Kind, v.Default) != "":
			return &fault{path + ".default", checkVar(v.Kind, v.Default)}
		}
		sample := "sample"
		if v.Kind == KindHost {
			sample = "sample.example"
		}
		rest = strings.ReplaceAll(rest, "{"+name+"}", sample)
	}
	if strings.ContainsAny(rest, "{}") {
		return &fault{"token_url", "has a placeholder that vars does not describe"}
	}
	if says := checkEndpoint(rest); says != "" {
		return &fault{"token_url", says}
	}
	return nil
}

// checkEndpoint applies the rule for token URLs that needs no look at the
// network: https, or http on this machine; no user, fragment or query.
func checkEndpoint(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return "is no absolute URL"
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return "must be https, or http on a loopback address"
	case u.User != nil || u.Fragment != "":
		return "must have no user and no fragment"
	}
	return ""
}

func (p Preset) checkRetired() *fault {
	for i, r := range p.RetiredHosts {
		path := fmt.Sprintf("retired_hosts[%d]", i)
		switch {
		case checkVar(KindHost, r.Host) != "":
			return &fault{path + ".host", checkVar(KindHost, r.Host)}
		case r.Since != "" && !isDate(r.Since):
			return &fault{path + ".since", "must be a date such as 2026-01-31"}
		case checkEndpoint(r.Use) != "":
			return &fault{path + ".use", checkEndpoint(r.Use)}
		}
	}
	return nil
}

func (p Preset) checkWords() *fault {
	for _, w := range []struct {
		path, word string
		words      []string
	}{
		{"client.secret", p.Client.Secret, []string{SecretNever, SecretOptional, SecretRequired}},
		{"client.auth", p.Client.Auth, []string{AuthNone, AuthBasic, AuthPost, AuthJWT}},
		{"request.body", p.Request.Body, []string{BodyForm, BodyJSON}},
		{"request.scope_separator", p.Request.ScopeSeparator, []string{" ", ","}},
		{"refresh.reuse", p.Refresh.Reuse, []string{"fatal", "grace", "safe"}},
		{"refresh.sibling", p.Refresh.Sibling, []string{"replaces", "same", "valid"}},
		{"answers.errors", p.Answers.Errors, []string{ShapeFlat, ShapeNested, ShapeOK}},
		{"answers.spent_member", p.Answers.SpentMember, []string{"error_description", "message", "reason", "status"}},
		{"terms.shared_use", p.Terms.SharedUse, []string{SharedAllowed, SharedOwnAccount, SharedUnknown}},
		{"tested", p.Tested, []string{TestedLive, TestedTranscript, TestedDocumented}},
	} {
		if w.word != "" && !slices.Contains(w.words, w.word) {
			return &fault{w.path, oneOf(w.words...)}
		}
	}
	if p.Terms.Checked != "" && !isDate(p.Terms.Checked) {
		return &fault{"terms.checked", "must be a date such as 2026-01-31"}
	}
	return nil
}

func (p Preset) checkRequest() *fault {
	for name, value := range p.Request.Headers {
		switch canonical := http.CanonicalHeaderKey(name); {
		case !isToken(name) || strings.ContainsFunc(value, isControl):
			return &fault{"request.headers", "is no header"}
		case canonical == "User-Agent" || canonical == "Authorization" || canonical == "Host" ||
			canonical == "Content-Type" || canonical == "Content-Length" || canonical == "Connection":
			return &fault{"request.headers", canonical + " is the client's own business"}
		}
	}
	for name := range p.Request.Params {
		if slices.Contains(reservedParams(), name) {
			return &fault{"request.params", name + " is set by the client"}
		}
	}
	return nil
}

func (p Preset) checkRefresh() *fault {
	r := p.Refresh
	switch {
	case r.Rotates == nil:
		return &fault{"refresh.rotates", "must be stated; true is the cautious answer"}
	case (r.Grace != 0) != (r.Reuse == "grace"):
		return &fault{"refresh.grace", "goes with reuse: grace, and only with it"}
	case r.Sibling != "" && r.Reuse != "grace":
		return &fault{"refresh.sibling", "goes with reuse: grace only"}
	case !*r.Rotates && r.Reuse != "safe":
		return &fault{"refresh.reuse", "must be safe where refresh tokens do not rotate"}
	case p.Client.Secret == SecretNever && p.Client.Auth != "" && p.Client.Auth != AuthNone:
		return &fault{"client.auth", "must be none for a client without secret"}
	case p.Client.Secret == SecretRequired && p.Client.Auth == AuthNone:
		return &fault{"client.auth", "none goes with no secret"}
	}
	return nil
}

func (p Preset) checkErrors() *fault {
	seen := make(map[string]bool)
	for i, e := range p.Errors {
		path := fmt.Sprintf("errors[%d]", i)
		key := fmt.Sprint(e.Code, e.Status)
		_, known := fate(e.Fate)
		switch {
		case (e.Code == "") == (e.Status == 0):
			return &fault{path, "must have either a code or a status"}
		case len(e.Code) > 128 || strings.ContainsFunc(e.Code, isControl):
			return &fault{path + ".code", "must be at most 128 characters of printable ASCII"}
		case e.Status != 0 && (e.Status < 300 || e.Status > 599):
			return &fault{path + ".status", "must be an HTTP status from 300 to 599"}
		case !known:
			return &fault{path + ".fate", oneOf("rejected", "refused", "unspent", "in doubt")}
		case e.Status != 0 && e.Fate == "rejected":
			return &fault{path + ".fate", "a status alone never says that the token is dead"}
		case seen[key]:
			return &fault{path, "is listed twice"}
		}
		seen[key] = true
	}
	return nil
}

func (p Preset) checkEnv() *fault {
	for path, name := range map[string]string{"env.refresh": p.Env.Refresh, "env.access": p.Env.Access} {
		if name != "" && !isEnvName(name) {
			return &fault{path, "must be the name of an environment variable"}
		}
	}
	if !slices.ContainsFunc(p.Env.ShadowedBy, func(n string) bool { return !isEnvName(n) }) {
		return nil
	}
	return &fault{"env.shadowed_by", "must be names of environment variables"}
}

func (p Preset) checkSources() *fault {
	for i, s := range p.Sources {
		path := fmt.Sprintf("sources[%d]", i)
		switch {
		case s.Name == "" || s.Says == "":
			return &fault{path, "must have a name and what it says"}
		case !slices.Contains([]string{Confirmed, Single, Disputed, Unverified}, s.Confidence):
			return &fault{path + ".confidence", oneOf(Confirmed, Single, Disputed, Unverified)}
		}
	}
	return nil
}

func oneOf(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return "must be one of " + strings.Join(quoted, ", ")
}

func isDate(s string) bool { _, err := time.Parse(time.DateOnly, s); return err == nil }

func isControl(r rune) bool { return r < ' ' || r > '~' }

func isVarName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) < 0
}

func isEnvName(s string) bool {
	for i, r := range s {
		if (r < 'A' || r > 'Z') && r != '_' && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// isToken reports a header name (RFC 9110 §5.6.2), letters, digits and hyphens
// of it: no provider needs more.
func isToken(s string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
	}
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}
