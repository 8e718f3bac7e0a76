package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const (
	clientID = "evergrant-chaos"
	// callback is never dialled: the code is read from the redirect itself.
	callback = "http://127.0.0.1:9/callback"
)

// server is one running hydra with one public client.
type server struct {
	public, admin string // base URLs
	cmd           *exec.Cmd
	ended         chan struct{}
}

// start runs hydra with a grace of its rotation; 0: without.
func start(ctx context.Context, binary, dir string, grace time.Duration) (*server, error) {
	ports := make([]string, 2)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // both are held until both are known
		if _, ports[i], err = net.SplitHostPort(l.Addr().String()); err != nil {
			return nil, err
		}
		_ = l.Close()
	}
	config := fmt.Sprintf(`dsn: memory
serve: {public: {host: 127.0.0.1, port: %[1]s}, admin: {host: 127.0.0.1, port: %[2]s}}
urls: {self: {issuer: "http://127.0.0.1:%[1]s"}, login: "http://127.0.0.1:9/login", consent: "http://127.0.0.1:9/consent"}
secrets: {system: [%[3]q]}
ttl: {access_token: 10m, refresh_token: 1h}
log: {level: panic}
`, ports[0], ports[1], rand.Text()+rand.Text())
	if grace > 0 {
		config += fmt.Sprintf("oauth2: {grant: {refresh_token: {rotation_grace_period: %q}}}\n", grace)
	}
	path := filepath.Join(dir, "hydra.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s := &server{public: "http://127.0.0.1:" + ports[0], admin: "http://127.0.0.1:" + ports[1],
		cmd: exec.Command(binary, "serve", "all", "--dev", "-c", path), ended: make(chan struct{})}
	s.cmd.Env = []string{"HOME=" + dir, "PATH=/nonexistent", "SQA_OPT_OUT=true"}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("hydra: %w", err)
	}
	go func() { defer close(s.ended); _ = s.cmd.Wait() }()
	if err := s.await(ctx); err != nil {
		s.stop()
		return nil, err
	}
	err := s.call(ctx, http.MethodPost, "/admin/clients", map[string]any{
		"client_id": clientID, "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"scope": "offline_access", "redirect_uris": []string{callback}, "token_endpoint_auth_method": "none",
	}, nil)
	if err != nil {
		s.stop()
	}
	return s, err
}

// await waits until the server answers.
func (s *server) await(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := s.call(ctx, http.MethodGet, "/health/ready", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return errors.New("hydra ended before it was ready")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("hydra does not answer: %w", err)
		}
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// call asks the admin interface.
func (s *server) call(ctx context.Context, method, path string, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.admin+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return exchange(http.DefaultClient, req, answer)
}

// exchange sends a request and reads a JSON answer. Errors hold no body.
func exchange(c *http.Client, req *http.Request, answer any) error {
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case res.StatusCode/100 != 2:
		return fmt.Errorf("hydra: %s %s: HTTP %d", req.Method, req.URL.Path, res.StatusCode)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// active asks by RFC 7662 whether a token is good.
func (s *server) active(ctx context.Context, token grant.Secret) (bool, error) {
	form := url.Values{"token": {token.Reveal()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.admin+"/admin/oauth2/introspect", strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var said struct{ Active bool }
	err = exchange(http.DefaultClient, req, &said)
	return said.Active, err
}

// consent signs in by a true code flow with PKCE; a program stands in for the
// person, by the admin interface.
func (s *server) consent(ctx context.Context) (refresh grant.Secret, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return refresh, err
	}
	web := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	next := s.public + "/oauth2/auth?" + url.Values{
		"client_id": {clientID}, "response_type": {"code"}, "scope": {"offline_access"}, "redirect_uri": {callback}, "state": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
	for range 8 {
		to, err := follow(ctx, web, next)
		if err != nil {
			return refresh, err
		}
		q := to.Query()
		switch {
		case q.Has("login_challenge"):
			next, err = s.accept(ctx, "login", q.Get("login_challenge"), map[string]any{"subject": "ada"})
		case q.Has("consent_challenge"):
			next, err = s.accept(ctx, "consent", q.Get("consent_challenge"), map[string]any{"grant_scope": []string{"offline_access"}})
		case q.Has("code"):
			return s.redeem(ctx, q.Get("code"), verifier)
		default:
			err = fmt.Errorf("hydra: the code flow leads to %s", to.Path)
		}
		if err != nil {
			return refresh, err
		}
	}
	return refresh, errors.New("hydra: the code flow has no end")
}

func follow(ctx context.Context, web *http.Client, address string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return res.Location()
}

func (s *server) accept(ctx context.Context, step, challenge string, with map[string]any) (next string, err error) {
	var to struct {
		RedirectTo string `json:"redirect_to"`
	}
	err = s.call(ctx, http.MethodPut, "/admin/oauth2/auth/requests/"+step+"/accept?"+url.Values{step + "_challenge": {challenge}}.Encode(), with, &to)
	return to.RedirectTo, err
}

func (s *server) redeem(ctx context.Context, code, verifier string) (grant.Secret, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "client_id": {clientID}, "code_verifier": {verifier}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.public+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return grant.Secret{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var set struct {
		Refresh string `json:"refresh_token"`
	}
	if err := exchange(http.DefaultClient, req, &set); err != nil {
		return grant.Secret{}, err
	}
	if set.Refresh == "" {
		return grant.Secret{}, errors.New("hydra: the code flow gave no refresh token")
	}
	return grant.NewSecret(set.Refresh), nil
}
