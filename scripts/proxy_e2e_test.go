//go:build e2e

package scripts_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/simulator"
)

// named is a host that no name server knows; only the proxy does.
const named = "id.provider.example"

// TestProxy: a provider that only a proxy reaches, which wants a name and a
// password; one that refuses them; and a host that is excepted from it.
func TestProxy(t *testing.T) {
	for _, p := range programs(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			ca, provider := fronted(t, b.url)
			proxy, tunnels := connectProxy(t, provider)
			file := b.home + "/ca.pem"
			writeFile(t, file, ca)
			for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
				b.env[name] = file
			}
			b.env["EVERGRANT_TOKEN_URL"] = "https://" + named + "/token"
			through := func(login string) {
				b.env["HTTPS_PROXY"] = "http://" + login + "@" + proxy
				b.env["https_proxy"] = b.env["HTTPS_PROXY"]
			}
			through("ada:canary-wrong")
			if r := b.run(t, p); r.code != 5 || len(r.requests) != 0 || strings.Contains(r.stderr, "canary") || tunnels.Load() != 0 {
				t.Errorf("a proxy that refuses: want exit 5 and nothing sent\n%v", r)
			}
			through("ada:canary-password%21")
			b.env["NO_PROXY"], b.env["no_proxy"] = "provider.example", "provider.example"
			if r := b.run(t, p); r.code != 5 || len(r.requests) != 0 || tunnels.Load() != 0 {
				t.Errorf("a host that is excepted: want exit 5 and nothing sent\n%v", r)
			}
			b.env["NO_PROXY"], b.env["no_proxy"] = "other.example,127.0.0.1", "other.example,127.0.0.1"
			if r := b.run(t, p); r.code != 0 || len(r.requests) != 1 || strings.Contains(r.stderr, "canary") || tunnels.Load() != 1 || !p.other && digest(b.saved(t)) != b.newest(t) {
				t.Errorf("through the proxy: want exit 0, one tunnel and the token saved, not %d tunnels\n%v", tunnels.Load(), r)
			}
		})
	}
}

// fronted puts TLS, with a certificate for the named host, before a server.
func fronted(t *testing.T, to string) (ca, address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "scripts"}, DNSNames: []string{named, enterprise}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	target, err := url.Parse(to)
	must(t, err)
	s := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), s.Listener.Addr().String()
}

// connectProxy is a proxy that opens tunnels to one server, under the named
// host's name, for whoever knows the password.
func connectProxy(t *testing.T, to string) (address string, tunnels *atomic.Int32) {
	t.Helper()
	tunnels = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const login = "Basic YWRhOmNhbmFyeS1wYXNzd29yZCE=" // ada:canary-password!
		switch {
		case r.Method != http.MethodConnect || r.Host != named+":443":
			w.WriteHeader(http.StatusForbidden)
			return
		case r.Header.Get("Proxy-Authorization") != login:
			w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		tunnels.Add(1)
		tunnel(w, to)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), tunnels
}

// tunnel joins the client of a CONNECT with a server until one of them leaves.
func tunnel(w http.ResponseWriter, to string) {
	there, err := net.Dial("tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = here.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	go func() { _, _ = io.Copy(there, buffered) }()
	_, _ = io.Copy(here, there)
}
