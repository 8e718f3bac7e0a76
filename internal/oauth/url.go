package oauth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ValidateTokenURL checks the address of a token endpoint: https, or http on
// this machine (localhost, 127.0.0.0/8, ::1), without user name and fragment
// (RFC 6749 §3.2). The error is one line that is fit for a user.
func ValidateTokenURL(raw string) error {
	_, err := parseEndpoint(raw)
	if err != nil {
		return fmt.Errorf("token URL %w", err)
	}
	return nil
}

// parseEndpoint applies the rule of [ValidateTokenURL]; its error lacks the
// name of the setting. A URL that cannot be parsed is not repeated: it may be a
// secret that went into the wrong setting.
func parseEndpoint(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("is empty")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return nil, errors.New("is not a valid URL; it must look like https://host/path")
	}
	if u.User != nil {
		return nil, errors.New("holds a user name or password; remove the part before the @")
	}
	host := u.Hostname()
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must start with https:// (or http:// on this machine)")
	case host == "":
		return nil, errors.New("names no host")
	case !hostASCII(host):
		return nil, errors.New("has a host with unusual characters; write it in its ASCII form (xn--…)")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("has a fragment; remove the # and what follows it")
	case !portOK(u):
		return nil, fmt.Errorf("has a port that does not exist: %.8q", u.Port())
	case u.Scheme == "http" && !isLoopback(host):
		return nil, fmt.Errorf("is http to another machine (%s); use https", host)
	}
	return u, nil
}

func hostASCII(host string) bool {
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^`+"`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

func portOK(u *url.URL) bool {
	p := u.Port()
	if p == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.Atoi(p)
	return err == nil && n > 0 && n <= 65535
}

// isLoopback reports whether a host name means this machine by its spelling.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// hostPort is the address to dial, with the port that the scheme implies.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		switch u.Scheme {
		case "http":
			port = "80"
		case "socks5", "socks5h":
			port = "1080"
		default:
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
