//go:build linux && (amd64 || arm64)

package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// Grace is the reuse grace of the forgiving provider: longer than any takeover.
const Grace = 10 * time.Minute

// Provider is a simulated authorization server and the preset for it.
type Provider struct {
	*simulator.Server
	Name   string // as the rows name it
	Graced bool

	preset string // path of the preset; "" for a provider that is not known
	url    string
}

// Strict starts a provider that forgives nothing and that evergrant knows
// nothing of.
func Strict(c *Canary) (*Provider, error) {
	return start(&Provider{Name: "strict"}, simulator.Rules{}, c)
}

// StrictShort is Strict with access tokens of that life.
func StrictShort(c *Canary, life time.Duration) (*Provider, error) {
	rules := simulator.Strict()
	rules.AccessLife = life
	return start(&Provider{Name: fmt.Sprintf("strict, tokens of %v", life)}, rules, c)
}

// Graceful starts a provider that answers a spent token again for [Grace], with
// that effect on its first answer; its preset goes into dir.
func Graceful(dir string, c *Canary, s grant.Sibling) (*Provider, error) {
	p := &Provider{Name: "grace 10m", Graced: true, preset: filepath.Join(dir, "chaos.yaml")}
	if s == grant.SiblingReplaces {
		p.Name += ", the second answer replaces the first"
	}
	p, err := start(p, simulator.Rules{Behaviour: grant.Behaviour{
		Rotates: true, Reuse: grant.ReuseGrace, Grace: Grace, Sibling: s,
	}}, c)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("name: chaos\ntitle: a provider with a grace\ntoken_url: %s/token\n"+
		"refresh: {rotates: true, reuse: grace, grace: %v, sibling: %v}\n", p.url, Grace, s)
	return p, os.WriteFile(p.preset, []byte(text), 0o600)
}

func start(p *Provider, rules simulator.Rules, c *Canary) (*Provider, error) {
	server, err := simulator.New(simulator.Config{Rules: rules, NewToken: c.NewToken})
	if err != nil {
		return nil, err
	}
	p.Server = server
	p.url, err = server.Start("")
	return p, err
}

// Pending reports whether a request waits for its answer.
func (p *Provider) Pending() bool { return p.Ledger().Pending > 0 }

// flags point a call at the provider.
func (p *Provider) flags() []string {
	f := []string{"--token-url", p.url + "/token", "--client-id", simulator.DefaultClient}
	if p.preset != "" {
		f = append(f, "--provider", p.preset)
	}
	return f
}
