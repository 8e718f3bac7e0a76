package login

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// Asking is what an authorization request is made of.
type Asking struct {
	AuthorizeURL string
	ClientID     string
	RedirectURI  string
	Scope        string            // "": none is asked for
	Params       map[string]string // further parameters
	// Issuer is who must have answered; "": not known. With IssRequired an answer
	// that does not name it is refused (RFC 9207 §2.4).
	Issuer      string
	IssRequired bool
}

// Request is one authorization request, whose answer is accepted once.
type Request struct {
	asking   Asking
	state    string
	verifier grant.Secret
	// URL is where the person consents. It holds no secret: the state is worth
	// nothing without the verifier, which stays here.
	URL string
}

// NewRequest makes a request with a fresh state and a fresh verifier.
func NewRequest(a Asking) (Request, error) {
	verifier := rand.Text() + rand.Text() // 52 characters, 260 random bits
	r := Request{asking: a, state: rand.Text(), verifier: grant.NewSecret(verifier)}
	p := maps.Clone(a.Params)
	if p == nil {
		p = map[string]string{}
	}
	if a.Scope != "" {
		p["scope"] = a.Scope
	}
	sum := sha256.Sum256([]byte(verifier))
	maps.Copy(p, map[string]string{
		"response_type": "code", "client_id": a.ClientID, "redirect_uri": a.RedirectURI, "state": r.state,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	})
	var err error
	r.URL, err = oauth.AuthorizeURL(a.AuthorizeURL, p)
	return r, err
}

// ErrForeign: the answer is not one to this request. It may be an older one, or
// somebody's who wants his own account to be used here.
var ErrForeign = errors.New("the answer belongs to another sign-in: its state is not the one that was sent")

// ErrMixUp: the answer comes from another issuer than the one that was asked.
var ErrMixUp = errors.New("the answer does not come from the issuer that was asked, so its code was not used")

// Refusal is an answer without a consent.
type Refusal struct {
	Code string // as in RFC 6749 §4.1.2.1, cleaned; "" if it cannot be shown
}

func (e *Refusal) Error() string {
	if e.Code == "" {
		return "the provider answered an error without a code that can be shown"
	}
	return "the provider answered " + e.Code
}

// Accept reads the parameters of an answer (RFC 6749 §4.1.2). ErrForeign says that
// the true answer may still come; any other error is an answer.
func (r Request) Accept(q url.Values) (oauth.Code, error) {
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(q[name]) > 1 {
			return oauth.Code{}, ErrForeign // RFC 6749 §3.1: no parameter comes twice
		}
	}
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(r.state)) != 1 {
		return oauth.Code{}, ErrForeign
	}
	iss, told := q.Get("iss"), q.Has("iss")
	if r.asking.Issuer != "" && (told || r.asking.IssRequired) && iss != r.asking.Issuer {
		return oauth.Code{}, ErrMixUp
	}
	if q.Has("error") {
		return oauth.Code{}, &Refusal{Code: shownCode(q.Get("error"))}
	}
	return r.code(q.Get("code"))
}

func (r Request) code(text string) (oauth.Code, error) {
	if text == "" || len(text) > maxCode || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return oauth.Code{}, errors.New("the answer holds no code that could be one")
	}
	return oauth.Code{Code: grant.NewSecret(text), Verifier: r.verifier, RedirectURI: r.asking.RedirectURI, Issuer: r.asking.Issuer}, nil
}

// maxCode bounds a code, in bytes; some are JWTs.
const maxCode = 8 << 10

// AcceptPasted reads what a person copied: the whole address that the browser
// ended at, or its query, or CODE#STATE as some pages show it, or the code alone.
// A code alone is bound to this request by its verifier only.
func (r Request) AcceptPasted(text string) (oauth.Code, error) {
	text = strings.Trim(strings.TrimSpace(text), "\"'<>`")
	if text == "" {
		return oauth.Code{}, errors.New("nothing was pasted")
	}
	if query, ok := queryOf(text); ok {
		q, err := url.ParseQuery(query)
		if err != nil || !q.Has("code") && !q.Has("error") {
			return oauth.Code{}, errors.New("what was pasted is an address without a code; copy the one that the browser ends at, whole")
		}
		return r.Accept(q)
	}
	code, state, both := strings.Cut(text, "#")
	if both && subtle.ConstantTimeCompare([]byte(state), []byte(r.state)) != 1 {
		return oauth.Code{}, ErrForeign
	}
	return r.code(code)
}

// queryOf finds the parameters in an address, or in the query of one.
func queryOf(text string) (string, bool) {
	if rest, ok := strings.CutPrefix(text, "?"); ok {
		return rest, true
	}
	if !strings.Contains(text, "://") {
		return text, strings.HasPrefix(text, "code=") || strings.HasPrefix(text, "state=") || strings.HasPrefix(text, "error=") ||
			strings.Contains(text, "&code=") || strings.Contains(text, "&state=")
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", true
	}
	if u.RawQuery == "" {
		return u.Fragment, true
	}
	return u.RawQuery, true
}

// shownCode keeps an error code that is made as codes are, and nothing else: the
// text comes from whoever sent the browser here.
func shownCode(code string) string {
	const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	if len(code) > 64 || strings.Trim(code, chars) != "" {
		return ""
	}
	return code
}

// Port is where a client whose redirect URI has to be registered with its port
// is answered, unless told otherwise. It is nobody's well-known one.
const Port = 8917

// LoopbackURI is the redirect URI of an answer on this machine.
func LoopbackURI(template string, port int) (string, error) {
	u, err := url.Parse(template)
	if err != nil {
		return "", fmt.Errorf("redirect URI is not a valid URL")
	}
	u.Host = fmt.Sprintf("%s:%d", bracketed(u.Hostname()), port)
	return u.String(), nil
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
