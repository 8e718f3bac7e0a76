package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"evergrant/chaos/network/box"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// speed divides the protocol's durations in every call of the binary.
const speed = 20

// provider is a kind of provider, and what evergrant is told about it.
type provider struct {
	name   string
	rules  simulator.Rules
	preset string // the member "refresh" of a preset; "": evergrant knows nothing
}

// graceLong covers every takeover at the protocol's own durations.
const graceLong = 10 * time.Minute

func providers() []provider {
	graced := func(name, sibling string, s grant.Sibling) provider {
		return provider{name: name,
			rules:  simulator.Rules{Behaviour: grant.Behaviour{Rotates: true, Reuse: grant.ReuseGrace, Grace: graceLong, Sibling: s}},
			preset: fmt.Sprintf("{rotates: true, reuse: grace, grace: %v, sibling: %s}", graceLong, sibling)}
	}
	return []provider{
		{name: "strict", rules: simulator.Strict()},
		graced("grace 10m", "valid", grant.SiblingValid),
		graced("grace 10m, newest only", "replaces", grant.SiblingReplaces),
	}
}

// scene is one grant on a machine of its own, at a provider of its own, with
// toxiproxy between them.
type scene struct {
	server    *simulator.Server
	front     *front
	tunnel    *front // nil: none
	toxiproxy *toxiproxy
	proxy     *proxy
	box       *box.Box
	tokens    *box.Tokens
	papers    *papers
	shape     shape
	family    string
	first     grant.Secret
	via       string // value of HTTPS_PROXY
}

// shape is where the parts of a reply lie, in bytes from its beginning.
type shape struct{ body, refresh, refreshEnd, end int }

// stage builds a scene for one fault in an empty folder.
func (h *harness) stage(ctx context.Context, dir string, p provider, f fault) (_ *scene, err error) {
	s := &scene{tokens: &box.Tokens{}, papers: h.papers}
	defer func() {
		if err != nil {
			s.strike()
		}
	}()
	s.server, err = simulator.New(simulator.Config{Rules: p.rules, NewToken: s.newToken})
	if err != nil {
		return nil, err
	}
	good := &h.papers.good
	if !f.tls {
		good = nil
	}
	if s.front, err = newFront(s.server.Handler(), good); err != nil {
		return nil, err
	}
	if s.toxiproxy, err = startToxiproxy(ctx, h.toxiproxyPath); err != nil {
		return nil, err
	}
	if s.proxy, err = s.toxiproxy.open(ctx, "provider", s.front.l.Addr().String()); err != nil {
		return nil, err
	}
	address := "http://" + s.proxy.listen
	if f.tls {
		address = "https://" + s.proxy.listen
	}
	if f.byName {
		_, port, err := net.SplitHostPort(s.proxy.listen)
		if err != nil {
			return nil, err
		}
		address = "https://" + net.JoinHostPort(unresolvable, port)
		if s.tunnel, err = newTunnel(s.proxy.listen); err != nil {
			return nil, err
		}
		s.via = "http://" + s.tunnel.l.Addr().String()
	}
	if s.box, err = h.machine(dir, address+"/token", p, s.tokens); err != nil {
		return nil, err
	}
	s.connectProxy()
	return s, s.begin(ctx, f)
}

// machine makes the box, with the files that its flags name.
func (h *harness) machine(dir, tokenURL string, p provider, t *box.Tokens) (*box.Box, error) {
	flags := []string{"--token-url", tokenURL, "--client-id", simulator.DefaultClient}
	if p.preset != "" {
		path := filepath.Join(dir, "preset.yaml")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		text := "name: chaos\ntitle: a provider with a grace\ntoken_url: " + tokenURL + "\nrefresh: " + p.preset + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
		flags = append(flags, "--provider", path)
	}
	b, err := box.New(box.Config{Binary: h.evergrant, Dir: dir, Grant: "chaos", Speed: speed, Tokens: t, Flags: flags})
	if err == nil {
		b.Set("SSL_CERT_FILE", h.caFile)
	}
	return b, err
}

func (s *scene) connectProxy() {
	if s.via != "" {
		s.box.Set("HTTPS_PROXY", s.via)
	}
}

// begin starts the grant from a consent and refreshes once, undisturbed.
func (s *scene) begin(ctx context.Context, f fault) error {
	if !f.tls {
		var err error
		if s.shape, err = s.measure(); err != nil {
			return err
		}
	}
	first, err := s.server.IssueFamily(simulator.DefaultClient)
	if err != nil {
		return err
	}
	s.family, s.first = first.Family, first.Refresh
	s.box.Set("EVERGRANT_REFRESH_TOKEN", first.Refresh.Reveal())
	r, err := s.box.Refresh(ctx, "--wait", "30s")
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("before any fault: exit %d: %s", r.Code, r.Line)
	}
	s.box.Unset("EVERGRANT_REFRESH_TOKEN")
	return err
}

func (s *scene) newToken(k simulator.Kind) string {
	text := "chaos-access-" + rand.Text()
	if k == simulator.KindRefresh {
		text = "chaos-refresh-" + rand.Text()
	}
	s.tokens.Add(text)
	return text
}

// measure asks for one refresh of another family and looks at the reply: cuts
// are made at its landmarks.
func (s *scene) measure() (shape, error) {
	other, err := s.server.IssueFamily(simulator.DefaultClient)
	if err != nil {
		return shape{}, err
	}
	reply, err := s.present(other.Refresh)
	if err != nil {
		return shape{}, err
	}
	const member = `"refresh_token":"`
	m := shape{body: bytes.Index(reply, []byte("\r\n\r\n")) + 4, end: len(reply)}
	m.refresh = bytes.Index(reply, []byte(member)) + len(member)
	if m.refresh < m.body+len(member) {
		return m, fmt.Errorf("the simulator's reply has no refresh token where one is expected")
	}
	m.refreshEnd = m.refresh + strings.IndexByte(string(reply[m.refresh:]), '"')
	return m, nil
}

// present sends a refresh token to the front by hand and returns the reply.
func (s *scene) present(token grant.Secret) ([]byte, error) {
	c, err := net.Dial("tcp", s.front.l.Addr().String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Reveal()}, "client_id": {simulator.DefaultClient}}.Encode()
	_, err = fmt.Fprintf(c, "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}

// heal makes the network whole again.
func (s *scene) heal(ctx context.Context) error {
	s.front.say(nil)
	s.front.keepOpen(false)
	if s.front.tls != nil {
		s.front.present(s.papers.good, "http/1.1")
	}
	if s.tunnel != nil {
		s.tunnel.close()
		var err error
		if s.tunnel, err = newTunnel(s.proxy.listen); err != nil {
			return err
		}
		s.via = "http://" + s.tunnel.l.Addr().String()
		s.connectProxy()
	}
	return s.proxy.heal(ctx)
}

// strike ends everything that the scene runs.
func (s *scene) strike() {
	if s.toxiproxy != nil {
		s.toxiproxy.stop()
	}
	if s.tunnel != nil {
		s.tunnel.close()
	}
	if s.server != nil {
		_ = s.server.Close()
	}
	if s.front != nil {
		s.front.close()
	}
}
