package config_test

import (
	"reflect"
	"strings"
	"testing"

	"evergrant/internal/config"
)

func kinds() map[string]config.Kind {
	return map[string]config.Kind{"provider": config.Text, "store": config.Text, "sink": config.List,
		"best-effort": config.Switch, "min-ttl": config.Duration, "min-generation": config.Count}
}

const good = `# mine
defaults:
  store: "git:https://forge.example/a/b"
  min-ttl: 20m
grants:
  acme/claude:
    provider: claude
    sink: [file:/run/t, 'dotenv:.env#T']
    best-effort: true
  default:
  other:
    sink: file:/x
    min-ttl: 1h
    min-generation: 010
`

func TestParse(t *testing.T) {
	t.Parallel()
	f, err := config.Parse([]byte(good), "c.yaml", kinds())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string][]string{}
	for _, g := range f.Grants {
		got[g.Name] = map[string][]string{"@": {g.At}}
		for _, s := range g.Settings {
			got[g.Name][s.Name] = s.Values
		}
	}
	store := []string{"git:https://forge.example/a/b"}
	want := map[string]map[string][]string{
		"acme/claude": {"@": {"c.yaml:6:3"}, "provider": {"claude"}, "sink": {"file:/run/t", "dotenv:.env#T"}, "best-effort": {"true"}, "store": store, "min-ttl": {"20m"}},
		"default":     {"@": {"c.yaml:10:3"}, "store": store, "min-ttl": {"20m"}},
		"other":       {"@": {"c.yaml:11:3"}, "sink": {"file:/x"}, "min-ttl": {"1h"}, "min-generation": {"010"}, "store": store},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, ok := f.Grant("other"); !ok {
		t.Error("a grant is not found by its name")
	}
	if _, ok := f.Grant("absent"); ok {
		t.Error("a grant that is not there is found")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, says string }{
		{"", "c.yaml: one document with the member grants is expected"},
		{"grants: {}", "there are no grants"},
		{"grants:\n  a: {provider: x}\nmore: 1", "c.yaml:3:1: more is no member of a configuration"},
		{"grants:\n  a:\n    provider: x\n    colour: red", "c.yaml:4:5: colour is no setting of a grant"},
		{"grants:\n  a:\n    sk-ant-REFRESH0123456789: red", "c.yaml:3:5: a name that is not repeated here is no setting"},
		{"grants:\n  a:\n    provider: [x]", "c.yaml:3:15: a value is expected here, a text on one line"},
		{"grants:\n  a:\n    provider:", "a value is expected here"},
		{"grants:\n  a:\n    best-effort: yes", "c.yaml:3:18: the value must be true or false"},
		{"grants:\n  a:\n    min-ttl: soon", "c.yaml:3:14: the value must be a duration such as 30m"},
		{"grants:\n  a:\n    min-generation: -1", "the value must be a number"},
		{"grants:\n  a:\n    sink: [{x: y}]", "a value is expected here"},
		{"grants:\n  a: {}\n  a: {}", "c.yaml:3:3:"},
		{"grants:\n  - a", "names with values are expected here"},
		{"grants: [", "c.yaml:1:"},
		{"grants:\n\ta: {}", "c.yaml:"},
		{"grants: {a: {}}\n---\ngrants: {b: {}}", "one document"},
		{strings.Repeat("#", config.MaxFile+1), "has at most"},
	} {
		_, err := config.Parse([]byte(tt.file), "c.yaml", kinds())
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want one line with %q", tt.file, err, tt.says)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("grants: {a: {sink: [x, 'y'], min-ttl: 1h}}"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("grants:\n  ? [x]\n  : y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := config.Parse(b, "c.yaml", kinds())
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("refused in more than a line: %q", err)
			}
			return
		}
		for _, g := range c.Grants {
			for _, s := range g.Settings {
				if _, ok := kinds()[s.Name]; !ok || len(s.Values) == 0 && s.Name != "sink" {
					t.Errorf("setting %q with %d values", s.Name, len(s.Values))
				}
			}
		}
	})
}
