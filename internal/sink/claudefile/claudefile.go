// Package claudefile is the sink that keeps the access token in a credentials
// file of Claude Code, .credentials.json, so that Claude Code uses it. Every
// member of the file that is not the token's stays as it is.
//
// No refresh token is written, and a file that holds one is refused: beside it
// Claude Code would renew the login itself, a second spender of the chain or of
// another one, and to take it out might be to lose somebody's login.
package claudefile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"evergrant/internal/folderlock"
	"evergrant/internal/grant"
	"evergrant/internal/jsonfile"
)

// patience bounds the wait for Claude Code's locks. It holds them for one
// request, and gives up after less itself.
const patience = 10 * time.Second

// Names in the file (Claude Code docs, authentication; the inner ones as Claude
// Code writes them, which its pages do not describe).
const (
	login   = "claudeAiOauth"
	refresh = "refreshToken"
	scopes  = "scopes"
)

// leastScope is what every login of Claude Code has. Without scopes in its file
// Claude Code counts as signed out.
const leastScope = "user:inference"

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

// Locks are the folders by which Claude Code guards the file while it renews its
// login, in the order in which it takes them.
func Locks(path string) []string {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		dir = filepath.Dir(path)
	}
	return []string{filepath.Join(dir, ".oauth_refresh.lock"), dir + ".lock"}
}

// Deliver sets the access token, its end and its scopes, under Claude Code's
// locks. A token without an end is refused, because Claude Code reads a time.
func (s *Sink) Deliver(ctx context.Context, t grant.AccessToken) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Deliverable(); err != nil {
		return err
	}
	if t.Expiry.IsZero() {
		return errors.New("the access token has no end, and the file needs one")
	}
	release, err := folderlock.Take(ctx, Locks(s.path), patience)
	if errors.Is(err, folderlock.ErrHeld) {
		return fmt.Errorf("%s is not changed while Claude Code renews a login in its folder: %w", s.path, err)
	}
	if err != nil {
		return err
	}
	defer release()
	return jsonfile.Update(s.path, func(text []byte) ([]byte, error) { return edit(text, t) })
}

func edit(text []byte, t grant.AccessToken) ([]byte, error) {
	have, err := inFile(text)
	if err != nil {
		return nil, err
	}
	scope := t.Scope
	if len(scope) == 0 {
		scope = have
	}
	if len(scope) == 0 {
		scope = []string{leastScope}
	}
	return jsonfile.Set(text,
		jsonfile.Edit{Path: []string{login, "accessToken"}, Value: t.Value.Reveal()},
		jsonfile.Edit{Path: []string{login, "expiresAt"}, Value: t.Expiry.UnixMilli()},
		jsonfile.Edit{Path: []string{login, scopes}, Value: scope},
	)
}

// inFile returns the scopes in a file, and refuses one that it must not change.
func inFile(text []byte) (scope []string, err error) {
	if len(text) == 0 {
		return nil, nil
	}
	file, err := jsonfile.Parse(text)
	if err != nil {
		return nil, err
	}
	raw, ok := file.Get(login)
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	own, err := jsonfile.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("its member %s: %w", login, err)
	}
	if v, ok := own.Get(refresh); ok && string(v) != "null" && string(v) != `""` {
		return nil, fmt.Errorf("it holds a refresh token, which Claude Code would spend: name a file in a folder of its own (CLAUDE_CONFIG_DIR), or take %s.%s out of this one if the login is over", login, refresh)
	}
	if v, ok := own.Get(scopes); ok && json.Unmarshal(v, &scope) != nil {
		return nil, nil // no list of strings: Claude Code would not read it either
	}
	return scope, nil
}

var _ grant.Sink = (*Sink)(nil)
