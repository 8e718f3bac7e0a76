//go:build linux && (amd64 || arm64)

package rig_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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
	// What makes the token different from others, in pieces.
	random := token[len(token)-26:]
	for from := range len(random) - rig.PieceLen + 1 {
		part := random[from : from+rig.PieceLen]
		texts[fmt.Sprintf("piece %d", from)] = "…" + part + ","
		texts[fmt.Sprintf("piece %d, small letters", from)] = strings.ToLower(part)
		texts[fmt.Sprintf("piece %d, hex", from)] = "a" + hex.EncodeToString([]byte(part))
		for before := range 3 {
			texts[fmt.Sprintf("piece %d, base64 after %d", from, before)] = base64.URLEncoding.EncodeToString([]byte("-._"[:before] + part + "~~"))
		}
	}
	if c.Holds([]byte(random[:rig.PieceLen-1])) {
		t.Error("a piece that is too short to know was found")
	}
	other := rig.NewCanary()
	other.NewToken(simulator.KindRefresh)
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
	refresh := c.NewToken(simulator.KindRefresh)
	for name, text := range map[string]string{
		"clean": "nothing", "leak": "x" + token, "out 1": token + "\n", "out 2": "", // right
		"object": packed(t, "blob 9\x00"+token), "other object": packed(t, "nothing"),
		"out 3": token + "\n" + token + "\n", "out 4": refresh, "out 5": "nothing", "out 6": token[:len(token)-1], // wrong
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place := func(path string) (string, bool) {
		if strings.HasPrefix(filepath.Base(path), "out") {
			return "the sinks", true
		}
		return "the folder", false
	}
	if err := c.Tree(dir, place); err != nil {
		t.Fatal(err)
	}
	f := c.Found()
	want := []string{"files in the folder (1)", "files in the sinks, but for the token delivered (4)", "objects of git in the folder, unpacked (1)"}
	if f.Leaks != 6 || !slices.Equal(f.Places, want) || f.Texts != 10+11+2 {
		t.Errorf("%d leaks in %q, %d texts", f.Leaks, f.Places, f.Texts)
	}
}

// packed is a text as git packs an object.
func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
