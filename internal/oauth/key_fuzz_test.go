package oauth_test

import (
	"strings"
	"testing"

	"evergrant/internal/oauth"
)

// FuzzParseSigningKey: a key file is a key, or is refused in one line that does
// not quote it. The seeds hold no key: a corpus must not.
func FuzzParseSigningKey(f *testing.F) {
	for _, s := range []string{
		"", "{}", "null", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
		"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n-----END EC PRIVATE KEY-----\n", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
		`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ","d":"AQ"}`, `{"kty":"RSA","n":"AQ","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}`,
		`{"kty":"OKP","crv":"Ed25519","x":"AQ","d":"AQ"}`, `{"kty":"oct","k":"AQ"}`, `{"keys":[{"kty":"EC"}]}`, `{"kty":1}`, "\ufeff{}", "-----BEGIN ",
	} {
		f.Add([]byte(s), "", "")
		f.Add([]byte(s), "ES256", "kid")
	}
	f.Fuzz(func(t *testing.T, text []byte, alg, kid string) {
		key, err := oauth.ParseSigningKey(text, alg, kid)
		if err == nil {
			if key == nil {
				t.Error("no key and no error")
			}
			return
		}
		said := err.Error()
		if strings.ContainsAny(said, "\n\r\x1b") {
			t.Errorf("not one line: %q", said)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); len(line) > 30 && !strings.HasPrefix(line, "-----") && strings.Contains(said, line) {
				t.Error("the error quotes the file")
			}
		}
	})
}
