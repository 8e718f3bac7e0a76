package pattern_test

import (
	"reflect"
	"regexp"
	"sync"
	"testing"

	"evergrant/internal/pattern"
)

// TestSame: a pattern finds what the regular expression finds.
func TestSame(t *testing.T) {
	t.Parallel()
	const expression, text = `(a+)(b?)`, "xaab ab b a"
	p, r := pattern.Of(expression), regexp.MustCompile(expression)
	for name, got := range map[string][2]any{
		"MatchString":             {p.MatchString(text), r.MatchString(text)},
		"MatchString of nothing":  {p.MatchString("b"), r.MatchString("b")},
		"FindString":              {p.FindString(text), r.FindString(text)},
		"FindStringSubmatch":      {p.FindStringSubmatch(text), r.FindStringSubmatch(text)},
		"FindStringSubmatchIndex": {p.FindStringSubmatchIndex(text), r.FindStringSubmatchIndex(text)},
		"FindAllString":           {p.FindAllString(text, -1), r.FindAllString(text, -1)},
		"FindAllStringSubmatch":   {p.FindAllStringSubmatch(text, 2), r.FindAllStringSubmatch(text, 2)},
	} {
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s is %v, want %v", name, got[0], got[1])
		}
	}
}

// TestFirstUse: nothing is compiled before it is used, and once by many at a time.
func TestFirstUse(t *testing.T) {
	t.Parallel()
	bad := pattern.Of(`(`)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("an expression that is none was used")
			}
		}()
		bad.MatchString("")
	}()
	p := pattern.Of(`^x$`)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if !p.MatchString("x") {
				t.Error("no match")
			}
		})
	}
	all.Wait()
}
