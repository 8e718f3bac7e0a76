package provider

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"evergrant/internal/spelling"
)

//go:embed presets/*.yaml
var presets embed.FS

const (
	presetFolder = "presets/"
	presetSuffix = ".yaml"
)

// Names returns the names of the embedded presets in order. It parses nothing.
func Names() []string {
	entries, err := presets.ReadDir(strings.TrimSuffix(presetFolder, "/"))
	if err != nil {
		return nil // an embedded folder is always readable
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), presetSuffix))
	}
	return names
}

// Lookup returns the embedded preset of that name and parses no other one,
// because it stands between the start of the program and its request. The error
// for an unknown name lists the names that may have been meant.
func Lookup(name string) (Preset, error) {
	if !isName(name) {
		return Preset{}, unknown(name)
	}
	b, err := presets.ReadFile(presetFolder + name + presetSuffix)
	if err != nil {
		return Preset{}, unknown(name)
	}
	return Parse(b, "built-in preset "+name)
}

// isName reports whether s can be a preset's name.
func isName(s string) bool {
	ok := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
	return s != "" && len(s) <= 64 && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

func unknown(name string) error {
	// What was typed may be a secret in the wrong place: it is echoed only if
	// it is short enough to be a name.
	shown := fmt.Sprintf("%q", name)
	if len(name) > 32 {
		shown = fmt.Sprintf("of %d characters", len(name))
	}
	if near := nearest(strings.ToLower(name)); len(near) > 0 {
		return fmt.Errorf("no preset %s; did you mean %s?", shown, strings.Join(near, " or "))
	}
	return fmt.Errorf("no preset %s; there are %s", shown, strings.Join(Names(), ", "))
}

// nearest returns the names that begin like the word or are known under it, or
// else those that are at most two typing errors away.
func nearest(word string) []string {
	var alike, typed []string
	for _, name := range Names() {
		names := []string{name}
		if p, err := Lookup(name); err == nil {
			names = append(names, p.AKA...)
		}
		if len(word) < 3 || len(word) > 32 {
			continue
		}
		if slices.ContainsFunc(names, func(n string) bool {
			return strings.HasPrefix(n, word) || len(n) > 2 && strings.HasPrefix(word, n)
		}) {
			alike = append(alike, name)
		}
		if slices.ContainsFunc(names, func(n string) bool { return spelling.Alike(word, n) }) {
			typed = append(typed, name)
		}
	}
	if len(alike) > 0 {
		return alike
	}
	return typed
}
