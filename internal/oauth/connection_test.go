package oauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

func TestAnswersOnTheWire(t *testing.T) {
	t.Parallel()
	good := tokenReply()
	whole := httpReply("200 OK", "", good)
	chunked := func(end string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n%s", 10, good[:10], len(good)-10, good[10:], end)
	}
	for name, tc := range map[string]struct {
		answer string
		fate   grant.Fate
		words  string // "" for success
	}{
		"whole":                         {whole, 0, ""},
		"interim answers":               {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + whole, 0, ""},
		"interim answers only":          {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), grant.InDoubt, "only interim ones"},
		"another answer behind":         {whole + httpReply("400 Bad", "", `{"error":"invalid_grant"}`), 0, ""},
		"garbage behind":                {whole + "\x00\xff\r\n\r\nHTTP/1.1 500", 0, ""},
		"keep-alive promised":           {strings.Replace(whole, "\r\n", "\r\nConnection: keep-alive\r\nKeep-Alive: timeout=99\r\n", 1), 0, ""},
		"chunked":                       {chunked("0\r\n\r\n"), 0, ""},
		"chunked without end":           {chunked(""), 0, ""},
		"chunked with a trailer":        {chunked("0\r\ncanary bad trailer\r\n\r\n"), 0, ""},
		"ended by closing":              {"HTTP/1.1 200 OK\r\n\r\n" + good, 0, ""},
		"HTTP/1.0":                      {"HTTP/1.0 200 OK\r\n\r\n" + good, 0, ""},
		"announced longer":              {strings.Replace(whole, "Content-Length: ", "Content-Length: 9", 1), 0, ""},
		"gzip":                          {httpReply("200 OK", "Content-Encoding: gzip\r\n", zipped(good)), 0, ""},
		"nothing":                       {"", grant.InDoubt, "connection was closed"},
		"half a status line":            {"HTTP/1.1 2", grant.InDoubt, "connection was closed"},
		"half of the headers":           {"HTTP/1.1 200 OK\r\nContent-", grant.InDoubt, "connection was closed"},
		"half of the body":              {whole[:len(whole)-60], grant.InDoubt, "the answer is incomplete: connection was closed"},
		"cut behind the refresh token":  {whole[:len(whole)-3], 0, ""},
		"half an error":                 {httpReply("400 Bad", "", `{"error":"invalid_grant"}`)[:60], grant.InDoubt, "HTTP 400"},
		"not HTTP":                      {"SSH-2.0-canary\r\n", grant.InDoubt, "the answer is not HTTP/1.1"},
		"bad header":                    {"HTTP/1.1 200 OK\r\ncanary\r\n\r\n", grant.InDoubt, "the answer is not HTTP/1.1"},
		"two lengths":                   {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", grant.InDoubt, "the answer is not HTTP/1.1"},
		"bad chunk":                     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n", grant.InDoubt, "framing is not valid"},
		"switching protocols":           {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", grant.InDoubt, "HTTP 101"},
		"redirect":                      {httpReply("307 Temporary Redirect", "Location: /token2\r\n", ""), grant.Refused, "redirects are not followed"},
		"rejected":                      {httpReply("400 Bad Request", "", `{"error":"invalid_grant"}`), grant.Rejected, "invalid_grant"},
		"page":                          {httpReply("403 Forbidden", "Content-Type: text/html\r\n", "<html>canary"), grant.Refused, "HTML page"},
		"empty":                         {httpReply("200 OK", "", ""), grant.InDoubt, "the answer is empty"},
		"later":                         {httpReply("429 Too Many", "Retry-After: 5\r\n", ""), grant.Unspent, "HTTP 429"},
		"announced shorter than it was": {strings.Replace(whole, fmt.Sprint(len(good)), "60", 1), grant.InDoubt, "neither tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering(t, tc.answer)
			set, f := refresh(t, newClient(t, oauth.Config{TokenURL: s.url()}))
			if tc.words == "" {
				wantTokens(t, set, f)
			} else {
				wantFate(t, f, tc.fate, tc.words)
			}
			if s.presentations.Load() != 1 || s.connections.Load() != 1 {
				t.Errorf("%d presentations on %d connections", s.presentations.Load(), s.connections.Load())
			}
		})
	}
}

// endless answers for ever and counts what was taken from it.
func endless(t *testing.T, head string) (*rawServer, *atomic.Int64, chan struct{}) {
	var sent atomic.Int64
	done := make(chan struct{})
	s := newRawServer(t, nil, func(s *rawServer, c net.Conn) {
		defer close(done)
		s.request(c)
		io.WriteString(c, head)
		for block := bytes.Repeat([]byte("x"), 64<<10); sent.Load() < 1<<30; {
			n, err := c.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	return s, &sent, done
}

func TestEndlessAnswersAreNotRead(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		head string
		ok   bool
	}{
		"body":                    {"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n{\"pad\":\"", false},
		"body without length":     {"HTTP/1.1 200 OK\r\n\r\n{\"pad\":\"", false},
		"header":                  {"HTTP/1.1 200 OK\r\nX-Pad: ", false},
		"error":                   {"HTTP/1.1 400 Bad\r\n\r\n{\"pad\":\"", false},
		"body behind the tokens":  {"HTTP/1.1 200 OK\r\n\r\n" + tokenReply(), true},
		"body around those names": {"HTTP/1.1 200 OK\r\n\r\n" + strings.TrimSuffix(tokenReply(), "}") + `,"pad":"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sent, done := endless(t, tc.head)
			set, f := refresh(t, newClient(t, oauth.Config{TokenURL: s.url()}))
			if tc.ok {
				wantTokens(t, set, f)
			} else {
				wantFate(t, f, grant.InDoubt, "larger than 1048576 bytes")
			}
			<-done
			// What is above the limit was in the kernel's buffers.
			if sent.Load() > 64<<20 {
				t.Errorf("%d bytes were taken", sent.Load())
			}
		})
	}
}

func TestAnswerAtTheLimit(t *testing.T) {
	t.Parallel()
	for extra, ok := range map[int]bool{0: true, 1: false} {
		head := "HTTP/1.1 200 OK\r\nContent-Length: %07d\r\n\r\n"
		reply := `{"pad":"` + strings.Repeat("x", 100) + `",` + tokenReply()[1:]
		n := oauth.MaxReply + extra - len(fmt.Sprintf(head, 0))
		reply = `{"pad":"` + strings.Repeat("x", 100+n-len(reply)) + `","access_token":` + tokenReply()[len(`{"access_token":`):]
		s := answering(t, fmt.Sprintf(head, n)+reply)
		set, f := refresh(t, newClient(t, oauth.Config{TokenURL: s.url()}))
		if ok {
			wantTokens(t, set, f)
		} else if set.Refresh.Reveal() != issued && f == nil {
			t.Error("an answer that was cut by one byte lost its refresh token")
		}
	}
}

func TestNothingIsSentWhen(t *testing.T) {
	t.Parallel()
	closed := errors.New("the window has passed")
	for name, tc := range map[string]struct {
		prepare func(ctx context.Context, cancel func(), conn grant.Connection, c *grant.Credential) func() error
		words   string
		is      error
	}{
		"the gate is shut": {func(context.Context, func(), grant.Connection, *grant.Credential) func() error {
			return func() error { return closed }
		}, "not sent: the window has passed", closed},
		"cancelled before": {func(_ context.Context, cancel func(), _ grant.Connection, _ *grant.Credential) func() error {
			cancel()
			return open
		}, "canceled", context.Canceled},
		"cancelled in the gate": {func(_ context.Context, cancel func(), _ grant.Connection, _ *grant.Credential) func() error {
			return func() error { cancel(); return nil }
		}, "canceled", context.Canceled},
		"closed before": {func(_ context.Context, _ func(), conn grant.Connection, _ *grant.Credential) func() error {
			return func() error { return errors.Join(conn.Close(), conn.Close()) }
		}, "connection was closed", net.ErrClosed},
		"no refresh token": {func(_ context.Context, _ func(), _ grant.Connection, c *grant.Credential) func() error {
			c.Tokens.Refresh = grant.Secret{}
			return open
		}, "no refresh token", nil},
		"bound to another URL": {func(_ context.Context, _ func(), _ grant.Connection, c *grant.Credential) func() error {
			c.Bind = grant.Binding{TokenURL: "https://example.com/", ClientID: "client"}
			return open
		}, "bound to another token URL", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering(t, httpReply("200 OK", "", tokenReply()))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			conn, err := newClient(t, oauth.Config{TokenURL: s.url()}).Connect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			c := credential()
			gate := tc.prepare(ctx, cancel, conn, &c)
			_, err = conn.Refresh(ctx, c, gate)
			wantFate(t, failure(t, err), grant.Unspent, tc.words)
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("the cause is lost: %v", err)
			}
			if _, err = conn.Refresh(t.Context(), credential(), open); err == nil {
				t.Error("the connection can be used again")
			}
			s.Close()
			if n := s.presentations.Load(); n != 0 {
				t.Errorf("presented %d times", n)
			}
		})
	}
}

func TestConnectionsServeOnce(t *testing.T) {
	t.Parallel()
	s := answering(t, httpReply("200 OK", "", tokenReply()))
	c := newClient(t, oauth.Config{TokenURL: s.url()})
	first, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []grant.Connection{first, second} {
		set, err := conn.Refresh(t.Context(), credential(), open)
		if err != nil {
			t.Fatal(err)
		}
		wantTokens(t, set, nil)
		_, err = conn.Refresh(t.Context(), credential(), open)
		wantFate(t, failure(t, err), grant.Unspent, "used already")
		if err := errors.Join(conn.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
	}
	if s.presentations.Load() != 2 || s.connections.Load() != 2 {
		t.Errorf("%d presentations on %d connections", s.presentations.Load(), s.connections.Load())
	}
}

func TestCancelledBehindTheFirstByte(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newRawServer(t, nil, func(s *rawServer, c net.Conn) {
		s.request(c)
		cancel()
		io.WriteString(c, httpReply("200 OK", "", tokenReply()))
		hangUp(c)
	})
	conn, err := newClient(t, oauth.Config{TokenURL: s.url()}).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	set, err := conn.Refresh(ctx, credential(), open)
	if err != nil || ctx.Err() == nil {
		t.Fatalf("error %v, context %v", err, ctx.Err())
	}
	wantTokens(t, set, nil)
}

// The server hangs up, or speaks, before it is asked: that is seen, and spends
// nothing. The gate waits until the news has arrived.
func TestServerThatDoesNotWait(t *testing.T) {
	t.Parallel()
	for words, act := range map[string]string{"connection was closed": "", "spoke before it was asked": "HTTP/1.1 408 Request Timeout\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			c, server := pipeClient(t, oauth.Config{})
			conn, err := c.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = conn.Refresh(t.Context(), credential(), func() error {
				s := <-server
				io.WriteString(s, act)
				s.Close()
				synctest.Wait()
				return nil
			})
			wantFate(t, failure(t, err), grant.Unspent, words)
		})
	}
}

// pipeClient connects to the test itself, so that time can be synthetic.
func pipeClient(t *testing.T, cfg oauth.Config) (*oauth.Client, <-chan net.Conn) {
	cfg.TokenURL = "http://127.0.0.1/token"
	c := newClient(t, cfg)
	server := make(chan net.Conn, 1)
	oauth.SetDial(c, func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		server <- theirs
		return ours, nil
	})
	return c, server
}

// takeRequest waits for the request's first byte and takes the rest meanwhile.
func takeRequest(c net.Conn) {
	io.ReadFull(c, make([]byte, 1))
	go io.Copy(io.Discard, c)
}

func TestRequestTimeoutBoundsTheWhole(t *testing.T) {
	t.Parallel()
	reply := httpReply("200 OK", "", tokenReply())
	for name, tc := range map[string]struct {
		serve func(c net.Conn)
		fate  grant.Fate
		took  time.Duration
	}{
		"silence": {func(c net.Conn) { io.Copy(io.Discard, c) }, grant.InDoubt, 20 * time.Second},
		"slow drip": {func(c net.Conn) {
			takeRequest(c)
			for i := range reply {
				time.Sleep(time.Second)
				if _, err := io.WriteString(c, reply[i:i+1]); err != nil {
					return
				}
			}
		}, grant.InDoubt, 20 * time.Second},
		"request not taken":  {func(net.Conn) {}, grant.Unspent, 20 * time.Second},
		"request half taken": {func(c net.Conn) { io.ReadFull(c, make([]byte, 100)) }, grant.InDoubt, 20 * time.Second},
		"late but whole": {func(c net.Conn) {
			takeRequest(c)
			time.Sleep(19 * time.Second)
			io.WriteString(c, reply)
		}, 0, 19 * time.Second},
		"whole, and never closed": {func(c net.Conn) {
			takeRequest(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+tokenReply())
		}, 0, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, server := pipeClient(t, oauth.Config{RequestTimeout: oauth.DefaultRequestTimeout})
				conn, err := c.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s, done := <-server, make(chan struct{})
				defer func() { s.Close(); <-done }()
				go func() {
					defer close(done)
					tc.serve(s)
				}()
				start := time.Now()
				set, err := conn.Refresh(t.Context(), credential(), open)
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %v", took)
				}
				switch {
				case tc.took < 20*time.Second || strings.HasPrefix(name, "whole"):
					if err != nil {
						t.Fatal(err)
					}
					wantTokens(t, set, nil)
				default:
					wantFate(t, failure(t, err), tc.fate, " within 20s")
				}
			})
		})
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	plain := answering(t, "")
	srv, tlsConfig := tlsServer(t, tokenHandler())
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for words, cfg := range map[string]oauth.Config{
		"connection refused":                         {TokenURL: "http://" + gone.Addr().String()},
		"signed by an unknown authority":             {TokenURL: srv.URL},
		"certificate is not valid for localhost":     {TokenURL: "https://localhost:" + port, TLS: tlsConfig},
		"server does not speak TLS on this port":     {TokenURL: "https://" + plain.Addr().String()},
		"host does-not-exist.invalid does not exist": {TokenURL: "https://does-not-exist.invalid/", Proxy: direct},
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			if strings.HasSuffix(words, "speak TLS on this port") {
				s := newRawServer(t, nil, func(_ *rawServer, c net.Conn) { io.WriteString(c, "HTTP/1.1 400 canary\r\n\r\n"); hangUp(c) })
				cfg.TokenURL = "https://" + s.Addr().String()
			}
			c := newClient(t, cfg)
			if strings.HasPrefix(words, "host ") {
				// The answer of a resolver, without asking one.
				oauth.SetDial(c, func(_ context.Context, network, address string) (net.Conn, error) {
					host, _, _ := net.SplitHostPort(address)
					return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Name: host, Err: "no such host", IsNotFound: true}}
				})
			}
			_, err := c.Connect(t.Context())
			wantFate(t, failure(t, err), grant.Unspent, words)
			if words == "connection refused" && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error("the cause is lost")
			}
		})
	}
}

// What the system says of a failed connection, in words for a person.
func TestConnectErrorsFromTheSystem(t *testing.T) {
	t.Parallel()
	for words, err := range map[string]error{
		"host example.com cannot be looked up": &net.DNSError{Name: "example.com", Err: "server misbehaving", IsTemporary: true},
		"no connection within 10s":             &net.DNSError{Name: "example.com", Err: "i/o timeout", IsTimeout: true},
		"host cannot be reached":               syscall.EHOSTUNREACH,
		"network cannot be reached":            syscall.ENETUNREACH,
		"connection was reset":                 syscall.ECONNRESET,
		"dial tcp: too many open files":        syscall.EMFILE,
	} {
		c := newClient(t, oauth.Config{Proxy: direct})
		oauth.SetDial(c, func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		})
		_, got := c.Connect(t.Context())
		wantFate(t, failure(t, got), grant.Unspent, words)
		if !errors.Is(got, err) {
			t.Errorf("the cause is lost: %v", got)
		}
	}
}

func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	srv, cfg := tlsServer(t, tokenHandler())
	cfg.Time = func() time.Time { return time.Now().AddDate(200, 0, 0) }
	_, f := refresh(t, newClient(t, oauth.Config{TokenURL: srv.URL, TLS: cfg}))
	wantFate(t, f, grant.Unspent, "certificate has expired")
}

func TestConnectTimeoutAndCancellation(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		url   string
		words string
		own   time.Duration // the caller's own limit
	}{
		"dial":      {"http://127.0.0.1/", "no connection within 10s", time.Hour},
		"handshake": {"https://127.0.0.1/", "no connection within 10s", time.Hour},
		"proxy":     {"https://example.com/", "no connection within 10s", time.Hour},
		"caller":    {"https://127.0.0.1/", "deadline exceeded", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, oauth.Config{TokenURL: tc.url, Proxy: via("http://proxy.example:3128")})
				oauth.SetDial(c, func(ctx context.Context, _, _ string) (net.Conn, error) {
					if name == "dial" {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					ours, theirs := net.Pipe()
					go io.Copy(io.Discard, theirs)
					return ours, nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), tc.own)
				defer cancel()
				start := time.Now()
				_, err := c.Connect(ctx)
				wantFate(t, failure(t, err), grant.Unspent, tc.words)
				if took := time.Since(start); took != min(tc.own, 10*time.Second) {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// localhost is what the resolver says: where it leads elsewhere, plain http
// does not follow.
func TestPlainHTTPStaysHere(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "0.0.0.0:80"} {
		if err := oauth.DialLocal(t.Context(), address); err == nil || !strings.Contains(err.Error(), "leads to another machine") {
			t.Errorf("%s: error is %v", address, err)
		}
	}
	s := answering(t, "")
	if err := oauth.DialLocal(t.Context(), s.Addr().String()); err != nil {
		t.Error(err)
	}
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	srv, cfg := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
		tokenHandler().ServeHTTP(w, r)
	}))
	set, f := refresh(t, newClient(t, oauth.Config{TokenURL: srv.URL, TLS: cfg}))
	wantTokens(t, set, f)
	if proto.Load() != "HTTP/1.1" {
		t.Errorf("spoke %v", proto.Load())
	}
}

// A write that the kernel refuses at once spent nothing; one that it took in
// part did.
func TestFailedWrites(t *testing.T) {
	t.Parallel()
	for _, taken := range []int{0, 1} {
		c := newClient(t, oauth.Config{TokenURL: "http://127.0.0.1/"})
		oauth.SetDial(c, func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { theirs.Close() })
			return failing{ours, taken}, nil
		})
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Refresh(t.Context(), credential(), open)
		wantFate(t, failure(t, err), [...]grant.Fate{grant.Unspent, grant.InDoubt}[taken], "connection was")
	}
}

// failing takes a few bytes of a write, then reports a reset and closes.
type failing struct {
	net.Conn
	taken int
}

func (f failing) Write([]byte) (int, error) {
	f.Close()
	return f.taken, &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET}
}
