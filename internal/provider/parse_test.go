package provider_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

const minimal = `name: mine
title: My own server
token_url: https://id.example.com/token
refresh: {rotates: true}
`

func TestParseMinimal(t *testing.T) {
	t.Parallel()
	p, err := provider.Parse([]byte(minimal), "mine.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.Behaviour() != (grant.Behaviour{Rotates: true}) {
		t.Errorf("behaviour is %+v", p.Behaviour())
	}
	e, err := p.Resolve(provider.Settings{ClientID: "me"})
	if err != nil || e.Auth != provider.AuthNone || e.Body != provider.BodyForm || e.Provider != "mine" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestParseWhole reads a file with every key; it is the example of the type's
// comment, so that the comment stays true.
func TestParseWhole(t *testing.T) {
	t.Parallel()
	p, err := provider.Parse([]byte(example(t)), "example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: 30 * time.Second, Sibling: grant.SiblingSame, Life: time.Hour}
	if p.Behaviour() != want {
		t.Errorf("behaviour is %+v", p.Behaviour())
	}
	if f := p.Statuses(); len(f) != 1 || f[503] != grant.Unspent {
		t.Errorf("statuses are %v", f)
	}
	if f := p.Codes(); len(f) != 1 || f["token_spent"] != grant.Rejected {
		t.Errorf("codes are %v", f)
	}
	e, err := p.Resolve(provider.Settings{ClientID: "me", HasSecret: true, Params: map[string]string{"audience": "other"}})
	if err != nil || e.Params["audience"] != "other" || e.TokenURL != "https://example.com/oauth/token" {
		t.Errorf("%+v, %v", e, err)
	}
}

// example is the YAML in the comment of type Preset.
func example(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("preset.go")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			lines = append(lines, code)
		}
	}
	return strings.Join(lines, "")
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	with := func(more string) string { return minimal + more }
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "f.yaml: the file is empty"},
		{"unknown key", with("colour: red\n"), `f.yaml:5:1: unknown field "colour"`},
		{"unknown nested key", with("client: {identity: x}\n"), `f.yaml:5:10: unknown field "identity"`},
		{"twice", with("title: again\n"), `f.yaml:5:1: mapping key "title" already defined`},
		{"not a mapping", "- a\n", "f.yaml:1:"},
		{"broken", "name: [a\n", "f.yaml:1:"},
		{"two documents", minimal + "---\n" + minimal, "f.yaml: one preset a file"},
		{"wrong type", with("aka: 7\n"), "f.yaml:5:"},
		{"no name", strings.Replace(minimal, "mine", `""`, 1), "f.yaml:1:7: name: must be lower-case"},
		{"reserved name", strings.Replace(minimal, "mine", "custom", 1), `f.yaml:1:7: name: must be lower-case letters, digits and hyphens, and not "custom"`},
		{"no title", strings.Replace(minimal, "title: My own server\n", "", 1), "f.yaml: title: must be given"},
		{"no url", strings.Replace(minimal, "token_url: https://id.example.com/token\n", "", 1), "f.yaml: token_url: is no absolute URL"},
		{"plain http", strings.Replace(minimal, "https:", "http:", 1), "f.yaml:3:12: token_url: must be https"},
		{"rotates unsaid", strings.Replace(minimal, "rotates: true", "", 1), "f.yaml:4:10: refresh.rotates: must be stated"},
		{"unrotated and fatal", strings.Replace(minimal, "true", "false", 1), "f.yaml:4:10: refresh.reuse: must be safe"},
		{"grace without time", strings.Replace(minimal, "true", "true, reuse: grace", 1), "f.yaml:4:10: refresh.grace: goes with"},
		{"time without grace", strings.Replace(minimal, "true", "true, grace: 5m", 1), "f.yaml:4:33: refresh.grace: goes with"},
		{"sibling without grace", strings.Replace(minimal, "true", "true, sibling: same", 1), "f.yaml:4:35: refresh.sibling: goes with"},
		{"reuse", strings.Replace(minimal, "true", "true, reuse: maybe", 1), `f.yaml:4:33: refresh.reuse: must be one of "fatal", "grace", "safe"`},
		{"span", with("lifetimes: {access: soon}\n"), `f.yaml:5:21: "soon" is not a length of time such as 30m, 8h or 90d`},
		{"negative span", with("lifetimes: {access: -1h}\n"), `f.yaml:5:21: "-1h" is not`},
		{"endless span", with("lifetimes: {access: 99999d}\n"), `f.yaml:5:21: "99999d" is not`},
		{"number as span", with("lifetimes: {access: 30}\n"), `f.yaml:5:21: "30" is not`},
		{"body", with("request: {body: xml}\n"), `f.yaml:5:17: request.body: must be one of "form", "json"`},
		{"separator", with("request: {scope_separator: \";\"}\n"), `f.yaml:5:28: request.scope_separator: must be`},
		{"agent", with("request: {headers: {user-agent: x}}\n"), "f.yaml:5:20: request.headers: User-Agent is the client's own business"},
		{"header", with("request: {headers: {\"a b\": x}}\n"), "f.yaml:5:20: request.headers: is no header"},
		{"header line", with("request: {headers: {A: \"x\\ny\"}}\n"), "f.yaml:5:20: request.headers: is no header"},
		{"param", with("request: {params: {client_id: x}}\n"), "f.yaml:5:19: request.params: client_id is set by the client"},
		{"auth", with("client: {auth: digest}\n"), "f.yaml:5:16: client.auth: must be one of"},
		{"secretless auth", with("client: {secret: never, auth: client_secret_post}\n"), "f.yaml:5:31: client.auth: must be none"},
		{"no fate", with("errors: [{code: a}]\n"), "f.yaml:5:10: errors[0].fate: must be one of"},
		{"no code", with("errors: [{fate: refused}]\n"), "f.yaml:5:10: errors[0]: must have either"},
		{"two codes", with("errors: [{code: a, fate: refused}, {code: a, fate: rejected}]\n"), "f.yaml:5:36: errors[1]: is listed twice"},
		{"status kills", with("errors: [{status: 401, fate: rejected}]\n"), "f.yaml:5:30: errors[0].fate: a status alone"},
		{"status", with("errors: [{status: 200, fate: refused}]\n"), "f.yaml:5:19: errors[0].status: must be"},
		{"retired", with("retired_hosts: [{host: a/b, use: \"https://x.example/\"}]\n"), "f.yaml:5:24: retired_hosts[0].host: must be"},
		{"retired without successor", with("retired_hosts: [{host: a.example}]\n"), "f.yaml:5:17: retired_hosts[0].use: is no absolute URL"},
		{"retired when", with("retired_hosts: [{host: a.example, since: lately, use: \"https://x.example/\"}]\n"), "f.yaml:5:42: retired_hosts[0].since: must be a date"},
		{"placeholder", strings.Replace(minimal, "id.example", "{id}.example", 1), "f.yaml:3:12: token_url: has a placeholder that vars does not describe"},
		{"unused var", with("vars: {host: {about: a, kind: host}}\n"), "f.yaml:5:14: vars.host: token_url has no such placeholder"},
		{"var kind", strings.Replace(minimal, "id.example.com", "{h}", 1) + "vars: {h: {about: a, kind: x}}\n", "f.yaml:5:28: vars.h.kind: must be one of"},
		{"var about", strings.Replace(minimal, "id.example.com", "{h}", 1) + "vars: {h: {kind: host}}\n", "f.yaml:5:11: vars.h.about: must be given"},
		{"var default", strings.Replace(minimal, "id.example.com", "{h}", 1) + "vars: {h: {about: a, kind: host, default: a b}}\n", "f.yaml:5:43: vars.h.default: must be a host name"},
		{"var name", strings.Replace(minimal, "id.example.com", "{scope}", 1) + "vars: {scope: {about: a, kind: host}}\n", "f.yaml:5:15: vars.scope: a placeholder's name"},
		{"env", with("env: {access: \"A B\"}\n"), "f.yaml:5:15: env.access: must be the name of an environment variable"},
		{"shadow", with("env: {shadowed_by: [a=b]}\n"), "f.yaml:5:20: env.shadowed_by: must be names"},
		{"shared", with("terms: {shared_use: yes please}\n"), "f.yaml:5:21: terms.shared_use: must be one of"},
		{"checked", with("terms: {checked: yesterday}\n"), "f.yaml:5:18: terms.checked: must be a date"},
		{"source", with("sources: [{name: a, says: b}]\n"), "f.yaml:5:11: sources[0].confidence: must be one of"},
		{"nameless source", with("sources: [{confidence: single}]\n"), "f.yaml:5:11: sources[0]: must have a name"},
		{"tested", with("tested: thoroughly\n"), "f.yaml:5:9: tested: must be one of"},
		{"code too long", with("errors: [{code: " + strings.Repeat("x", 129) + ", fate: refused}]\n"), "f.yaml:5:17: errors[0].code: must be at most 128"},
		{"code with a control", with(`errors: [{code: "a\tb", fate: refused}]` + "\n"), "f.yaml:5:17: errors[0].code: must be at most 128"},
		{"spent member", with("answers: {spent_member: hint}\n"), "f.yaml:5:25: answers.spent_member: must be one of"},
		{"shape", with("answers: {errors: odd}\n"), "f.yaml:5:19: answers.errors: must be one of"},
		{"too large", with("notes: [" + strings.Repeat("a, ", 30000) + "a]\n"), "f.yaml: a preset has at most 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := provider.Parse([]byte(c.text), "f.yaml")
			switch {
			case err == nil || !strings.HasPrefix(err.Error(), c.want):
				t.Errorf("got  %v\nwant %s", err, c.want)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"30m": "30m", "8h": "8h", "90d": "90d", "24h": "24h", "48h": "2d", "1h30m": "1h30m", "30s": "30s", "1d": "24h",
	} {
		p, err := provider.Parse([]byte(minimal+"lifetimes: {idle: "+in+"}\n"), "f.yaml")
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got := p.Lifetimes.Idle.String(); got != want {
			t.Errorf("%s is written %s, want %s", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(example(f)))
	files, err := filepath.Glob("presets/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := provider.Parse(b, "f.yaml")
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") || !strings.HasPrefix(err.Error(), "f.yaml") {
				t.Errorf("not one line with its place: %q", err)
			}
			return
		}
		if b := p.Behaviour(); b.Reuse != grant.ReuseGrace && b.Grace != 0 || !b.Rotates && b.Reuse != grant.ReuseSafe {
			t.Errorf("inconsistent behaviour %+v", b)
		}
		e, err := p.Resolve(provider.Settings{ClientID: "me"})
		if err == nil && !strings.HasPrefix(e.TokenURL, "http") {
			t.Errorf("token URL %q", e.TokenURL)
		}
	})
}
