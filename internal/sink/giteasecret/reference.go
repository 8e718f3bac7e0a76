package giteasecret

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Secret names one Actions secret of a repository. [ParseReference] makes it and
// brings Name into capitals, as Gitea does.
type Secret struct{ Owner, Repo, Name string }

// Repository is the secret's repository, as OWNER/REPO.
func (s Secret) Repository() string { return s.Owner + "/" + s.Repo }

// String is the secret for people.
func (s Secret) String() string { return s.Repository() + "/" + s.Name }

// maxName bounds each part of a reference, in bytes.
const maxName = 255

// ParseReference reads what stands behind the scheme of the URL,
// OWNER/REPO/NAME[?api=URL], and returns the secret and the address, "" if none
// is named. Nothing of a wrong one is repeated: it may be a secret's value.
func ParseReference(rest string) (s Secret, api string, err error) {
	path, query, asked := strings.Cut(rest, "?")
	options, err := url.ParseQuery(query)
	if err != nil || asked && query == "" {
		return Secret{}, "", errors.New("the part after ? is not made of name=value")
	}
	for name, values := range options {
		if name != "api" || len(values) != 1 || values[0] == "" {
			return Secret{}, "", errors.New("knows ?api=URL, once, and no other option; secrets of Gitea belong to no environment")
		}
		api = values[0]
	}
	parts := strings.Split(path, "/")
	if len(parts) != 3 {
		return Secret{}, "", errors.New("a secret is written OWNER/REPO/NAME")
	}
	s = Secret{Owner: parts[0], Repo: parts[1], Name: strings.ToUpper(parts[2])}
	// The rules for names are those of Gitea's modules/validation and services/secrets.
	word := regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	for _, part := range []string{s.Owner, s.Repo} {
		if !word.MatchString(part) || part == "." || part == ".." || len(part) > maxName {
			return Secret{}, "", errors.New("the owner and the name of the repository may hold letters, digits, -, _ and .")
		}
	}
	switch {
	case !regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`).MatchString(s.Name) || len(s.Name) > maxName:
		return Secret{}, "", errors.New("the name of a secret may hold letters, digits and _, and starts with no digit")
	case strings.HasPrefix(s.Name, "GITEA_") || strings.HasPrefix(s.Name, "GITHUB_") || s.Name == "CI":
		return Secret{}, "", errors.New("Gitea takes no secret whose name starts with GITEA_ or GITHUB_, or is CI")
	}
	return s, api, nil
}

// suffix ends the address of every Gitea's API; GitHub's does not end so.
const suffix = "/api/v1"

// ParseAPI checks the address of a forge's API, and brings it into one form:
// https, or http on this machine, ending in /api/v1. A wrong one is not repeated.
func ParseAPI(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "", errors.New("names no forge, and this is no job of one: write gitea-secret:OWNER/REPO/NAME?api=https://HOST/api/v1")
	case err != nil || u.Opaque != "" || u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("the address of the forge's API is not a URL like https://HOST/api/v1")
	case u.User != nil:
		return "", errors.New("the address of the forge's API holds a user name or password; remove the part before the @")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return "", errors.New("the address of the forge's API must be https (or http on this machine): the value goes there as it is")
	case strings.Trim(u.Path, pathRunes) != "" || strings.Contains(u.Path, "..") || !strings.HasSuffix(strings.TrimRight(u.Path, "/"), suffix):
		return "", errors.New("the address of the forge's API does not end in /api/v1, as every Gitea's does; in a job of another system, name the forge: ?api=https://HOST/api/v1")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/"), nil
}

// pathRunes are what the path of an API's address is made of.
const pathRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || host == "::1" || strings.HasPrefix(host, "127.") && strings.Trim(host, "0123456789.") == ""
}

// Error is an answer that is no success. Its text is one line for a user, says
// what to do, and holds no token and nothing of the answer's body.
type Error struct {
	Status int
	text   string
}

func (e *Error) Error() string { return e.text }

// Lasting reports that trying again does not help before somebody has mended
// something.
func (e *Error) Lasting() bool {
	return e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests
}

// refusal puts a status into words; nil if it is one of those wanted.
func (s *Sink) refusal(status int, wanted ...int) error {
	if slices.Contains(wanted, status) {
		return nil
	}
	repository := s.secret.Repository()
	var text string
	switch {
	case status == http.StatusUnauthorized:
		text = "the forge does not know the token (HTTP 401): it was revoked, or is not whole"
	case status == http.StatusForbidden:
		text = fmt.Sprintf("the token may not write secrets of %s (HTTP 403): give one of an owner of the repository, with the scope write:repository; a job's own token never can", repository)
	case status == http.StatusNotFound:
		text = fmt.Sprintf("there is no repository %s, or the token may not see it (HTTP 404)", repository)
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		text = fmt.Sprintf("the forge does not accept the secret %s (HTTP %d)", s.secret, status)
	case status >= 300 && status <= 399:
		text = fmt.Sprintf("the repository %s has moved (HTTP %d): write its new name", repository, status)
	case status >= 200 && status <= 299:
		return errNotTheAPI
	default:
		text = fmt.Sprintf("the forge's API answered HTTP %d", status)
	}
	return &Error{status, text}
}
