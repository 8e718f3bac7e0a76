package store

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/store/git"
)

// parseGit reads [REMOTE][?was=REMOTE][#REF]. Without a remote the location is
// complete only after [Location.In].
func parseGit(rest string) (Location, error) {
	l := Location{scheme: "git"}
	rest, ref, hasRef := strings.Cut(rest, "#")
	var err error
	if hasRef {
		if l.ref, err = git.ParseRef(ref); err != nil {
			return l, fmt.Errorf("store git: %w", err)
		}
	}
	raw, query, _ := strings.Cut(rest, "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return l, errors.New("store git: the part after ? is not made of name=value")
	}
	for name, values := range options {
		if name != "was" || len(values) != 1 {
			return l, errors.New("store git: knows ?was=REMOTE, the address of a repository before it was renamed, and no other option")
		}
		if l.former, err = git.ParseRemote(values[0]); err != nil {
			return l, fmt.Errorf("store git: ?was= is wrong: %w", err)
		}
	}
	if raw == "" {
		return l, nil
	}
	if l.remote, err = git.ParseRemote(raw); err != nil {
		return l, fmt.Errorf("store git: %w", err)
	}
	return l, nil
}

// Surroundings are what a location may take from the process that opens it.
type Surroundings struct {
	Getenv func(name string) string
	// Token is the caller's own token for an https remote, as TOKEN or
	// USER:TOKEN; zero: the job's, where the remote is on the job's forge.
	Token grant.Secret
	// AllowPublic lets a sealed record lie where everybody can read it.
	AllowPublic bool

	// GitHubToken writes a GitHub secret, and Transport reaches GitHub's API.
	GitHubToken grant.Secret
	Transport   http.RoundTripper
	Now         func() time.Time // nil: time.Now
}

// In completes a location by what the environment of a CI job says. An error is
// one line for a user.
func (l Location) In(s Surroundings) (Location, error) {
	switch l.scheme {
	case "git":
	case "ghsecret":
		var err error
		l.secret, err = l.secret.in(s)
		return l, err
	default:
		return l, nil
	}
	repository, err := git.FromCI(s.Getenv)
	if err != nil {
		return l, fmt.Errorf("store git: %w", err)
	}
	switch {
	case l.remote.IsZero() && repository.Remote.IsZero():
		return l, errors.New("store git: names no repository, and this is no CI job whose environment names one; write git:REMOTE, as in git:https://forge.example/owner/name")
	case l.remote.IsZero():
		l.remote = repository.Remote
	}
	if repository.Public && l.remote.Place() == repository.Remote.Place() && !s.AllowPublic {
		return l, fmt.Errorf("store git: %s is public: everybody can read the sealed record, and keep it for the day on which its key leaks; use a private repository, or accept that with --allow-public", l.remote)
	}
	l.credential = repository.CredentialFor(l.remote)
	if s.Token.IsZero() || !l.remote.TakesToken() {
		return l, nil
	}
	if l.credential, err = git.ParseCredential(s.Token); err != nil {
		return l, fmt.Errorf("store git: %w", err)
	}
	return l, nil
}

// TakesToken reports whether a token for the place is of use.
func (l Location) TakesToken() bool { return l.remote.TakesToken() }
