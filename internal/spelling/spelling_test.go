package spelling_test

import (
	"slices"
	"strings"
	"testing"

	"evergrant/internal/spelling"
)

func TestNear(t *testing.T) {
	t.Parallel()
	commands := []string{"doctor", "import", "init", "login", "logout", "refresh", "rescue", "run", "status", "token"}
	for word, want := range map[string]string{
		"refesh": "refresh", "refrehs": "refresh", "REFRESH": "refresh", "stauts": "status", "tokne": "token",
		"logn": "login", "logut": "logout", "rn": "run", "ini": "init",
		"list": "", "x": "", "": "", "reference": "", "refreshrefreshrefresh": "",
	} {
		if got := strings.Join(spelling.Near(word, commands), " "); got != want {
			t.Errorf("%q may be %q, want %q", word, got, want)
		}
	}
	// Of two that are as near, both; of a nearer and a farther one, the nearer.
	if got := spelling.Near("key-fil", []string{"key-file", "key-fill", "key-flip"}); !slices.Equal(got, []string{"key-file", "key-fill"}) {
		t.Errorf("the nearest are %q", got)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ac", 1}, {"ab", "ba", 2}, {"kitten", "sitting", 3}} {
		if got := spelling.Distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q are %d edits, want %d", c.a, c.b, got, c.want)
		}
		if got := spelling.Distance(c.b, c.a); got != c.want {
			t.Errorf("from %q to %q are %d edits, want %d", c.b, c.a, got, c.want)
		}
	}
}
