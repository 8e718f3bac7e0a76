package record_test

import (
	"strings"
	"testing"

	"evergrant/internal/record"
)

// TestRescueText: of a text that anybody may have written only a rescue block's own
// lines are taken.
func TestRescueText(t *testing.T) {
	t.Parallel()
	const (
		begin = "-----BEGIN EVERGRANT RESCUE BLOCK 5f0c21aa-----\n"
		end   = "-----END EVERGRANT RESCUE BLOCK 5f0c21aa-----\n"
		body  = "5f0c21aa grant acme/api\n5f0c21aa consent 0123456789abcdef\n5f0c21aa generation 17\n5f0c21aa length 3\n5f0c21aa 1/1 YWdl 9c1f2e07\n"
	)
	if got, ok := record.RescueText("evergrant: keep it:\n::error::x\n" + begin + body + end + "::error::y\n"); !ok || got != begin+body+end {
		t.Errorf("%q, %v", got, ok)
	}
	for name, text := range map[string]string{
		"nothing":             "",
		"no block":            "::error::x\n",
		"no lines":            begin + end,
		"no end":              begin + body,
		"another end":         begin + body + strings.Replace(end, "5f", "6f", 1),
		"a command":           begin + "::error::x\n" + body + end,
		"a command in a word": begin + "5f0c21aa grant ##[error]x\n" + body + end,
		"another name":        begin + strings.Replace(body, "5f", "6f", 1) + end,
		"more on a line":      begin + strings.Replace(body, "9c1f2e07", "9c1f2e07 ::x", 1) + end,
		"a name of another":   strings.ReplaceAll(begin+body+end, "5f0c21aa", "5f0c21a\n"),
	} {
		if got, ok := record.RescueText(text); ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}
