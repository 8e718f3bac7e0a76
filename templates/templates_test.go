package templates_test

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"evergrant/templates"
)

// filled has a value for every word of a template.
func filled(t *testing.T, name, consumer string) map[string]string {
	t.Helper()
	words, err := templates.Words(name)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, w := range words {
		values[w] = "v" + strings.ToLower(w)
	}
	values[templates.Consumer] = consumer
	return values
}

// TestNames: every file in the folder is a template or a part of one.
func TestNames(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		found[i] = strings.TrimSuffix(f, ".yml")
	}
	if !slices.Equal(templates.Names(), found) {
		t.Errorf("Names is %q, the folder has %q", templates.Names(), found)
	}
	for _, want := range []string{"bash", "comment", "generic", "inline-python", "node", "reusable", "scheduled", "scheduled-reader"} {
		if !slices.Contains(templates.Names(), want) {
			t.Errorf("there is no template %s", want)
		}
	}
	if want := []string{"anthropics/claude-code-action", "nimishchaudhari/claude-code-action-max-sub"}; !slices.Equal(templates.Consumers(), want) {
		t.Errorf("Consumers is %q, want %q", templates.Consumers(), want)
	}
}

// TestRenderLeavesNothing: no word and no mark stays, whatever has a value.
func TestRenderLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range templates.Names() {
		for _, consumer := range templates.Consumers() {
			full := filled(t, name, consumer)
			bare := maps.Clone(full)
			for w := range bare {
				if w != templates.Consumer {
					bare[w] = ""
				}
			}
			for _, values := range []map[string]string{full, bare} {
				text, err := templates.Render(name, values)
				if err != nil {
					t.Fatal(err)
				}
				if left := regexp.MustCompile(`__[A-Z_]+__|#\?`).FindString(text); left != "" {
					t.Errorf("%s: %q stays", name, left)
				}
				for i, line := range strings.Split(text, "\n") {
					if strings.TrimRight(line, " \t") != line || strings.Contains(line, "\t") || strings.HasPrefix(line, "#") && len(line) > 130 {
						t.Errorf("%s:%d: a tab, a space at the end, or a head of %d characters", name, i+1, len(line))
					}
				}
			}
		}
	}
}

// TestRules are the rules of the package's comment, each seen in a template.
func TestRules(t *testing.T) {
	t.Parallel()
	values := filled(t, "generic", "")
	values["TERMS"], values["GRANT"] = "one\ntwo", ""
	text, err := templates.Render("generic", values)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, part string
		there      bool
	}{
		{"a value of two lines", "#\n# one\n# two\nname:", true},
		{"a word without value", "          grant:", false},
		{"a word with value", "          provider: vprovider\n", true},
	} {
		if strings.Contains(text, c.part) != c.there {
			t.Errorf("%s: %q is there: %v, want %v", c.name, c.part, !c.there, c.there)
		}
	}
	values["TERMS"] = ""
	if text, err = templates.Render("generic", values); err != nil || !strings.Contains(text, "alive.\nname:") {
		t.Errorf("a line that depends on a word stays without it (%v)", err)
	}
	text, err = templates.Render("comment", filled(t, "comment", "anthropics/claude-code-action"))
	if err != nil || !strings.Contains(text, "    steps:\n      - name: Ask GitHub") || !strings.Contains(text, "\n      - name: Claude\n") {
		t.Errorf("the parts are not in place (%v)", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "nothing", "../templates", "parts/gate", ".", "comment.yml"} {
		if _, err := templates.Render(name, nil); !errors.Is(err, templates.ErrUnknown) {
			t.Errorf("Render(%q) = %v, want ErrUnknown", name, err)
		}
		if _, err := templates.Words(name); !errors.Is(err, templates.ErrUnknown) {
			t.Errorf("Words(%q) = %v, want ErrUnknown", name, err)
		}
	}
	values := filled(t, "comment", "anthropics/claude-code-action")
	delete(values, "ACTION")
	if _, err := templates.Render("comment", values); err == nil || !strings.Contains(err.Error(), "the word ACTION has no value") {
		t.Errorf("a missing word: %v", err)
	}
	if _, err := templates.Render("comment", filled(t, "comment", "some/other")); err == nil || !strings.Contains(err.Error(), "no part consumer-some+other") {
		t.Errorf("a consumer that is none: %v", err)
	}
}

// TestPins: one commit for each action in all files, told in a comment.
func TestPins(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("parts/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range templates.Names() {
		found = append(found, name+".yml")
	}
	found = append(found, "../packaging/release.yml")
	pin := regexp.MustCompile(`^([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # \S`)
	commits := map[string]string{}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			_, uses, ok := strings.Cut(line, "uses: ")
			if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(uses, "__ACTION__") || strings.HasPrefix(uses, "./") {
				continue
			}
			m := pin.FindStringSubmatch(uses)
			switch {
			case m == nil:
				t.Errorf("%s: not pinned, or no comment that tells the version: %s", path, strings.TrimSpace(line))
			case commits[m[1]] != "" && commits[m[1]] != m[2]:
				t.Errorf("%s: %s has another commit elsewhere", path, m[1])
			default:
				commits[m[1]] = m[2]
			}
		}
	}
	if len(commits) < 3 {
		t.Errorf("only %d actions were found", len(commits))
	}
}

// TestReleased: the templates know whether the Action has programs to fetch. While
// it has none they set up the Go that its sources need.
func TestReleased(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var table struct{ Assets map[string]any }
	if err := json.Unmarshal([]byte(read("../action/release.json")), &table); err != nil {
		t.Fatal(err)
	}
	if templates.Released != (len(table.Assets) > 0) {
		t.Errorf("Released is %v, and action/release.json names %d programs: set the one by the other", templates.Released, len(table.Assets))
	}
	needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read("../go.mod"))
	if needs == nil || !strings.Contains(read("parts/go.yml"), "go-version: '"+needs[1]+"' #") {
		t.Errorf("parts/go.yml does not set up the Go of go.mod, %q", needs)
	}
	for _, name := range []string{"comment", "generic", "reusable", "scheduled"} {
		values := filled(t, name, "anthropics/claude-code-action")
		for _, unreleased := range []string{"yes", ""} {
			values[templates.Unreleased] = unreleased
			text, err := templates.Render(name, values)
			if err != nil || strings.Contains(text, "actions/setup-go@") != (unreleased != "") || strings.Contains(text, "go-version:") != (unreleased != "") || strings.Contains(text, "\n\n\n") {
				t.Errorf("%s: with %q for Unreleased (%v):\n%s", name, unreleased, err, text)
			}
		}
	}
}
