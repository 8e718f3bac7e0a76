// Package importer reads a login from where another program keeps it: Claude
// Code, Codex, rclone, gcloud, or a JSON file. It only reads. What it finds is a
// token set, and where its refresh token belongs as far as the source says so.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/jsonfile"
)

// Sources are what can be imported, as it is written.
const Sources = "claude, codex, gcloud, rclone:REMOTE, file:PATH"

// Kinds of a [Source].
const (
	kindClaude = "claude"
	kindCodex  = "codex"
	kindGcloud = "gcloud"
	kindRclone = "rclone"
	kindFile   = "file"
)

// Source is a program that keeps logins, or a file with one.
type Source struct {
	kind string
	name string // of rclone's remote; of the file
}

// Parse reads a source as users write it. The error repeats nothing long: it may
// be a secret in the wrong place.
func Parse(text string) (Source, error) {
	kind, name, named := strings.Cut(text, ":")
	switch kind {
	case kindClaude, kindCodex, kindGcloud:
		if named {
			return Source{}, fmt.Errorf("source %s takes nothing behind a colon; --from PATH names another file", kind)
		}
	case kindRclone:
		if name == "" {
			return Source{}, errors.New("source rclone needs the name of a remote: rclone:REMOTE")
		}
	case kindFile:
		if name == "" {
			return Source{}, errors.New("source file needs a path: file:PATH")
		}
	default:
		return Source{}, fmt.Errorf("there is no such source; there are %s", Sources)
	}
	return Source{kind, strings.TrimSuffix(name, ":")}, nil
}

// Kind is the source's kind: the word before the colon.
func (s Source) Kind() string { return s.kind }

// IsFile reports a source that no program goes on using by itself.
func (s Source) IsFile() bool { return s.kind == kindFile }

// Machine is what the sources are told of the machine that they are on.
type Machine struct {
	OS     string // as runtime.GOOS has it
	Getenv func(string) string
	// Keychain is macOS's security program; "": /usr/bin/security.
	Keychain string
}

// Found is a login at its source.
type Found struct {
	Tool string // the program that keeps it; "": nobody is known to
	From string // the path, or the name of the Keychain's item
	// Away is the command that takes the login away from its program; "": there is
	// none.
	Away string
	// Better are commands that give evergrant a login of its own instead.
	Better []string

	// Provider is the preset whose tokens these are; "": the source does not say.
	Provider string
	// TokenURL and ClientID are where the refresh token belongs, where the source
	// says so.
	TokenURL, ClientID string
	// SecretAt names where in the source the client's secret is, which is not
	// taken over; "": it has none.
	SecretAt string

	// Tokens lack what the source does not say; see [Found.Settle].
	Tokens grant.TokenSet
	// Warnings are for people, one sentence each.
	Warnings []string
}

// ErrBusy: the program that keeps the login is renewing it at this moment.
var ErrBusy = errors.New("the login is being renewed at this moment")

// Read finds the login. from, unless empty, is the file to read instead of the
// one where the program keeps it. Errors are one line for a user and repeat
// nothing of a file's content; the one that time mends is [ErrBusy].
func (s Source) Read(ctx context.Context, from string, m Machine) (*Found, error) {
	f, err := &Found{}, error(nil)
	switch {
	case s.kind == kindClaude:
		err = readClaude(ctx, from, &m, f)
	case s.kind == kindCodex:
		err = readCodex(ctx, from, &m, f)
	case s.kind == kindGcloud:
		err = readGcloud(from, &m, f)
	case s.kind == kindRclone:
		err = readRclone(s.name, from, &m, f)
	case from != "":
		err = errors.New("source file:PATH names its file; --from is for the other sources")
	default:
		err = readFile(s.name, &m, f)
	}
	return f, err
}

// Settle completes the token set for a provider whose access tokens live so long
// (0: unknown). An access token whose end nobody knows is left out, because a
// dead one would be served; the first refresh gets another. A token that was
// obtained nobody knows when counts as one that was obtained as late as it can be.
func (f *Found) Settle(life time.Duration, now time.Time) {
	t := &f.Tokens
	if t.Access.Value.IsZero() {
		t.Access.Expiry = time.Time{}
	}
	if !t.Access.Value.IsZero() && t.Access.Expiry.IsZero() {
		if t.ObtainedAt.IsZero() || life <= 0 {
			t.Access.Value = grant.Secret{}
			f.Warnings = append(f.Warnings, "the source does not say when the access token ends, so it is left out; the first refresh gets one")
		} else {
			t.Access.Expiry, t.Access.ExpiryAssumed = t.ObtainedAt.Add(life), true
		}
	}
	if t.ObtainedAt.IsZero() {
		t.ObtainedAt = now
		if life > 0 && !t.Access.Expiry.IsZero() {
			t.ObtainedAt = t.Access.Expiry.Add(-life)
		}
	}
	if t.ObtainedAt.After(now) {
		t.ObtainedAt = now
	}
	if !t.Access.Expiry.IsZero() && t.ObtainedAt.After(t.Access.Expiry) {
		t.ObtainedAt = t.Access.Expiry
	}
	if !t.Access.Value.IsZero() && t.Access.Type == "" {
		t.Access.Type = "Bearer"
	}
}

// load reads a source's file, and warns if others can read it.
func (f *Found) load(path string, m *Machine) ([]byte, error) {
	text, mode, err := jsonfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.From, f.Warnings = path, nil
	if mode&0o044 != 0 && m.OS != "windows" {
		f.Warnings = []string{fmt.Sprintf("others can read %s (mode %04o): chmod 600 %s", path, mode, path)}
	}
	return text, nil
}

// missing reports that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// home is a path in the user's home folder.
func (m *Machine) home(parts ...string) (string, error) {
	name := "HOME"
	if m.OS == "windows" {
		name = "USERPROFILE"
	}
	dir := m.Getenv(name)
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%s is not set to a folder; name the file with --from PATH", name)
	}
	return filepath.Join(append([]string{dir}, parts...)...), nil
}

// settings is a path in the folder where programs keep their settings.
func (m *Machine) settings(parts ...string) (string, error) {
	dir := m.Getenv("XDG_CONFIG_HOME")
	if m.OS == "windows" {
		dir = m.Getenv("APPDATA")
	}
	if filepath.IsAbs(dir) {
		return filepath.Join(append([]string{dir}, parts...)...), nil
	}
	return m.home(append([]string{".config"}, parts...)...)
}

// shell writes a path as a POSIX shell reads it back.
func shell(path string) string {
	if path != "" && strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/+@%:,=") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// away is the command that takes a login's file away from its program. The name is a new
// one each time: an older login that was taken away stays.
func away(path string) string {
	return "mv -n " + shell(path) + " " + shell(path+".imported-") + `"$(date +%s)-$$"`
}
