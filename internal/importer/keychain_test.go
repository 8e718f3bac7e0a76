//go:build !windows

package importer_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/importer"
)

// security stands in for macOS's program, which runs nowhere else: it notes its
// arguments, and answers or ends like it.
func security(t *testing.T, code int, answer string) (program, notes string) {
	t.Helper()
	dir := t.TempDir()
	program, notes = filepath.Join(dir, "security"), filepath.Join(dir, "notes")
	text := filepath.Join(dir, "answer")
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$@\" >%s\ncat %s\nexit %d\n", notes, text, code)
	for path, text := range map[string]string{program: script, text: answer} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return program, notes
}

func TestKeychain(t *testing.T) {
	t.Parallel()
	login := mustRead(t, "testdata/claude.json")
	home := t.TempDir()
	read := func(program string, vars map[string]string) (*importer.Found, error) {
		if vars["HOME"] == "" {
			vars["HOME"] = home
		}
		m := machine(vars)
		m.OS, m.Keychain = "darwin", program
		return source(t, "claude").Read(t.Context(), "", m)
	}
	for name, answer := range map[string]string{"plain": login + "\n", "as hexadecimal": hex.EncodeToString([]byte(login)) + "\n"} {
		program, notes := security(t, 0, answer)
		got, err := read(program, map[string]string{})
		if err != nil || got.From != "the Keychain item Claude Code-credentials" || got.Tokens.Refresh.IsZero() ||
			got.Away != "security delete-generic-password -s 'Claude Code-credentials'" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if args := mustRead(t, notes); args != "find-generic-password\n-s\nClaude Code-credentials\n-w\n" {
			t.Errorf("%s: arguments %q", name, args)
		}
	}
	// A folder of its own has an item of its own: by the SHA-256 of its path.
	program, notes := security(t, 0, login)
	if got, err := read(program, map[string]string{"CLAUDE_CONFIG_DIR": "/Users/me/.claude-ci"}); err != nil || !strings.HasPrefix(got.From, "the Keychain item Claude Code-credentials-") {
		t.Errorf("%+v, %v", got, err)
	}
	// printf %s /Users/me/.claude-ci | sha256sum
	if args := mustRead(t, notes); !strings.Contains(args, "\nClaude Code-credentials-47055775\n") {
		t.Errorf("arguments %q", args)
	}
	if _, err := read(program, map[string]string{"CLAUDE_CONFIG_DIR": "/Users/m\u00e9"}); err == nil || !strings.Contains(err.Error(), "not ASCII") {
		t.Errorf("a folder whose item is not known: %v", err)
	}
	// No item: Claude Code's own fallback, the file.
	none, _ := security(t, 44, "")
	with := t.TempDir()
	if err := os.Mkdir(filepath.Join(with, ".claude"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(with, ".claude", ".credentials.json")
	if err := os.WriteFile(path, []byte(login), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(none, map[string]string{"HOME": with}); err != nil || got.From != path {
		t.Errorf("no item: %+v, %v", got, err)
	}
	if _, err := read(none, map[string]string{}); err == nil || !strings.Contains(err.Error(), "no login of Claude Code") {
		t.Errorf("neither item nor file: %v", err)
	}
	// A Keychain that does not answer is not taken for an empty one.
	for _, code := range []int{1, 36, 51} {
		locked, _ := security(t, code, "canary")
		if _, err := read(locked, map[string]string{"HOME": with}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("exit status %d", code)) || strings.Contains(err.Error(), "canary") {
			t.Errorf("code %d: %v", code, err)
		}
	}
	// A file that is named is read, and the Keychain is not asked.
	m := machine(map[string]string{})
	m.OS, m.Keychain = "darwin", filepath.Join(home, "none")
	if got, err := source(t, "claude").Read(t.Context(), path, m); err != nil || got.From != path {
		t.Errorf("--from: %+v, %v", got, err)
	}
}
