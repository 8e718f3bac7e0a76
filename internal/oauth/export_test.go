package oauth

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"evergrant/internal/grant"
)

// SetDial replaces the dialler below proxy and TLS.
func SetDial(c *Client, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.net.dial = dial
}

// SetRoots replaces the files that are looked for a bundle, and the system's
// pool behind them.
func SetRoots(c *Client, bundles []string, system *x509.CertPool) {
	c.net.bundles, c.net.system = bundles, system
}

// DialLocal connects as for a plain http URL.
func DialLocal(ctx context.Context, address string) error {
	conn, err := network{}.dialTCP(ctx, address, true)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Settle reads an answer as if it had come over the wire.
func Settle(c *Client, status int, h http.Header, body string, whole bool, presented grant.Secret, at time.Time) (grant.TokenSet, *grant.RefreshError) {
	a := answer{status: status, header: h, body: []byte(body), presented: presented, obtained: at}
	if !whole {
		a.cut = errors.New("cut")
	}
	return c.settle(a)
}

// ParseMetadata reads a discovery document that was fetched from address, as
// Discover does after the first look at it.
func ParseMetadata(body []byte, issuer string, address *url.URL) (Metadata, error) {
	return parseMetadata(body, issuer, address)
}
