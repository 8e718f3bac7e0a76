// Package sink turns a sink URL into the sink that it names.
package sink

import (
	"fmt"
	"io"
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

// Sink is an opened sink with the URL that names it in reports. Sink URLs hold
// no secret.
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
	if err != nil {
		return Sink{}, fmt.Errorf("sink %s: %w", url, err)
	}
	return Sink{url, s}, nil
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
	return nil, fmt.Errorf("there is no such sink; there are %s", Schemes)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
