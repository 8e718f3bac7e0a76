// Package templates holds the workflows that evergrant init writes: GitHub
// Actions workflows that a person owns from then on, one file each.
//
// A file is YAML as it stands. Words such as __ACTION__ are filled in by plain
// replacement, by five rules:
//
//   - A line whose word has no value is left out.
//   - A line that ends in "#? __NAME__" is left out likewise, and otherwise ends before that mark.
//   - A value of several lines repeats what stands before the word on each of them.
//   - An item "- __NAME__" that is alone on its line becomes the steps of
//     parts/name.yml, in which words are filled in likewise.
//   - An item "- __CONSUMER__" becomes the steps of the consumer that was asked for.
package templates

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

//go:embed *.yml parts/*.yml
var files embed.FS

// suffix ends the name of every file.
const suffix = ".yml"

// consumerPrefix begins the names of the parts that hold a consumer. The slash
// of the consumer's name is a plus sign there.
const consumerPrefix = "consumer-"

// Words that this package or its callers know by name.
const (
	Action     = "ACTION"     // the Action, as uses: takes it
	Consumer   = "CONSUMER"   // one of Consumers
	Local      = "LOCAL"      // not empty: the Action is a folder of the repository, which a checkout brings
	Unreleased = "UNRELEASED" // not empty: the Action has to build its program, so Go comes before it
)

// Released reports whether the table by which the Action knows its programs,
// action/release.json, names any. The program cannot read the table, which holds
// the program's own digest; a test compares the two.
const Released = false

// ErrUnknown is an error of [Render] and [Words]: there is no such template.
var ErrUnknown = errors.New("no such template")

// Names returns the names of the templates in order.
func Names() []string { return named(".", "") }

// Consumers returns the actions that a token can be handed to, in the form
// OWNER/NAME.
func Consumers() []string {
	names := named("parts", consumerPrefix)
	for i, n := range names {
		names[i] = strings.Replace(n, "+", "/", 1)
	}
	return names
}

func named(folder, prefix string) []string {
	entries, err := files.ReadDir(folder)
	if err != nil {
		return nil // an embedded folder is always readable
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && strings.HasPrefix(name, prefix) {
			names = append(names, strings.TrimPrefix(name, prefix))
		}
	}
	return names
}

// word is one placeholder, and item a line that holds nothing but one, and mark the end of
// a line that depends on one.
var (
	word = pattern.Of(`__([A-Z]+(?:_[A-Z]+)*)__`)
	item = pattern.Of(`^( *)- __([A-Z]+(?:_[A-Z]+)*)__$`)
	mark = pattern.Of(` *#\? __([A-Z]+(?:_[A-Z]+)*)__$`)
)

// Words returns the words that a template takes, in order, those of its parts
// included and each once. The consumer's own are not: it is not known yet.
func Words(name string) ([]string, error) {
	text, err := whole(name, "")
	if err != nil {
		return nil, err
	}
	var words []string
	for _, m := range word.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(words, m[1]) {
			words = append(words, m[1])
		}
	}
	slices.Sort(words)
	return words, nil
}

// Render fills a template in. Values are written as they are: the caller has
// made them fit for YAML. The error names a word that has no entry in values;
// an empty entry leaves its line out.
func Render(name string, values map[string]string) (string, error) {
	text, err := whole(name, values[Consumer])
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if err := fill(&b, line, values); err != nil {
			return "", fmt.Errorf("template %s: %w", name, err)
		}
	}
	return b.String(), nil
}

// whole returns a template with its parts in place. Without a consumer the
// word for it stays.
func whole(name, consumer string) (string, error) {
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return "", ErrUnknown
	}
	text, err := files.ReadFile(name + suffix)
	if err != nil {
		return "", ErrUnknown
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		m := item.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil || m[2] == Consumer && consumer == "" {
			b.WriteString(line)
			continue
		}
		part := strings.ToLower(m[2])
		if m[2] == Consumer {
			part = consumerPrefix + strings.Replace(consumer, "/", "+", 1)
		}
		steps, err := files.ReadFile("parts/" + part + suffix)
		if err != nil {
			return "", fmt.Errorf("template %s: there is no part %s", name, part)
		}
		for line := range strings.Lines(string(steps)) {
			if line != "\n" {
				b.WriteString(m[1])
			}
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

// fill writes one line with its words replaced, or nothing.
func fill(b *strings.Builder, line string, values map[string]string) error {
	if at := mark.FindStringSubmatchIndex(strings.TrimSuffix(line, "\n")); at != nil {
		if value, ok := values[line[at[2]:at[3]]]; ok && value == "" {
			return nil
		} else if ok {
			line = line[:at[0]] + "\n"
		}
	}
	for _, m := range word.FindAllStringSubmatchIndex(line, -1) {
		name := line[m[2]:m[3]]
		value, ok := values[name]
		switch {
		case !ok:
			return fmt.Errorf("the word %s has no value", name)
		case value == "":
			return nil
		case strings.Contains(value, "\n"):
			for part := range strings.SplitSeq(value, "\n") {
				b.WriteString(strings.TrimRight(line[:m[0]]+part, " ") + "\n")
			}
			return nil
		}
	}
	b.WriteString(word.ReplaceAllStringFunc(line, func(w string) string { return values[strings.Trim(w, "_")] }))
	return nil
}
