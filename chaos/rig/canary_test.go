//go:build linux && (amd64 || arm64)

package rig_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/chaos/rig"
	"evergrant/internal/simulator"
)

func TestCanaryFindsEveryForm(t *testing.T) {
	t.Parallel()
	c := rig.NewCanary()
	token := c.NewToken(simulator.KindRefresh)
	quoted, err := json.Marshal([]string{`"` + token + `"`})
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"plain": token, "in a line": "a " + token + " b", "JSON": string(quoted), "URL": url.QueryEscape(token),
		"cut": token[:len(token)-10], "hex": hex.EncodeToString([]byte("x" + token)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(token))),
	}
	for _, before := range []string{"", "a", "ab", "abc", "client:"} {
		for _, after := range []string{"", "a", "ab"} {
			texts["base64 "+before+" "+after] = base64.StdEncoding.EncodeToString([]byte(before + token + after))
			texts["base64url "+before+" "+after] = base64.RawURLEncoding.EncodeToString([]byte(before + token + after))
		}
	}
	other := rig.NewCanary()
	for name, text := range texts {
		if !c.Holds([]byte(text)) {
			t.Errorf("%s: not found", name)
		}
		if other.Holds([]byte(text)) {
			t.Errorf("%s: found by a canary with another word", name)
		}
	}
}

func TestCanaryTree(t *testing.T) {
	t.Parallel()
	c, dir := rig.NewCanary(), t.TempDir()
	token := c.NewToken(simulator.KindAccess)
	for name, text := range map[string]string{"allowed": token, "clean": "nothing", "leak": "x" + token} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Tree("the folder", dir, func(path string) bool { return filepath.Base(path) == "allowed" }); err != nil {
		t.Fatal(err)
	}
	leaks, places, looked, _ := c.Leaks()
	if leaks != 1 || len(places) != 1 || !strings.Contains(places[0], "the folder") || looked != 6 {
		t.Errorf("%d leaks in %q, %d texts", leaks, places, looked)
	}
}
