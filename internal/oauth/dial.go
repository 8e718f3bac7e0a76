package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/proxy"
)

// network opens connections. It holds no state but, in the copy that makes one
// attempt, the roots that are tried first.
type network struct {
	connectTimeout, requestTimeout time.Duration
	userAgent                      string
	proxy                          func(*url.URL) (*url.URL, error)
	tls                            *tls.Config
	dial                           func(ctx context.Context, network, address string) (net.Conn, error) // nil: the system's

	bundles []string       // files of roots, of which the first readable one counts; nil: as the environment says
	system  *x509.CertPool // behind the bundle; nil: the system's
	first   *roots         // tried first; nil: the system's pool
}

// meter counts the bytes that a connection accepted since it was armed. It sits
// below TLS, so that it counts what left, not what was meant to.
type meter struct {
	net.Conn
	armed atomic.Bool
	n     atomic.Int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	if m.armed.Load() {
		m.n.Add(int64(n))
	}
	return n, err
}

// open dials u's host, through a proxy where one is named, and finishes the
// TLS handshake. Nothing of a request is sent, so it may try twice: with the
// roots of the bundle and, if they did not do, with the system's. Errors are fit
// for a user.
func (n network) open(ctx context.Context, u *url.URL) (net.Conn, *meter, error) {
	start := time.Now()
	attempt, cancel := context.WithTimeout(ctx, n.connectTimeout)
	defer cancel()
	if u.Scheme == "https" {
		n.first = n.bundle()
	}
	conn, sent, err := n.connect(attempt, u)
	if n.first != nil && unverified(err) {
		n.first = nil
		conn, sent, err = n.connect(attempt, u)
	}
	if err != nil {
		return nil, nil, n.connectError(ctx, attempt, start, u, err)
	}
	return conn, sent, nil
}

func (n network) connect(ctx context.Context, u *url.URL) (net.Conn, *meter, error) {
	raw, err := n.reach(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	sent := &meter{Conn: raw}
	if u.Scheme == "http" {
		return sent, sent, nil
	}
	secure, err := n.handshake(ctx, sent, u.Hostname())
	if err != nil {
		return nil, nil, err
	}
	return secure, sent, nil
}

// reach returns a byte stream to u's host.
func (n network) reach(ctx context.Context, u *url.URL) (net.Conn, error) {
	via, err := n.proxyFor(u)
	if err != nil {
		return nil, err
	}
	if via == nil {
		return n.dialTCP(ctx, hostPort(u), u.Scheme == "http")
	}
	conn, err := n.reachThrough(ctx, via, hostPort(u))
	if err != nil {
		return nil, says(fmt.Sprintf("proxy %s: %v", hostPort(via), explain(err, via.Hostname())), err)
	}
	return conn, nil
}

func (n network) proxyFor(u *url.URL) (*url.URL, error) {
	if u.Scheme != "https" || isLoopback(u.Hostname()) {
		return nil, nil
	}
	choose := n.proxy
	if choose == nil {
		choose = proxyFromEnvironment
	}
	via, err := choose(u)
	if err != nil {
		// The error text repeats the variable, and with it a password.
		return nil, errors.New("the proxy variable (HTTPS_PROXY) is not a valid URL")
	}
	if via != nil && via.Hostname() == "" {
		return nil, errors.New("the proxy variable (HTTPS_PROXY) names no host")
	}
	return via, nil
}

// proxyFromEnvironment is Go's own reading of HTTPS_PROXY and NO_PROXY, which
// takes a value that is no URL for none. Whoever set one has a reason not to
// connect directly, so that is an error here.
func proxyFromEnvironment(u *url.URL) (*url.URL, error) {
	via, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if via != nil || err != nil {
		return via, err
	}
	set := orDefault(os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))
	if _, err := url.Parse(set); err == nil {
		return nil, nil
	}
	_, err = url.Parse("http://" + set) // a host and port without scheme
	return nil, err
}

func (n network) reachThrough(ctx context.Context, via *url.URL, target string) (net.Conn, error) {
	switch via.Scheme {
	case "http", "https":
		conn, err := n.dialTCP(ctx, hostPort(via), false)
		if err != nil {
			return nil, err
		}
		if via.Scheme == "https" {
			if conn, err = n.handshake(ctx, conn, via.Hostname()); err != nil {
				return nil, err
			}
		}
		if err := n.tunnel(ctx, conn, via, target); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	case "socks5", "socks5h":
		var auth *proxy.Auth
		if via.User != nil {
			password, _ := via.User.Password()
			auth = &proxy.Auth{User: via.User.Username(), Password: password}
		}
		d, err := proxy.SOCKS5("tcp", hostPort(via), auth, forward{n})
		if err != nil {
			return nil, err
		}
		cd, ok := d.(proxy.ContextDialer)
		if !ok {
			return nil, errors.New("the SOCKS client cannot be cancelled")
		}
		return cd.DialContext(ctx, "tcp", target)
	}
	return nil, fmt.Errorf("scheme %.16q is not supported; use http, https or socks5", via.Scheme)
}

// forward is how the SOCKS client reaches its proxy.
type forward struct{ n network }

func (f forward) Dial(network, address string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, address)
}

func (f forward) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	return f.n.dialTCP(ctx, address, false)
}

// tunnel asks an HTTP proxy for a connection (RFC 9110 §9.3.6).
func (n network) tunnel(ctx context.Context, conn net.Conn, via *url.URL, target string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nUser-Agent: " + n.userAgent + "\r\n"
	if via.User != nil {
		password, _ := via.User.Password()
		pair := via.User.Username() + ":" + password
		head += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return err
	}
	answer := newWire(conn, 64<<10)
	resp, err := answer.head(http.MethodConnect)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return errors.New("refused the tunnel (HTTP 407): it wants a user name and password in the proxy variable")
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("refused the tunnel (HTTP %d)", resp.StatusCode)
	case answer.Buffered() > 0:
		return errors.New("sent bytes that nobody asked for")
	case !stop():
		return ctx.Err()
	}
	return nil
}

// dialTCP connects. With local it accepts loopback addresses only: a name such
// as localhost is what the resolver says it is, and plain http must not leave
// the machine.
func (n network) dialTCP(ctx context.Context, address string, local bool) (net.Conn, error) {
	if n.dial != nil {
		return n.dial(ctx, "tcp", address)
	}
	d := net.Dialer{}
	if local {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !ap.Addr().Unmap().IsLoopback() {
				return errNotLocal
			}
			return nil
		}
	}
	return d.DialContext(ctx, "tcp", address)
}

var errNotLocal = errors.New("the name leads to another machine; plain http stays on this one")

// handshake closes conn when it fails.
func (n network) handshake(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	cfg := &tls.Config{}
	if n.tls != nil {
		cfg = n.tls.Clone()
	}
	cfg.NextProtos = []string{"http/1.1"}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	switch {
	case n.first != nil:
		cfg.RootCAs = n.first.pool
		conn = patient{conn, n.first.full}
	case cfg.RootCAs == nil:
		cfg.RootCAs = n.system
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

func (n network) connectError(ctx, attempt context.Context, start time.Time, u *url.URL, err error) error {
	// The engine's own limit on connecting is the same, and ends a moment before
	// this one: that is a host that does not answer, not a caller who left.
	late := time.Since(start) >= n.connectTimeout*9/10 && errors.Is(ctx.Err(), context.DeadlineExceeded)
	switch {
	case ctx.Err() != nil && !late:
		return fmt.Errorf("connect to %s: %w", u.Host, ctx.Err())
	case attempt.Err() != nil || isTimeout(err):
		return says(fmt.Sprintf("connect to %s: no connection within %v", u.Host, n.connectTimeout), err)
	}
	return fmt.Errorf("connect to %s: %w", u.Host, explain(err, u.Hostname()))
}
