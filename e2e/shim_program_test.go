//go:build e2e

package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// releases is a forge's release page: what it serves can be changed.
type releases struct {
	*httptest.Server
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newReleases(t *testing.T) *releases {
	t.Helper()
	r := &releases{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		if got := req.Header.Get("User-Agent"); got != "evergrant/9.9.9" || req.Header.Get("Authorization") != "" {
			t.Errorf("the asset is fetched as %q", got)
		}
		(*r.answer.Load())(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *releases) serve(f http.HandlerFunc) { r.answer.Store(&f) }

// release names an asset in the checkout's table.
func (c *checkout) release(t *testing.T, program []byte) (asset string) {
	t.Helper()
	sum := sha256.Sum256(program)
	table, err := json.Marshal(map[string]any{"version": "9.9.9", "assets": map[string]any{
		runtime.GOOS + "-" + runtime.GOARCH: map[string]string{"name": theProgram(), "sha256": hex.EncodeToString(sum[:])},
	}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(c.dir, "action", "release.json"), table, 0o600))
	return "/acme/evergrant/releases/download/v9.9.9/" + theProgram()
}

// TestShimRelease fetches the program from a release: it runs if it is the one
// that the table names, and is nowhere on the disk otherwise.
func TestShimRelease(t *testing.T) {
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			c, forge := newCheckout(t, node), newReleases(t)
			c.env["GITHUB_SERVER_URL"], c.env["PATH"] = forge.URL, "/usr/bin:/bin"
			program := []byte(called)
			asset := c.release(t, program)
			whole := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != asset {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write(program)
			}
			for _, tt := range []struct {
				name, why string
				answer    http.HandlerFunc
			}{
				{"absent", "HTTP 404", http.NotFound},
				{"another program", "its SHA-256 is another. It was not run; nothing was sent",
					func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("#!/bin/sh\necho hostile\n")) }},
				{"cut off", "cannot be fetched from", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Length", "4096")
					_, _ = w.Write(program)
				}},
				{"too large", "it has more than 64 MiB", func(w http.ResponseWriter, _ *http.Request) {
					for chunk := make([]byte, 1<<20); ; {
						if _, err := w.Write(chunk); err != nil {
							return
						}
					}
				}},
				{"sent to a host without TLS", "http://192.0.2.1 is not reached by https",
					func(w http.ResponseWriter, r *http.Request) {
						http.Redirect(w, r, "http://192.0.2.1/x", http.StatusFound)
					}},
				{"sent in a circle", "it was redirected more than 5 times",
					func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }},
			} {
				forge.serve(tt.answer)
				c.fails(t, "main", "::error title=evergrant::", tt.why)
				if left, err := fs.Glob(os.DirFS(c.tools), "evergrant/*/*/*"); err != nil || len(left) > 0 {
					t.Fatalf("%s: left on the disk: %v (%v)", tt.name, left, err)
				}
			}
			// By a redirect, as forges do it.
			forge.serve(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == asset {
					http.Redirect(w, r, "/storage?signature=x", http.StatusFound)
					return
				}
				_, _ = w.Write(program)
			})
			c.runsReleased(t, forge, 2)
			c.runsReleased(t, forge, 0) // kept
			// What is kept is compared again, and fetched again if it is another.
			forge.serve(whole)
			kept := filepath.Join(c.tools, "evergrant", "9.9.9", runtime.GOOS+"-"+runtime.GOARCH, theProgram())
			must(t, os.WriteFile(kept, []byte("#!/bin/sh\necho hostile\n"), 0o755))
			c.runsReleased(t, forge, 1)
			// A server that is not on this machine is asked by https only.
			c.env["GITHUB_SERVER_URL"] = "http://192.0.2.1"
			must(t, os.Remove(kept))
			c.fails(t, "main", "http://192.0.2.1 is not reached by https")
			// An Action that is a folder of the job's repository has no release.
			c.env["GITHUB_SERVER_URL"], c.env["GITHUB_ACTION_REPOSITORY"] = forge.URL, ""
			c.fails(t, "main", "a release cannot be found, because GITHUB_ACTION_REPOSITORY names no repository")
		})
	}
	part("%-19s fetched, compared, kept and compared again; another, a part, too much of it, or a way without TLS: not run, not on the disk", "shim, release")
}

// TestShimProxy fetches the released program by TLS from a host that only a proxy
// knows. Node before 24.5 cannot do that, and the step says that nothing came.
func TestShimProxy(t *testing.T) {
	ca := newAuthority(t)
	certificate, key := ca.issue(t, proxiedHost)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	must(t, err)
	forge := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(called)) }))
	forge.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	forge.StartTLS()
	t.Cleanup(forge.Close)
	address := proxiedHost + ":443"
	proxy := newConnectProxy(t, map[string]string{address: forge.Listener.Addr().String()})
	able := 0
	for version, node := range nodes(t) {
		c := newCheckout(t, node)
		c.release(t, []byte(called))
		c.env["PATH"], c.env["GITHUB_SERVER_URL"], c.env["NODE_EXTRA_CA_CERTS"] = "/usr/bin:/bin", "https://"+proxiedHost, ca.file
		c.fails(t, "main", "the released program cannot be fetched from https://"+proxiedHost)
		c.env["https_proxy"] = proxy.url
		var major, minor int
		_, err := fmt.Sscanf(version, "v%d.%d.", &major, &minor)
		must(t, err)
		if major < 24 || major == 24 && minor < 5 {
			c.fails(t, "main", "or look whether a proxy is in the way")
			continue
		}
		able++
		if log := c.step(t, 0, "main"); log != "called: action main\n" {
			t.Errorf("through a proxy the step says\n%s", log)
		}
	}
	if able == 0 || proxy.count() != able {
		t.Errorf("the proxy saw %d requests of %d versions that know one", proxy.count(), able)
	}
}

func (c *checkout) runsReleased(t *testing.T, forge *releases, requests int64) {
	t.Helper()
	before := forge.asked.Load()
	if log := c.step(t, 0, "main"); log != "called: action main\n" {
		t.Fatalf("the step says %q", log)
	}
	if got := forge.asked.Load() - before; got != requests {
		t.Fatalf("%d requests, want %d", got, requests)
	}
}

// fakeGo stands for go: it tells its environment and builds a program that does.
const fakeGo = `#!/bin/sh
env >"$HOME/go.env"
echo "$PWD $*" >"$HOME/go.args"
while [ "$1" != -o ]; do shift; done
printf '%s\n' '#!/bin/sh' 'echo "called: $*"' >"$2"
chmod 755 "$2"
`

// TestShimBuild builds the program: really, from the sources of this tree, and by
// a stand-in that tells what go is given.
func TestShimBuild(t *testing.T) {
	node, err := exec.LookPath("node")
	must(t, err)
	c := newCheckout(t, node)
	dir := filepath.Join(c.env["HOME"], "bin")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "go"), []byte(fakeGo), 0o755))
	must(t, os.WriteFile(filepath.Join(c.dir, "go.mod"), []byte("module evergrant\n"), 0o600))
	c.env["PATH"] = dir + ":/usr/bin:/bin"
	for _, name := range []string{"INPUT_KEY", "INPUT_REFRESH-TOKEN", "GITHUB_TOKEN", "EVERGRANT_KEY", "GONOSUMDB", "GITHUB_OUTPUT", "GOENV", "GOPATH", "GOCACHE", "GOMODCACHE"} {
		c.env[name] = "canary-" + name
	}
	c.env["GOFLAGS"], c.env["GOPROXY"], c.env["GOTOOLCHAIN"] = "-toolexec=canary-exec", "off", "auto"
	log := c.step(t, 0, "main")
	if !strings.Contains(log, "go builds it from its sources") || !strings.HasSuffix(log, "called: action main\n") {
		t.Errorf("the step says\n%s", log)
	}
	given, err := os.ReadFile(filepath.Join(c.env["HOME"], "go.env"))
	must(t, err)
	if strings.Contains(string(given), "canary") {
		t.Errorf("go is given what the job has set:\n%s", given)
	}
	for _, line := range []string{"CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOENV=off", "GOWORK=off", "GOPROXY=off", "GOFLAGS=-mod=readonly -modcacherw"} {
		if !strings.Contains("\n"+string(given), "\n"+line+"\n") {
			t.Errorf("go is not given %s:\n%s", line, given)
		}
	}
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE"} {
		if !strings.Contains("\n"+string(given), "\n"+name+"="+c.temp+"/evergrant-go-") {
			t.Errorf("go is not given a %s of its own:\n%s", name, given)
		}
	}
	if left, err := filepath.Glob(filepath.Join(c.temp, "evergrant-go-*")); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v (%v)", left, err)
	}
	args, err := os.ReadFile(filepath.Join(c.env["HOME"], "go.args"))
	must(t, err)
	want := c.dir + " build -tags nethttpomithttp2 -trimpath -buildvcs=false -ldflags=-s -w -o " + c.temp + "/evergrant/bin/evergrant ./cmd/evergrant\n"
	if string(args) != want {
		t.Errorf("go is called with %q, want %q", args, want)
	}

	// The post step takes what was built, as long as it is that.
	must(t, os.MkdirAll(filepath.Join(c.temp, "evergrant", "spill"), 0o700))
	c.env["GITHUB_STATE"] = filepath.Join(c.env["HOME"], "state")
	c.state(t)
	must(t, os.Remove(filepath.Join(dir, "go")))
	if log := c.step(t, 0, "post"); log != "called: action post\n" {
		t.Errorf("the post step says\n%s", log)
	}
	must(t, os.WriteFile(filepath.Join(c.temp, "evergrant", "bin", "evergrant"), []byte("#!/bin/sh\necho hostile\n"), 0o755))
	c.fails(t, "post", "and go is not in PATH to build it")

	// A go that lies in the working folder is nobody's, and one that fails says why.
	must(t, os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\necho 'go: go.mod requires go >= 1.26 (running go 1.20; GOTOOLCHAIN=local)' >&2\nexit 1\n"), 0o755))
	c.env["PATH"] = ":.:bin:/usr/bin:/bin"
	c.fails(t, "main", "and go is not in PATH to build it")
	c.env["PATH"] = dir
	for _, name := range []string{"GITHUB_WORKSPACE", "RUNNER_TEMP"} {
		was, set := c.env[name]
		c.env[name] = dir
		c.fails(t, "main", "go would be run from "+filepath.Join(dir, "go")+", which lies below "+name+", where every earlier step can write; it is not run")
		link := filepath.Join(t.TempDir(), "go")
		must(t, os.Symlink(filepath.Join(dir, "go"), link))
		c.env["PATH"] = filepath.Dir(link)
		c.fails(t, "main", "which lies below "+name)
		if c.env["PATH"] = dir; set {
			c.env[name] = was
		} else {
			delete(c.env, name)
		}
	}
	c.fails(t, "main", "go could not build the program: go: go.mod requires go >= 1.26", "What to do: put actions/setup-go")

	part("%-19s by go without the job's variables and caches; a go of the working folder, the checkout or the job's temporary folder is not taken", "shim, build")
}

// TestShimBuildTrustsNoCache builds the program from the sources of this tree,
// after an earlier step has put a module of its own into the job's cache.
func TestShimBuildTrustsNoCache(t *testing.T) {
	node, err := exec.LookPath("node")
	must(t, err)
	real := newCheckout(t, node)
	real.dir, err = filepath.Abs("..")
	must(t, err)
	if exists(filepath.Join(real.dir, "action", "bin")) {
		t.Fatal("this tree ships a program, so nothing is built")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/spf13/cobra").Output()
	must(t, err)
	module := strings.TrimSpace(string(out))
	cache := filepath.Dir(filepath.Dir(filepath.Dir(module)))
	planted := filepath.Join(t.TempDir(), "planted")
	trap := filepath.Join(planted, "github.com", "spf13", filepath.Base(module))
	must(t, os.MkdirAll(trap, 0o700))
	must(t, os.WriteFile(filepath.Join(trap, "cobra.go"), []byte("package cobra\n\nvar _ = planted\n"), 0o600))
	must(t, os.Symlink(filepath.Join(cache, "cache"), filepath.Join(planted, "cache")))
	real.env["GOMODCACHE"] = planted
	// go believes what lies there, as the step itself must not.
	believed := exec.Command("go", "build", "-mod=readonly", "-o", os.DevNull, "./cmd/evergrant")
	believed.Dir, believed.Env = real.dir, append(os.Environ(), "GOMODCACHE="+planted, "GOFLAGS=-modcacherw -buildvcs=false")
	if said, err := believed.CombinedOutput(); err == nil || !strings.Contains(string(said), "undefined: planted") {
		t.Fatalf("the trap is none: %v\n%s", err, said)
	}
	// The same modules, without a network.
	real.env["GOPROXY"] = "file://" + filepath.ToSlash(filepath.Join(cache, "cache", "download"))
	log := real.step(t, 2, "main")
	if !strings.Contains(log, "::error title=evergrant%3A usage%2C code 2::this run has no secrets: input key is empty") {
		t.Errorf("the program that was built says\n%s", log)
	}
	part("%-19s from this tree's sources and what go.sum names; a module that was planted in the job's cache is not taken", "shim, build")
}
