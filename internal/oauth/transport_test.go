package oauth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"evergrant/internal/oauth"
)

// TestTransport: what a server gets is what was asked for, once, with our own
// name; over TLS as well.
func TestTransport(t *testing.T) {
	t.Parallel()
	type seen struct {
		line, agent, host, body string
		header                  string
		length                  int64
	}
	got := make(chan seen, 8)
	srv, cfg := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- seen{r.Method + " " + r.URL.RequestURI(), r.UserAgent(), r.Host, string(b), r.Header.Get("Authorization"), r.ContentLength}
		w.Header().Set("X-Answer", "1")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "answer")
	}))
	transport := oauth.NewTransport(oauth.DiscoverConfig{UserAgent: "evergrant/1", TLS: cfg})
	for _, tt := range []struct{ method, body string }{{"GET", ""}, {"PUT", "body"}, {"PUT", ""}, {"DELETE", ""}} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, srv.URL+"/a%2Fb?c=d", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+presented)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%s: %v", tt.method, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "answer" || resp.StatusCode != http.StatusCreated || resp.Header.Get("X-Answer") != "1" {
			t.Errorf("%s: status %d, %v", tt.method, resp.StatusCode, err)
		}
		want := seen{tt.method + " /a%2Fb?c=d", "evergrant/1", srv.Listener.Addr().String(), tt.body, "Bearer " + presented, int64(len(tt.body))}
		if s := <-got; s != want {
			t.Errorf("%s: the server got %+v, want %+v", tt.method, s, want)
		}
	}
	if len(got) != 0 {
		t.Error("a request was sent twice")
	}
}

// TestTransportFollowsNothing: a redirect is an answer like any other.
func TestTransportFollowsNothing(t *testing.T) {
	t.Parallel()
	s := answering(t, httpReply("301 Moved Permanently", "Location: /elsewhere\r\n", ""))
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := oauth.NewTransport(oauth.DiscoverConfig{}).RoundTrip(r)
	if err != nil || resp.StatusCode != 301 {
		t.Errorf("%v, want the redirect itself", err)
	}
}

// TestTransportFailures: one line without anything of the request but its host,
// nothing sent where it must not be, and no wait without an end.
func TestTransportFailures(t *testing.T) {
	t.Parallel()
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return "http://" + l.Addr().String()
	}()
	silent := newRawServer(t, nil, func(s *rawServer, c net.Conn) { s.request(c); _, _ = io.Copy(io.Discard, c) })
	for name, tt := range map[string]struct {
		url, header, says string
	}{
		"http to another machine": {url: "http://192.0.2.1/x", says: "plain http stays on this one"},
		"nobody there":            {url: closed, says: "connection refused"},
		"no answer":               {url: silent.url(), says: "no whole answer within"},
		"no HTTP":                 {url: answering(t, "SSH-2.0-canary\r\n\r\n").url(), says: "not HTTP/1.1"},
		"half a body":             {url: answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncanary").url(), says: "connection was closed"},
		"too much":                {url: answering(t, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("canary ", oauth.MaxReply/6)).url(), says: "larger than"},
		"a header of two lines":   {url: closed, header: "canary\r\nX: y", says: "not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequestWithContext(t.Context(), "PUT", tt.url, strings.NewReader("canary-body"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header["Authorization"] = []string{"Bearer canary" + tt.header}
			_, err = oauth.NewTransport(oauth.DiscoverConfig{RequestTimeout: 300 * time.Millisecond}).RoundTrip(r)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q on one line", err, tt.says)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "PUT", silent.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oauth.NewTransport(oauth.DiscoverConfig{}).RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of its context", err)
	}
}
