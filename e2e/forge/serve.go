package forge

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// User is the name that goes with a forge's token.
const User = "x-access-token"

// Environment is one without anything of this machine's git.
func Environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
		"GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@localhost", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@localhost"}
}

// Run runs git as a person would, apart from the store under test, and returns
// what it prints, without the space around it.
func Run(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, Environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w (git must be installed)\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// settings are those of a forge: strict about what it takes, open to pushes over
// HTTP, and not tidying up in the middle of a test.
const settings = "[receive]\n\tfsckObjects = true\n\tautogc = false\n[transfer]\n\tfsckObjects = true\n[http]\n\treceivepack = true\n[gc]\n\tauto = 0\n"

// Init makes a repository as a forge has it: with a history of its own, and
// strict about what it takes. flags are those of git init.
func Init(path string, flags ...string) error {
	if _, err := Run("/", append(append([]string{"init", "--quiet", "--bare", "--template="}, flags...), path)...); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(path, "hooks"), 0o700); err != nil {
		return err
	}
	config := filepath.Join(path, "config")
	text, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(text, settings...), 0o600)
	}
	if err != nil {
		return err
	}
	tree, err := Run(path, "write-tree")
	if err != nil {
		return err
	}
	start, err := Run(path, "commit-tree", "-m", "start", tree)
	if err != nil {
		return err
	}
	if _, err := Run(path, "update-ref", "refs/heads/main", start); err != nil {
		return err
	}
	_, err = Run(path, "symbolic-ref", "HEAD", "refs/heads/main")
	return err
}

// Contents returns all bytes that a repository keeps, its objects unpacked,
// those included that no ref leads to. dir is a bare repository, or the .git
// folder of another. Hooks are left out: they are the test's own.
func Contents(dir string) ([]byte, error) {
	refs, err := Run(dir, "for-each-ref")
	if err != nil {
		return nil, err
	}
	objects, err := Run(dir, "cat-file", "--batch-all-objects", "--batch")
	if err != nil {
		return nil, err
	}
	all := append([]byte(refs), objects...)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/hooks/") {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	return all, err
}

// Intercept is given each request before git is.
type Intercept func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Server serves the repositories below one folder.
type Server struct {
	URL      string
	Requests atomic.Int64

	server   *http.Server
	token    string
	wrap     atomic.Pointer[Intercept]
	underway sync.WaitGroup
}

// Serve begins to serve on loopback. token is the password of [User]; nobody
// else is let in.
func Serve(root, token string) (*Server, error) {
	path, err := Run("/", "--exec-path")
	if err != nil {
		return nil, err
	}
	path = filepath.Join(path, "git-http-backend")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("git http-backend is not installed: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + l.Addr().String(), token: token}
	git := served(&cgi.Handler{
		Path: path, Root: "/", Dir: root, Stderr: io.Discard, Logger: log.New(io.Discard, "", 0), // clients that go away are what tests are about
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=x", "HOME=/nonexistent",
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C"},
	})
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.underway.Add(1)
		defer s.underway.Done()
		s.Requests.Add(1)
		if wrap := s.wrap.Load(); wrap != nil {
			(*wrap)(w, r, git)
			return
		}
		s.Authenticate(w, r, git)
	})}
	go func() { _ = s.server.Serve(l) }() // until Close
	return s, nil
}

// Close ends the server and all its connections, and waits for what is under
// way: it writes into the repositories.
func (s *Server) Close() {
	_ = s.server.Close()
	s.underway.Wait()
}

// served hands requests to git, each of them whole: CGI has no chunks (RFC 3875
// §4.1.2).
func served(git *cgi.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, "body", http.StatusBadRequest)
				return
			}
			r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
		}
		r.Header.Set("Git-Protocol", r.Header.Get("Git-Protocol"))
		git.ServeHTTP(w, r)
	})
}

// Authenticate passes a request on if it has the token.
func (s *Server) Authenticate(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(User+":"+s.token)) {
		w.Header().Set("WWW-Authenticate", `Basic realm="forge"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	next.ServeHTTP(w, r)
}

// Intercept gives each later request to wrap, which has to authenticate it;
// nil intercepts nothing.
func (s *Server) Intercept(wrap Intercept) {
	if wrap == nil {
		s.wrap.Store(nil)
		return
	}
	s.wrap.Store(&wrap)
}
