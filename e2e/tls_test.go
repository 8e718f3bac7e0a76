//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// proxiedHost is a name that no resolver knows: only through the proxy can it
// be reached. Loopback addresses are never sent to a proxy.
const proxiedHost = "op.evergrant.test"

// TestPrivateAuthority refreshes over HTTPS with a certificate of a private CA.
func TestPrivateAuthority(t *testing.T) {
	server := startServer(t, newAuthority(t))
	l := server.consent(t, publicClient)
	b := newBox(t).at(server.tokenURL(), publicClient).seeded(l.Refresh)

	b.fails(t, 5, "--force", "--wait", "0s", "g")
	server.expect(t, "an unknown CA", counts{})

	b.set("SSL_CERT_FILE", server.caFile)
	d := b.deliver(t, "--force", "g")
	server.expect(t, "the CA in SSL_CERT_FILE", refreshes(1))
	if !server.alive(t, d.token) {
		t.Fatal("the access token is dead")
	}
	part("%-19s unknown: exit 5, nothing sent; in SSL_CERT_FILE: refreshed, family alive", "private CA")
}

// TestProxy refreshes through a CONNECT proxy, the only way to the server.
func TestProxy(t *testing.T) {
	server := startServer(t, newAuthority(t))
	l := server.consent(t, publicClient)
	address := fmt.Sprintf("%s:%d", proxiedHost, server.port)
	b := newBox(t).at("https://"+address+"/token", publicClient).seeded(l.Refresh)
	b.set("SSL_CERT_FILE", server.caFile)

	b.fails(t, 5, "--force", "--wait", "0s", "g")
	server.expect(t, "no proxy", counts{})

	proxy := newConnectProxy(t, map[string]string{address: fmt.Sprintf("127.0.0.1:%d", server.port)})
	b.set("HTTPS_PROXY", proxy.url)
	for n := 1; n <= 2; n++ {
		d := b.deliver(t, "--force", "g")
		server.expect(t, "through the proxy", refreshes(1))
		if got := proxy.count(); got != n {
			t.Fatalf("the proxy saw %d CONNECT requests for %d refreshes", got, n)
		}
		if !server.alive(t, d.token) {
			t.Fatal("the access token is dead")
		}
	}
	proxy.refuse()
	b.fails(t, 5, "--force", "--wait", "0s", "g")
	server.expect(t, "a proxy that refuses", counts{})
	part("%-19s HTTPS_PROXY: 2 refreshes, 2 CONNECTs; a proxy that refuses: exit 5, nothing sent, family alive", "proxy")
}

// connectProxy is an HTTP proxy for CONNECT (RFC 9110 §9.3.6) and nothing else.
type connectProxy struct {
	url string

	mu       sync.Mutex
	routes   map[string]string
	connects int
}

func newConnectProxy(t *testing.T, routes map[string]string) *connectProxy {
	t.Helper()
	p := &connectProxy{routes: routes}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

func (p *connectProxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connects
}

func (p *connectProxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes = nil
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.connects++
	target, ok := p.routes[r.Host]
	p.mu.Unlock()
	if r.Method != http.MethodConnect || !ok {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	var d net.Dialer
	up, err := d.DialContext(r.Context(), "tcp", target)
	if err != nil {
		http.Error(w, "unreachable", http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() {
		_, _ = io.Copy(up, buffered)
		_ = up.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(down, up)
	_ = down.(*net.TCPConn).CloseWrite()
	pumps.Wait()
}
