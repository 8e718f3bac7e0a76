// Package sink turns a sink URL into the sink that it names.
package sink

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/sink/dotenv"
	"evergrant/internal/sink/file"
	"evergrant/internal/sink/githubenv"
	"evergrant/internal/sink/githuboutput"
	"evergrant/internal/sink/stdout"
	"evergrant/internal/workflow"
)

// Schemes are the sinks that this version has, as their URLs are written.
const Schemes = "stdout:, file:PATH, dotenv:PATH#NAME, github-env:NAME, github-output:NAME"

// Deps are what sinks need from the process.
type Deps struct {
	Stdout io.Writer
	Getenv func(string) string
	// Mask hides values in a job's log; all sinks of one process share it.
	Mask *workflow.Masker
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
	case "ghsecret", "claude-file":
		return nil, fmt.Errorf("not built yet in this version; there are %s", Schemes)
	}
	return nil, fmt.Errorf("%w; there are %s", errNoSink, Schemes)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
