//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What a contender is to the goals.
const (
	roleEvergrant = "evergrant"
	roleServed    = "served"
	roleBare      = "bare"
	roleDurable   = "bare with fsyncs"
	roleTrusted   = "bare with fsyncs and evergrant's trust"
	rolePython    = "python"
	roleCurl      = "curl"
	roleNode      = "node"
	roleScriptPy  = "refresh.py"
	roleScriptSh  = "refresh.sh"
	roleScriptMjs = "refresh.mjs"
)

// contender is a program under measurement.
type contender struct {
	role, name string
	argv       []string
	env        []string
	trust      []string // environment that says which certificates it reads
	settings   []string // further environment
	seed       []string // further environment of the first run
	requests   int      // token requests that one run makes
	runs       []run
}

// pythonSource is the usual inline script: one POST, the answer read, the
// token printed, nothing kept.
const pythonSource = `
import json, os, sys, urllib.request
body = json.dumps({'grant_type': 'refresh_token', 'refresh_token': os.environ['REFRESH_TOKEN'],
                   'client_id': 'bench'}).encode()
ask = urllib.request.Request(os.environ['TOKEN_URL'], data=body)
ask.add_header('Content-Type', 'application/json')
try:
    with urllib.request.urlopen(ask) as answer:
        print(json.loads(answer.read().decode())['access_token'])
except Exception as e:
    print(f'refresh failed: {e}', file=sys.stderr)
    sys.exit(1)
`

const nodeSource = `
fetch(process.env.TOKEN_URL, {
  method: 'POST', headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ grant_type: 'refresh_token', refresh_token: process.env.REFRESH_TOKEN, client_id: 'bench' }),
}).then((answer) => answer.json()).then((set) => console.log(set.access_token))
`

const curlSource = `printf 'grant_type=refresh_token&refresh_token=%s&client_id=bench' "$REFRESH_TOKEN" |
curl -sSf --data @- "$TOKEN_URL" | jq -er .access_token`

// contenders lists the programs for one scheme. A tool that is not installed
// is noted and left out.
func (b *bench) contenders(scheme string, syncs int) ([]*contender, error) {
	url := b.server.url(scheme)
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "LC_ALL=C", "TOKEN_URL=" + url, "REFRESH_TOKEN=first",
		"SSL_CERT_FILE=" + b.ca.bundle, "CURL_CA_BUNDLE=" + b.ca.bundle, "NODE_EXTRA_CA_CERTS=" + b.ca.file,
		"XDG_STATE_HOME=" + filepath.Join(b.dir, "state"), "XDG_CONFIG_HOME=" + filepath.Join(b.dir, "config"),
	}
	if dir := os.Getenv("BENCH_CERT_DIR"); dir != "" {
		env = append(env, "SSL_CERT_DIR="+dir) // shows what reading the system's folder of certificates costs
	}
	// "served" has a grant of its own: its first run refreshes, no other does.
	evergrant := func(grant string, more ...string) []string {
		return append([]string{b.evergrant, "refresh", "--store", "file:" + filepath.Join(b.dir, "store"),
			"--token-url", url, "--client-id", "bench", "--sink", "stdout:", grant}, more...)
	}
	list := []*contender{
		{role: roleEvergrant, name: "evergrant refresh --force", argv: evergrant(scheme+"/forced", "--force"), seed: firstOf(scheme + "/forced"), requests: 1},
		{role: roleServed, name: "evergrant, life enough left", argv: evergrant(scheme+"/served", "--min-ttl", "1m"), seed: firstOf(scheme + "/served")},
	}
	bare := []*contender{
		{role: roleBare, name: "bare Go: POST, write", argv: []string{"0"}},
		{role: roleDurable, name: fmt.Sprintf("bare Go: POST, %d fsyncs", syncs), argv: []string{fmt.Sprint(syncs)}},
	}
	if scheme == "https" {
		// crypto/x509 reads a folder of certificates besides the bundle, which
		// evergrant does only when the bundle does not suffice.
		empty := filepath.Join(b.dir, "no-certificates")
		if err := os.MkdirAll(empty, 0o700); err != nil {
			return nil, err
		}
		bare = append(bare, &contender{role: roleTrusted, name: "the same, bundle only", argv: []string{fmt.Sprint(syncs)}, trust: []string{"SSL_CERT_DIR=" + empty}})
	}
	for i, c := range bare {
		file := filepath.Join(b.dir, fmt.Sprintf("bare-%s-%d", scheme, i))
		if err := os.WriteFile(file, []byte("first"), 0o600); err != nil {
			return nil, err
		}
		c.argv, c.requests = []string{b.bare, url, file, c.argv[0]}, 1
	}
	list = append(list, bare...)
	for _, c := range append([]*contender{
		{role: rolePython, name: "Python urllib, inline", argv: []string{"python3", "-c", pythonSource}},
		{role: roleCurl, name: "curl | jq", argv: []string{"sh", "-c", curlSource}},
		{role: roleNode, name: "Node fetch", argv: []string{"node", "-e", nodeSource}},
	}, b.scriptContenders(scheme, url)...) {
		c.requests = 1
		if b.available(c) {
			list = append(list, c)
		}
	}
	for _, c := range list {
		c.env = slices.Concat(env, c.trust, c.settings)
	}
	return list, nil
}

// scriptContenders are this project's own scripts. Beside the usual few lines
// they prove that the next token can be saved, and save it durably.
func (b *bench) scriptContenders(scheme, url string) []*contender {
	list := []*contender{
		{role: roleScriptPy, name: "scripts/refresh.py", argv: []string{"python3"}},
		{role: roleScriptSh, name: "scripts/refresh.sh", argv: []string{"bash"}},
		{role: roleScriptMjs, name: "scripts/refresh.mjs", argv: []string{"node"}},
	}
	for _, c := range list {
		c.argv = append(c.argv, filepath.Join(b.scripts, c.role))
		c.settings = []string{"EVERGRANT_TOKEN_URL=" + url, "EVERGRANT_CLIENT_ID=bench", "EVERGRANT_REFRESH_TOKEN=first",
			"EVERGRANT_WRITE_BACK=file:" + filepath.Join(b.dir, c.role+"-"+scheme)}
	}
	return list
}

// once runs a contender and checks that it did what it is measured for.
func (b *bench) once(ctx context.Context, c *contender) (run, error) {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Env = append(c.env, c.seed...)
	var stderr bytes.Buffer
	stdout, err := os.CreateTemp(b.dir, "stdout")
	if err != nil {
		return run{}, err
	}
	defer os.Remove(stdout.Name())
	defer stdout.Close()
	cmd.Stdout, cmd.Stderr = stdout, &stderr

	before, _ := b.server.seen()
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	after, at := b.server.seen()
	if err != nil {
		return run{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	if made := after - before; made != c.requests && c.seed == nil {
		return run{}, fmt.Errorf("it made %d token requests, not %d", made, c.requests)
	}
	printed, err := os.ReadFile(stdout.Name())
	if err != nil {
		return run{}, err
	}
	if !strings.Contains(string(printed), accessTokenPrefix) {
		return run{}, fmt.Errorf("it printed no access token")
	}
	r := run{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if after > before {
		r.wire = at.Sub(start)
	}
	return r, nil
}

// available resolves a tool to the program itself: version managers put a
// shell script in its place, whose cost is not the tool's.
func (b *bench) available(c *contender) bool {
	need := map[string][]string{rolePython: {"python3"}, roleCurl: {"curl", "jq"}, roleNode: {"node"},
		roleScriptPy: {"python3"}, roleScriptSh: {"bash", "curl", "jq"}, roleScriptMjs: {"node"}}[c.role]
	for _, tool := range need {
		if _, err := exec.LookPath(tool); err != nil {
			b.noteMissing(tool)
			return false
		}
	}
	ask := map[string][]string{
		"python3": {"python3", "-c", "import sys; print(sys.executable)"},
		"node":    {"node", "-p", "process.execPath"},
	}[c.argv[0]]
	if ask != nil {
		program := firstLine(ask...)
		if program == "" {
			b.noteMissing(need[0])
			return false
		}
		c.argv[0] = program
	}
	return true
}

func (b *bench) noteMissing(tool string) {
	if !slices.Contains(b.missing, tool) {
		b.missing = append(b.missing, tool)
	}
}

// firstOf is where a grant starts. Two grants of a store never start with one token.
func firstOf(grant string) []string { return []string{"EVERGRANT_REFRESH_TOKEN=first-of-" + grant} }

// countSyncs counts the fsyncs of one refresh by strace, so that the bare
// program is given the same; without strace it returns what was last counted.
func (b *bench) countSyncs(ctx context.Context) (n int, counted bool, err error) {
	list, err := b.contenders("http", 0)
	if err != nil {
		return 0, false, err
	}
	c := *list[0]
	c.argv[len(c.argv)-2], c.seed = "http/counted", firstOf("http/counted")
	if _, err := b.once(ctx, &c); err != nil {
		return 0, false, fmt.Errorf("%s: %w", c.name, err)
	}
	if _, err := exec.LookPath("strace"); err != nil {
		return lastCounted, false, nil
	}
	trace := filepath.Join(b.dir, "trace")
	c.seed = nil
	c.argv = append([]string{"strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", trace}, c.argv...)
	if _, err := b.once(ctx, &c); err != nil {
		return 0, false, fmt.Errorf("%s under strace: %w", c.name, err)
	}
	lines, err := os.ReadFile(trace)
	if err != nil {
		return 0, false, err
	}
	return strings.Count(string(lines), "sync("), true, nil
}

// lastCounted is the number of fsyncs of one refresh with a file store when
// it was last counted: lease, spill and record, file and folder each, and the mark.
const lastCounted = 7
