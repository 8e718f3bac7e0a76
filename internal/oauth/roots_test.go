package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// strangers writes a bundle whose only certificate signed nothing here.
func strangers(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a stranger"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return bundleOf(t, der)
}

func bundleOf(t *testing.T, ders ...[]byte) string {
	t.Helper()
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	path := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever verifies with the system's pool is trusted, whatever is in the
// bundle; the bundle only spares the second connection. The request is sent
// once, or not at all.
func TestRoots(t *testing.T) {
	t.Parallel()
	fixture := httptest.NewUnstartedServer(nil)
	fixture.StartTLS()
	t.Cleanup(fixture.Close)
	cert, signer := fixture.TLS.Certificates[0], fixture.Certificate()
	all := x509.NewCertPool()
	all.AddCert(signer)
	none := x509.NewCertPool()
	strange, known, absent := strangers(t), bundleOf(t, signer.Raw), filepath.Join(t.TempDir(), "absent")
	empty := bundleOf(t)

	for name, tc := range map[string]struct {
		bundles     []string
		system      *x509.CertPool
		connections int64
		words       string // "": a success
	}{
		"in the bundle":            {[]string{known}, none, 1, ""},
		"in both":                  {[]string{known}, all, 1, ""},
		"only in the folder":       {[]string{strange}, all, 2, ""},
		"empty bundle":             {[]string{empty}, all, 2, ""},
		"no bundle":                {[]string{absent}, all, 1, ""},
		"first readable counts":    {[]string{absent, known, strange}, none, 1, ""},
		"second is not looked at":  {[]string{strange, known}, none, 2, "unknown authority"},
		"in neither":               {[]string{strange}, none, 2, "certificate is signed by an unknown authority (SSL_CERT_FILE can name its certificate)"},
		"neither, no bundle there": {[]string{absent}, none, 1, "certificate is signed by an unknown authority (SSL_CERT_FILE can name its certificate)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRawServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(s *rawServer, c net.Conn) {
				if s.request(c) != "" {
					io.WriteString(c, httpReply("200 OK", "", tokenReply()))
				}
				hangUp(c)
			})
			client := newClient(t, oauth.Config{TokenURL: "https://" + s.Addr().String() + "/token"})
			oauth.SetRoots(client, tc.bundles, tc.system)
			set, f := refresh(t, client)
			sent := int64(0)
			if tc.words == "" {
				wantTokens(t, set, f)
				sent = 1
			} else {
				wantFate(t, f, grant.Unspent, tc.words)
			}
			if c, p := s.connections.Load(), s.presentations.Load(); c != tc.connections || p != sent {
				t.Errorf("%d connections and %d requests, want %d and %d", c, p, tc.connections, sent)
			}
		})
	}
}

// A name that does not fit is refused with either pool, and so is a proxy whose
// certificate leads nowhere.
func TestRootsDoNotExcuse(t *testing.T) {
	t.Parallel()
	srv, cfg := tlsServer(t, tokenHandler())
	known, strange := bundleOf(t, srv.Certificate().Raw), strangers(t)
	handler, asked := connectProxy(t, srv.Listener.Addr().String())
	proxy := httptest.NewUnstartedServer(handler)
	proxy.Config.ErrorLog = quiet()
	proxy.StartTLS()
	t.Cleanup(proxy.Close)

	other := newClient(t, oauth.Config{TokenURL: "https://other.example/token", Proxy: via(proxy.URL)})
	oauth.SetRoots(other, []string{known}, cfg.RootCAs)
	_, f := refresh(t, other)
	wantFate(t, f, grant.Unspent, "certificate is not valid for other.example")
	for range 2 {
		if r := <-asked; r.Method != http.MethodConnect {
			t.Errorf("the proxy was asked %s", r.Method)
		}
	}
	behind := newClient(t, oauth.Config{TokenURL: "https://example.com/token", Proxy: via(proxy.URL)})
	oauth.SetRoots(behind, []string{strange}, x509.NewCertPool())
	_, f = refresh(t, behind)
	wantFate(t, f, grant.Unspent, "certificate is signed by an unknown authority")
	if len(asked) != 0 {
		t.Error("a proxy that is not trusted was asked for a tunnel")
	}
	oauth.SetRoots(behind, []string{strange}, cfg.RootCAs)
	set, f := refresh(t, behind)
	wantTokens(t, set, f)
	if len(asked) != 1 {
		t.Errorf("the proxy was asked for %d tunnels, want 1", len(asked))
	}
}
