package githubapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/again"
	"evergrant/internal/grant"
)

// Error is an answer that is no success. Its text is one line for a user, says
// what to do, and holds no token and nothing of the answer's body.
type Error struct {
	Status int
	// Until is the moment, by our clock, before which GitHub wants no request;
	// zero: it did not ask to wait.
	Until time.Time
	text  string
}

func (e *Error) Error() string { return e.text }

// Lasting reports that trying again does not help before somebody has mended
// something.
func (e *Error) Lasting() bool {
	return e.Until.IsZero() && e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests
}

// Unwritten reports that a write which was answered so wrote nothing.
func (e *Error) Unwritten() bool { return e.Status < 500 && e.Status != http.StatusRequestTimeout }

// Again says how long a call that failed with err waits at least before it is
// repeated; negative: repeating it does not help.
func (c *Client) Again(err error) time.Duration {
	var refusal *Error
	switch isRefusal := errors.As(err, &refusal); {
	case errors.Is(err, errNotTheAPI), errors.Is(err, grant.ErrTooLarge), isRefusal && refusal.Lasting():
		return again.Stop
	case !isRefusal || refusal.Until.IsZero():
		return 0
	}
	return max(0, refusal.Until.Sub(c.now()))
}

// maxReply bounds the answers that are read, in bytes.
const maxReply = 1 << 20

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxReply+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer of GitHub's API is incomplete: %w", err)
	case len(body) > maxReply:
		return nil, errors.New("the answer of GitHub's API is too large")
	}
	return body, nil
}

// note keeps GitHub's clock.
func (c *Client) note(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.theirs, c.ours = date, c.now()
}

// waiting returns the moment before which nothing is sent; zero: send.
func (c *Client) waiting() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Before(c.limited) {
		return c.limited
	}
	return time.Time{}
}

// refusal puts an answer into words, and keeps what it says of waiting.
func (c *Client) refusal(r request, status int, h http.Header, body []byte) error {
	if until := c.limit(status, h, body); !until.IsZero() {
		c.mu.Lock()
		c.limited = until
		c.mu.Unlock()
		return limitError(r, status, until)
	}
	return &Error{Status: status, text: c.explain(r, status, h)}
}

func limitError(r request, status int, until time.Time) error {
	return &Error{Status: max(status, http.StatusForbidden), Until: until,
		text: fmt.Sprintf("GitHub limits the rate of this token's requests and takes no more before %s", until.UTC().Format(time.RFC3339))}
}

// limit finds out whether an answer asks to wait, and until when (GitHub Docs,
// "Rate limits for the REST API", "Exceeding the rate limit"). Zero: it does not.
func (c *Client) limit(status int, h http.Header, body []byte) time.Time {
	if status != http.StatusForbidden && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return time.Time{}
	}
	now := c.now()
	after := h.Get("Retry-After")
	if s, err := strconv.Atoi(after); err == nil && s >= 0 {
		return now.Add(time.Duration(min(s, longestLimit)) * time.Second)
	}
	if at, err := http.ParseTime(after); err == nil {
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			return now.Add(at.Sub(date))
		}
		return at
	}
	if status == http.StatusServiceUnavailable {
		return time.Time{}
	}
	if reset, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil && h.Get("X-Ratelimit-Remaining") == "0" {
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			return now.Add(time.Unix(reset, 0).Sub(date))
		}
		return time.Unix(reset, 0)
	}
	var reply struct{ Message string }
	if json.Unmarshal(body, &reply) == nil && strings.Contains(strings.ToLower(reply.Message), "secondary rate limit") || status == http.StatusTooManyRequests {
		return now.Add(time.Minute)
	}
	return time.Time{}
}

// longestLimit bounds what a Retry-After can ask for, in seconds.
const longestLimit = 24 * 60 * 60

func (c *Client) explain(r request, status int, h http.Header) string {
	switch {
	case status == http.StatusUnauthorized:
		return "GitHub does not know the token (HTTP 401): it has expired, was revoked, or is not whole"
	case status == http.StatusForbidden && h.Get("X-Github-Sso") != "":
		return fmt.Sprintf("the token is not authorized for the single sign-on of %s (HTTP 403): authorize it in the token's settings (Configure SSO)", r.about.Owner)
	case status == http.StatusForbidden && r.issues:
		return fmt.Sprintf("the token may not write issues of %s (HTTP 403): add issues: write to the permissions of the job", r.about.Repository())
	case status == http.StatusGone && r.issues:
		return fmt.Sprintf("issues are switched off in %s (HTTP 410)", r.about.Repository())
	case status == http.StatusForbidden:
		return c.explainForbidden(r, h)
	case status == http.StatusNotFound && r.about.Environment != "":
		return fmt.Sprintf("there is no repository %s with an environment %q, or the token may not see it (HTTP 404)", r.about.Repository(), r.about.Environment)
	case status == http.StatusNotFound:
		return fmt.Sprintf("there is no repository %s, or the token may not see it (HTTP 404)", r.about.Repository())
	case status >= 300 && status <= 399:
		return fmt.Sprintf("the repository %s has moved (HTTP %d): write its new name", r.about.Repository(), status)
	case status == http.StatusUnprocessableEntity && !r.issues:
		return fmt.Sprintf("GitHub does not accept the secret %s (HTTP 422): its name, or the key that it was sealed to", r.about)
	}
	return fmt.Sprintf("GitHub's API answered HTTP %d", status)
}

// explainForbidden says which permission is missing, as GitHub names it.
func (c *Client) explainForbidden(r request, h http.Header) string {
	text := fmt.Sprintf("the token may not do this with secrets of %s (HTTP 403)", r.about.Repository())
	switch named := permissions(h.Get("X-Accepted-Github-Permissions")); {
	case named != "":
		text += ": it lacks the permission " + named
	case r.about.Environment != "":
		text += ": it lacks the permission to write secrets of environments (Environments: write)"
	default:
		text += ": it lacks the permission to write secrets (Secrets: write)"
	}
	if strings.HasPrefix(c.token.Reveal(), installationPrefix) {
		text += "; a job's own GITHUB_TOKEN never has it: give a fine-grained personal access token, or the token of a GitHub App, that has"
	}
	return text
}

// installationPrefix begins a token of a GitHub App's installation, such as a
// job's GITHUB_TOKEN (GitHub Docs, "About authentication to GitHub").
const installationPrefix = "ghs_"

// permissions keeps of a header what a list of permissions is made of, as in
// "secrets=write; environments=write".
func permissions(header string) string {
	if len(header) > 200 || strings.Trim(header, letters+digits+"_-=,; ") != "" {
		return ""
	}
	return string(bytes.TrimSpace([]byte(header)))
}
