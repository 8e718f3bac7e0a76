package box_test

import (
	"encoding/base64"
	"testing"

	"evergrant/chaos/network/box"
)

func TestTokensAreFoundInEveryForm(t *testing.T) {
	t.Parallel()
	const token = "sim-refresh-ABCDEFGHIJKLMNOP"
	var tokens box.Tokens
	tokens.Add(token)
	for name, c := range map[string]struct {
		text  string
		found bool
	}{
		"plain":                   {"x " + token + " y", true},
		"base64":                  {base64.StdEncoding.EncodeToString([]byte(token)), true},
		"base64 after one byte":   {base64.StdEncoding.EncodeToString([]byte("x" + token + "y")), true},
		"base64 after two bytes":  {base64.StdEncoding.EncodeToString([]byte("xy" + token + "z")), true},
		"base64 in a JSON object": {base64.StdEncoding.EncodeToString([]byte(`{"refresh_token":"` + token + `"}`)), true},
		"nothing":                 {"sim-refresh-", false},
		"another token":           {"sim-refresh-ABCDEFGHIJKLMNOQ", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tokens.In([]byte(c.text)) > 0; got != c.found {
				t.Errorf("found: %v, want %v", got, c.found)
			}
		})
	}
}
