package store_test

import (
	"strings"
	"testing"

	"evergrant/internal/store"
)

// FuzzParse: a store URL is refused in one line, or means the same when it is
// written down and read again; marks and spills hang on that.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"file:/var/lib/evergrant", "file:relative", "file:/a/../b?shared=yes", "file:/a?shared=no", "file:", "none:", "none:x",
		"git:", "git:https://forge.example/acme/widgets", "git:https://forge.example/acme/widgets#refs/evergrant/", "git:git@forge.example:acme/widgets.git",
		"git:ssh://git@forge.example/acme", "git:/srv/git/acme.git#refs/heads/x", "git:https://user:secret@forge.example/x", "ghsecret:o/r/N", "ghsecret:o/r/N?env=V&environment=a/b", "ghsecret:o/r/N?env=V&api=https://ghe.example/api/v3", "s3:x", "", "nothing", "file:/a\nb",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		loc, err := store.Parse(raw)
		if err != nil {
			if text := err.Error(); strings.ContainsAny(text, "\n\r\x1b") {
				t.Errorf("refused in more than a line: %q", text)
			}
			return
		}
		again, err := store.Parse(loc.String())
		if err != nil || again.String() != loc.String() {
			t.Errorf("%q is %q, and that is %q (%v)", raw, loc, again, err)
		}
	})
}
