package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"evergrant/internal/folderlock"
)

// patience bounds the wait for a program that is renewing its login, which takes
// it one request.
const patience = 10 * time.Second

// readClaude reads the login of Claude Code: a file, or on macOS an item of the
// Keychain, where the file is the fallback (Claude Code docs, authentication; the
// item's name is from realiti4/claude-swap, session.py).
//
//	{"claudeAiOauth": {"accessToken": "…", "refreshToken": "…", "expiresAt": MS,
//	  "refreshTokenExpiresAt": MS, "scopes": ["…"]}, …}
func readClaude(ctx context.Context, from string, m *Machine, f *Found) error {
	dir := m.Getenv("CLAUDE_CONFIG_DIR")
	path := filepath.Join(dir, ".credentials.json")
	if dir == "" {
		var err error
		if path, err = m.home(".claude", ".credentials.json"); err != nil && from == "" {
			return err
		}
	}
	if from != "" {
		path = from
	}
	if err := free(ctx, path); err != nil {
		return err
	}
	f.Tool, f.Provider, f.Away = "Claude Code", "claude", away(path)
	f.Better = []string{
		"CLAUDE_CONFIG_DIR=~/.claude-evergrant claude auth login",
		"CLAUDE_CONFIG_DIR=~/.claude-evergrant evergrant import claude --take-over",
	}
	if m.OS == "darwin" && from == "" {
		text, item, err := keychain(ctx, dir, m)
		if err != nil {
			return err
		}
		if text != nil {
			f.From, f.Away = "the Keychain item "+item, "security delete-generic-password -s "+shell(item)
			return f.claudeLogin(text)
		}
	}
	text, err := f.load(path, m)
	switch {
	case missing(err):
		return fmt.Errorf("no login of Claude Code: there is no %s; sign in with claude auth login, or name the file with --from PATH", path)
	case err != nil:
		return err
	}
	return f.claudeLogin(text)
}

func (f *Found) claudeLogin(text []byte) error {
	file, err := parse(f.From, text)
	if err != nil {
		return err
	}
	login := file.inner("claudeAiOauth")
	switch {
	case file.err != nil:
		return file.err
	case login == nil:
		return fmt.Errorf("%s holds no login of Claude Code: it has no member claudeAiOauth", f.From)
	}
	f.Tokens.Access.Value = login.token("accessToken")
	f.Tokens.Access.Expiry = login.moment("expiresAt")
	f.Tokens.Access.Scope = login.scopes("scopes")
	f.Tokens.Refresh = login.token("refreshToken")
	f.Tokens.RefreshExpiry = login.moment("refreshTokenExpiresAt")
	if login.err == nil && f.Tokens.Refresh.IsZero() {
		login.err = fmt.Errorf("%s holds no refresh token, so there is nothing to keep alive; a token of claude setup-token has none", f.From)
	}
	return login.err
}

// free waits while Claude Code renews the login that is kept in the folder of
// path. It makes no lock: nothing here is written.
func free(ctx context.Context, path string) error {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	err = folderlock.Wait(ctx, []string{filepath.Join(dir, ".oauth_refresh.lock"), dir + ".lock"}, patience)
	if errors.Is(err, folderlock.ErrHeld) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// noItem is the status with which security says that there is no such item.
const noItem = 44

// keychain reads Claude Code's item; nil without an error if there is none. The
// secret comes by standard output, and is in no argument.
func keychain(ctx context.Context, dir string, m *Machine) (text []byte, item string, err error) {
	item = "Claude Code-credentials"
	if dir != "" {
		// Claude Code normalizes the text first, which changes no ASCII.
		if strings.IndexFunc(dir, func(r rune) bool { return r > 0x7e }) >= 0 {
			return nil, "", errors.New("CLAUDE_CONFIG_DIR has a character that is not ASCII, so the Keychain item's name is not known; name a file with --from PATH")
		}
		sum := sha256.Sum256([]byte(dir))
		item += "-" + hex.EncodeToString(sum[:])[:8]
	}
	program := m.Keychain
	if program == "" {
		program = "/usr/bin/security"
	}
	// The Keychain may ask its user, who may not be there.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "find-generic-password", "-s", item, "-w")
	cmd.Stdout, cmd.WaitDelay = &out, time.Second
	err = cmd.Run()
	failed := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return unhexed(out.Bytes()), item, nil
	case ctx.Err() != nil:
		return nil, item, fmt.Errorf("the Keychain did not give its item %s in time; unlock it, or name a file with --from PATH", item)
	case errors.As(err, &failed) && failed.ExitCode() == noItem:
		return nil, item, nil
	}
	return nil, item, fmt.Errorf("the Keychain does not give its item %s (security ended with: %v); unlock it, or name a file with --from PATH", item, err)
}

// unhexed undoes what security does to a value that is not plain text.
func unhexed(text []byte) []byte {
	text = bytes.TrimSpace(text)
	if plain, err := hex.DecodeString(string(text)); err == nil && len(plain) > 0 {
		return plain
	}
	return text
}
