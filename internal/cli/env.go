package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"evergrant/internal/grant"
)

// environment looks up one variable; it is the only way to the environment.
type environment func(name string) (value string, set bool)

// get returns "" for a variable that is not set.
func (e environment) get(name string) string {
	v, _ := e(name)
	return v
}

// having is the same environment with one variable more.
func (e environment) having(name, value string) environment {
	return func(n string) (string, bool) {
		if n == name {
			return value, true
		}
		return e(n)
	}
}

// ci reports whether this is a job of a CI system, all of which set CI.
func (e environment) ci() bool {
	v := strings.ToLower(e.get("CI"))
	return v != "" && v != "false" && v != "0"
}

func (e environment) githubActions() bool { return e.get("GITHUB_ACTIONS") == "true" }

// stateFolder is where this user's grants, spills and marks live unless told
// otherwise: the XDG state folder, or what the system has in its place.
func (e environment) stateFolder() (string, error) {
	if dir := e.get("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "evergrant"), nil
	}
	var dir string
	switch runtime.GOOS {
	case "windows":
		if base := e.get("LOCALAPPDATA"); base != "" {
			return filepath.Join(base, "evergrant"), nil
		}
		return "", usagef("LOCALAPPDATA is not set, so there is no place for evergrant's state").hint("set XDG_STATE_HOME to a folder")
	case "darwin":
		dir = filepath.Join("Library", "Application Support", "evergrant")
	default:
		dir = filepath.Join(".local", "state", "evergrant")
	}
	home := e.get("HOME")
	if !filepath.IsAbs(home) {
		return "", usagef("HOME is not set to a folder, so there is no place for evergrant's state").hint("set XDG_STATE_HOME to a folder")
	}
	return filepath.Join(home, dir), nil
}

// label says who writes an event of a grant's story.
func (e environment) label() string {
	if e.githubActions() {
		return "github run " + word(e.get("GITHUB_RUN_ID")) + "." + word(e.get("GITHUB_RUN_ATTEMPT"))
	}
	if job := e.get("CI_JOB_ID"); job != "" {
		return "gitlab job " + word(job)
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown host"
	}
	return word(host)
}

// word keeps a foreign value short and printable.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > 0x20 && r < 0x7f {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), 40)]
}

// variable checks that the value of a flag like --from-env is the name of a
// variable. It is not repeated: whoever writes the secret itself there has
// shown it to every process already.
func variable(flag, name string) error {
	for i, r := range name {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return usagef("%s takes the name of an environment variable, and what was given is none (it is not repeated here)", flag).
				hint("write " + flag + " NAME and put the secret into the variable NAME; a secret that was typed as an argument is worth replacing")
		}
	}
	if name == "" {
		return usagef("%s takes the name of an environment variable", flag)
	}
	return nil
}

// showName repeats a variable's name only if it cannot be a secret: in capitals,
// as people name variables, and of words.
func showName(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '_' })
	random := slices.ContainsFunc(words, func(w string) bool { return !echoable(w) })
	if len(name) <= 64 && strings.ToUpper(name) == name && !random {
		return name
	}
	return "(its name is not repeated: it may be a secret)"
}

// secretVariable reads a secret from the variable that a flag names. A
// variable that is not set is a mistake; one that is empty is no secret, which
// is how a CI system passes a secret that this run may not see.
func (e environment) secretVariable(flag, name string) (grant.Secret, error) {
	if err := variable(flag, name); err != nil {
		return grant.Secret{}, err
	}
	v, set := e(name)
	if !set {
		return grant.Secret{}, usagef("%s: %s", flag, notSet(name))
	}
	return grant.NewSecret(v), nil
}

// cleanToken checks a token that came from outside. One newline at its end is
// what files and shells add, so it is taken off with a warning; anything else
// that RFC 6749 appendix A does not allow in a token is a mistake in how the
// variable was filled.
func cleanToken(where string, s grant.Secret) (token grant.Secret, warning string, err error) {
	v := s.Reveal()
	if t, cut := strings.CutSuffix(v, "\n"); cut {
		v = strings.TrimSuffix(t, "\r")
		warning = fmt.Sprintf("the newline at the end of %s was left out; fill it without one", where)
	}
	for i, b := range []byte(v) {
		if b <= 0x20 || b > 0x7e {
			kind := "a character that no token has"
			switch b {
			case '\n', '\r':
				kind = "a line break"
			case ' ', '\t':
				kind = "a space"
			}
			return grant.Secret{}, "", usagef("%s holds %s at position %d of %d; it is not sent", where, kind, i+1, len(v)).
				hint("copy the token again, alone and whole")
		}
	}
	return grant.NewSecret(v), warning, nil
}
