package oauth_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

const (
	presented = "canary-presented-ort01-8KfqZ2"
	issued    = "canary-issued-ort01-pX93mV"
	access    = "canary-access-oat01-Lw77Qc"
	secret    = "canary:/+% secret-ü"
	password  = "canary-proxy-pässword"
)

func TestMain(m *testing.M) {
	if os.Getenv("OAUTH_TEST_CHILD") != "" {
		os.Exit(childRefresh())
	}
	os.Exit(m.Run())
}

func open() error { return nil }

func credential() grant.Credential {
	return grant.Credential{Tokens: grant.TokenSet{Refresh: grant.NewSecret(presented)}}
}

func newClient(t *testing.T, cfg oauth.Config) *oauth.Client {
	t.Helper()
	if cfg.TokenURL == "" {
		cfg.TokenURL = "https://example.com/token"
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "client"
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 10 * time.Second
	}
	c, err := oauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refresh makes one attempt and holds every error to the rule that nothing
// secret shows.
func refresh(t *testing.T, c *oauth.Client) (grant.TokenSet, *grant.RefreshError) {
	t.Helper()
	conn, err := c.Connect(t.Context())
	if err != nil {
		return grant.TokenSet{}, failure(t, err)
	}
	defer conn.Close()
	set, err := conn.Refresh(t.Context(), credential(), open)
	if err == nil {
		return set, nil
	}
	return set, failure(t, err)
}

func failure(t *testing.T, err error) *grant.RefreshError {
	t.Helper()
	var f *grant.RefreshError
	if !errors.As(err, &f) {
		t.Fatalf("error is a %T, not a *grant.RefreshError: %v", err, err)
	}
	text := fmt.Sprintf("%v %+v %#v", err, f, f.Code)
	for e := err; e != nil; e = errors.Unwrap(e) {
		text += " " + e.Error()
	}
	if strings.Contains(text, "canary") || strings.Contains(text, "\n") {
		t.Errorf("error shows a secret or has several lines: %s", text)
	}
	return f
}

func wantFate(t *testing.T, f *grant.RefreshError, fate grant.Fate, words string) {
	t.Helper()
	if f == nil {
		t.Fatalf("success, want %v", fate)
	}
	if f.Fate != fate || !strings.Contains(f.Error(), words) {
		t.Errorf("got %q, want fate %v and the words %q", f, fate, words)
	}
}

func wantTokens(t *testing.T, set grant.TokenSet, f *grant.RefreshError) {
	t.Helper()
	if f != nil {
		t.Fatalf("failed: %v", f)
	}
	if set.Access.Value.Reveal() != access || set.Refresh.Reveal() != issued {
		t.Errorf("the tokens are not those that were issued")
	}
}

// rawServer accepts connections and gives each to handle, which decides over
// every byte. It counts requests by the refresh tokens that it reads.
type rawServer struct {
	net.Listener
	presentations atomic.Int64
	connections   atomic.Int64
}

func newRawServer(t *testing.T, cfg *tls.Config, handle func(s *rawServer, c net.Conn)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	s := &rawServer{Listener: l}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			go func() {
				defer c.Close()
				handle(s, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return s
}

func (s *rawServer) url() string { return "http://" + s.Addr().String() + "/token" }

// request reads one HTTP request and counts it.
func (s *rawServer) request(c net.Conn) string {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return ""
	}
	body, _ := io.ReadAll(req.Body)
	if bytes.Contains(body, []byte(presented)) {
		s.presentations.Add(1)
	}
	return string(body)
}

// answering serves raw bytes after one request, then hangs up.
func answering(t *testing.T, text string) *rawServer {
	return newRawServer(t, nil, func(s *rawServer, c net.Conn) {
		s.request(c)
		io.WriteString(c, text)
		hangUp(c)
	})
}

// hangUp ends our half and waits for the peer, so that no reset overtakes what
// was written.
func hangUp(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	io.Copy(io.Discard, c)
}

func tokenReply() string {
	return fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"token_type":"Bearer","expires_in":3600}`, access, issued)
}

func httpReply(status, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body)
}

// tlsServer is an httptest server whose certificate is valid for example.com
// and 127.0.0.1, with the configuration that trusts it.
func tlsServer(t *testing.T, h http.Handler) (*httptest.Server, *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, trust(srv)
}

func trust(srv *httptest.Server) *tls.Config {
	return &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
}

func tokenHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, tokenReply())
	})
}

// quiet is for servers whose clients hang up as part of the test.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func background() context.Context { return context.Background() }
