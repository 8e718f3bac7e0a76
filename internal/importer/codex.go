package importer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/jsonfile"
)

// readCodex reads the login of Codex (openai/codex, codex-rs/login/src/auth/storage.rs
// and token_data.rs). The access token is a JWT, whose claims tell its end.
//
//	{"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": {"id_token": "JWT",
//	  "access_token": "JWT", "refresh_token": "…", "account_id": "…"},
//	  "last_refresh": "RFC 3339"}
func readCodex(ctx context.Context, from string, m *Machine, f *Found) error {
	path := from
	if path == "" {
		var err error
		if path, err = m.home(".codex", "auth.json"); m.Getenv("CODEX_HOME") != "" {
			path, err = filepath.Join(m.Getenv("CODEX_HOME"), "auth.json"), nil
		}
		if err != nil {
			return err
		}
	}
	f.Tool, f.Provider, f.Away = "Codex", "codex", away(path)
	f.Better = []string{
		"mkdir -p ~/.codex-evergrant && CODEX_HOME=~/.codex-evergrant codex login",
		"CODEX_HOME=~/.codex-evergrant evergrant import codex --take-over",
	}
	file, err := f.codexFile(ctx, path, m)
	switch {
	case missing(err):
		return fmt.Errorf("no login of Codex: there is no %s; sign in with codex login, or name the file with --from PATH (a login in the system's keyring cannot be read)", path)
	case err != nil:
		return err
	}
	login := file.inner("tokens")
	switch key := file.text("OPENAI_API_KEY"); {
	case file.err != nil:
		return file.err
	case login == nil && key != "":
		return fmt.Errorf("%s holds an API key and no login: a key needs no refresh", path)
	case login == nil:
		return fmt.Errorf("%s holds no login of Codex: it has no member tokens", path)
	}
	f.Tokens.Access.Value = login.token("access_token")
	f.Tokens.Refresh = login.token("refresh_token")
	f.Tokens.ObtainedAt = file.moment("last_refresh")
	if err := errors.Join(file.err, login.err); err != nil {
		return err
	}
	if f.Tokens.Refresh.IsZero() {
		return fmt.Errorf("%s holds no refresh token, so there is nothing to keep alive", path)
	}
	claims(login.text("access_token"), &f.Tokens)
	return nil
}

// codexFile reads the file. Codex has no lock and writes it in place, so that a
// reader may meet a part of it; a moment later it is whole.
func (f *Found) codexFile(ctx context.Context, path string, m *Machine) (*fields, error) {
	for try := 1; ; try++ {
		text, err := f.load(path, m)
		if err != nil {
			return nil, err
		}
		file, err := parse(path, text)
		if err == nil || try == 5 {
			return file, err
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// claims reads from a JWT what it tells of itself: its end, its beginning, its
// scopes. What cannot be read is not known; the signature is its users' business.
func claims(token string, t *grant.TokenSet) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return
	}
	o, err := jsonfile.Parse(b)
	if err != nil {
		return
	}
	c := fields{object: o}
	t.Access.Expiry = c.moment("exp")
	if at := c.moment("iat"); !at.IsZero() && at.Before(t.Access.Expiry) {
		t.ObtainedAt = at
	}
	t.Access.Scope = c.scopes("scp", "scope")
}
