package githubapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Secret names one Actions secret. It is comparable; [ParseSecret] makes it and
// brings Name into capitals, as GitHub does.
type Secret struct {
	Owner, Repo string
	Environment string // "": of the repository
	Name        string
}

// ParseSecret reads OWNER/REPO/NAME; environment is "" for a secret of the
// repository. A part that is wrong is not repeated: it may be a secret's value.
func ParseSecret(path, environment string) (Secret, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 3 {
		return Secret{}, errors.New("a secret is written OWNER/REPO/NAME")
	}
	s := Secret{Owner: parts[0], Repo: parts[1], Name: strings.ToUpper(parts[2]), Environment: environment}
	switch {
	case !made(s.Owner, letters+digits+"-_"):
		return Secret{}, errors.New("the owner of the repository may hold letters, digits, - and _")
	case !made(s.Repo, letters+digits+"-_.") || s.Repo == "." || s.Repo == "..":
		return Secret{}, errors.New("the name of the repository may hold letters, digits, -, _ and .")
	case !made(s.Name, letters+digits+"_") || s.Name[0] >= '0' && s.Name[0] <= '9':
		return Secret{}, errors.New("the name of a secret may hold letters, digits and _, and starts with no digit")
	case strings.HasPrefix(s.Name, "GITHUB_"):
		return Secret{}, errors.New("GitHub takes no secret whose name starts with GITHUB_")
	case len(path) > maxName || len(environment) > maxName:
		return Secret{}, fmt.Errorf("the name of a secret and of an environment have at most %d bytes", maxName)
	}
	for _, r := range environment {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return Secret{}, errors.New("the name of the environment holds a control character")
		}
	}
	return s, nil
}

// maxName is GitHub's limit for the name of an environment, in characters.
const maxName = 255

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

func made(s, of string) bool { return s != "" && strings.Trim(s, of) == "" }

// String is the secret for people.
func (s Secret) String() string {
	if s.Environment != "" {
		return fmt.Sprintf("%s/%s/%s of the environment %q", s.Owner, s.Repo, s.Name, s.Environment)
	}
	return s.Owner + "/" + s.Repo + "/" + s.Name
}

// Repository is the secret's repository, as OWNER/REPO.
func (s Secret) Repository() string { return s.Owner + "/" + s.Repo }

// ProbeSuffix ends the name of a secret that is written to prove that one can.
const ProbeSuffix = "_EVERGRANT_PROBE"

// Probe is the secret on which write access to s is proven.
func (s Secret) Probe() Secret {
	s.Name += ProbeSuffix
	return s
}

// Same reports whether two names mean one secret: GitHub tells the case of no
// part of them apart.
func (s Secret) Same(o Secret) bool { return s.place() == o.place() }

// Place names the secret at the API with that base address, whatever way it is
// written. No two secrets share a place.
func (s Secret) Place(api string) string {
	if base, err := ParseAPI(api); err == nil {
		api = base
	}
	return strings.TrimPrefix(api, "https://") + "/" + s.place()
}

func (s Secret) place() string {
	p := strings.ToLower(s.Owner + "/" + s.Repo + "/")
	if s.Environment != "" {
		p += url.PathEscape(strings.ToLower(s.Environment)) + "/"
	}
	return p + strings.ToUpper(s.Name)
}

// folder is the path of all secrets beside s.
func (s Secret) folder() string {
	repo := "/repos/" + s.Owner + "/" + s.Repo
	if s.Environment != "" {
		return repo + "/environments/" + url.PathEscape(s.Environment) + "/secrets"
	}
	return repo + "/actions/secrets"
}

func (s Secret) path() string { return s.folder() + "/" + s.Name }

// ParseReference reads what stands behind the scheme of a URL,
// OWNER/REPO/NAME[?environment=E][&OPTION=VALUE…], and returns the secret and the
// other options, each of which may come once. Nothing of a wrong one is repeated.
func ParseReference(rest string) (Secret, map[string]string, error) {
	path, query, asked := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil || asked && query == "" {
		return Secret{}, nil, errors.New("the part after ? is not made of name=value")
	}
	options := make(map[string]string, len(values))
	for name, list := range values {
		if len(list) != 1 || list[0] == "" {
			return Secret{}, nil, errors.New("an option after ? has no value, or comes twice")
		}
		options[name] = list[0]
	}
	s, err := ParseSecret(path, options["environment"])
	delete(options, "environment")
	return s, options, err
}
