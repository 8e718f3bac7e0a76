package oauth_test

import (
	"bufio"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

func direct(*url.URL) (*url.URL, error) { return nil, nil }

func via(raw string) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return url.Parse(raw) }
}

// connectProxy tunnels every CONNECT to target; what was asked for comes out
// of the channel.
func connectProxy(t *testing.T, target string) (http.Handler, <-chan *http.Request) {
	asked := make(chan *http.Request, 8)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		up, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		down, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(down, "HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
		splice(up, down, buf.Reader)
	}), asked
}

func splice(up, down net.Conn, from io.Reader) {
	go func() {
		io.Copy(up, from)
		up.Close()
	}()
	io.Copy(down, up)
	down.Close()
}

func TestHTTPProxies(t *testing.T) {
	t.Parallel()
	srv, cfg := tlsServer(t, tokenHandler())
	for _, scheme := range []string{"http", "https"} {
		handler, asked := connectProxy(t, srv.Listener.Addr().String())
		proxy := httptest.NewUnstartedServer(handler)
		if scheme == "https" {
			proxy.StartTLS()
		} else {
			proxy.Start()
		}
		t.Cleanup(proxy.Close)
		user := url.UserPassword("me", password)
		address := (&url.URL{Scheme: scheme, User: user, Host: proxy.Listener.Addr().String()}).String()
		set, f := refresh(t, newClient(t, oauth.Config{TokenURL: "https://example.com/token", TLS: cfg, Proxy: via(address)}))
		wantTokens(t, set, f)
		r := <-asked
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+password))
		if r.Method != "CONNECT" || r.RequestURI != "example.com:443" || r.Host != "example.com:443" || r.Header.Get("Proxy-Authorization") != want {
			t.Errorf("asked %s %s, authorization right: %v", r.Method, r.RequestURI, r.Header.Get("Proxy-Authorization") == want)
		}
		if len(asked) != 0 {
			t.Error("asked more than once")
		}
	}
}

func TestProxiesThatFail(t *testing.T) {
	t.Parallel()
	secretURL := func(scheme, host string) string {
		return (&url.URL{Scheme: scheme, User: url.UserPassword("me", password), Host: host}).String()
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	says := func(text string) string {
		return secretURL("http", newRawServer(t, nil, func(_ *rawServer, c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, text)
			hangUp(c)
		}).Addr().String())
	}
	for words, choose := range map[string]func(*url.URL) (*url.URL, error){
		"refused the tunnel (HTTP 407): it wants a user name": via(says("HTTP/1.1 407 No\r\nContent-Length: 6\r\n\r\ncanary")),
		"refused the tunnel (HTTP 403)":                       via(says("HTTP/1.1 403 No\r\n\r\n")),
		"sent bytes that nobody asked for":                    via(says("HTTP/1.1 200 OK\r\n\r\ncanary")),
		"the answer is not HTTP/1.1":                          via(says("canary\r\n\r\n")),
		"connection was closed":                               via(says("")),
		"connection refused":                                  via(secretURL("http", gone.Addr().String())),
		"scheme \"ftp\" is not supported":                     via(secretURL("ftp", "127.0.0.1")),
		"is not a valid URL":                                  func(*url.URL) (*url.URL, error) { return nil, errors.New("invalid proxy address " + password) },
		"names no host":                                       via("http://"),
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			_, f := refresh(t, newClient(t, oauth.Config{TokenURL: "https://example.com/token", Proxy: choose}))
			wantFate(t, f, grant.Unspent, words)
			if strings.Contains(f.Error(), "me:") {
				t.Error("the error shows the proxy's user")
			}
		})
	}
}

// socksServer speaks RFC 1928 with the user name and password of RFC 1929.
func socksServer(t *testing.T, target string) (string, <-chan string) {
	asked := make(chan string, 4)
	s := newRawServer(t, nil, func(_ *rawServer, c net.Conn) {
		r := bufio.NewReader(c)
		read := func(n int) []byte {
			b := make([]byte, n)
			io.ReadFull(r, b)
			return b
		}
		read(int(read(2)[1]))
		c.Write([]byte{5, 2})
		user := read(int(read(2)[1]))
		pass := read(int(read(1)[0]))
		if string(user) != "me" || string(pass) != password {
			c.Write([]byte{1, 1})
			return
		}
		c.Write([]byte{1, 0})
		read(3)
		if read(1)[0] != 3 { // a name, which the proxy resolves
			return
		}
		host := read(int(read(1)[0]))
		port := read(2)
		asked <- fmt.Sprintf("%s:%d", host, int(port[0])<<8|int(port[1]))
		up, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		splice(up, c, r)
	})
	return s.Addr().String(), asked
}

func TestSOCKS5(t *testing.T) {
	t.Parallel()
	srv, cfg := tlsServer(t, tokenHandler())
	host, asked := socksServer(t, srv.Listener.Addr().String())
	for _, scheme := range []string{"socks5", "socks5h"} {
		address := (&url.URL{Scheme: scheme, User: url.UserPassword("me", password), Host: host}).String()
		set, f := refresh(t, newClient(t, oauth.Config{TokenURL: "https://example.com:8443/token", TLS: cfg, Proxy: via(address)}))
		wantTokens(t, set, f)
		if got := <-asked; got != "example.com:8443" {
			t.Errorf("asked for %s", got)
		}
	}
	wrong := (&url.URL{Scheme: "socks5", User: url.UserPassword("me", "canary-other"), Host: host}).String()
	_, f := refresh(t, newClient(t, oauth.Config{TokenURL: "https://example.com/token", TLS: cfg, Proxy: via(wrong)}))
	wantFate(t, f, grant.Unspent, "proxy "+host)
}

func TestLoopbackGoesDirect(t *testing.T) {
	t.Parallel()
	srv, cfg := tlsServer(t, tokenHandler())
	plain := answering(t, httpReply("200 OK", "", tokenReply()))
	for _, address := range []string{srv.URL, plain.url()} {
		set, f := refresh(t, newClient(t, oauth.Config{TokenURL: address, TLS: cfg, Proxy: func(*url.URL) (*url.URL, error) {
			t.Error("a proxy is asked for")
			return nil, nil
		}}))
		wantTokens(t, set, f)
	}
}

// The environment is read once per process, so it is tested in one of its own:
// HTTPS_PROXY with a password, NO_PROXY, and SSL_CERT_FILE.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	srv, _ := tlsServer(t, tokenHandler())
	handler, asked := connectProxy(t, srv.Listener.Addr().String())
	proxy := httptest.NewServer(handler)
	t.Cleanup(proxy.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	strange := strangers(t)
	address := (&url.URL{Scheme: "http", User: url.UserPassword("me", password), Host: proxy.Listener.Addr().String()}).String()
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"both":          {[]string{"HTTPS_PROXY=" + address, "SSL_CERT_FILE=" + roots}, "success"},
		"lower case":    {[]string{"https_proxy=" + address, "SSL_CERT_FILE=" + roots}, "success"},
		"no roots":      {[]string{"HTTPS_PROXY=" + address, "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=/dev/null"}, "no trusted certificates"},
		"a folder":      {[]string{"HTTPS_PROXY=" + address, "SSL_CERT_DIR=" + filepath.Dir(roots)}, "success"},
		"other roots":   {[]string{"HTTPS_PROXY=" + address, "SSL_CERT_FILE=" + strange}, "signed by an unknown authority (SSL_CERT_FILE"},
		"broken roots":  {[]string{"HTTPS_PROXY=" + address, "SSL_CERT_FILE=/dev/null", "SSL_CERT_DIR=" + filepath.Dir(roots)}, "success"},
		"invalid proxy": {[]string{"HTTPS_PROXY=http://%zz" + url.QueryEscape(password) + "@x"}, "HTTPS_PROXY) is not a valid URL"},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append([]string{"OAUTH_TEST_CHILD=1", "HOME=" + t.TempDir()}, tc.env...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tc.want) || strings.Contains(string(out), "canary") {
			t.Errorf("%s: %v: output lacks %q or shows a secret: %s", name, err, tc.want, out)
		}
	}
	if len(asked) != 7 { // one each, and a second one for roots that did not do
		t.Errorf("the proxy was asked %d times", len(asked))
	}
}

// childRefresh is the process of [TestEnvironment].
func childRefresh() int {
	c, err := oauth.New(oauth.Config{TokenURL: "https://example.com/token", ClientID: "client"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	conn, err := c.Connect(background())
	if err != nil {
		fmt.Println(err)
		return 0
	}
	defer conn.Close()
	if _, err := conn.Refresh(background(), credential(), open); err != nil {
		fmt.Println(err)
		return 0
	}
	fmt.Println("success")
	return 0
}
