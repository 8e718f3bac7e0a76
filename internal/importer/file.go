package importer

import (
	"fmt"
	"slices"
)

// readFile reads a JSON file that somebody made: an answer of a token endpoint
// (RFC 6749 §5.1), or the same things by other common names, all at the top.
//
//	refresh token        refresh_token, refreshToken
//	access token         access_token, accessToken
//	its end              expires_at, expiresAt, expiry
//	its life             expires_in, counted from created_at or obtained_at
//	end of the consent   refresh_token_expires_at, refreshTokenExpiresAt
//	its life             refresh_token_expires_in, counted likewise
//	kind of the token    token_type, tokenType
//	scopes               scope, scopes
//	token endpoint       token_url, token_uri, token_endpoint, tokenUrl
//	client               client_id, clientId
func readFile(path string, m *Machine, f *Found) error {
	text, err := f.load(path, m)
	if err != nil {
		return err
	}
	file, err := parse(path, text)
	if err != nil {
		return err
	}
	answer(file, f)
	f.TokenURL = file.word("token_url", "token_uri", "token_endpoint", "tokenUrl")
	f.ClientID = file.word("client_id", "clientId")
	if secret := file.text("client_secret", "clientSecret"); secret != "" {
		f.SecretAt = "client_secret in " + path
	}
	switch own := ownerOf(file); {
	case own != "" && f.Tokens.Refresh.IsZero(), own == kindGcloud:
		return fmt.Errorf("%s is a file of another kind: evergrant import %s --from %s", path, own, shell(path))
	case file.err != nil:
		return file.err
	case f.Tokens.Refresh.IsZero():
		return fmt.Errorf("%s has no member refresh_token, so there is nothing to keep alive", path)
	}
	return nil
}

// answer reads what a token endpoint answers, and when it did so.
func answer(file *fields, f *Found) {
	t := &f.Tokens
	t.Refresh = file.token("refresh_token", "refreshToken")
	t.Access.Value = file.token("access_token", "accessToken")
	t.Access.Type = file.word("token_type", "tokenType")
	t.Access.Scope = file.scopes("scope", "scopes")
	t.Access.Expiry = file.moment("expires_at", "expiresAt", "expiry")
	t.RefreshExpiry = file.moment("refresh_token_expires_at", "refreshTokenExpiresAt")
	t.ObtainedAt = file.moment("obtained_at", "created_at")
	if t.ObtainedAt.IsZero() {
		return // a life says nothing without its beginning
	}
	if life := file.span("expires_in"); life > 0 && t.Access.Expiry.IsZero() {
		t.Access.Expiry = t.ObtainedAt.Add(life)
	}
	if life := file.span("refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"); life > 0 && t.RefreshExpiry.IsZero() {
		t.RefreshExpiry = t.ObtainedAt.Add(life)
	}
}

// ownerOf names the source that a file belongs to by its looks; "" if none.
func ownerOf(file *fields) string {
	has := func(name string) bool {
		_, raw := file.raw(name)
		return raw != nil
	}
	_, kind := file.raw("type")
	switch {
	case has("claudeAiOauth"):
		return kindClaude
	case has("tokens") && slices.ContainsFunc([]string{"OPENAI_API_KEY", "auth_mode", "last_refresh"}, has):
		return kindCodex
	case string(kind) == `"authorized_user"`:
		return kindGcloud
	}
	return ""
}
