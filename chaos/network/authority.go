package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// authority is a private CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// issue makes a server certificate for the hosts that ends at a time.
func (a *authority) issue(ends time.Time, hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: a.cert.NotBefore, NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// papers are the certificates of one session.
type papers struct {
	ca                                *authority
	good, otherName, expired, unknown tls.Certificate
}

// unresolvable is a name that no resolver knows (RFC 6761 §6.4).
const unresolvable = "nonexistent.invalid"

func newPapers() (*papers, error) {
	ca, err := newAuthority("evergrant chaos CA")
	if err != nil {
		return nil, err
	}
	stranger, err := newAuthority("a CA that nobody trusts")
	if err != nil {
		return nil, err
	}
	p, tomorrow := &papers{ca: ca}, time.Now().Add(24*time.Hour)
	for _, c := range []struct {
		to    *tls.Certificate
		by    *authority
		ends  time.Time
		hosts []string
	}{
		{&p.good, ca, tomorrow, []string{"127.0.0.1", unresolvable}},
		{&p.otherName, ca, tomorrow, []string{"elsewhere.example"}},
		{&p.expired, ca, time.Now().Add(-24 * time.Hour), []string{"127.0.0.1", unresolvable}},
		{&p.unknown, stranger, tomorrow, []string{"127.0.0.1", unresolvable}},
	} {
		if *c.to, err = c.by.issue(c.ends, c.hosts...); err != nil {
			return nil, err
		}
	}
	return p, nil
}
