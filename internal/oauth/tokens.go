package oauth

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/grant"
)

const (
	// maxLife is the longest life that is believed. More is a time stamp in the
	// wrong member, or a way to say "for ever".
	maxLife   = 10 * 366 * 24 * time.Hour
	maxScopes = 256
)

// tokenSet reads RFC 6749 §5.1. Expiry stays zero where the reply gives no
// usable life: the engine knows what to assume.
func (c *Client) tokenSet(r reply, obtained time.Time) grant.TokenSet {
	m := r.members
	set := grant.TokenSet{ObtainedAt: obtained}
	set.Access.Type = "Bearer"
	if v := m["refresh_token"]; v.kind == kindText || v.kind == kindNumber {
		set.Refresh = grant.NewSecret(v.text)
	}
	for _, name := range []string{"refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"} {
		if life := lifeOf(m[name]); life > 0 {
			set.RefreshExpiry = obtained.Add(life)
			break
		}
	}
	v := m["access_token"]
	if v.kind != kindText || len(v.text) > MaxToken || !printable(v.text) {
		return set
	}
	set.Access.Value = grant.NewSecret(v.text)
	if t := m["token_type"]; t.kind == kindText && len(t.text) <= 64 && isFieldName(t.text) {
		set.Access.Type = t.text
	}
	if life := lifeOf(m["expires_in"]); life > 0 {
		set.Access.Expiry = obtained.Add(life)
	}
	set.Access.Scope = c.scopeOf(m["scope"])
	return set
}

// lifeOf reads seconds given as a number or as a string of one; 0 if they are
// not, or are not believable.
func lifeOf(v value) time.Duration {
	if v.kind != kindNumber && v.kind != kindText {
		return 0
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(v.text), 64)
	if err != nil || math.IsNaN(n) || n <= 0 || n > maxLife.Seconds() {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// scopeOf reads a scope that is a string (RFC 6749 §3.3) or an array of them.
func (c *Client) scopeOf(v value) []string {
	var parts []string
	switch v.kind {
	case kindText:
		parts = strings.FieldsFunc(v.text, func(r rune) bool {
			return r == ' ' || r == '\t' || r == '\n' || r == '\r' ||
				c.cfg.ScopeSeparator != "" && strings.ContainsRune(c.cfg.ScopeSeparator, r)
		})
	case kindList:
		var items []any
		if err := json.Unmarshal(v.raw, &items); err != nil {
			return nil
		}
		for _, item := range items {
			if s, ok := item.(string); ok {
				parts = append(parts, strings.TrimSpace(s))
			}
		}
	}
	var scope []string
	for _, s := range parts {
		if s != "" && len(s) <= 1024 && printable(s) && len(scope) < maxScopes {
			scope = append(scope, s)
		}
	}
	return scope
}
