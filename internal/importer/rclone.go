package importer

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// readRclone reads one remote of rclone's configuration (rclone docs, "Config
// file"; rclone's lib/oauthutil for the token).
//
//	[REMOTE]
//	type = drive
//	client_id = …
//	client_secret = …
//	token = {"access_token":"…","token_type":"Bearer","refresh_token":"…","expiry":"RFC 3339"}
func readRclone(remote, from string, m *Machine, f *Found) error {
	path, err := rclonePath(from, m)
	if err != nil {
		return err
	}
	text, err := f.load(path, m)
	switch {
	case missing(err):
		return fmt.Errorf("there is no configuration of rclone at %s; rclone config file tells where it is: name it with --from PATH", path)
	case err != nil:
		return err
	}
	section, err := remoteOf(path, remote, text)
	if err != nil {
		return err
	}
	where := fmt.Sprintf("remote %s in %s", remote, path)
	f.Tool, f.Provider = "rclone", presetOf(section["type"])
	f.ClientID, f.TokenURL = section["client_id"], section["token_url"]
	if section["client_secret"] != "" {
		f.SecretAt = "client_secret of the " + where
	}
	if section["token"] == "" {
		return fmt.Errorf("the %s has no token: its type needs none, or it is not signed in (rclone config reconnect %s:)", where, remote)
	}
	token, err := parse("the token of the "+where, []byte(section["token"]))
	if err != nil {
		return err
	}
	answer(token, f)
	switch {
	case token.err != nil:
		return token.err
	case f.Tokens.Refresh.IsZero():
		return fmt.Errorf("the token of the %s has no member refresh_token, so there is nothing to keep alive", where)
	case !visible(f.ClientID) || !visible(f.TokenURL):
		return fmt.Errorf("the %s has a client_id or a token_url with a space or a control character in it", where)
	}
	return nil
}

func rclonePath(from string, m *Machine) (string, error) {
	if from != "" {
		return from, nil
	}
	if path := m.Getenv("RCLONE_CONFIG"); path != "" {
		return path, nil
	}
	return m.settings("rclone", "rclone.conf")
}

// presetOf names the provider behind a type of remote; "" where it is not known.
func presetOf(kind string) string {
	switch kind {
	case "drive", "google photos", "google cloud storage":
		return "google"
	case "onedrive":
		return "microsoft"
	case "box", "dropbox", "zoho":
		return kind
	}
	return ""
}

// maxLine bounds a line of the configuration, in bytes; a token is one line.
const maxLine = 1 << 20

// remoteOf returns the settings of a remote.
func remoteOf(path, remote string, text []byte) (map[string]string, error) {
	var section map[string]string
	begun := false
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case !begun && strings.HasPrefix(line, "RCLONE_ENCRYPT_V"):
			return nil, fmt.Errorf("%s is encrypted; let rclone write the one remote in plain, (umask 077; rclone config show %s >FILE), name that file with --from FILE, and remove it afterwards", path, shell(remote))
		case line[0] == '[' && line[len(line)-1] == ']':
			if begun = true; section != nil {
				return section, nil
			}
			if line[1:len(line)-1] == remote {
				section = map[string]string{}
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%s, line %d: it is neither [REMOTE] nor NAME = VALUE", path, n)
		}
		if section != nil {
			section[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: a line is longer than %d KiB", path, maxLine>>10)
	}
	if section == nil {
		return nil, fmt.Errorf("%s has no remote %s; rclone listremotes lists them", path, word(remote))
	}
	return section, nil
}

// word repeats a short name, and of a long one only that it is none.
func word(s string) string {
	if len(s) > 40 || !visible(strings.ReplaceAll(s, " ", "")) {
		return "of that name"
	}
	return s
}
