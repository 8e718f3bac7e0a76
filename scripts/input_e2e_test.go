//go:build e2e

package scripts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/simulator"
)

// TestBadInput: one clear line, its exit code, nothing sent, nothing changed. The
// program is held to the same codes where it has the same setting.
func TestBadInput(t *testing.T) {
	started, rows := time.Now(), 0
	t.Run("table", func(t *testing.T) {
		for name, c := range badInputs() {
			for _, p := range programs(t) {
				if p.other && !c.too {
					continue
				}
				rows++
				t.Run(name+"/"+p.name, func(t *testing.T) {
					t.Parallel()
					b := newBox(t, simulator.Config{})
					b.secrets = append(b.secrets, "canary-1", "canary-2", "canary-pw", "canary-user")
					c.prepare(t, b)
					before := tree(t, b.home)
					r := b.run(t, p)
					if r.code != 2 || len(r.requests) != 0 || r.stdout != "" || !p.other && (!strings.Contains(r.stderr, c.says) || !strings.HasSuffix(r.stderr, "; nothing was sent\n")) {
						t.Errorf("want exit 2, nothing sent, and %q\n%v", c.says, r)
					}
					if after := tree(t, b.home); after != before {
						t.Errorf("something changed on the disk:\n%s\n%s", before, after)
					}
				})
			}
		}
	})
	part("bad input: %d runs, each one line, exit 2, nothing sent, nothing changed (%.0f s)", rows, time.Since(started).Seconds())
}

// badInput is one row of what people get wrong.
type badInput struct {
	prepare func(*testing.T, *box)
	says    string
	too     bool // the program has the same setting
}

func badInputs() map[string]badInput {
	set := func(name, value string) func(*testing.T, *box) {
		return func(_ *testing.T, b *box) { b.env[name] = value }
	}
	return map[string]badInput{
		"no token":                      {set("EVERGRANT_REFRESH_TOKEN", ""), "EVERGRANT_REFRESH_TOKEN is not set", true},
		"a token of two lines":          {set("EVERGRANT_REFRESH_TOKEN", "canary-1\ncanary-2"), "EVERGRANT_REFRESH_TOKEN holds a space, a line break", true},
		"a token with a space":          {set("EVERGRANT_REFRESH_TOKEN", "canary-1 canary-2"), "EVERGRANT_REFRESH_TOKEN holds a space", true},
		"a token in letters of ours":    {set("EVERGRANT_REFRESH_TOKEN", "canary-\u00e4"), "EVERGRANT_REFRESH_TOKEN holds a space", false},
		"a file of two lines":           {func(t *testing.T, b *box) { writeFile(t, b.file, "canary-1\ncanary-2\n") }, "holds a space, a line break", false},
		"a file of zeros":               {func(t *testing.T, b *box) { writeFile(t, b.file, "canary-1\x00canary-2") }, "holds a space, a line break", false},
		"a huge file":                   {func(t *testing.T, b *box) { writeFile(t, b.file, strings.Repeat("canary ", 1<<19)) }, "holds a space, a line break", false},
		"no URL":                        {set("EVERGRANT_TOKEN_URL", ""), "EVERGRANT_TOKEN_URL is not set", true},
		"no client id":                  {set("EVERGRANT_CLIENT_ID", ""), "EVERGRANT_CLIENT_ID is not set", false},
		"words for a URL":               {set("EVERGRANT_TOKEN_URL", "not a url"), "EVERGRANT_TOKEN_URL is no URL", true},
		"ftp":                           {set("EVERGRANT_TOKEN_URL", "ftp://id.example/token"), "EVERGRANT_TOKEN_URL is no URL", true},
		"http to another host":          {set("EVERGRANT_TOKEN_URL", "http://id.example/token"), "http is for loopback addresses only", true},
		"http to a name like ours":      {set("EVERGRANT_TOKEN_URL", "http://localhost.id.example/token"), "http is for loopback addresses only", true},
		"http to 127.0.0.1.id":          {set("EVERGRANT_TOKEN_URL", "http://127.0.0.1.id.example/token"), "http is for loopback addresses only", true},
		"a user in the URL":             {set("EVERGRANT_TOKEN_URL", "https://canary-user:canary-pw@id.example/token"), "EVERGRANT_TOKEN_URL is no URL", true},
		"a fragment":                    {set("EVERGRANT_TOKEN_URL", "https://id.example/token#canary"), "EVERGRANT_TOKEN_URL is no URL", true},
		"a port above all":              {set("EVERGRANT_TOKEN_URL", "https://localhost:99999/"), "EVERGRANT_TOKEN_URL is no URL", true},
		"port zero":                     {set("EVERGRANT_TOKEN_URL", "https://localhost:0/token"), "EVERGRANT_TOKEN_URL is no URL", true},
		"a port without a number":       {set("EVERGRANT_TOKEN_URL", "https://localhost:/token"), "EVERGRANT_TOKEN_URL is no URL", true},
		"a host of colons":              {set("EVERGRANT_TOKEN_URL", "https://[::::]/"), "EVERGRANT_TOKEN_URL is no URL", false},
		"a host of a dot":               {set("EVERGRANT_TOKEN_URL", "https://./token"), "EVERGRANT_TOKEN_URL is no URL", false},
		"a host of large numbers":       {set("EVERGRANT_TOKEN_URL", "https://300.1.1.1/token"), "EVERGRANT_TOKEN_URL is no URL", false},
		"a host that ends in numbers":   {set("EVERGRANT_TOKEN_URL", "https://id.example.1/token"), "EVERGRANT_TOKEN_URL is no URL", false},
		"a URL of two lines":            {set("EVERGRANT_TOKEN_URL", "https://id.example/\nheader: x"), "EVERGRANT_TOKEN_URL is no URL", true},
		"quotes in the host":            {set("EVERGRANT_TOKEN_URL", "https://id.example\"/"), "EVERGRANT_TOKEN_URL is no URL", true},
		"the retired host":              {set("EVERGRANT_TOKEN_URL", "https://console.anthropic.com/v1/oauth/token"), "https://platform.claude.com/v1/oauth/token", false},
		"the retired host, in capitals": {set("EVERGRANT_TOKEN_URL", "https://Console.Anthropic.com/v1/oauth/token"), "https://platform.claude.com/v1/oauth/token", false},
		"a path of two lines":           {set("EVERGRANT_WRITE_BACK", "file:a\nb"), "EVERGRANT_WRITE_BACK is neither", false},
		"xml":                           {set("EVERGRANT_BODY", "xml"), "EVERGRANT_BODY", true},
		"no such place":                 {set("EVERGRANT_WRITE_BACK", "s3:canary"), "EVERGRANT_WRITE_BACK is neither", false},
		"no path":                       {set("EVERGRANT_WRITE_BACK", "file:"), "EVERGRANT_WRITE_BACK is neither", false},
		"a secret without repository":   {set("EVERGRANT_WRITE_BACK", "ghsecret:GRANT"), "EVERGRANT_WRITE_BACK is neither", false},
		"a secret with a bad name":      {set("EVERGRANT_WRITE_BACK", "ghsecret:acme/widgets/MY-GRANT"), "EVERGRANT_WRITE_BACK is neither", false},
		"a repository that is a flag":   {set("EVERGRANT_WRITE_BACK", "ghsecret:acme/widgets/GRANT?environment=a b"), "EVERGRANT_WRITE_BACK is neither", false},
		"none with Claude": {func(_ *testing.T, b *box) {
			b.env["CLAUDE_REFRESH_TOKEN"], b.env["EVERGRANT_REFRESH_TOKEN"], b.env["EVERGRANT_WRITE_BACK"] = b.first, "", "none"
		}, "refresh tokens rotate", false},
		"a variable that steers": {func(t *testing.T, b *box) { b.inActions(t); b.env["EVERGRANT_ENV_NAME"] = "NODE_OPTIONS" }, "EVERGRANT_ENV_NAME", false},
		"a variable of GitHub":   {func(t *testing.T, b *box) { b.inActions(t); b.env["EVERGRANT_ENV_NAME"] = "GITHUB_TOKEN" }, "EVERGRANT_ENV_NAME", false},
		"no variable's name":     {func(t *testing.T, b *box) { b.inActions(t); b.env["EVERGRANT_ENV_NAME"] = "A=B\nC" }, "EVERGRANT_ENV_NAME", false},
		"no output file":         {func(t *testing.T, b *box) { b.inActions(t); b.env["GITHUB_OUTPUT"] = b.home + "/none" }, "GITHUB_OUTPUT names no file", false},
		"no variables' file": {func(t *testing.T, b *box) {
			b.inActions(t)
			b.env["EVERGRANT_ENV_NAME"], b.env["GITHUB_ENV"] = "API_TOKEN", ""
		}, "GITHUB_ENV names no file", false},
	}
}

// tree is what lies in a folder, but for the notes of the stand-ins.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "/tools/call.") {
			b.WriteString(path + "\n")
		}
		return err
	}))
	return b.String()
}

// TestArguments: there are none, and one that looks like a token is not repeated.
func TestArguments(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			b.secrets = append(b.secrets, "canary-argument")
			if r := b.run(t, p, "canary-argument"); r.code != 2 || len(r.requests) != 0 {
				t.Errorf("want exit 2 and nothing sent\n%v", r)
			}
		})
	}
}

// TestClaudeDefaults: with the variable of Claude Code alone the request would go
// to its endpoint, as JSON and with its client id; here only the address differs.
func TestClaudeDefaults(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{
				Clients: []simulator.Client{{ID: simulator.DefaultClient}, {ID: "9d1c250a-e61b-44d9-88ed-5944d1962f5e"}},
				Wire:    simulator.Wire{Body: simulator.BodyJSON},
			})
			reply, err := b.provider.IssueFamily("9d1c250a-e61b-44d9-88ed-5944d1962f5e")
			must(t, err)
			b.first = reply.Refresh.Reveal()
			delete(b.env, "EVERGRANT_REFRESH_TOKEN")
			delete(b.env, "EVERGRANT_CLIENT_ID")
			b.env["CLAUDE_REFRESH_TOKEN"] = b.first + "\n" // as it is pasted
			if r := b.run(t, p); r.code != 0 || len(r.requests) != 1 || digest(b.saved(t)) != b.newest(t) {
				t.Errorf("want exit 0 and the token saved\n%v", r)
			}
		})
	}
}

// TestMissingTools: what bash needs and does not find is told before anything is sent.
func TestMissingTools(t *testing.T) {
	for _, tool := range []string{"curl", "jq"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			must(t, os.Remove(filepath.Join(b.tools, tool)))
			if r := b.run(t, scripts(t)[0]); r.code != 2 || len(r.requests) != 0 || !strings.Contains(r.stderr, tool+" is not installed") {
				t.Errorf("want exit 2 and nothing sent\n%v", r)
			}
		})
	}
}
