package oauth

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"evergrant/internal/grant"
)

// Identity is who consented, as far as an answer tells. It came over TLS from the
// endpoint that was asked, and no signature was looked at, as OpenID Connect
// Core §3.1.3.7 permits: it is good for telling accounts apart, and for nothing
// that needs proof.
type Identity struct {
	Account grant.Account
	// From is "id_token", "answer" or "userinfo"; "": nothing was told.
	From string
	// Mismatch: an ID token was there, and is another issuer's or client's.
	Mismatch bool
}

// identity looks for the account in a token answer: in its ID token, else in
// the members by which some providers name it.
func (c *Client) identity(m members, issuer string) Identity {
	if claims, ok := claimsOf(m["id_token"].text); ok {
		if issuer != "" && claims["iss"].text != issuer || !c.isAudience(claims) {
			return Identity{Mismatch: true}
		}
		if a := accountOf(claims); a != (grant.Account{}) {
			return Identity{Account: a, From: "id_token"}
		}
	}
	if a := accountBeside(m); a != (grant.Account{}) {
		return Identity{Account: a, From: "answer"}
	}
	return Identity{}
}

// claimsOf reads the claims of a JWT (RFC 7519 §3).
func claimsOf(token string) (members, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil || !isObject(b) {
		return nil, false
	}
	return parseObject(b)
}

func (c *Client) isAudience(claims members) bool {
	aud := claims["aud"]
	return aud.kind == kindText && aud.text == c.cfg.ClientID || slices.Contains(claims.strings("aud"), c.cfg.ClientID)
}

// accountOf reads the claims of OpenID Connect Core §5.1.
func accountOf(m members) grant.Account {
	return grant.Account{ID: named("sub", m, "sub"), Name: named("", m, "email", "preferred_username", "upn", "name", "nickname")}
}

// accountBeside reads what providers put beside the tokens: an object of the
// person, such as {"account": {"uuid", "email_address"}}, or members at the top.
func accountBeside(m members) grant.Account {
	for _, name := range []string{"account", "user", "authed_user", "owner"} {
		of, ok := parseObject(m[name].raw)
		if m[name].kind != kindObject || !ok {
			continue
		}
		a := grant.Account{ID: named(name, of, "uuid", "id", "sub", "user_id", "account_id"),
			Name: named("", of, "email_address", "email", "username", "login", "name")}
		if a != (grant.Account{}) {
			return a
		}
	}
	return grant.Account{ID: named("account", m, "account_id", "workspace_id"), Name: named("", m, "email", "username", "workspace_name")}
}

// named is the first member of those names that can be shown, behind the kind of
// name that it is.
func named(kind string, m members, names ...string) string {
	for _, name := range names {
		v := m[name]
		if v.kind != kindText && v.kind != kindNumber || len(v.text) > 256 ||
			strings.ContainsFunc(v.text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			continue
		}
		if kind == "" {
			return v.text
		}
		return kind + ":" + v.text
	}
	return ""
}

func readAll(resp *http.Response) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}
