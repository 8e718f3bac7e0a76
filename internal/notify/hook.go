package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"evergrant/internal/grant"
)

// Formats of a hook's message.
const (
	FormatJSON  = "json"
	FormatSlack = "slack"
)

// IssueURL is the receiver that is an issue of the job's own repository.
const IssueURL = "github-issue:"

// Hook is a receiver that gets a POST for each notice. Its address is a secret,
// because for many services whoever knows it may write.
type Hook struct {
	url    grant.Secret
	host   string
	format string
	// Transport makes one exchange; it must not follow redirects and must bound
	// time and size.
	Transport http.RoundTripper
}

// ParseHook checks the address of a hook: https, or http on this machine. The
// format "" is that of Slack for Slack's own host, and JSON elsewhere. Errors are
// one line and repeat nothing of the address.
func ParseHook(raw grant.Secret, format string) (*Hook, error) {
	u, err := url.Parse(raw.Reveal())
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("what was given is no URL (it is not repeated here); write https://HOST/PATH, or " + IssueURL)
	case u.User != nil:
		return nil, errors.New("the URL holds a user name or a password, which is not sent; remove the part before the @")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, errors.New("the URL must be https (or http on this machine)")
	case u.Fragment != "":
		return nil, errors.New("the URL has a part after #, which is not sent; remove it")
	case format != "" && format != FormatJSON && format != FormatSlack:
		return nil, errors.New("the format must be json or slack")
	}
	if format == "" {
		format = FormatJSON
		if strings.EqualFold(u.Hostname(), "hooks.slack.com") {
			format = FormatSlack
		}
	}
	return &Hook{url: raw, host: u.Scheme + "://" + u.Host, format: format}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// String names the hook for people, without what may be secret in its address.
func (h *Hook) String() string { return h.host + "/…" }

// Host is the scheme and the host of its address, which are no secret.
func (h *Hook) Host() string { return h.host }

// Same reports whether two hooks are one address.
func (h *Hook) Same(o *Hook) bool { return h.url.Equal(o.url) }

// key names the hook in a book, and tells nothing of its address.
func (h *Hook) key() string { return h.url.Digest() }

// Send posts one notice, once. Any answer with status 2xx is a success; a redirect
// is not followed.
func (h *Hook) Send(ctx context.Context, n *Notice) error {
	body, err := n.json()
	if h.format == FormatSlack {
		body, err = n.slack()
	}
	if err != nil {
		return fmt.Errorf("writing the message: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.Reveal(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL makes no request")
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := h.Transport.RoundTrip(r)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("no answer in time")
	case err != nil:
		return err
	}
	_ = resp.Body.Close()
	switch s := resp.StatusCode; {
	case s >= 200 && s <= 299:
		return nil
	case s >= 300 && s <= 399:
		return fmt.Errorf("it answered HTTP %d, a redirect, which is not followed: name the place itself", s)
	default:
		return fmt.Errorf("it answered HTTP %d", s)
	}
}
