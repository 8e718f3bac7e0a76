package holder_test

import (
	"strings"
	"testing"

	"evergrant/internal/holder"
)

func TestNew(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"ci-job_7.x": "ci-job_7.x", "": "-", "a b@c\n/é": "a-b-c---", strings.Repeat("x", 100): strings.Repeat("x", 40),
	} {
		a, b := holder.New(label), holder.New(label)
		if a == b {
			t.Errorf("two attempts share the name %q", a)
		}
		if got := holder.Label(a); got != want {
			t.Errorf("label %q came back as %q, want %q", label, got, want)
		}
		if strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") != "" || len(a) > 160 {
			t.Errorf("%q is no name to print", a)
		}
		if holder.Gone(a) {
			t.Errorf("%q is gone, and it is us", a)
		}
	}
}

func TestForeignNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "@", "x", "host-1/1234", "a@b@c", "a@b.c.1.d", "a@b.c.0.d.0123456789abcdef", "a@b.c.-5.d.0123456789abcdef",
		"a@b.c.+5.d.0123456789abcdef", "a@b.c.05.d.0123456789abcdef", "a@b.c.99999999999999999999.d.0123456789abcdef",
		"a@b.c.5.d.0123456789abcdeX", "a@b.c.5.d.0123", "a@b.c.5.d.0123456789abcdef.x", "a@b.c.5..0123456789abcdef",
		"a b@b.c.5.d.0123456789abcdef", "@b.c.5.d.0123456789abcdef", "a@b.c.5.d.0123456789abcdef\n", strings.Repeat("a", 41) + "@b.c.5.d.0123456789abcdef",
	} {
		if l := holder.Label(name); l != "" {
			t.Errorf("%q has the label %q", name, l)
		}
		if holder.Gone(name) {
			t.Errorf("%q is gone", name)
		}
	}
	if l := holder.Label("a@b.c.5.d.0123456789abcdef"); l != "a" {
		t.Errorf("a good name has the label %q", l)
	}
}
