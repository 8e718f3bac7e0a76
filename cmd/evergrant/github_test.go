package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/githubapi/double"
)

// githubToken is what the double of GitHub takes. It is one of the script's
// secrets.
const githubToken = "github_pat_canary-9f21c07e"

type githubKey struct{}

func githubOf(ts *testscript.TestScript) *double.Server {
	held := ts.Value(githubKey{}).(**double.Server)
	if *held == nil {
		ts.Fatalf("github start comes first")
	}
	return *held
}

// setUpGitHub gives a script room for a double of GitHub.
func setUpGitHub(env *testscript.Env) { env.Values[githubKey{}] = new(*double.Server) }

// cmdGitHub is "github WHAT ARG...", a double of GitHub with the repository
// acme/widgets and its environment prod:
//
//	start                   runs it; GITHUB_API_URL and EVERGRANT_GITHUB_TOKEN name it
//	token VAR KIND          a further token in VAR: write, read, unseeing, job or unsigned
//	issuer VAR KIND         a token in VAR that reads issues, or may write them
//	issue [STATE TITLE]     the repository has this one issue, or none
//	queue VAR NAME [PLACE]  VAR gets what the secret holds now, as a job's variable does
//	set NAME VALUE          a person writes a secret
//	remove NAME             a person deletes it
//	holds NAME FILE         the secret is exactly what the file has
//	names NAME...           these are the secrets of the repository
//	fault SETTING...        as method=PUT name=STATE status=500 times=1 skip=1 retry-after=60
//	pass DURATION           GitHub's clock moves on
//	mend                    no fault any more
//	written N|+             so many writes, or some, were acted upon since the last written
//	right                   nothing that GitHub's description does not allow has come by
func cmdGitHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: github WHAT ARG...")
	}
	if args[0] == "start" {
		startGitHub(ts)
		return
	}
	g := githubOf(ts)
	switch args[0] {
	case "token":
		token := "ghs_canary-" + args[2] + "-9f21c07e"
		ts.Setenv(args[1], token)
		w := worldOf(ts)
		w.secrets = append(w.secrets, token)
		g.Allow(token, map[string]double.Access{"write": double.Write, "read": double.Read, "unseeing": double.Unseeing,
			"job": double.Job, "unsigned": double.Unsigned}[args[2]])
	case "issuer":
		token := "ghs_canary-issues-" + args[2] + "-9f21c07e"
		ts.Setenv(args[1], token)
		worldOf(ts).secrets = append(worldOf(ts).secrets, token)
		g.AllowIssues(token, args[2] == "write")
	case "issue":
		checkIssue(ts, g, args[1:])
	case "queue":
		value, _ := g.Value(placeOf(args[3:]), args[2])
		ts.Setenv(args[1], value)
	case "set":
		ts.Check(g.Set("acme/widgets", args[1], args[2]))
	case "remove":
		g.Remove("acme/widgets", args[1])
	case "holds":
		b, err := os.ReadFile(ts.MkAbs(args[2]))
		ts.Check(err)
		if value, ok := g.Value("acme/widgets", args[1]); !ok || value != string(b) {
			ts.Fatalf("the secret %s is there: %v, and not what %s has", args[1], ok, args[2])
		}
	case "names":
		if got := g.Names("acme/widgets"); strings.Join(got, " ") != strings.Join(args[1:], " ") {
			ts.Fatalf("the secrets are %v, want %v", got, args[1:])
		}
	case "fault":
		g.Fail(faultOf(ts, args[1:]))
	case "pass":
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		g.Pass(d)
	case "mend":
		g.Mend()
	case "written":
		checkWritten(ts, g, args[1])
	case "right":
		for _, v := range g.Violations() {
			ts.Fatalf("GitHub's description: %s", v)
		}
	default:
		ts.Fatalf("github %s is unknown", args[0])
	}
}

func startGitHub(ts *testscript.TestScript) {
	g, err := double.New(double.Config{})
	ts.Check(err)
	ts.Check(g.AddRepository("acme/widgets", "prod"))
	g.Allow(githubToken, double.Write)
	*ts.Value(githubKey{}).(**double.Server) = g
	w := worldOf(ts)
	w.secrets = append(w.secrets, githubToken)
	ts.Setenv("GITHUB_API_URL", g.URL)
	ts.Setenv("EVERGRANT_GITHUB_TOKEN", githubToken)
	ts.Defer(func() { ts.Check(g.Close()) })
}

func placeOf(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "acme/widgets"
}

func faultOf(ts *testscript.TestScript, settings []string) double.Fault {
	f := double.Fault{Header: map[string]string{}}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		n, err := strconv.Atoi(value)
		switch name {
		case "method":
			f.Method = value
		case "name":
			f.Name = value
		case "message":
			f.Message = value
		case "retry-after":
			f.Header["Retry-After"] = value
		case "status":
			ts.Check(err)
			f.Status = n
		case "times":
			ts.Check(err)
			f.Times = n
		case "skip":
			ts.Check(err)
			f.Skip = n
		default:
			ts.Fatalf("a fault has no %s", name)
		}
	}
	return f
}

// checkWritten counts the writes of all secrets but the one that proves access.
func checkWritten(ts *testscript.TestScript, g *double.Server, want string) {
	w, n := worldOf(ts), 0
	for _, r := range g.Requests() {
		if r.Method == "PUT" && (r.Status == 201 || r.Status == 204) && !strings.HasSuffix(r.Path, "_EVERGRANT_PROBE") {
			n++
		}
	}
	if made := n - w.written; strconv.Itoa(made) != want && (want != "+" || made == 0) {
		ts.Fatalf("%d writes, want %s", n-w.written, want)
	}
	w.written = n
}
