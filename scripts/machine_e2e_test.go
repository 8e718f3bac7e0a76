//go:build e2e

package scripts_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/simulator"
)

// replace puts a shell script in a tool's place; "$real" in it is the tool.
func (b *box) replace(t *testing.T, tool, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(b.tools, tool), []byte("#!/bin/sh\nreal="+resolved(t, tool)+"\n"+text+"\n"), 0o700))
}

// TestMachines: what an odd machine adds or lacks costs no token. Where
// something is missing, that is told before anything is sent.
func TestMachines(t *testing.T) {
	for name, c := range map[string]struct {
		only    string // one script; "": all
		prepare func(*testing.T, *box, *program)
		code    int
		says    string
	}{
		"curl that warns": {"sh", func(t *testing.T, b *box, _ *program) {
			b.replace(t, "curl", `echo "curl: libcurl.so.4: no version information available" >&2; exec $real "$@"`)
		}, 0, ""},
		"curl that greets": {"sh", func(t *testing.T, b *box, _ *program) {
			b.replace(t, "curl", `echo "This is our curl."; exec $real "$@"`)
		}, 0, ""},
		"curl of long ago": {"sh", func(t *testing.T, b *box, _ *program) {
			b.replace(t, "curl", `case "$*" in *--suppress-connect-headers*) echo "curl: option --suppress-connect-headers: is unknown" >&2; exit 2 ;; esac; exec $real "$@"`)
		}, 2, "curl is too old"},
		"jq without regular expressions": {"sh", func(t *testing.T, b *box, _ *program) {
			b.replace(t, "jq", `case "$*" in *'test('*) exit 5 ;; esac; exec $real "$@"`)
		}, 2, "jq is too old"},
		"a shell that stops at errors": {"sh", func(_ *testing.T, _ *box, p *program) {
			p.argv = slices.Insert(p.argv, 1, "-e")
		}, 0, ""},
		"a shell told so by a variable": {"sh", func(_ *testing.T, b *box, _ *program) { b.env["SHELLOPTS"] = "errexit:posix" }, 0, ""},
		"no room for temporary files":   {"", func(t *testing.T, b *box, _ *program) { b.env["TMPDIR"] = fullDisk(t, b) }, 0, ""},
		"no place for temporary files":  {"", func(_ *testing.T, b *box, _ *program) { b.env["TMPDIR"] = b.home + "/none" }, 0, ""},
		"old Python": {"py", func(t *testing.T, b *box, _ *program) {
			writeFile(t, b.home+"/sitecustomize.py", "import sys\nsys.version_info = (3, 8, 18)\n")
			b.env["PYTHONPATH"] = b.home
		}, 2, "this Python is older than 3.9"},
		"old Node": {"mjs", func(t *testing.T, b *box, _ *program) {
			writeFile(t, b.home+"/old.cjs", "Object.defineProperty(process, 'versions', { value: { node: '18.20.4' } });\n")
			b.env["NODE_OPTIONS"] = "--require " + b.home + "/old.cjs"
		}, 2, "this Node is older than 20"},
		"a file of the same name as a library's": {"py", func(t *testing.T, b *box, p *program) {
			text, err := os.ReadFile(p.argv[1])
			must(t, err)
			p.argv[1] = b.home + "/refresh.py"
			writeFile(t, p.argv[1], string(text))
			for _, library := range []string{"base64", "json", "secrets", "zlib"} {
				writeFile(t, b.home+"/"+library+".py", "import os\nos._exit(9)\n")
			}
		}, 0, ""},
	} {
		for _, p := range scripts(t) {
			if c.only != "" && c.only != p.name {
				continue
			}
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				c.prepare(t, b, &p)
				r := b.run(t, p)
				sent := 1
				if c.code == 2 {
					sent = 0
				}
				if r.code != c.code || len(r.requests) != sent || !strings.Contains(r.stderr, c.says) {
					t.Fatalf("want exit %d, %d requests, and %q\n%v", c.code, sent, c.says, r)
				}
				if sent == 1 && digest(b.saved(t)) != b.newest(t) {
					t.Error("the newest token is not saved")
				}
			})
		}
	}
}

// fullDisk is a small disk without room.
func fullDisk(t *testing.T, b *box) string {
	t.Helper()
	dir := filepath.Join(b.home, "small")
	must(t, os.Mkdir(dir, 0o700))
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4k,mode=0700"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	must(t, os.WriteFile(filepath.Join(dir, "full"), make([]byte, 4096), 0o600))
	if err := os.WriteFile(filepath.Join(dir, "more"), []byte("x"), 0o600); err == nil {
		t.Fatal("the disk has room")
	}
	return dir
}

// TestStrictShellTells: a shell that stops at errors tells what an answer means
// that is no JSON.
func TestStrictShellTells(t *testing.T) {
	t.Parallel()
	b := newBox(t, simulator.Config{}, simulator.Fault{Kind: simulator.FaultCanned, Status: 502, ContentType: "text/plain", Body: "foo bar"})
	p := scripts(t)[0]
	p.argv = slices.Insert(p.argv, 1, "-e")
	if r := b.run(t, p); r.code != 4 || !strings.Contains(r.stderr, "in doubt: the answer is of no use (HTTP 502)") {
		t.Errorf("want exit 4 and why\n%v", r)
	}
}

// TestOpenInput: nothing waits for the standard input of whoever calls.
func TestOpenInput(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := b.command(ctx, p)
			r, w, err := os.Pipe()
			must(t, err)
			defer r.Close()
			defer w.Close() // it never says a word
			cmd.Stdin = r
			if err := cmd.Run(); err != nil || digest(b.saved(t)) != b.newest(t) {
				t.Errorf("want exit 0 and the newest token saved: %v", err)
			}
		})
	}
}

// TestSpelling: schemes and hosts may be written in capitals.
func TestSpelling(t *testing.T) {
	for _, p := range programs(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			_, port, err := net.SplitHostPort(strings.TrimPrefix(b.url, "http://"))
			must(t, err)
			b.env["EVERGRANT_TOKEN_URL"] = "HTTP://LocalHost:" + port + "/token"
			b.env["HTTP_PROXY"], b.env["http_proxy"] = "http://127.0.0.1:1", "http://127.0.0.1:1"
			if r := b.run(t, p); r.code != 0 || len(r.requests) != 1 {
				t.Errorf("want exit 0\n%v", r)
			}
		})
	}
}

// TestProxySchemes: a password for a proxy goes to it in clear text only where
// its URL says http.
func TestProxySchemes(t *testing.T) {
	for _, p := range scripts(t) {
		for _, scheme := range []string{"https", "socks5", "ftp"} {
			t.Run(scheme+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				l, err := net.Listen("tcp", "127.0.0.1:0")
				must(t, err)
				heard := make(chan string, 1)
				go func() {
					defer close(heard)
					conn, err := l.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
					first := make([]byte, 4096)
					n, _ := io.ReadAtLeast(conn, first, 3) // an end says as much
					heard <- string(first[:n])
				}()
				b.env["EVERGRANT_TOKEN_URL"] = "https://id.example/token"
				for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
					b.env[name] = scheme + "://ada:canary-pw@" + l.Addr().String()
				}
				want := 2
				if p.name == "sh" {
					want = 5 // curl knows the protocols of these proxies, and this one does not answer
				}
				r := b.run(t, p)
				must(t, l.Close())
				text := <-heard
				if r.code != want || len(r.requests) != 0 || strings.Contains(text, "canary") || strings.Contains(text, "Y2FuYXJ5") || strings.HasPrefix(text, "CONNECT") || strings.Contains(r.stderr, "canary") {
					t.Errorf("want exit %d, and no password in %q\n%v", want, text, r)
				}
				if want == 2 && !strings.Contains(r.stderr, "HTTPS_PROXY is no URL like http://HOST:PORT") {
					t.Errorf("it does not say why\n%v", r)
				}
			})
		}
	}
}
