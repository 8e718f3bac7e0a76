package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// examined is what a script reads of doctor's report.
type examined struct {
	Findings []struct{ Check, Class, What, Why, Fix string }
}

func examinedIn(ts *testscript.TestScript, file string) (e examined) {
	if err := json.Unmarshal([]byte(ts.ReadFile(file)), &e); err != nil {
		ts.Fatalf("the report of doctor: %v\n%s", err, ts.ReadFile(file))
	}
	return e
}

// cmdMends is "mends CODE CHECK ARG...": doctor ends with that code and has the
// finding CHECK, and only that one besides notes and, where it is written
// CHECK+OTHER, those others, which may stay. Then its fix runs in a shell, as it
// is printed, with ANSWER for a person who types; and doctor has nothing to say
// any more. A fix that is itself a call of doctor is that last look; where a fix
// starts a job somewhere else, what stands for that place leaves the look of the
// job in mended.json, and its code in mended.
func cmdMends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mends CODE CHECK ARG...")
	}
	call := append([]string{"doctor"}, args[2:]...)
	cmdEvergrant(ts, false, append([]string{args[0], "doctor", "--json"}, args[2:]...))
	check, others, _ := strings.Cut(args[1], "+")
	may := func(name, class string) bool {
		return class == "note" && name != check || slices.Contains(strings.Split(others, "+"), name)
	}
	fix := ""
	for _, f := range examinedIn(ts, "stdout").Findings {
		switch {
		case f.Check == check && fix == "":
			fix = f.Fix
		case !may(f.Check, f.Class):
			ts.Fatalf("a finding that nobody provoked: %+v", f)
		}
		if f.What == "" || f.Why == "" || f.Fix == "" || strings.ContainsAny(f.What+f.Why+f.Fix, "\n") {
			ts.Fatalf("a finding without a part, or in more than a line: %+v", f)
		}
	}
	if fix == "" {
		ts.Fatalf("there is no finding %s", check)
	}
	cmdEvergrant(ts, false, append([]string{args[0]}, call...))
	if !strings.Contains(ts.ReadFile("stdout"), "fix  "+fix+"\n") {
		ts.Fatalf("the fix is printed in another way:\n%s", fix)
	}
	script := "{ " + fix + "\n} >mend.log 2>&1; test -e mended || { evergrant doctor --json \"$@\" >mended.json; echo $? >mended; }"
	if i := strings.LastIndex(fix, "evergrant doctor"); i >= 0 {
		script = fix + " --json >mended.json 2>mend.log; echo $? >mended"
	}
	ts.Check(os.WriteFile(ts.MkAbs("mend.sh"), []byte(script+"\n"), 0o600))
	typed := "printf '%s\\n' \"$ANSWER\" | sh mend.sh \"$@\""
	ts.Check(ts.Exec("sh", append([]string{"-c", typed, "sh"}, args[2:]...)...))
	defer func() {
		for _, f := range []string{"mend.sh", "mend.log", "mended", "mended.json"} {
			ts.Check(os.Remove(ts.MkAbs(f)))
		}
	}()
	for _, f := range examinedIn(ts, "mended.json").Findings {
		if !may(f.Check, f.Class) {
			ts.Fatalf("after %s\n%s\nthere still is %+v", fix, ts.ReadFile("mend.log"), f)
		}
	}
	if code := strings.TrimSpace(ts.ReadFile("mended")); code != "0" && others == "" {
		ts.Fatalf("after %s\nthe code is %s", fix, code)
	}
}

// odd is an HTTP server for doctor whose ways a script changes; and a forge, with
// git's own server behind a password, at /acme/.
type odd struct {
	mu    sync.Mutex
	way   string // of the token endpoint
	left  int    // answers in that way; then it is a right one
	root  string
	token string // that may write

	workflow string // a job's token may do what this file says; "": there is no job
	job      string // that token
	gitea    string // a token that may write secrets
}

type oddKey struct{}

// cmdOdd is "odd start VAR", "odd WAY [N]", "odd forge", "odd job FILE VAR" or "odd
// gitea VAR": an issuer with a token endpoint at /token that answers N times (or
// always) in a way: right, html, filter, broken, busy, hang, later, missing, moved,
// silent, late or early; a forge with the repository acme/grants, where a job has the
// token in VAR, which may write it if its workflow FILE says so; and Gitea's secrets
// of acme/widgets, which the token in VAR may write.
func cmdOdd(ts *testscript.TestScript, neg bool, args []string) {
	held := ts.Value(oddKey{}).(**odd)
	switch args[0] {
	case "start":
		o := &odd{way: "right", root: ts.MkAbs("forge")}
		*held = o
		srv := httptest.NewServer(o)
		ts.Defer(srv.Close)
		ts.Setenv(args[1], srv.URL)
		return
	case "forge":
		(*held).forge(ts)
		return
	case "job":
		(*held).workflow, (*held).job = ts.MkAbs(args[1]), oddToken(ts, args[2], "ghs_canary-job-5b1f0c9e77")
		return
	case "gitea":
		(*held).gitea = oddToken(ts, args[1], "canary-gitea-5b1f0c9e77")
		return
	}
	o := *held
	o.mu.Lock()
	defer o.mu.Unlock()
	o.way, o.left = args[0], -1
	if len(args) > 1 {
		_, err := fmt.Sscan(args[1], &o.left)
		ts.Check(err)
	}
}

func (o *odd) forge(ts *testscript.TestScript) {
	dir := filepath.Join(o.root, "acme", "grants.git")
	for _, args := range [][]string{{"init", "-q", "--bare", dir}, {"-C", dir, "config", "http.receivepack", "true"}} {
		ts.Check(ts.Exec("git", args...))
	}
	o.token = oddToken(ts, "FORGE_TOKEN", "canary-forge-5b1f0c9e77")
}

// oddToken puts a token into a variable. It is one of the script's secrets.
func oddToken(ts *testscript.TestScript, variable, token string) string {
	ts.Setenv(variable, token)
	w := worldOf(ts)
	w.secrets = append(w.secrets, token)
	return token
}

func (o *odd) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.left == 0:
		return "right"
	case o.left > 0:
		o.left--
	}
	return o.way
}

func (o *odd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/acme/") {
		o.serveGit(w, r)
		return
	}
	way := o.take()
	if off := map[string]time.Duration{"late": -time.Hour, "early": time.Hour}[way]; off != 0 {
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
	}
	switch {
	case way == "right" && strings.HasPrefix(r.URL.Path, "/api/v1/repos/acme/widgets/actions/secrets"):
		o.serveGitea(w, r)
		return
	case way == "right" && r.URL.Path == "/.well-known/openid-configuration":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":"http://%[1]s","token_endpoint":"http://%[1]s/token"}`, r.Host)
		return
	case way == "missing", r.URL.Path != "/token" && (way == "right" || way == "late" || way == "early"):
		http.Error(w, "nothing here", http.StatusNotFound)
		return
	case way == "html":
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintln(w, "<html>Just a moment…</html>")
		return
	case way == "filter":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintln(w, "error code: 1020")
		return
	case way == "broken":
		http.Error(w, "something went wrong", http.StatusInternalServerError)
		return
	case way == "busy":
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case way == "hang":
		<-r.Context().Done()
		return
	case way == "later":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case way == "moved":
		http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
		return
	case way == "silent":
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = c.Close()
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintln(w, `{"error":"invalid_request"}`)
}

// serveGitea answers as Gitea 1.26.0 was seen to: 403 to who may not write.
func (o *odd) serveGitea(w http.ResponseWriter, r *http.Request) {
	switch r.Header.Get("Authorization") {
	case "token " + o.gitea:
		fmt.Fprintln(w, `[]`)
	case "token reader":
		w.WriteHeader(http.StatusForbidden)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// mayWrite reports whether a token may write the forge's repository.
func (o *odd) mayWrite(token string) bool {
	if o.workflow == "" || token != o.job {
		return token == o.token
	}
	b, err := os.ReadFile(o.workflow)
	return err == nil && strings.Contains(string(b), "contents: write")
}

// serveGit lets everybody read and who has the token write, as a job's token without
// contents: write may not.
func (o *odd) serveGit(w http.ResponseWriter, r *http.Request) {
	_, password, _ := r.BasicAuth()
	writes := strings.Contains(r.URL.RawQuery, "git-receive-pack") || strings.HasSuffix(r.URL.Path, "git-receive-pack")
	if writes && !o.mayWrite(password) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	git, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(git)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + o.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=x"}}
	h.ServeHTTP(w, r)
}

// cmdFindings is "findings FILE CHECK...": exactly these are in a report.
func cmdFindings(ts *testscript.TestScript, neg bool, args []string) {
	var have []string
	for _, f := range examinedIn(ts, args[0]).Findings {
		have = append(have, f.Check)
	}
	if !slices.Equal(have, args[1:]) {
		ts.Fatalf("the findings are %v, want %v", have, args[1:])
	}
}
