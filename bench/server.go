//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const accessTokenPrefix = "bench-access-"

// tokenServer answers every refresh at once with a rotated token, over HTTP
// and HTTPS. It checks nothing: its own time must not show in the figures.
type tokenServer struct {
	plain, tls net.Listener
	web        *http.Server

	mu     sync.Mutex
	count  int
	latest time.Time
}

func newTokenServer(ca *authority) (*tokenServer, error) {
	s := &tokenServer{}
	var err error
	if s.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if s.tls, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{ca.server}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}); err != nil {
		return nil, err
	}
	s.web = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	for _, l := range []net.Listener{s.plain, s.tls} {
		go func() { _ = s.web.Serve(l) }() // ends by close
	}
	return s, nil
}

func (s *tokenServer) close() { _ = s.web.Close() }

func (s *tokenServer) url(scheme string) string {
	l := map[string]net.Listener{"http": s.plain, "https": s.tls}[scheme]
	return fmt.Sprintf("%s://%s/token", scheme, l.Addr())
}

// seen returns how many token requests came, and when the latest was whole.
func (s *tokenServer) seen() (int, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.latest
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	if err != nil || r.Method != http.MethodPost {
		http.Error(w, "want POST", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.count++
	s.latest = time.Now()
	n := s.count
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, `{"access_token":"%s%d-%s","token_type":"Bearer","expires_in":28800,"refresh_token":"%d-%s"}`,
		accessTokenPrefix, n, rand.Text(), n, rand.Text())
}

// authority is the private CA of the HTTPS rounds.
type authority struct {
	file   string // the CA alone
	bundle string // the CA after the system's own, as large as real life has it
	system bool   // whether the system's bundle was found
	server tls.Certificate
}

func newAuthority(prefix string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "evergrant bench CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: template.NotBefore, NotAfter: template.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, template, &leafKey.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &authority{file: prefix + ".pem", bundle: prefix + "-bundle.pem",
		server: tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: leafKey}}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	if err := os.WriteFile(a.file, ca, 0o600); err != nil {
		return nil, err
	}
	system, err := systemBundle()
	a.system = err == nil
	return a, os.WriteFile(a.bundle, append(system, ca...), 0o600)
}

// systemBundle reads the system's trust store from where the usual
// distributions keep it.
func systemBundle() ([]byte, error) {
	for _, path := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if pem, err := os.ReadFile(path); err == nil {
			return append(pem, '\n'), nil
		}
	}
	return nil, os.ErrNotExist
}
