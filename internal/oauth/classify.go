package oauth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"evergrant/internal/grant"
)

// maxRetryAfter bounds what a server may ask for; a longer time is an error.
const maxRetryAfter = 7 * 24 * time.Hour

// answer is one HTTP answer as it came.
type answer struct {
	status    int
	header    http.Header
	body      []byte
	cut       error // why the body is incomplete; nil: it is whole
	presented grant.Secret
	obtained  time.Time
}

func (a answer) ok() bool { return a.status/100 == 2 }

// Row is one line of the classification of an answer that holds no tokens.
type Row struct {
	ByCode bool // decides by error code, before all that decide by status
	When   string
	Fate   grant.Fate
	match  func(code string, a answer) bool
}

// Table returns the rows in the order in which they are tried. Codes are those
// of RFC 6749 §5.2 and, where they say what a status says, of §4.1.2.1 and
// RFC 8628 §3.5.
func Table() []Row {
	code := func(codes ...string) func(string, answer) bool {
		return func(code string, _ answer) bool {
			for _, c := range codes {
				if c == code {
					return true
				}
			}
			return false
		}
	}
	status := func(f func(int) bool) func(string, answer) bool {
		return func(_ string, a answer) bool { return f(a.status) }
	}
	return []Row{
		{true, "invalid_grant", grant.Rejected, code("invalid_grant")},
		// Dex answers 500 invalid_request also after it has rotated: what failed inside
		// a server says nothing about the token.
		{true, "invalid_client, invalid_request, unauthorized_client, unsupported_grant_type, invalid_scope, unless 5xx", grant.Refused,
			func(c string, a answer) bool {
				return a.status/100 != 5 && code("invalid_client", "invalid_request", "unauthorized_client", "unsupported_grant_type", "invalid_scope")(c, a)
			}},
		{true, "slow_down", grant.Unspent, code("slow_down")},
		{true, "server_error, internal_error, internal_server_error", grant.InDoubt,
			code("server_error", "internal_error", "internal_server_error")},
		{true, "temporarily_unavailable, unless 429 or 503", grant.InDoubt, func(code string, a answer) bool {
			return code == "temporarily_unavailable" && a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable
		}},
		{false, "429", grant.Unspent, status(func(s int) bool { return s == http.StatusTooManyRequests })},
		{false, "503 with Retry-After", grant.Unspent, func(_ string, a answer) bool {
			return a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != ""
		}},
		{false, "408, any other 5xx", grant.InDoubt, status(func(s int) bool { return s == http.StatusRequestTimeout || s/100 == 5 })},
		{false, "any 3xx, any other 4xx", grant.Refused, status(func(s int) bool { return s/100 == 3 || s/100 == 4 })},
		{false, "anything else", grant.InDoubt, func(string, answer) bool { return true }},
	}
}

// unnamed stands for an error without a code, such as {"ok":false}.
const unnamed = "\x00"

// fate decides about an answer that holds no tokens, and says which code or
// text decided it. The cautious end of the table matches always.
func (c *Client) fate(r reply, a answer) (grant.Fate, string) {
	codes := r.codes
	for _, said := range slices.Concat(r.texts, codes) { // a text says more than its code
		if f, ok := c.cfg.Codes[said]; ok {
			return f, said
		}
	}
	rows := Table()
	for _, code := range codes {
		for _, row := range rows {
			if row.ByCode && row.match(code, a) {
				return row.Fate, code
			}
		}
	}
	code := ""
	if len(codes) > 0 {
		code = codes[0]
	}
	if f, ok := c.cfg.Statuses[a.status]; ok {
		return f, code
	}
	for _, row := range rows {
		if !row.ByCode && row.match(code, a) {
			return row.Fate, code
		}
	}
	return grant.InDoubt, code
}

// settle turns an answer into a token set or a failure.
func (c *Client) settle(a answer) (grant.TokenSet, *grant.RefreshError) {
	r := parseReply(a)
	if r.holdsTokens(a) {
		set := c.tokenSet(r, a.obtained)
		if !set.Access.Value.IsZero() || !set.Refresh.IsZero() {
			return set, nil
		}
		return grant.TokenSet{}, &grant.RefreshError{Fate: grant.Refused, Status: a.status,
			Err: errors.New("the access token in the answer is not printable ASCII or is too long, so it is not used")}
	}
	failure := &grant.RefreshError{Status: a.status, RetryAfter: c.retryAfter(a.header)}
	if !r.whole {
		failure.Err = a.cut
		if failure.Err == nil {
			failure.Err = errors.New("the answer is incomplete")
		}
		failure.Raw = rawOf(r, a)
		return grant.TokenSet{}, failure
	}
	var code string
	failure.Fate, code = c.fate(r, a)
	failure.Code = c.cleanCode(code, a.presented)
	failure.Err = describe(r, a, failure.Code)
	if failure.Fate == grant.InDoubt {
		failure.Raw = rawOf(r, a)
	}
	return grant.TokenSet{}, failure
}

// rawOf keeps a successful answer that could not be read and may hold a token. A
// sign-in page holds tokens of its own, against forgery: of a page, as of a cut
// answer, only a refresh token counts. What is no UTF-8 is kept as "base64:" and its encoding.
func rawOf(r reply, a answer) grant.Secret {
	body := r.text
	if !a.ok() || len(r.codes) > 0 || len(body) == 0 {
		return grant.Secret{}
	}
	keep := r.opaque || bytes.Contains(body, []byte("_token")) ||
		(body[0] == '{' || body[0] == '[') && bytes.IndexByte(body, '"') >= 0
	switch {
	case r.html:
		keep = mayHold(quotes(body), a.presented)
	case !r.whole:
		keep = mayHold(body, a.presented)
	}
	if !keep {
		return grant.Secret{}
	}
	if i := bytes.Index(body, []byte("refresh_token")); len(body) > grant.MaxRaw && i > grant.MaxRaw/2 {
		body = body[i-1024:] // what matters must be inside the part that is kept
	}
	if utf8.Valid(body) {
		return grant.NewSecret(strings.ToValidUTF8(string(body[:min(len(body), grant.MaxRaw)]), ""))
	}
	const prefix = "base64:" // text formats would not keep the bytes
	n := min(len(body), base64.StdEncoding.DecodedLen(grant.MaxRaw-len(prefix))-2)
	return grant.NewSecret(prefix + base64.StdEncoding.EncodeToString(body[:n]))
}

// describe says in a few words what came instead of tokens.
func describe(r reply, a answer, shown string) error {
	switch {
	case a.status/100 == 3:
		return errors.New("answered a redirect" + redirectHost(a.header) + "; redirects are not followed, the token URL must be the final one")
	case shown != "":
		return nil // the code says it
	case len(r.codes) > 0:
		return errors.New("answered an error without a code that can be shown")
	case r.html:
		return errors.New("answered an HTML page, not JSON: a bot filter, a sign-in page of the network, or a wrong token URL")
	case a.status == http.StatusNotFound:
		return errors.New("nothing at this address; the token URL is probably wrong")
	case a.ok() && len(r.text) == 0:
		return errors.New("the answer is empty")
	case a.ok():
		return errors.New("the answer holds neither tokens nor an error that can be read")
	}
	return nil
}

// redirectHost names the target's host only: the rest may carry anything.
func redirectHost(h http.Header) string {
	u, err := url.Parse(h.Get("Location"))
	if err != nil || u.Hostname() == "" || len(u.Hostname()) > 253 || !hostASCII(u.Hostname()) {
		return ""
	}
	return " to " + u.Hostname()
}

// codeChars are the characters of a code that is shown. RFC 6749 §5.2 allows
// more, among them what a CI runner takes for a command ("##[").
const codeChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

// cleanCode is the provider's code as it may be shown: at most 64 bytes of
// codeChars that have nothing in common with a secret. Codes that the
// preset or the table names are ours, and pass.
func (c *Client) cleanCode(code string, presented grant.Secret) string {
	if _, ours := c.cfg.Codes[code]; ours {
		return code
	}
	for _, row := range Table() {
		if row.ByCode && row.match(code, answer{}) {
			return code
		}
	}
	if code == "" || len(code) > 64 || strings.Trim(code, codeChars) != "" || resembles(code, presented.Reveal()) || resembles(code, c.cfg.Secret.Reveal()) {
		return ""
	}
	return code
}

// resembles reports whether text shares eight bytes in a row with the secret,
// or is a part of it.
func resembles(text, secret string) bool {
	const n = 8
	if secret == "" {
		return false
	}
	if strings.Contains(text, secret) || strings.Contains(secret, text) {
		return true
	}
	for i := 0; i+n <= len(text); i++ {
		if strings.Contains(secret, text[i:i+n]) {
			return true
		}
	}
	return false
}

// retryAfter reads RFC 9110 §10.2.3. A date is compared to the server's own
// clock where the answer shows it, so that a wrong clock here does no harm.
func (c *Client) retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		if !(n > 0) {
			return 0
		}
		if n >= maxRetryAfter.Seconds() {
			return maxRetryAfter
		}
		return time.Duration(n * float64(time.Second))
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = c.cfg.Now()
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

// String is the row as doc.go prints it, without line breaks.
func (r Row) String() string {
	by := "status"
	if r.ByCode {
		by = "code"
	}
	return fmt.Sprintf("%s %s %s", by, r.When, r.Fate)
}
