package mark_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/mark"
)

// FuzzMark: a mark file of any content is a mark that is kept whole, or is
// refused in one line that names it; it is never taken for no mark.
func FuzzMark(f *testing.F) {
	const good = `{"evergrant_mark":1,"grant":"acme/main","consent":"c1","generation":17}`
	for _, s := range []string{
		"", "null", "{}", good, good + "\n", good + good, good[:40], strings.Replace(good, ":1,", ":2,", 1), strings.Replace(good, "17", "-1", 1),
		strings.Replace(good, "17", "1e99", 1), strings.Replace(good, "17", "18446744073709551615", 1), strings.Replace(good, "acme", "other", 1),
		strings.Replace(good, "{", `{"more":true,`, 1), strings.Replace(good, "c1", `\u0000\ud800`, 1), strings.ToUpper(good), "\x00", "[" + good + "]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "acme+main.mark")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		folder := mark.Open(dir)
		m, err := folder.Mark(t.Context(), acme)
		if err != nil {
			if text := err.Error(); strings.ContainsAny(text, "\n\r\x1b") || !strings.Contains(text, path) {
				t.Errorf("not one line that names the file: %q", text)
			}
			return
		}
		if !strings.Contains(strings.ToLower(string(b)), "evergrant_mark") && !strings.Contains(string(b), `\u`) {
			t.Errorf("%q was taken for a mark", b)
		}
		if err := folder.SetMark(t.Context(), acme, m); err != nil {
			t.Fatal(err)
		}
		if again, err := folder.Mark(t.Context(), acme); err != nil || again != m {
			t.Errorf("%+v was kept, and read as %+v, %v", m, again, err)
		}
	})
}
