// Package codexfile is the sink that keeps the access token in a login file of
// Codex, auth.json, so that Codex uses it. Every member of the file that is not
// the token's stays as it is.
//
// The file says chatgptAuthTokens, which is Codex's own word for tokens that
// somebody else renews: Codex then sends no refresh request, even if the token is
// refused (seen with Codex 0.169.0; with the ordinary word it sends one although
// the refresh token is empty). A file that holds a refresh token is refused: to
// take it out might be to lose somebody's login.
//
// Codex has no lock for its file. It writes it in place after a renewal of its
// own, which does not happen here.
package codexfile

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/jsonfile"
)

// Names in the file (openai/codex, codex-rs/login/src/auth/storage.rs and
// token_data.rs). Codex wants id_token and refresh_token to be there, and reads
// the first as a JWT.
const (
	mode     = "auth_mode"
	external = "chatgptAuthTokens"
	tokens   = "tokens"
	refresh  = "refresh_token"
	account  = "account_id"
	identity = "id_token"
)

// Sink keeps one file.
type Sink struct{ path string }

// Open checks that the file can be read and replaced, and that it holds no login
// of its own.
func Open(path string) (*Sink, error) {
	if err := jsonfile.Check(path); err != nil {
		return nil, err
	}
	text, _, err := jsonfile.Read(path)
	if err != nil || len(text) == 0 {
		return &Sink{path}, nil // absent, or made anew
	}
	if _, err := inFile(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Sink{path}, nil
}

// Deliver sets the access token, the account that it names, and the time.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Deliverable(); err != nil {
		return err
	}
	return jsonfile.Update(s.path, func(text []byte) ([]byte, error) { return edit(text, t, time.Now()) })
}

func edit(text []byte, t grant.AccessToken, now time.Time) ([]byte, error) {
	have, err := inFile(text)
	if err != nil {
		return nil, err
	}
	token, owner := t.Value.Reveal(), accountOf(t.Value)
	same := owner == "" || owner == have.account
	if owner == "" {
		owner = have.account
	}
	if owner == "" {
		return nil, errors.New("neither the access token nor the file names a ChatGPT account, and without one Codex uses no token")
	}
	edits := []jsonfile.Edit{{Path: []string{mode}, Value: external}}
	if !have.identity || !same {
		// What Codex itself takes for an identity where somebody else renews.
		edits = append(edits, jsonfile.Edit{Path: []string{tokens, identity}, Value: token})
	}
	edits = append(edits,
		jsonfile.Edit{Path: []string{tokens, "access_token"}, Value: token},
		jsonfile.Edit{Path: []string{tokens, refresh}, Value: ""},
		jsonfile.Edit{Path: []string{tokens, account}, Value: owner},
		jsonfile.Edit{Path: []string{"last_refresh"}, Value: now.UTC().Format(time.RFC3339)},
	)
	return jsonfile.Set(text, edits...)
}

// there is what a file says of itself.
type there struct {
	account  string
	identity bool // it has an id_token
}

// inFile refuses a file that must not be changed.
func inFile(text []byte) (there, error) {
	var t there
	if len(text) == 0 {
		return t, nil
	}
	file, err := jsonfile.Parse(text)
	if err != nil {
		return t, err
	}
	if v, ok := file.Get("OPENAI_API_KEY"); ok && filled(v) {
		return t, errors.New("it holds an API key, which needs no refresh: name a file in a folder of its own (CODEX_HOME)")
	}
	raw, ok := file.Get(tokens)
	if !ok || string(raw) == "null" {
		return t, nil
	}
	own, err := jsonfile.Parse(raw)
	if err != nil {
		return t, fmt.Errorf("its member %s: %w", tokens, err)
	}
	if v, ok := own.Get(refresh); ok && filled(v) {
		return t, fmt.Errorf("it holds a refresh token, which Codex would spend: name a file in a folder of its own (CODEX_HOME), or take %s.%s out of this one if the login is over", tokens, refresh)
	}
	if v, ok := own.Get(identity); ok {
		t.identity = filled(v)
	}
	if v, ok := own.Get(account); ok {
		_ = json.Unmarshal(v, &t.account) // what is no text names nobody
	}
	return t, nil
}

func filled(raw json.RawMessage) bool { return string(raw) != "null" && string(raw) != `""` }

// accountOf is the account that the token, a JWT, names; "" if it names none.
// Its signature is the provider's business.
func accountOf(token grant.Secret) string {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Auth struct {
			Account string `json:"chatgpt_account_id"`
		} `json:"https://api.openai.com/auth"`
	}
	if json.Unmarshal(b, &claims) != nil {
		return ""
	}
	return claims.Auth.Account
}

var _ grant.Sink = (*Sink)(nil)
