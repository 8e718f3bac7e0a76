// Package sink turns a sink URL into the sink that it names.
package sink

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/sink/claudefile"
	"evergrant/internal/sink/codexfile"
	"evergrant/internal/sink/dotenv"
	"evergrant/internal/sink/file"
	"evergrant/internal/sink/ghsecret"
	"evergrant/internal/sink/giteasecret"
	"evergrant/internal/sink/githubenv"
	"evergrant/internal/sink/githuboutput"
	"evergrant/internal/sink/stdout"
	"evergrant/internal/workflow"
)

// Schemes are the sinks that this version has, as their URLs are written.
const Schemes = "stdout:, file:PATH, dotenv:PATH#NAME, github-env:NAME, github-output:NAME, ghsecret:OWNER/REPO/NAME, gitea-secret:OWNER/REPO/NAME, claude-file:PATH, codex-file:PATH"

// Deps are what sinks need from the process.
type Deps struct {
	Stdout io.Writer
	Getenv func(string) string
	// Mask hides values in a job's log; all sinks of one process share it.
	Mask *workflow.Masker
	// GitHub returns a client of the API at that address; its error is one line
	// for a user. Nil: there are no GitHub secrets.
	GitHub func(api string) (*githubapi.Client, error)
	// Gitea returns who writes secrets of Gitea; its error is one line for a user.
	// Nil: there are none.
	Gitea func() (giteasecret.Access, error)
	// SpeedUp divides how long a delivery is repeated, for demonstrations and tests;
	// 0 is 1.
	SpeedUp int
	// Store is the place of the store: the secret that holds the record, and the
	// one on which write access is proven, are no sinks.
	Store string
}

// Sink is an opened sink with the URL that names it in reports and errors. A sink
// URL has no place for a secret, so what looks like one is taken out of it.
type Sink struct {
	URL string
	grant.Sink
}

// Open opens the sink that url names and checks that it can be written. It
// writes nothing. The error is one line for a user.
func Open(url string, d Deps) (Sink, error) {
	scheme, rest, ok := strings.Cut(url, ":")
	if !ok {
		return Sink{}, fmt.Errorf("a sink is written scheme:rest, and this one has no colon; there are %s", Schemes)
	}
	s, err := open(scheme, rest, d)
	switch {
	case errors.Is(err, errNoSink) && len(scheme) > longestEcho:
		return Sink{}, fmt.Errorf("a sink of a kind that does not exist; there are %s", Schemes)
	case err != nil:
		return Sink{}, fmt.Errorf("sink %s: %w", scheme, err)
	}
	return Sink{redact(url), s}, nil
}

// errNoSink: the scheme means nothing.
var errNoSink = errors.New("there is no such sink")

// longestEcho bounds what is repeated of a word that means nothing here: it may
// be a secret in the wrong place.
const longestEcho = 20

// redact takes user name and password out of whatever in a text is written like
// a web address.
func redact(url string) string {
	return regexp.MustCompile(`//[^/\s]*@`).ReplaceAllString(url, "//…@")
}

func open(scheme, rest string, d Deps) (grant.Sink, error) {
	switch scheme {
	case "stdout":
		if rest != "" {
			return nil, fmt.Errorf("nothing may follow the colon")
		}
		return stdout.New(d.Stdout), nil
	case "file":
		return file.Open(rest)
	case "dotenv":
		path, name, ok := cutLast(rest, "#")
		if !ok {
			return nil, fmt.Errorf("the name of the variable is missing: write dotenv:PATH#NAME")
		}
		return dotenv.Open(path, name)
	case "github-env":
		return githubenv.Open(rest, d.Getenv("GITHUB_ENV"), d.Mask)
	case "github-output":
		return githuboutput.Open(rest, d.Getenv("GITHUB_OUTPUT"), d.Mask)
	case "claude-file":
		return claudefile.Open(rest)
	case "codex-file":
		return codexfile.Open(rest)
	case "ghsecret":
		return openSecret(rest, d)
	case "gitea-secret":
		return openGitea(rest, d)
	}
	return nil, fmt.Errorf("%w; there are %s", errNoSink, Schemes)
}

// openSecret reads OWNER/REPO/NAME[?environment=E][&api=URL].
func openSecret(rest string, d Deps) (grant.Sink, error) {
	of, options, err := githubapi.ParseReference(rest)
	if err != nil {
		return nil, err
	}
	address, named := options["api"]
	delete(options, "api")
	switch {
	case len(options) > 0:
		return nil, errors.New("knows ?environment=NAME and &api=URL, and no other option")
	case d.GitHub == nil:
		return nil, errors.New("there is no GitHub here")
	case !named:
		address = d.Getenv("GITHUB_API_URL")
	}
	if address, err = githubapi.ParseAPI(address); err != nil {
		return nil, err
	}
	switch d.Store {
	case "ghsecret:" + of.Place(address):
		return nil, fmt.Errorf("the secret %s is where the store keeps the record: the access token needs one of its own", of)
	case "":
	default:
		if place, ok := strings.CutPrefix("ghsecret:"+of.Place(address), d.Store); ok && place == githubapi.ProbeSuffix {
			return nil, fmt.Errorf("the secret %s is where the store proves that it can write: the access token needs another", of)
		}
	}
	client, err := d.GitHub(address)
	if err != nil {
		return nil, err
	}
	return ghsecret.Open(of, client, ghsecret.Patience/time.Duration(max(d.SpeedUp, 1))), nil
}

// openGitea reads OWNER/REPO/NAME[?api=URL]. A job of Gitea or Forgejo finds the
// address of its own forge's API where one of GitHub finds GitHub's.
func openGitea(rest string, d Deps) (grant.Sink, error) {
	of, address, err := giteasecret.ParseReference(rest)
	switch {
	case err != nil:
		return nil, err
	case d.Gitea == nil:
		return nil, errors.New("there is no Gitea here")
	case address == "":
		address = d.Getenv("GITHUB_API_URL")
	}
	if address, err = giteasecret.ParseAPI(address); err != nil {
		return nil, err
	}
	access, err := d.Gitea()
	if err != nil {
		return nil, err
	}
	access.Patience = giteasecret.Patience / time.Duration(max(d.SpeedUp, 1))
	return giteasecret.Open(of, address, access)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
