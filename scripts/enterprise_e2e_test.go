//go:build e2e

package scripts_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"evergrant/internal/simulator"
)

// enterprise is a host of GitHub Enterprise Server that only a proxy knows.
const enterprise = "ghes.example"

// TestEnterprise: in a job of GitHub Enterprise Server the token for GitHub goes
// to that server, whose address the runner tells, and to nobody else.
func TestEnterprise(t *testing.T) {
	for _, p := range scripts(t) {
		for _, variable := range []string{"GH_TOKEN", "GH_ENTERPRISE_TOKEN"} {
			t.Run(variable+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				g := b.onGitHub(t)
				proxy, asked := b.onEnterprise(t, g.URL)
				for _, name := range []string{"GH_HOST", "GH_TOKEN", "HTTP_PROXY", "http_proxy"} {
					delete(b.env, name)
				}
				b.env["HTTPS_PROXY"], b.env["https_proxy"], b.env[variable] = proxy, proxy, githubToken
				b.env["GITHUB_SERVER_URL"], b.env["GITHUB_API_URL"] = "https://"+enterprise, "https://"+enterprise+"/api/v3"
				r := b.run(t, p)
				if value, there := g.Value("acme/widgets", "GRANT"); r.code != 0 || len(r.requests) != 1 || !there || digest(value) != b.newest(t) {
					t.Errorf("want exit 0, and the secret written\n%v", r)
				}
				if hosts := asked(); !slices.Equal(hosts, []string{enterprise + ":443"}) {
					t.Errorf("asked: %v", hosts)
				}
			})
		}
	}
}

// onEnterprise starts a proxy that knows one host, a GitHub Enterprise Server
// with its API below /api/v3. It returns its address and what hosts were asked for.
func (b *box) onEnterprise(t *testing.T, api string) (proxy string, asked func() []string) {
	t.Helper()
	target, err := url.Parse(api)
	must(t, err)
	below := httptest.NewServer(http.StripPrefix("/api/v3", httputil.NewSingleHostReverseProxy(target)))
	t.Cleanup(below.Close)
	ca, front := fronted(t, below.URL)
	b.env["SSL_CERT_FILE"] = b.home + "/enterprise.pem"
	writeFile(t, b.env["SSL_CERT_FILE"], ca)
	var mu sync.Mutex
	var hosts []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts = append(hosts, r.Host)
		mu.Unlock()
		if r.Method != http.MethodConnect || r.Host != enterprise+":443" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		tunnel(w, front)
	}))
	t.Cleanup(s.Close)
	return "http://" + strings.TrimPrefix(s.URL, "http://"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(hosts)
		return slices.Compact(hosts)
	}
}
