package oauth_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"evergrant/internal/oauth"
)

// FuzzValidateTokenURL: what is accepted goes to https or to this machine, and
// what is refused is refused in one line that does not repeat a long secret.
func FuzzValidateTokenURL(f *testing.F) {
	for _, s := range []string{
		"https://issuer.example/token", "http://127.0.0.1:8080/token", "http://[::1]/t", "http://localhost/t", "http://issuer.example/t",
		"https://user:pass@issuer.example/t", "https://issuer.example/t#x", "https://issuer.example:99999/", "ftp://x", "https://", "//x", "https://xn--bcher-kva.example/",
		"https://issuer.example:/t", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "https:opaque", "https://[::1", "https://a\nb/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		err := oauth.ValidateTokenURL(raw)
		if err != nil {
			if text := err.Error(); strings.ContainsAny(text, "\n\r\x1b") || len(raw) > 300 && strings.Contains(text, raw) {
				t.Errorf("refused in a line that repeats too much: %q", text)
			}
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.User != nil || u.Fragment != "" || u.Hostname() == "" {
			t.Fatalf("accepted: %q (%v)", raw, err)
		}
		if u.Scheme == "https" {
			return
		}
		host := u.Hostname()
		a, err := netip.ParseAddr(host)
		if u.Scheme != "http" || !strings.EqualFold(host, "localhost") && (err != nil || !a.Unmap().IsLoopback()) {
			t.Errorf("in clear to another machine: %q", raw)
		}
	})
}
