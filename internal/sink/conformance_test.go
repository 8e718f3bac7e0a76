package sink_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/sink"
	"evergrant/internal/workflow"
)

// reader tells how those who use a place find the tokens in it.
type reader struct {
	url     string
	appends bool
	file    string // of the place, in world.dir; "": standard output
	parse   func(t *testing.T, text string) []string
}

func readers() []reader {
	return []reader{
		{"stdout:", true, "", func(_ *testing.T, text string) []string { return splitLines(text) }},
		{"file:DIR/token", false, "token", func(_ *testing.T, text string) []string { return []string{text} }},
		{"dotenv:DIR/.env#TOKEN", false, ".env", func(t *testing.T, text string) []string { return assignments(t, text) }},
		{"github-env:TOKEN", true, "env", blocks},
		{"github-output:token", true, "out", blocks},
		{"claude-file:DIR/.credentials.json", false, ".credentials.json", func(t *testing.T, text string) []string { return member(t, text, "claudeAiOauth", "accessToken") }},
		// Codex uses a token only if it or the file names an account.
		{"codex-file:DIR/auth.json", false, "auth.json", func(t *testing.T, text string) []string { return member(t, text, "tokens", "access_token") }},
	}
}

// seed puts into a new place what its program has there before the first token.
func (r reader) seed(t *testing.T, w *world) {
	if r.file == "auth.json" {
		if err := os.WriteFile(filepath.Join(w.dir, r.file), []byte(`{"tokens":{"account_id":"a"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// member reads a text of an object in a JSON file; none where it is absent.
func member(t *testing.T, text, object, name string) (values []string) {
	var file map[string]json.RawMessage
	var inner map[string]any
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file[object], &inner); err != nil {
		t.Fatal(err)
	}
	if v, ok := inner[name].(string); ok {
		values = append(values, v)
	}
	return values
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, r := range readers() {
		t.Run(r.url, func(t *testing.T) {
			t.Parallel()
			granttest.TestSink(t, func(t *testing.T) granttest.SinkPlace {
				w := newWorld(t)
				r.seed(t, w)
				s, err := w.open(r.url)
				if err != nil {
					t.Fatal(err)
				}
				return granttest.SinkPlace{Sink: s, Values: func(t *testing.T) []string { return w.values(t, r) }}
			}, granttest.SinkOptions{Appends: r.appends, Broken: func(t *testing.T) grant.Sink { return broken(t, r) }})
		})
	}
}

func (w *world) values(t *testing.T, r reader) []string {
	if r.file == "" {
		return r.parse(t, w.stdout.String())
	}
	b, err := os.ReadFile(filepath.Join(w.dir, r.file))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return r.parse(t, string(b))
}

// broken is a sink whose place went away after it was opened.
func broken(t *testing.T, r reader) grant.Sink {
	w := newWorld(t)
	r.seed(t, w)
	s, err := sink.Open(strings.ReplaceAll(r.url, "DIR", w.dir), sink.Deps{
		Stdout: closed{}, Getenv: func(n string) string { return w.vars[n] }, Mask: workflow.NewMasker(&w.stderr),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	return s
}

func splitLines(text string) []string {
	lines := strings.Split(text, "\n")
	return lines[:len(lines)-1]
}

// assignments reads an environment file as its readers agree.
func assignments(t *testing.T, text string) (values []string) {
	for _, line := range splitLines(text) {
		v, ok := strings.CutPrefix(line, "TOKEN=")
		if !ok {
			t.Fatalf("a line that is no assignment of TOKEN")
		}
		if n := len(v); n > 1 && (v[0] == '\'' || v[0] == '"') && v[n-1] == v[0] {
			v = v[1 : n-1]
		}
		values = append(values, v)
	}
	return values
}

// blocks reads an environment file as the runner does.
func blocks(t *testing.T, text string) (values []string) {
	words := withoutDelimiters(t, text)
	lines := strings.Split(text, "\n")
	for i := 1; words != "" && i < len(lines); i += 3 {
		values = append(values, lines[i])
	}
	return values
}
