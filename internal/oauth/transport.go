package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// maxRequest bounds the body of a request that a [Transport] sends, in bytes.
const maxRequest = 1 << 20

// Transport is an [http.RoundTripper] for requests that present no refresh
// token, such as those to a forge's API: one connection for each, HTTP/1.1, and
// the proxy, the roots and the rule of this package that plain http stays on
// this machine. It resends nothing and follows no redirect. It is safe for
// concurrent use.
type Transport struct{ net network }

// NewTransport returns a Transport; the zero DiscoverConfig is usable.
func NewTransport(cfg DiscoverConfig) *Transport {
	return &Transport{network{
		connectTimeout: orDefault(cfg.ConnectTimeout, DefaultConnectTimeout),
		requestTimeout: orDefault(cfg.RequestTimeout, DefaultRequestTimeout),
		userAgent:      orDefault(cfg.UserAgent, "evergrant"),
		proxy:          cfg.Proxy, tls: cfg.TLS,
	}}
}

// RoundTrip implements [http.RoundTripper]. The answer is read as a whole, up to
// [MaxReply]. Errors are one line, fit for a user, and hold nothing of the
// request but its address.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	message, err := encodeRequest(r, t.net.userAgent)
	if err != nil {
		return nil, err
	}
	ctx, address := r.Context(), r.URL.Host
	conn, _, err := t.net.open(ctx, r.URL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	resp, err := t.exchange(conn, r.Method, message)
	switch {
	case err == nil:
		resp.Request = r
		return resp, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", address, ctx.Err())
	case isTimeout(err):
		return nil, says(fmt.Sprintf("%s: no whole answer within %v", address, t.net.requestTimeout), err)
	}
	return nil, fmt.Errorf("%s: %w", address, explainReply(err, r.URL.Hostname()))
}

func (t *Transport) exchange(conn deadlineConn, method string, message []byte) (*http.Response, error) {
	if err := conn.SetDeadline(time.Now().Add(t.net.requestTimeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	w := newWire(conn, MaxReply)
	resp, err := w.head(method)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	if w.full() {
		return nil, errTooLarge()
	}
	return resp, err
}

// encodeRequest writes a request as RFC 9112 wants it. The caller's own headers
// must not speak of what is decided here.
func encodeRequest(r *http.Request, userAgent string) ([]byte, error) {
	var body []byte
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxRequest+1)); err != nil {
			return nil, fmt.Errorf("the body of a request cannot be read: %w", err)
		}
	}
	if len(body) > maxRequest {
		return nil, fmt.Errorf("the body of a request is larger than %d bytes", maxRequest)
	}
	var b bytes.Buffer
	b.WriteString(r.Method + " " + r.URL.RequestURI() + " HTTP/1.1\r\nHost: " + r.URL.Host + "\r\nUser-Agent: " + userAgent + "\r\n")
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			if !isFieldName(name) || !isFieldValue(value) {
				return nil, errors.New("a header of a request is not valid (it is not repeated here)")
			}
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	if r.Method != http.MethodGet {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	b.WriteString("Accept-Encoding: identity\r\nConnection: close\r\n\r\n")
	b.Write(body)
	return b.Bytes(), nil
}
