//go:build e2e

package git_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/e2e/forge"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/store/git"
)

const ownRef = "refs/evergrant/acme+main"

// later is c as the next Swap would write it.
func later(c grant.Credential, writer string) grant.Credential {
	c = c.Clone()
	c.Generation++
	c.Writer = writer
	return c
}

func create(t *testing.T, s *git.Store) (grant.Credential, grant.Version) {
	t.Helper()
	c := granttest.Credential(acme)
	v, err := s.Swap(t.Context(), acme, "", c)
	must(t, err)
	return c, v
}

// says expects an error of a kind that names the thing to do, on one line.
func says(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), token) {
		t.Errorf("error %v, want %v with %q", err, kind, text)
	}
}

// denied expects a refusal to be asked, which says nothing of the record.
func denied(t *testing.T, err error, text string) {
	t.Helper()
	says(t, err, grant.ErrDenied, text)
	if errors.Is(err, grant.ErrNotFound) || errors.Is(err, grant.ErrUnreadable) {
		t.Errorf("%v says something of the record", err)
	}
}

// unknown expects an error that promises nothing.
func unknown(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, definite := range []error{grant.ErrConflict, grant.ErrNotWritten, grant.ErrTooLarge, grant.ErrUnreadable, grant.ErrNotFound, grant.ErrDenied} {
		if errors.Is(err, definite) {
			t.Errorf("%v is definite: %v", err, definite)
		}
	}
}

// Whatever is in the ref and was not written by evergrant with the key and for
// this repository is unreadable, and nothing may write over it.
func TestForeignContent(t *testing.T) {
	t.Parallel()
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	key, codec := newKey(t)
	recipient, err := record.Recipient(key)
	must(t, err)
	stranger, err := record.NewCodec(grant.Secret{}, recipient)
	must(t, err)
	_, other := newKey(t)
	plain, err := record.NewCodec(grant.Secret{})
	must(t, err)
	encode := func(c *record.Codec, err error) string {
		must(t, err)
		b, err := c.Encode(granttest.Credential(acme))
		must(t, err)
		return string(b)
	}
	blob := func(text string) string {
		path := filepath.Join(t.TempDir(), "blob")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return sh(t, dir, "hash-object", "-w", path)
	}
	commit := func(name, text string) string {
		sh(t, dir, "update-index", "--add", "--cacheinfo", "100644,"+blob(text)+","+name)
		defer sh(t, dir, "read-tree", "--empty")
		return sh(t, dir, "commit-tree", "-m", "x", sh(t, dir, "write-tree"))
	}
	main := sh(t, dir, "rev-parse", "refs/heads/main")
	sh(t, dir, "tag", "-a", "-m", "x", "v1", main)
	s := open(t, git.Config{Remote: remote(t, dir), Codec: codec})
	for name, tt := range map[string]struct{ oid, says string }{
		"a commit of a project":  {main, "evergrant did not write"},
		"a tag":                  {sh(t, dir, "rev-parse", "v1"), "evergrant did not write"},
		"a blob":                 {blob("x"), "evergrant did not write"},
		"another file":           {commit("README", "x"), "evergrant did not write"},
		"an endless record":      {commit("record.json", strings.Repeat("x", 3<<20)), "evergrant did not write"},
		"a record that is large": {commit("record.json", strings.Repeat("x", git.MaxRecord+1)), "evergrant did not write"},
		"no JSON":                {commit("record.json", "x"), "not one whole JSON object"},
		"not sealed":             {commit("record.json", encode(plain, nil)), "not sealed"},
		"sealed by a stranger":   {commit("record.json", encode(stranger, nil)), "nothing proves who wrote it"},
		"of another repository":  {commit("record.json", encode(codec.Authenticated("forge.example/acme/fork"))), "?was="},
		"of another key":         {commit("record.json", encode(other.Authenticated(remote(t, dir).Place()))), "sealed to another key"},
	} {
		sh(t, dir, "update-ref", ownRef, tt.oid)
		_, _, err := s.Load(t.Context(), acme)
		says(t, err, grant.ErrUnreadable, tt.says)
		if errors.Is(err, grant.ErrNotFound) {
			t.Errorf("%s: taken for absent", name)
		}
		_, err = s.Swap(t.Context(), acme, "", granttest.Credential(acme))
		says(t, err, grant.ErrConflict, "")
		if now := sh(t, dir, "rev-parse", ownRef); now != tt.oid {
			t.Errorf("%s was written over", name)
		}
	}
	// The same record is readable where the move is told, and for another grant it is not.
	sh(t, dir, "update-ref", ownRef, commit("record.json", encode(codec.Authenticated("forge.example/acme/fork"))))
	moved := open(t, git.Config{Remote: remote(t, dir), Codec: codec, Former: []git.Remote{remote(t, "git@forge.example:acme/fork.git")}})
	c, v, err := moved.Load(t.Context(), acme)
	must(t, err)
	_, err = moved.Swap(t.Context(), acme, v, later(c, "after the move"))
	must(t, err)
	_, _, err = s.Load(t.Context(), acme)
	must(t, err)
	sh(t, dir, "update-ref", "refs/evergrant/acme+other", sh(t, dir, "rev-parse", ownRef))
	_, _, err = s.Load(t.Context(), "acme/other")
	says(t, err, grant.ErrUnreadable, `belongs to grant "acme/main"`)
}

func TestRolledBackOrDeleted(t *testing.T) {
	t.Parallel()
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	_, codec := newKey(t)
	now := time.Now()
	s := open(t, git.Config{Remote: remote(t, dir), Codec: codec, Now: func() time.Time { return now }})
	c, first := create(t, s)
	v, err := s.Swap(t.Context(), acme, first, later(c, "w2"))
	must(t, err)
	sh(t, dir, "update-ref", ownRef, string(first))
	_, _, err = s.Load(t.Context(), acme)
	unknown(t, err) // a moment later it may be a copy that lags
	now = now.Add(time.Minute)
	_, _, err = s.Load(t.Context(), acme)
	says(t, err, grant.ErrUnreadable, "rolled it back")
	// A Swap on what was rolled back writes nothing.
	_, err = s.Swap(t.Context(), acme, v, later(c, "w3"))
	says(t, err, grant.ErrConflict, "")
	sh(t, dir, "update-ref", "-d", ownRef)
	_, _, err = s.Load(t.Context(), acme)
	says(t, err, grant.ErrNotFound, "")
	_, err = s.Swap(t.Context(), acme, v, later(c, "w3"))
	says(t, err, grant.ErrConflict, "")
}

// However often a record changes, its commit has no history, and nothing else
// in the repository has moved.
func TestNoHistory(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"sha1", "sha256"} {
		dir := bare(t, filepath.Join(t.TempDir(), "store.git"), "--object-format="+format)
		before := sh(t, dir, "for-each-ref")
		_, codec := newKey(t)
		s := open(t, git.Config{Remote: remote(t, dir), Codec: codec})
		c, v := create(t, s)
		for i := range 3 {
			c = later(c, fmt.Sprint("w", i))
			var err error
			v, err = s.Swap(t.Context(), acme, v, c)
			must(t, err)
		}
		got, gotV, err := open(t, git.Config{Remote: remote(t, dir), Codec: codec}).Load(t.Context(), acme)
		if d := granttest.Diff(got, c); err != nil || gotV != v || d != "" {
			t.Errorf("%s: %v, version %s, want %s; %s", format, err, gotV, v, d)
		}
		if n := sh(t, dir, "rev-list", "--count", ownRef); n != "1" {
			t.Errorf("%s: the record has a history of %s commits", format, n)
		}
		if who := sh(t, dir, "log", "-1", "--format=%an/%cn/%s", ownRef); !strings.HasPrefix(who, "evergrant/evergrant/") || !strings.Contains(who, "[skip ci]") {
			t.Errorf("%s: the commit is %q", format, who)
		}
		if after := sh(t, dir, "for-each-ref"); !strings.HasPrefix(after, string(v)) || !strings.HasSuffix(after, before) {
			t.Errorf("%s: refs were\n%s\nand are\n%s", format, before, after)
		}
		sh(t, dir, "fsck", "--strict", "--no-dangling")
	}
}

// TestFormatWithoutHEAD: the object format is told by any ref, since HEAD may name a
// branch that does not exist.
func TestFormatWithoutHEAD(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]int{"some refs": 1, "more refs than are listed": 30_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := bare(t, filepath.Join(t.TempDir(), "store.git"), "--object-format=sha256")
			main := sh(t, dir, "rev-parse", "refs/heads/main")
			var packed strings.Builder
			packed.WriteString("# pack-refs with: sorted \n")
			for i := range more {
				fmt.Fprintf(&packed, "%s refs/tags/%06d\n", main, i)
			}
			must(t, os.WriteFile(filepath.Join(dir, "packed-refs"), []byte(packed.String()), 0o600))
			sh(t, dir, "symbolic-ref", "HEAD", "refs/heads/none")
			_, codec := newKey(t)
			s := open(t, git.Config{Remote: remote(t, dir), Codec: codec})
			must(t, s.Prove(t.Context(), acme))
			c, v := create(t, s)
			if len(v) != len(main) {
				t.Errorf("the record is %s in a repository with %s", v, main)
			}
			must(t, s.Prove(t.Context(), acme))
			_, err := s.Swap(t.Context(), acme, v, later(c, "w2"))
			must(t, err)
		})
	}
}

// hook makes the remote decide about each push by a shell script.
func hook(t *testing.T, dir, script string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "hooks", "pre-receive"), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	at := func(ref string) (string, *git.Store) {
		dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
		return dir, open(t, git.Config{Remote: remote(t, dir), Codec: codec, Ref: ref})
	}
	t.Run("every ref is refused", func(t *testing.T) {
		t.Parallel()
		dir, s := at("")
		hook(t, dir, "exit 1")
		_, err := s.Swap(t.Context(), acme, "", granttest.Credential(acme))
		says(t, err, grant.ErrNotWritten, "refs/heads/evergrant/acme+main (pre-receive hook declined)")
		says(t, err, grant.ErrNotWritten, "name another ref")
	})
	t.Run("a fallback stays", func(t *testing.T) {
		t.Parallel()
		dir, s := at("")
		hook(t, dir, "grep -q refs/heads/")
		c, v := create(t, s)
		must(t, os.Remove(filepath.Join(dir, "hooks", "pre-receive")))
		// The rule has gone; the record stays where it is.
		_, err := s.Swap(t.Context(), acme, "", later(c, "w2"))
		says(t, err, grant.ErrConflict, "")
		_, err = s.Swap(t.Context(), acme, v, later(c, "w3"))
		must(t, err)
		if refs := sh(t, dir, "for-each-ref", "--format=%(refname)"); refs != "refs/heads/evergrant/acme+main\nrefs/heads/main" {
			t.Errorf("refs are %q", refs)
		}
	})
	t.Run("a disk that takes nothing", func(t *testing.T) {
		t.Parallel()
		dir, s := at("")
		// Where folders are needed there are files: even root can make none.
		objects := filepath.Join(dir, "objects")
		must(t, os.Rename(objects, objects+".away"))
		must(t, os.MkdirAll(filepath.Join(objects, "info"), 0o700))
		must(t, os.WriteFile(filepath.Join(objects, "info", "alternates"), []byte(objects+".away\n"), 0o600))
		must(t, os.WriteFile(filepath.Join(objects, "pack"), nil, 0o600))
		for i := range 256 {
			must(t, os.WriteFile(filepath.Join(objects, fmt.Sprintf("%02x", i)), nil, 0o600))
		}
		_, err := s.Swap(t.Context(), acme, "", granttest.Credential(acme))
		says(t, err, grant.ErrNotWritten, "its disk may be full")
		if refs := sh(t, dir, "for-each-ref", "--format=%(refname)"); refs != "refs/heads/main" {
			t.Errorf("it was taken for a rule, and a branch was tried: refs are %q", refs)
		}
	})
	for name, when := range map[string]string{"before": "pre-receive", "after": "post-receive"} {
		t.Run("killed "+name+" it has written", func(t *testing.T) {
			t.Parallel()
			dir, s := at("")
			c, v := create(t, s)
			killer := filepath.Join(dir, "hooks", when)
			must(t, os.WriteFile(killer, []byte("#!/bin/sh\nkill -9 $PPID\n"), 0o700))
			_, err := s.Swap(t.Context(), acme, v, later(c, "mine"))
			unknown(t, err)
			must(t, os.Remove(killer))
			_, err = s.Swap(t.Context(), acme, v, later(c, "mine"))
			if written := errors.Is(err, grant.ErrConflict); written != (name == "after") || !written && err != nil {
				t.Errorf("repeated: %v", err)
			}
			got, _, err := s.Load(t.Context(), acme)
			if must(t, err); got.Writer != "mine" {
				t.Errorf("the record is by %q", got.Writer)
			}
		})
	}
	t.Run("two records", func(t *testing.T) {
		t.Parallel()
		dir, s := at("")
		_, v := create(t, s)
		sh(t, dir, "update-ref", "refs/heads/evergrant/acme+main", string(v))
		_, _, err := s.Load(t.Context(), acme)
		says(t, err, grant.ErrUnreadable, "both of its refs")
	})
	t.Run("a protected branch", func(t *testing.T) {
		t.Parallel()
		dir, s := at("refs/heads/state/")
		c, v := create(t, s)
		sh(t, dir, "config", "receive.denyNonFastForwards", "true")
		_, err := s.Swap(t.Context(), acme, v, later(c, "w2"))
		says(t, err, grant.ErrNotWritten, "refs/heads/state/acme+main (non-fast-forward); allow forced updates")
	})
	t.Run("hidden from pushes", func(t *testing.T) {
		t.Parallel()
		dir, s := at(ownRef)
		c, v := create(t, s)
		sh(t, dir, "config", "receive.hideRefs", "refs/evergrant")
		_, err := s.Swap(t.Context(), acme, v, later(c, "w2"))
		says(t, err, grant.ErrConflict, "")
		_, err = s.Swap(t.Context(), acme, v, later(c, "w2"))
		says(t, err, grant.ErrNotWritten, "receive.hideRefs")
	})
	t.Run("one ref for one grant", func(t *testing.T) {
		t.Parallel()
		_, s := at("refs/heads/state")
		create(t, s)
		_, _, err := s.Load(t.Context(), "acme/other")
		says(t, err, grant.ErrUnreadable, `belongs to grant "acme/main"`)
		for id, err := range s.List(t.Context()) {
			if must(t, err); id != acme {
				t.Errorf("List gave %q", id)
			}
		}
	})
}

// A git that is killed at the wrong moment leaves the lock of the ref behind, and
// git never removes it. At a path it is removed once nobody can hold it any
// more; elsewhere that is the server's affair.
func TestLockLeftBehind(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	for name, c := range map[string]struct {
		age       time.Duration
		http      bool
		workspace bool // a repository with a work tree
		broken    bool
		says      string
	}{
		"fresh":               {age: 9 * time.Minute, says: "removes that comes ten minutes after it"},
		"old":                 {age: 11 * time.Minute, broken: true},
		"old, in a work tree": {age: 11 * time.Minute, workspace: true, broken: true},
		"old, on a server":    {age: 11 * time.Minute, http: true, says: "whoever runs that server has to remove"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
			at, gitDir := dir, dir
			if c.workspace {
				at = filepath.Join(t.TempDir(), "work")
				gitDir = filepath.Join(at, ".git")
				sh(t, "/", "clone", "--quiet", dir, at)
			}
			config := git.Config{Remote: remote(t, at), Codec: codec}
			if c.http {
				config.Remote, config.Credential = remote(t, forge.New(t, filepath.Dir(dir), token).URL+"/store.git"), credential()
			}
			s := open(t, config)
			first, v := create(t, s)
			lock := filepath.Join(gitDir, ownRef+".lock")
			must(t, os.WriteFile(lock, nil, 0o600))
			then := time.Now().Add(-c.age)
			must(t, os.Chtimes(lock, then, then))
			_, err := s.Swap(t.Context(), acme, v, later(first, "w2"))
			if c.broken {
				must(t, err)
			} else {
				says(t, err, grant.ErrNotWritten, "a lock file was left behind")
				says(t, err, grant.ErrNotWritten, c.says)
			}
			if _, err := os.Lstat(lock); (err == nil) == c.broken {
				t.Errorf("the lock: %v", err)
			}
			if left, err := filepath.Glob(filepath.Join(gitDir, "evergrant-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

// TestLockBrokenOnce: of many writers that find an old lock, one wins.
func TestLockBrokenOnce(t *testing.T) {
	t.Parallel()
	dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
	_, codec := newKey(t)
	config := git.Config{Remote: remote(t, dir), Codec: codec}
	first, v := create(t, open(t, config))
	for round := range 3 {
		lock := filepath.Join(dir, ownRef+".lock")
		must(t, os.WriteFile(lock, nil, 0o600))
		then := time.Now().Add(-time.Hour)
		must(t, os.Chtimes(lock, then, then))
		errs, versions := make([]error, 8), make([]grant.Version, 8)
		var all sync.WaitGroup
		for i := range errs {
			s := open(t, config)
			all.Go(func() { versions[i], errs[i] = s.Swap(t.Context(), acme, v, later(first, fmt.Sprint("w", i))) })
		}
		all.Wait()
		var winner grant.Version
		for i, err := range errs {
			switch {
			case err == nil && winner == "":
				winner = versions[i]
			case !errors.Is(err, grant.ErrConflict):
				t.Errorf("round %d, writer %d: %v", round, i, err)
			}
		}
		c, now, err := open(t, config).Load(t.Context(), acme)
		must(t, err)
		if now != winner {
			t.Fatalf("round %d: the ref is at %s, and %q won", round, now, winner)
		}
		first, v = c, now
	}
}

func TestNoRemote(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	s := open(t, git.Config{Remote: remote(t, filepath.Join(t.TempDir(), "none.git")), Codec: codec})
	_, _, err := s.Load(t.Context(), acme)
	denied(t, err, "git init --bare")
	_, err = s.Swap(t.Context(), acme, "", granttest.Credential(acme))
	says(t, err, grant.ErrNotWritten, "git init --bare")
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	_, codec := newKey(t)
	at := func(t *testing.T, c git.Credential) (*forge.Server, *git.Store) {
		dir := bare(t, filepath.Join(t.TempDir(), "store.git"))
		f := forge.New(t, filepath.Dir(dir), token)
		return f, open(t, git.Config{Remote: remote(t, f.URL+"/store.git"), Codec: codec, Credential: c, Timeout: 20 * time.Second})
	}
	for name, c := range map[string]git.Credential{"no token": {}, "wrong token": {User: "x-access-token", Password: grant.NewSecret("wrong")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s := at(t, c)
			_, _, err := s.Load(t.Context(), acme)
			denied(t, err, "--git-token-env")
			_, err = s.Swap(t.Context(), acme, "", granttest.Credential(acme))
			says(t, err, grant.ErrNotWritten, "--git-token-env")
		})
	}
	t.Run("a token that may only read", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		c, v := create(t, s)
		f.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.String(), "git-receive-pack") {
				http.Error(w, "denied", http.StatusForbidden)
				return
			}
			f.Authenticate(w, r, next)
		})
		_, _, err := s.Load(t.Context(), acme)
		must(t, err)
		_, err = s.Swap(t.Context(), acme, v, later(c, "w2"))
		says(t, err, grant.ErrNotWritten, "contents: write")
		_, err = s.Swap(t.Context(), "acme/new", "", granttest.Credential("acme/new"))
		says(t, err, grant.ErrNotWritten, "contents: write")
	})
	t.Run("moved", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		var elsewhere atomic.Int64
		f.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.HasPrefix(r.URL.Path, "/elsewhere") {
				elsewhere.Add(1)
			}
			http.Redirect(w, r, "/elsewhere"+r.URL.String(), http.StatusMovedPermanently)
		})
		_, err := s.Swap(t.Context(), acme, "", granttest.Credential(acme))
		says(t, err, grant.ErrNotWritten, "?was=")
		if elsewhere.Load() > 0 {
			t.Error("a redirect was followed, with the token")
		}
	})
	t.Run("the reply is lost", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		c, v := create(t, s)
		f.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "git-receive-pack") {
				f.Authenticate(&mute{header: http.Header{}}, r, next)
				panic(http.ErrAbortHandler)
			}
			f.Authenticate(w, r, next)
		})
		mine := later(c, "mine")
		_, err := s.Swap(t.Context(), acme, v, mine)
		unknown(t, err)
		f.Intercept(nil)
		_, err = s.Swap(t.Context(), acme, v, mine)
		says(t, err, grant.ErrConflict, "")
		got, _, err := s.Load(t.Context(), acme)
		if must(t, err); got.Writer != "mine" {
			t.Errorf("the record is by %q", got.Writer)
		}
	})
	t.Run("the request is lost", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		c, v := create(t, s)
		f.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "git-receive-pack") {
				panic(http.ErrAbortHandler)
			}
			f.Authenticate(w, r, next)
		})
		mine := later(c, "mine")
		_, err := s.Swap(t.Context(), acme, v, mine)
		unknown(t, err)
		f.Intercept(nil)
		_, err = s.Swap(t.Context(), acme, v, mine)
		must(t, err)
	})
	for name, landed := range map[string]bool{"a reason that nobody knows": false, "a reason that nobody knows, and a push that landed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, s := at(t, credential())
			failed := atomic.Bool{}
			f.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "git-receive-pack") || failed.Swap(true) {
					f.Authenticate(w, r, next)
					return
				}
				if landed {
					f.Authenticate(&mute{header: http.Header{}}, r, next)
				}
				w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
				report := packet("unpack ok\n") + packet("ng "+ownRef+" Internal Server Error\n") + "0000"
				_, _ = w.Write([]byte(packet("\x01"+report) + "0000"))
			})
			mine := granttest.Credential(acme)
			_, err := s.Swap(t.Context(), acme, "", mine)
			unknown(t, err)
			if !strings.Contains(err.Error(), "(Internal Server Error)") {
				t.Errorf("%v does not say what the remote answered", err)
			}
			_, err = s.Swap(t.Context(), acme, "", mine)
			if conflict := errors.Is(err, grant.ErrConflict); conflict != landed || !landed && err != nil {
				t.Errorf("repeated: %v", err)
			}
			got, v, err := s.Load(t.Context(), acme)
			if must(t, err); got.Writer != mine.Writer || strings.HasSuffix(string(v), "/branch") {
				t.Errorf("version %s is by %q, want mine in the own ref", v, got.Writer)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		c, v := create(t, s)
		f.Close()
		_, _, err := s.Load(t.Context(), acme)
		unknown(t, err)
		_, err = s.Swap(t.Context(), acme, v, later(c, "w2"))
		unknown(t, err) // an outage: trying again is right
		_, err = s.Swap(t.Context(), "acme/new", "", granttest.Credential("acme/new"))
		unknown(t, err)
	})
	t.Run("a hung forge and a caller who gives up", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		c, v := create(t, s)
		asked, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		f.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "git-receive-pack") {
				cancel()
				<-release
			}
			f.Authenticate(w, r, next)
		})
		_, err := s.Swap(asked, acme, v, later(c, "w2"))
		close(release)
		unknown(t, err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the caller's cancellation", err)
		}
	})
	t.Run("a poll costs one question", func(t *testing.T) {
		t.Parallel()
		f, s := at(t, credential())
		create(t, s)
		before := f.Requests.Load()
		for range 3 {
			_, _, err := s.Load(t.Context(), acme)
			must(t, err)
		}
		if n := f.Requests.Load() - before; n > 6 {
			t.Errorf("three Loads of an unchanged record took %d requests, want two each", n)
		}
	})
}

// packet is a line of gitprotocol-common(5), "pkt-line Format".
func packet(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// mute swallows a reply.
type mute struct{ header http.Header }

func (m *mute) Header() http.Header         { return m.header }
func (m *mute) Write(p []byte) (int, error) { return len(p), nil }
func (m *mute) WriteHeader(int)             {}
