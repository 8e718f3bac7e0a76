//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"evergrant/e2e/forge"
	"evergrant/internal/simulator"
)

// contender is a process under measurement.
type contender struct {
	name  string
	argv  []string
	env   []string
	grant string // "": it has none
	sends int    // token requests that one run makes
	token bool   // it must leave one
	begun bool   // its grant has a record
	took  []time.Duration
	asked []time.Duration // questions to the forge, as numbers
}

// trip is what one run took.
type trip struct {
	wall  time.Duration
	forge int64
}

func (b *bench) contenders() []*contender {
	at := fmt.Sprint(len(b.figures)) // grants of their own at each distance
	published := filepath.Join(b.dir, "published", "action")
	binary := func(grant string, more ...string) []string {
		return append([]string{b.evergrant, "refresh", "--store", "git:", "--token-url", b.tokenURL, "--client-id", simulator.DefaultClient,
			"--sink", "github-output:access-token", grant}, more...)
	}
	list := []*contender{
		{name: "evergrant refresh, a token due", argv: binary("binary/due-"+at, "--force"), grant: "binary/due-" + at, sends: 1, token: true},
		{name: "evergrant refresh, life left", argv: binary("binary/left-"+at, "--min-ttl=1m"), grant: "binary/left-" + at, token: true},
		{name: "no more than git ls-remote", argv: []string{"git", "ls-remote", "--quiet", b.forge.URL + "/" + holder + ".git", "refs/evergrant/*"}},
	}
	if b.node == "" {
		return list
	}
	step := func(file string) []string { return []string{b.node, filepath.Join(published, file)} }
	return append(list,
		&contender{name: "the Action, a token due", argv: step("main.mjs"), grant: "action/due-" + at, env: []string{"INPUT_FORCE=true"}, sends: 1, token: true},
		&contender{name: "the Action, life left", argv: step("main.mjs"), grant: "action/left-" + at, env: []string{"INPUT_MIN-TTL=1m"}, token: true},
		&contender{name: "the Action's post step, nothing left over", argv: step("post.mjs")},
		&contender{name: "no more than Node's start", argv: []string{b.node, "-e", "0"}},
	)
}

// environment is a step's, as a runner makes it: fresh files for its outputs.
func (b *bench) environment(c *contender, dir string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C", "CI=true", "GITHUB_ACTIONS=true",
		"GITHUB_SERVER_URL=" + b.forge.URL, "GITHUB_REPOSITORY=" + holder, "GITHUB_TOKEN=" + token, "RUNNER_TEMP=" + dir,
		"GITHUB_RUN_ID=1", "GITHUB_RUN_ATTEMPT=1", "EVERGRANT_KEY=" + b.key.Reveal(),
		"INPUT_TOKEN-URL=" + b.tokenURL, "INPUT_CLIENT-ID=" + simulator.DefaultClient, "INPUT_STORE=git:", "INPUT_GRANT=" + c.grant,
		"INPUT_KEY=" + b.key.Reveal(), "INPUT_GITHUB-TOKEN=" + token,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic " + basic(),
	}
	for _, name := range []string{"OUTPUT", "ENV", "STATE", "STEP_SUMMARY"} {
		env = append(env, "GITHUB_"+name+"="+filepath.Join(dir, name))
	}
	return append(env, c.env...)
}

// once runs a contender and checks that it did what it is measured for.
func (b *bench) once(ctx context.Context, c *contender) (trip, error) {
	dir, err := os.MkdirTemp(b.dir, "step")
	if err != nil {
		return trip{}, err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"OUTPUT", "ENV", "STATE", "STEP_SUMMARY"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			return trip{}, err
		}
	}
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Env = b.environment(c, dir)
	if c.grant != "" && !c.begun {
		first, err := b.provider.IssueFamily(simulator.DefaultClient)
		if err != nil {
			return trip{}, err
		}
		seed := first.Refresh.Reveal()
		cmd.Env = append(cmd.Env, "EVERGRANT_REFRESH_TOKEN="+seed, "INPUT_REFRESH-TOKEN="+seed)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	asked, sent := b.forge.Requests.Load(), len(b.provider.Ledger().Presentations)
	start := time.Now()
	err = cmd.Run()
	t := trip{wall: time.Since(start), forge: b.forge.Requests.Load() - asked}
	if err != nil {
		return t, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	if n := len(b.provider.Ledger().Presentations) - sent; n != c.sends && c.begun {
		return t, fmt.Errorf("it made %d token requests, not %d", n, c.sends)
	}
	output, err := os.ReadFile(filepath.Join(dir, "OUTPUT"))
	if err == nil && c.token != strings.Contains(string(output), "access-token") {
		err = fmt.Errorf("it left no token, or one that nobody asked for")
	}
	return t, err
}

func basic() string {
	return base64.StdEncoding.EncodeToString([]byte(forge.User + ":" + token))
}
