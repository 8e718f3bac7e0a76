package grant_test

import (
	"strings"
	"testing"

	"evergrant/internal/grant"
)

func TestFilename(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", grant.MaxIDLength-1)
	for id, want := range map[grant.ID]string{
		"acme/claude": "acme+claude", "acme/Claude": "acme+claude=04", "ACME": "acme=f", "a": "a", "A": "a=8",
		"aB": "ab=4", "con": "@con", "CON": "@con=e", "aux.x": "@aux.x", "com1": "@com1", "lpt9.a/b": "@lpt9.a+b",
		"com0": "com0", "con/x": "con+x", "console": "console", "a.": "a.", "a-b_c.d": "a-b_c.d",
		grant.ID(long + "Z"): long + "z=" + strings.Repeat("0", 31) + "1",
	} {
		got, err := id.Filename()
		if err != nil || got != want {
			t.Errorf("Filename of %q is %q, %v, want %q", id, got, err, want)
		}
		if back, ok := grant.ParseFilename(got); !ok || back != id {
			t.Errorf("ParseFilename of %q is %q, %v, want %q", got, back, ok, id)
		}
	}
	for _, id := range []grant.ID{"", "..", "../a", "/a", "a//b", ".a", "a\x00", "a\\b", "ä", "a.lock", grant.ID(long + "aa")} {
		if got, err := id.Filename(); err == nil {
			t.Errorf("Filename of %q is %q, want an error", id, got)
		}
	}
	for _, name := range []string{
		"", "A", "a=", "a=0", "a=80", "a=4", "a=g", "a=F", "1=8", "@a", "con", "@", "a/b", "a==8", ".a", "a+", "a\\b", "@@con", "a=8=8",
	} {
		if id, ok := grant.ParseFilename(name); ok {
			t.Errorf("ParseFilename of %q is %q, want none", name, id)
		}
	}
}

// Names stay apart where case is ignored, are short enough for a suffix and a
// temporary file's frame, and lead back to their grant.
func FuzzFilename(f *testing.F) {
	for _, s := range []string{"acme/Claude", "CON.x", strings.Repeat("N", 128), "a.b/c-D_e"} {
		f.Add(s, strings.ToLower(s))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := grant.ID(a).Filename()
		if err != nil {
			return
		}
		if len(x) > 162 || x != strings.ToLower(x) || strings.ContainsAny(x, "/\\:*?\"<>| ") || x[0] == '.' {
			t.Fatalf("%q is no good file name", x)
		}
		if back, ok := grant.ParseFilename(x); !ok || string(back) != a {
			t.Fatalf("%q leads to %q, not to %q", x, back, a)
		}
		if y, err := grant.ID(b).Filename(); err == nil && a != b && strings.EqualFold(x, y) {
			t.Fatalf("%q and %q share the name %q", a, b, x)
		}
	})
}
