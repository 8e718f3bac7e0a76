package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// cause is an error in this package's words. The original stays reachable for
// errors.Is and errors.As, and its text, which may repeat what a peer sent, does
// not show.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

func says(text string, err error) error { return &cause{text, err} }

func errTooLarge() error {
	return says(fmt.Sprintf("the answer is larger than %d bytes", MaxReply), nil)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}

// explain puts what the network said of host into words for a person.
func explain(err error, host string) error {
	var known *cause
	if errors.As(err, &known) {
		return err
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &dns) && dns.IsNotFound:
		return says("host "+host+" does not exist", err)
	case errors.As(err, &dns):
		return says("host "+host+" cannot be looked up", err)
	case errors.Is(err, errNotLocal):
		return errNotLocal
	case isTimeout(err):
		return says("no answer in time", err)
	}
	if text := explainSyscall(err); text != "" {
		return says(text, err)
	}
	if text := explainTLS(err, host); text != "" {
		return says(text, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) {
		return says("connection was closed", err)
	}
	return err
}

// explainReply is explain for what went wrong while an answer was read: an
// error of the HTTP parser, which may quote the answer, is replaced.
func explainReply(err error, host string) error {
	known := explain(err, host)
	var own *cause
	if errors.As(known, &own) {
		return known
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return says("connection failed", err)
	}
	return says("its framing is not valid HTTP/1.1", nil)
}

func explainSyscall(err error) string {
	for _, known := range []struct {
		err  error
		text string
	}{
		{syscall.ECONNREFUSED, "connection refused"},
		{syscall.ECONNRESET, "connection was reset"},
		{syscall.EPIPE, "connection was closed"},
		{syscall.EHOSTUNREACH, "host cannot be reached"},
		{syscall.ENETUNREACH, "network cannot be reached"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	return ""
}

func explainTLS(err error, host string) string {
	var authority x509.UnknownAuthorityError
	var roots x509.SystemRootsError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return "certificate is signed by an unknown authority (SSL_CERT_FILE can name its certificate)"
	case errors.As(err, &roots):
		return "no trusted certificates on this machine (SSL_CERT_FILE can name a file of them)"
	case errors.As(err, &name):
		return "certificate is not valid for " + host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate has expired or is not yet valid (is the clock right?)"
	case errors.As(err, &invalid):
		return "certificate is not valid"
	case errors.As(err, &record):
		return "server does not speak TLS on this port"
	case strings.Contains(err.Error(), "tls: no application protocol"): // an alert without a type
		return "server does not offer HTTP/1.1"
	}
	return ""
}
