//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// clientSecret needs form-encoding inside HTTP Basic (RFC 6749 §2.3.1): a
// client that skips it sends another secret.
const clientSecret = "s3cr:et/with+every%2Ftrap &="

// redirectURL is never dialled: the code is read from the redirect itself.
const redirectURL = "http://127.0.0.1:9/callback"

// opEvent is one JSON line that op/server.mjs writes.
type opEvent struct {
	Event     string
	Client    string
	GrantType string
	Code      string
	Detail    string
	Agent     string
	HTTP      string
	Issuer    string
	Kid       string
	Port      int
	ID        int
}

// authServer is a running oidc-provider and its own account of what it saw.
type authServer struct {
	issuer     string
	port       int
	kid        string
	privateKey string // PKCS #8 PEM of the private_key_jwt client
	caFile     string // set when it serves HTTPS

	stdin  io.WriteCloser
	stdout *bufio.Scanner
	syncs  int
}

// startServer runs op/server.mjs until the test ends. With a non-nil authority
// it serves HTTPS with a certificate of that authority.
func startServer(t *testing.T, ca *authority) *authServer {
	t.Helper()
	return startServerWith(t, ca, 10*time.Minute)
}

// startServerWith is startServer with access tokens that live as long as told.
func startServerWith(t *testing.T, ca *authority, life time.Duration) *authServer {
	t.Helper()
	return startServerOf(t, ca, life, false)
}

// startServerOf is startServerWith, of a server at which a refresh ends the access
// token before it, or does not.
func startServerOf(t *testing.T, ca *authority, life time.Duration, revokes bool) *authServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	config := map[string]string{
		"host": "127.0.0.1", "secret": clientSecret, "redirect": redirectURL, "life": strconv.Itoa(int(life.Seconds())),
		"publicKey": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}
	s := &authServer{privateKey: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}
	if revokes {
		config["revokes"] = "yes"
	}
	if ca != nil {
		config["cert"], config["key"] = ca.issue(t, "127.0.0.1", proxiedHost)
		s.caFile = ca.file
	}

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", "server.mjs")
	cmd.Dir = opDir(t)
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	s.stdin, err = cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	s.stdout = bufio.NewScanner(stdout)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = s.stdin.Close() // the server ends by itself
		_ = cmd.Wait()
		cancel()
		if t.Failed() {
			t.Logf("oidc-provider's stderr:\n%s", stderr.String())
		}
	})
	must(t, json.NewEncoder(s.stdin).Encode(config))
	up := s.next(t)
	if up.Event != "listening" {
		t.Fatalf("oidc-provider said %q instead of listening", up.Event)
	}
	s.issuer, s.port, s.kid = up.Issuer, up.Port, up.Kid
	return s
}

func (s *authServer) next(t *testing.T) opEvent {
	t.Helper()
	if !s.stdout.Scan() {
		t.Fatalf("oidc-provider ended: %v", s.stdout.Err())
	}
	var e opEvent
	if err := json.Unmarshal(s.stdout.Bytes(), &e); err != nil {
		t.Fatalf("oidc-provider's event: %v", err)
	}
	return e
}

// counts is what the server saw since it was last asked.
type counts struct {
	requests int // token requests as the HTTP layer counts them
	granted  int
	failed   int
	saved    int // refresh tokens issued
	consumed int // refresh tokens spent
	revoked  int // families that died
}

// account is counts with the evidence that goes with them.
type account struct {
	counts
	says   []string // the server's error codes
	agents []string // User-Agent and HTTP version of each token request
}

// refreshes are the counts of n refreshes that went as they should.
func refreshes(n int) counts { return counts{requests: n, granted: n, saved: n, consumed: n} }

func (c counts) String() string {
	return fmt.Sprintf("%d token requests, %d granted, %d failed, %d refresh tokens issued, %d consumed, %d families revoked",
		c.requests, c.granted, c.failed, c.saved, c.consumed, c.revoked)
}

// account returns what happened since the last call. The server answers in
// order, so everything that was answered before is counted.
func (s *authServer) account(t *testing.T) account {
	t.Helper()
	s.syncs++
	if _, err := fmt.Fprintf(s.stdin, `{"sync":%d}`+"\n", s.syncs); err != nil {
		t.Fatalf("oidc-provider's stdin: %v", err)
	}
	var a account
	for {
		e := s.next(t)
		switch e.Event {
		case "sync":
			if e.ID == s.syncs {
				return a
			}
		case "token.request":
			a.requests++
			a.agents = append(a.agents, e.Agent+" over HTTP/"+e.HTTP)
		case "grant.success":
			a.granted++
		case "grant.error":
			a.failed++
			a.says = append(a.says, e.Code+": "+e.Detail)
		case "refresh_token.saved":
			a.saved++
		case "refresh_token.consumed":
			a.consumed++
		case "grant.revoked":
			a.revoked++
		default:
			t.Fatalf("oidc-provider reports %s %s", e.Event, e.Detail)
		}
	}
}

// expect compares the account since the last call with what should have
// happened, and returns it.
func (s *authServer) expect(t *testing.T, when string, want counts) account {
	t.Helper()
	got := s.account(t)
	if got.counts != want {
		t.Fatalf("%s: the server counts %v; want %v; its errors: %q", when, got.counts, want, got.says)
	}
	return got
}

func (s *authServer) tokenURL() string { return s.issuer + "/token" }

// alive asks the server's userinfo endpoint whether an access token is good.
// A revoked family takes its access tokens along.
func (s *authServer) alive(t *testing.T, accessToken string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.issuer+"/me", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+accessToken)
	res, err := s.httpClient(t).Do(req)
	must(t, err)
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// opDir is the folder into which e2e/run installed the server.
func opDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("EVERGRANT_E2E_OP")
	if dir == "" {
		t.Fatal("EVERGRANT_E2E_OP is not set; run these tests by e2e/run")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil {
		t.Fatalf("oidc-provider is not installed: %v; run these tests by e2e/run", err)
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
