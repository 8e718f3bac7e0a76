//go:build e2e

package scripts_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/simulator"
)

// githubToken is what the double of GitHub takes, and jobToken what a job has.
const (
	githubToken = "github_pat_canary-scripts-7c1e"
	jobToken    = "ghs_canary-job-51aa"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// onGitHub makes the box save into a GitHub secret, by the real gh against a
// double of the API. The host is gh's own for development, with its API on plain
// HTTP; the double takes the place of a proxy to it, so nothing is looked up.
func (b *box) onGitHub(t *testing.T) *double.Server {
	t.Helper()
	g, err := double.New(double.Config{})
	must(t, err)
	must(t, g.AddRepository("acme/widgets", "prod"))
	g.Allow(githubToken, double.Write)
	g.Allow(jobToken, double.Job)
	t.Cleanup(func() {
		for _, v := range g.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		must(t, g.Close())
	})
	b.env["EVERGRANT_WRITE_BACK"] = "ghsecret:acme/widgets/GRANT"
	b.env["GH_TOKEN"], b.env["GH_HOST"] = githubToken, "github.localhost"
	b.env["HTTP_PROXY"], b.env["http_proxy"] = g.URL, g.URL
	b.env["GH_NO_UPDATE_NOTIFIER"] = "1"
	b.secrets = append(b.secrets, githubToken, jobToken)
	return g
}

// written returns the successful writes to GitHub, in order.
func written(g *double.Server) string {
	var all []string
	for _, r := range g.Requests() {
		if r.Method != http.MethodGet && r.Status < 300 && r.Status > 0 {
			all = append(all, r.Method+" "+r.Path[strings.LastIndex(r.Path, "/")+1:])
		}
	}
	return strings.Join(all, ", ")
}

// TestSecret: proof of write access first, then the one request, then the secret,
// by the real gh.
func TestSecret(t *testing.T) {
	started := time.Now()
	t.Run("scripts", func(t *testing.T) {
		for _, p := range scripts(t) {
			for _, environment := range []string{"", "prod"} {
				t.Run(p.name+"/"+environment, func(t *testing.T) {
					t.Parallel()
					rotations(t, p, environment)
				})
			}
		}
	})
	part("ghsecret: by the real gh, of a repository and of an environment, three scripts and three rotations each: probe, request, secret (%.0f s)", time.Since(started).Seconds())
}

func rotations(t *testing.T, p program, environment string) {
	t.Helper()
	b := newBox(t, simulator.Config{})
	g := b.onGitHub(t)
	place := "acme/widgets"
	if environment != "" {
		b.env["EVERGRANT_WRITE_BACK"] += "?environment=" + environment
		place += ":" + environment
	}
	var proven []string
	b.issued = func(k simulator.Kind) { // the provider acts: the proof must be over
		if k == simulator.KindRefresh {
			proven = append(proven, written(g))
		}
	}
	want := ""
	for i := range 3 {
		r := b.run(t, p)
		if r.code != 0 || len(r.requests) != 1 || r.requests[0].Outcome != simulator.Rotated {
			t.Fatalf("want exit 0 and a rotation\n%v", r)
		}
		value, there := g.Value(place, "GRANT")
		if !there || digest(value) != b.newest(t) {
			t.Fatal("the secret does not open to the newest token")
		}
		b.env["EVERGRANT_REFRESH_TOKEN"] = value // as the next job has it
		if want += "PUT GRANT_EVERGRANT_PROBE, DELETE GRANT_EVERGRANT_PROBE"; len(proven) != i+1 || proven[i] != want {
			t.Errorf("when the provider acted, there had been %q, want %s", proven, want)
		}
		if want += ", PUT GRANT"; written(g) != want {
			t.Errorf("writes: %s, want %s", written(g), want)
		}
		want += ", "
	}
}

// TestNothingIsSpent: where the next token cannot be written, nothing is sent.
func TestNothingIsSpent(t *testing.T) {
	for _, p := range scripts(t) {
		for name, c := range map[string]struct {
			prepare func(t *testing.T, b *box)
			code    int
			says    string
		}{
			"no place":              {func(t *testing.T, b *box) { delete(b.env, "EVERGRANT_WRITE_BACK") }, 6, "EVERGRANT_WRITE_BACK is not set"},
			"an empty name":         {func(t *testing.T, b *box) { b.env["EVERGRANT_WRITE_BACK"] = "" }, 6, "EVERGRANT_WRITE_BACK is not set"},
			"no folder":             {func(t *testing.T, b *box) { must(t, os.Remove(filepath.Dir(b.file))) }, 6, "cannot be written"},
			"a folder in its place": {func(t *testing.T, b *box) { must(t, os.Mkdir(b.file, 0o700)) }, 6, "no regular file"},
			"a link in its place":   {func(t *testing.T, b *box) { must(t, os.Symlink("/nowhere", b.file)) }, 6, "no regular file"},
			"an empty file":         {func(t *testing.T, b *box) { writeFile(t, b.file, "") }, 6, "is empty"},
			"a device":              {func(t *testing.T, b *box) { b.env["EVERGRANT_WRITE_BACK"] = "file:/dev/full" }, 6, "no regular file"},
			"a read-only token":     {func(t *testing.T, b *box) { b.onGitHub(t).Allow(githubToken, double.Read) }, 6, "HTTP 403"},
			"the job's own token":   {func(t *testing.T, b *box) { b.onGitHub(t); b.env["GH_TOKEN"] = jobToken }, 6, "GITHUB_TOKEN never can"},
			"the job's own token, named twice": {func(t *testing.T, b *box) {
				b.onGitHub(t)
				b.inActions(t)
				b.env["GH_TOKEN"], b.env["GITHUB_TOKEN"] = jobToken, jobToken
			}, 6, "GH_TOKEN is not set or is the job's own token"},
			"no token": {func(t *testing.T, b *box) {
				b.onGitHub(t)
				b.inActions(t)
				b.env["GH_TOKEN"], b.env["GITHUB_TOKEN"] = "", jobToken
			}, 6, "GH_TOKEN is not set or is the job's own token"},
			"a token without sign-on": {func(t *testing.T, b *box) { b.onGitHub(t).Allow(githubToken, double.Unsigned) }, 6, "HTTP 403"},
			"an unknown token":        {func(t *testing.T, b *box) { b.onGitHub(t).Allow(githubToken, double.Unknown) }, 6, "HTTP 401"},
			"no such repository":      {func(t *testing.T, b *box) { b.onGitHub(t); b.env["EVERGRANT_WRITE_BACK"] = "ghsecret:acme/other/GRANT" }, 6, "HTTP 404"},
			"no such environment":     {func(t *testing.T, b *box) { b.onGitHub(t); b.env["EVERGRANT_WRITE_BACK"] += "?environment=none" }, 6, "HTTP 404"},
			"GitHub is away":          {func(t *testing.T, b *box) { b.onGitHub(t).Fail(double.Fault{Status: http.StatusServiceUnavailable}) }, 6, "HTTP 503"},
			"no gh":                   {func(t *testing.T, b *box) { b.onGitHub(t); must(t, os.Remove(filepath.Join(b.tools, "gh"))) }, 2, "gh is not installed"},
		} {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				c.prepare(t, b)
				r := b.run(t, p)
				if r.code != c.code || len(r.requests) != 0 || r.stdout != "" || !strings.Contains(r.stderr, c.says) {
					t.Errorf("want exit %d, nothing sent, and %q\n%v", c.code, c.says, r)
				}
				if !strings.Contains(r.stderr, "nothing was s") {
					t.Errorf("it does not say that nothing was spent\n%v", r)
				}
			})
		}
	}
}

// TestNotSaved: the place fails after the provider has acted. The script tries
// again, then says so as loudly as it can; the access token is delivered.
func TestNotSaved(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run("file/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			b.issued = func(simulator.Kind) { _ = os.Rename(filepath.Dir(b.file), filepath.Join(b.home, "away")) }
			r := b.run(t, p)
			if r.code != 7 || len(r.requests) != 1 || !strings.HasPrefix(r.stdout, "canary-access") || !strings.Contains(r.stderr, "NOT SAVED") || !strings.Contains(r.stderr, "was delivered") {
				t.Errorf("want exit 7 and an access token\n%v", r)
			}
		})
		t.Run("none/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			b.env["EVERGRANT_WRITE_BACK"] = "none"
			r := b.run(t, p)
			if r.code != 7 || len(r.requests) != 1 || !strings.HasPrefix(r.stdout, "canary-access") || !strings.Contains(r.stderr, "EVERGRANT_WRITE_BACK is none") {
				t.Errorf("want exit 7 and an access token\n%v", r)
			}
		})
		t.Run("GitHub for a time/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			g := b.onGitHub(t)
			g.Fail(double.Fault{Method: http.MethodPut, Name: "GRANT", Times: 2, Status: http.StatusBadGateway})
			if r := b.run(t, p); r.code != 0 || len(r.requests) != 1 {
				t.Fatalf("want exit 0 after some tries\n%v", r)
			}
			if value, there := g.Value("acme/widgets", "GRANT"); !there || digest(value) != b.newest(t) {
				t.Error("the secret does not open to the newest token")
			}
		})
		t.Run("gh goes away/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			g := b.onGitHub(t)
			b.issued = func(simulator.Kind) { _ = os.Remove(filepath.Join(b.tools, "gh")) }
			r := b.run(t, p)
			if _, there := g.Value("acme/widgets", "GRANT"); there || r.code != 7 || len(r.requests) != 1 || !strings.HasPrefix(r.stdout, "canary-access") || !strings.Contains(r.stderr, "NOT SAVED") {
				t.Errorf("want exit 7 and an access token\n%v", r)
			}
		})
		t.Run("GitHub/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			g := b.onGitHub(t)
			g.Fail(double.Fault{Method: http.MethodPut, Name: "GRANT", Status: http.StatusServiceUnavailable})
			r := b.run(t, p)
			tries := 0
			for _, q := range g.Requests() {
				if q.Method == http.MethodPut && strings.HasSuffix(q.Path, "/GRANT") {
					tries++
				}
			}
			if r.code != 7 || len(r.requests) != 1 || tries != 4 || !strings.HasPrefix(r.stdout, "canary-access") || !strings.Contains(r.stderr, "HTTP 503") {
				t.Errorf("want exit 7 after four tries, not %d\n%v", tries, r)
			}
		})
	}
}
