// Package store turns a store URL into the store that it names.
package store

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/file"
	"evergrant/internal/store/git"
	"evergrant/internal/store/mem"
)

// Schemes are the stores that this version has, as their URLs are written.
const Schemes = "file:PATH, git:REMOTE[#REF], ghsecret:OWNER/REPO/NAME?env=VAR and none:"

// Location is a parsed store URL. It says where records live without touching
// the place, so that everything can be checked before anything is opened.
type Location struct {
	scheme string
	path   string // absolute
	shared bool

	remote, former git.Remote
	ref            string
	credential     git.Credential

	secret secret
}

// None is the place that keeps nothing.
func None() Location { return Location{scheme: "none"} }

// File is a folder of records.
func File(path string) Location { return Location{scheme: "file", path: path} }

// Parse reads a store URL. The error is one line for a user.
func Parse(raw string) (Location, error) {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok {
		return Location{}, fmt.Errorf("a store is written scheme:rest, and this one has no colon; this version has %s", Schemes)
	}
	switch scheme {
	case "file":
		return parseFile(rest)
	case "none":
		if rest != "" {
			return Location{}, errors.New("store none: takes nothing after the colon")
		}
		return None(), nil
	case "git":
		return parseGit(rest)
	case "ghsecret":
		return parseGitHub(rest)
	}
	if len(scheme) > longestEcho {
		return Location{}, fmt.Errorf("there is no store of that kind; this version has %s", Schemes)
	}
	return Location{}, fmt.Errorf("there is no store %q; this version has %s", scheme+":", Schemes)
}

// longestEcho bounds what is repeated of a word that means nothing here: it may
// be a secret in the wrong place.
const longestEcho = 20

func parseFile(rest string) (Location, error) {
	path, query, _ := strings.Cut(rest, "?")
	l := Location{scheme: "file"}
	switch {
	case path == "":
		return l, errors.New("store file: needs the path of a folder, as in file:/var/lib/evergrant")
	case strings.HasPrefix(path, "~"):
		return l, errors.New("store file: does not expand ~; write the whole path, as in file:$HOME/grants")
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return l, errors.New("store file: the part after ? is not made of name=value")
	}
	for name, values := range options {
		if name != "shared" || len(values) != 1 || values[0] != "yes" && values[0] != "no" {
			return l, errors.New("store file: knows ?shared=yes and ?shared=no, and no other option")
		}
		l.shared = values[0] == "yes"
	}
	if l.path, err = filepath.Abs(path); err != nil {
		return l, fmt.Errorf("store file: the path cannot be made absolute: %w", err)
	}
	return l, nil
}

// String is the URL in one canonical form: the same place has the same name,
// wherever the command ran. A git store's former address is no part of it.
func (l Location) String() string {
	switch {
	case l.scheme == "none":
		return "none:"
	case l.scheme == "git" && l.ref != "":
		return "git:" + l.remote.String() + "#" + l.ref
	case l.scheme == "git":
		return "git:" + l.remote.String()
	case l.scheme == "ghsecret":
		return l.secret.String()
	case l.shared:
		return "file:" + l.path + "?shared=yes"
	}
	return "file:" + l.path
}

// Keeps reports whether anything written there is there next time.
func (l Location) Keeps() bool { return l.scheme != "none" }

// SameHost reports whether all who reach the place share one machine.
func (l Location) SameHost() bool { return !l.shared && l.scheme != "git" && l.scheme != "ghsecret" }

// Path is the folder of a file store, else "".
func (l Location) Path() string { return l.path }

// Open opens the store; codec reads and writes its records.
func (l Location) Open(codec *record.Codec) (grant.Store, error) {
	switch l.scheme {
	case "none":
		return mem.New(), nil
	case "git":
		c := git.Config{Remote: l.remote, Ref: l.ref, Codec: codec, Credential: l.credential}
		if !l.former.IsZero() {
			c.Former = []git.Remote{l.former}
		}
		return git.Open(c)
	case "ghsecret":
		return l.secret.open(codec)
	}
	return file.Open(l.path, codec, file.Options{Shared: l.shared})
}
