// Package githubapi is a client of the few calls of GitHub's REST API that put
// and describe Actions secrets, of repositories and of environments, and that keep
// an issue.
//
// A secret can be written and described and never read: the API tells when it
// was made and last written, in whole seconds. There is no conditional write;
// the last writer wins. Sources: GitHub Docs, "REST API endpoints for GitHub
// Actions Secrets", "Rate limits for the REST API", "Best practices for using
// the REST API"; the requests and answers are held to GitHub's own OpenAPI
// description by this package's tests. Nobody has tried it against github.com.
//
// A value is sealed to the public key of the repository or the environment
// (libsodium's crypto_box_seal) before it leaves.
//
// Writes that may be repeated (putting the same value, deleting) are sent again
// a few times where GitHub failed or asks to wait, as long as the context
// allows. What only reads is sent once.
package githubapi

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"evergrant/internal/grant"
)

// DefaultAPI is the address of github.com's API. GitHub Enterprise Server has
// its own at https://HOST/api/v3; a job finds either in GITHUB_API_URL.
const DefaultAPI = "https://api.github.com"

// MaxValue is the longest value of a secret, in bytes: GitHub says 48 KB (GitHub
// Docs, "Secrets reference"), which is read as thousands to be on the safe side.
const MaxValue = 48_000

// apiVersion is the version of the API that this package was written to.
const apiVersion = "2022-11-28"

// Config says where the API is and who calls. Token and Transport are required.
type Config struct {
	API   string // base address; "": DefaultAPI
	Token grant.Secret
	// Transport makes one exchange for each request; it must not follow
	// redirects, which would carry the token along, and must bound time and size.
	Transport http.RoundTripper
	Now       func() time.Time // nil: time.Now
}

// Client calls the API as one token. It is safe for concurrent use.
type Client struct {
	base      string
	token     grant.Secret
	transport http.RoundTripper
	now       func() time.Time

	mu      sync.Mutex
	limited time.Time // nothing is sent before, because GitHub asked to wait
	theirs  time.Time // GitHub's clock, by the last answer's Date
	ours    time.Time // when that answer came
}

// New checks the configuration and sends nothing. Its errors are one line, fit
// for a user.
func New(c Config) (*Client, error) {
	base, err := ParseAPI(c.API)
	switch {
	case err != nil:
		return nil, err
	case c.Token.IsZero():
		return nil, errors.New("there is no GitHub token")
	case c.Transport == nil:
		return nil, errors.New("there is no transport")
	}
	for _, b := range []byte(c.Token.Reveal()) {
		if b <= ' ' || b > '~' {
			return nil, errors.New("the GitHub token holds a space, a line break or a character that no token has")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Client{base: base, token: c.Token, transport: c.Transport, now: c.Now}, nil
}

// ParseAPI checks the base address of an API, "" for [DefaultAPI], and brings it
// into one form: https, or http on this machine, with no more than a path. A
// wrong one is not repeated: it may be a secret that took its place.
func ParseAPI(raw string) (string, error) {
	if raw == "" {
		return DefaultAPI, nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || strings.Trim(u.Path, pathRunes) != "":
		return "", errors.New("the address of GitHub's API is not a URL like https://api.github.com or https://HOST/api/v3")
	case u.User != nil:
		return "", errors.New("the address of GitHub's API holds a user name or password; remove the part before the @")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("the address of GitHub's API has a query or a fragment; remove it")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return "", errors.New("the address of GitHub's API must be https (or http on this machine)")
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.Path, "/"), nil
}

// pathRunes are what the path of an API's address is made of.
const pathRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || host == "::1" || strings.HasPrefix(host, "127.") && strings.Trim(host, "0123456789.") == ""
}

// Time is GitHub's clock, by the Date of the latest answer and what has passed
// since; zero before the first. It is up to a second late, because Date has
// whole seconds.
func (c *Client) Time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.theirs.IsZero() {
		return time.Time{}
	}
	return c.theirs.Add(c.now().Sub(c.ours))
}
