package store

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/ghsecret"
)

// secret is what a location in a GitHub secret has besides.
type secret struct {
	of       githubapi.Secret
	api      string // base address; "": not known before [Location.In]
	named    bool   // api stands in the URL
	variable string // that the job fills with the secret's value
	snapshot grant.Secret
	client   *githubapi.Client
	journal  string
}

// parseGitHub reads OWNER/REPO/NAME?env=VAR[&environment=E][&api=URL].
func parseGitHub(rest string) (Location, error) {
	l := Location{scheme: "ghsecret"}
	of, options, err := githubapi.ParseReference(rest)
	if err != nil {
		return l, fmt.Errorf("store ghsecret: %w", err)
	}
	l.secret.of = of
	for name, value := range options {
		switch name {
		case "env":
			l.secret.variable = value
		case "api":
			l.secret.named = true
			if l.secret.api, err = githubapi.ParseAPI(value); err != nil {
				return l, fmt.Errorf("store ghsecret: %w", err)
			}
		default:
			return l, errors.New("store ghsecret: knows ?env=VAR, &environment=NAME and &api=URL, and no other option")
		}
	}
	switch v := l.secret.variable; {
	case v == "":
		return l, errors.New("store ghsecret: needs ?env=VAR, the variable that the job fills with the secret's value")
	case strings.Trim(v, variableRunes) != "" || v[0] >= '0' && v[0] <= '9' || len(v) > 255:
		return l, errors.New("store ghsecret: what stands behind env= is not the name of a variable (it is not repeated here)")
	}
	return l, nil
}

const variableRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

func (s secret) String() string {
	text := "ghsecret:" + s.of.Repository() + "/" + s.of.Name + "?env=" + s.variable
	if s.of.Environment != "" {
		text += "&environment=" + url.QueryEscape(s.of.Environment)
	}
	if s.named || s.api != "" && s.api != githubapi.DefaultAPI {
		text += "&api=" + url.QueryEscape(s.api)
	}
	return text
}

// in completes a location in a GitHub secret: the API that the job's forge has,
// the snapshot, and a client.
func (s secret) in(around Surroundings) (secret, error) {
	var err error
	if s.api == "" {
		if s.api, err = githubapi.ParseAPI(around.Getenv("GITHUB_API_URL")); err != nil {
			return s, fmt.Errorf("store ghsecret: GITHUB_API_URL: %w", err)
		}
	}
	s.snapshot = grant.NewSecret(around.Getenv(s.variable))
	s.client, err = githubapi.New(githubapi.Config{API: s.api, Token: around.GitHubToken, Transport: around.Transport, Now: around.Now})
	if err != nil {
		return s, fmt.Errorf("store ghsecret: %w", err)
	}
	return s, nil
}

func (s secret) open(codec *record.Codec) (grant.Store, error) {
	return ghsecret.Open(ghsecret.Config{
		Secret: s.of, API: s.api, Client: s.client, Codec: codec, Variable: s.variable, Snapshot: s.snapshot, Journal: s.journal,
	})
}

// Variable is the variable that holds a snapshot of the store, else "".
func (l Location) Variable() string { return l.secret.variable }

// Seed is the token in a store that holds no record yet but a bare token.
func (l Location) Seed() grant.Secret { return ghsecret.Bare(l.secret.snapshot) }

// Keeping returns the location with a file on this machine, in which a store that
// is read as a snapshot keeps what it has written, for later steps of a job. The
// others need none.
func (l Location) Keeping(path string) Location {
	if l.scheme == "ghsecret" {
		l.secret.journal = path
	}
	return l
}
