package ghaction_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/ghaction"
)

func TestKeepFresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fresh, span string
		want        time.Duration
		bad         string
	}{
		{"", "", 0, ""}, {"false", "", 0, ""}, {" True\n", "", 6 * time.Hour, ""}, {"true", " 90m ", 90 * time.Minute, ""}, {"true", "120h", 120 * time.Hour, ""},
		{"yes", "", 0, "input keep-fresh: must be true or false"},
		{"", "1h", 0, "input keep-fresh-for is given, and nothing is to be kept fresh: set keep-fresh: true, or leave it out"},
		{"true", "0s", 0, "input keep-fresh-for must be a duration such as 90m, at most 120h"},
		{"true", "121h", 0, "input keep-fresh-for must be a duration such as 90m, at most 120h"},
		{"true", "canary", 0, "input keep-fresh-for must be a duration such as 90m, at most 120h"},
	} {
		s, err := ghaction.Read(lookup(map[string]string{"INPUT_KEEP-FRESH": tt.fresh, "INPUT_KEEP-FRESH-FOR": tt.span}))
		if s.Keep != tt.want || (err == nil) != (tt.bad == "") || err != nil && err.Error() != tt.bad {
			t.Errorf("keep-fresh %q for %q: %v, %v", tt.fresh, tt.span, s.Keep, err)
		}
	}
}

// TestHanded: the process in the background is the same step, without what was
// meant for the step's own moment.
func TestHanded(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"INPUT_STORE": "git:", "INPUT_KEY": "canary-key", "INPUT_REFRESH-TOKEN": "canary-refresh", "INPUT_GITHUB-TOKEN": "canary-git", "INPUT_FORCE": "true",
		"INPUT_AFTER": "7", "INPUT_ENV-NAME": "T", "INPUT_KEEP-FRESH": "true", "INPUT_KEEP-FRESH-FOR": "1h", "INPUT_MIN-TTL": "9m", "INPUT_PROVIDER": "",
		"INPUT_OTHER": "canary-other", "HOME": "/home/x", "RUNNER_TEMP": "/tmp/x", "GITHUB_REPOSITORY": "o/r", "GITHUB_OUTPUT": "/out", "GITHUB_ENV": "/env",
		"GITHUB_STATE": "/state", "GITHUB_STEP_SUMMARY": "/summary", "STATE_rescued": "w", "EVERGRANT_KEY": "canary-job", "ACTIONS_RUNTIME_TOKEN": "canary-runtime",
	}
	s, err := ghaction.Read(lookup(env))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"INPUT_STORE": "git:", "INPUT_KEY": "canary-key", "INPUT_GITHUB-TOKEN": "canary-git", "INPUT_MIN-TTL": "9m", "INPUT_NO-CREATE": "true",
		"HOME": "/home/x", "RUNNER_TEMP": "/tmp/x", "GITHUB_REPOSITORY": "o/r",
	}
	if got := s.Handed(); !maps.Equal(got, want) {
		t.Errorf("%q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	again, err := ghaction.Read(lookup(s.Handed()))
	if err != nil || again.Keep != 0 || slices.ContainsFunc(again.Args, func(a string) bool { return strings.HasPrefix(a, "--force") || strings.HasPrefix(a, "--after") }) {
		t.Errorf("%v, %v, %q", err, again.Keep, again.Args)
	}
	// Where nothing is kept, a process starts anew.
	env["INPUT_STORE"] = "none:"
	if s, err = ghaction.Read(lookup(env)); err != nil {
		t.Fatal(err)
	}
	if got := s.Handed(); got["INPUT_REFRESH-TOKEN"] != "canary-refresh" || got["INPUT_NO-CREATE"] != "" {
		t.Errorf("with store none: %q", slices.Sorted(maps.Keys(got)))
	}
}
