package git

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"evergrant/internal/grant"
)

// Remote is a repository that the store is in: by HTTPS, SSH or a path. The
// zero Remote is none. Two equal Remotes are one place.
type Remote struct {
	scheme string // https, http (loopback only), ssh, file
	url    string // as git takes it, in one canonical form
	place  string
}

// ParseRemote reads a remote as a user writes it. An error is one line for the
// user, and never repeats what may be a password.
func ParseRemote(s string) (Remote, error) {
	for _, r := range s {
		if r <= ' ' || r == 0x7f {
			return Remote{}, errors.New("its remote holds a space or a control character")
		}
	}
	scheme, _, isURL := strings.Cut(s, "://")
	switch {
	case s == "":
		return Remote{}, errors.New("its remote is empty")
	case isURL:
		return parseURL(strings.ToLower(scheme), s)
	case strings.HasPrefix(s, "~"):
		return Remote{}, errors.New("its remote starts with ~, which is not expanded; write the whole path")
	case strings.HasPrefix(s, ".") || filepath.IsAbs(s):
		return pathRemote(s)
	}
	return parseSCP(s)
}

func parseURL(scheme, s string) (Remote, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery:
		return Remote{}, errors.New("its remote is not a URL as https://forge.example/owner/name")
	case scheme == "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return Remote{}, errors.New("its remote file:// needs a whole path, as file:///srv/git/name.git")
		}
		return pathRemote(u.Path)
	case u.Host == "" || strings.HasPrefix(u.Hostname(), "-"):
		return Remote{}, errors.New("its remote names no host")
	case strings.Trim(u.Path, "/") == "":
		return Remote{}, errors.New("its remote names a host and no repository")
	case climbs(u.Path):
		return Remote{}, errors.New("its remote has a path with . or .. in it; write it plainly")
	}
	switch _, password := u.User.Password(); scheme {
	case "https", "http":
		if u.User != nil {
			return Remote{}, errors.New("its remote carries a user or a token before the host, where logs and other processes see it; put the token into a variable and name that with --git-token-env")
		}
		if scheme == "http" && !loopback(u.Hostname()) {
			return Remote{}, errors.New("its remote is http, which anybody on the way can read and change; use https (http is for loopback addresses)")
		}
	case "ssh":
		if password || strings.HasPrefix(u.User.Username(), "-") {
			return Remote{}, errors.New("its remote carries a password or a flag; SSH takes its key from the agent or from ~/.ssh")
		}
	default:
		return Remote{}, fmt.Errorf("its remote is %q, and there are https, ssh and a path", shorten(scheme)+"://")
	}
	return urlRemote(scheme, u), nil
}

func urlRemote(scheme string, u *url.URL) Remote {
	host := strings.ToLower(u.Host)
	if p := u.Port(); p != "" && (scheme == "ssh" || p == map[string]string{"https": "443", "http": "80"}[scheme]) {
		host = strings.TrimSuffix(host, ":"+p)
	}
	canonical := url.URL{Scheme: scheme, User: u.User, Host: host, Path: strings.TrimRight(u.Path, "/"), RawPath: strings.TrimRight(u.RawPath, "/")}
	if scheme == "ssh" {
		canonical.Host = strings.ToLower(u.Host)
	}
	return Remote{scheme: scheme, url: canonical.String(), place: placeOf(host, u.Path)}
}

// scp is the short form of an SSH remote: [user@]host:path.
func scp() *regexp.Regexp {
	return regexp.MustCompile(`^(?:([A-Za-z0-9_][A-Za-z0-9_.+-]*)@)?([A-Za-z0-9][A-Za-z0-9.-]*):([^:].*)$`)
}

func parseSCP(s string) (Remote, error) {
	m := scp().FindStringSubmatch(s)
	if m == nil || strings.Trim(m[3], "/") == "" || climbs(m[3]) {
		return Remote{}, errors.New("its remote is not a URL as https://forge.example/owner/name, and not a path, which starts with / or ./")
	}
	user := ""
	if m[1] != "" {
		user = m[1] + "@"
	}
	host := strings.ToLower(m[2])
	path := strings.TrimRight(m[3], "/")
	return Remote{scheme: "ssh", url: user + host + ":" + path, place: placeOf(host, path)}, nil
}

func pathRemote(path string) (Remote, error) {
	if strings.ContainsAny(path, "?#") {
		return Remote{}, errors.New("its path holds ? or #, which have a meaning in the URL of a store; use another folder")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Remote{}, fmt.Errorf("its path cannot be made absolute: %w", err)
	}
	return Remote{scheme: "file", url: abs, place: filepath.ToSlash(abs)}, nil
}

// placeOf is the same for all addresses of one repository of one forge. Forges
// ignore case; a server that does not gets one name for two repositories,
// which weakens the proof by nothing that its users would notice.
func placeOf(host, path string) string {
	return host + "/" + strings.ToLower(strings.TrimSuffix(strings.Trim(path, "/"), ".git"))
}

// climbs reports a path that is not the name of one place.
func climbs(path string) bool {
	parts := strings.Split(path, "/")
	return slices.Contains(parts, ".") || slices.Contains(parts, "..")
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// IsZero reports whether no repository is named.
func (r Remote) IsZero() bool { return r.url == "" }

// String is the remote as git takes it, without any secret.
func (r Remote) String() string { return r.url }

// Place is the name of the repository that records are bound to: the same by
// HTTPS and by SSH.
func (r Remote) Place() string { return r.place }

// TakesToken reports whether a token is of use: SSH and a path have their own ways.
func (r Remote) TakesToken() bool { return r.scheme == "https" || r.scheme == "http" }

// origin is scheme, host and port, with a slash behind: what a token is for.
func (r Remote) origin() string {
	rest := strings.TrimPrefix(r.url, r.scheme+"://")
	host, _, _ := strings.Cut(rest, "/")
	return r.scheme + "://" + host + "/"
}

const (
	ownSpace    = "refs/evergrant/"
	branchSpace = "refs/heads/evergrant/"
)

// ParseRef checks a ref, or a folder of refs that ends in a slash, by the
// rules of git-check-ref-format(1).
func ParseRef(s string) (string, error) {
	name, rooted := strings.CutPrefix(s, "refs/")
	bad := !rooted || len(s) > 200 || strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".")
	for _, r := range s {
		bad = bad || r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r)
	}
	parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
	for _, part := range parts {
		bad = bad || part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock")
	}
	if bad || len(parts) < 2 {
		return "", fmt.Errorf("its ref %q is none; write it whole, as refs/heads/NAME for a branch, or a folder of refs, as refs/heads/evergrant/", shorten(s))
	}
	return s, nil
}

// refName is the last part of a grant's ref: the name of its files, which
// collides with no other grant's on a server whose disk ignores case, with the
// dots that git forbids in a ref written %2e.
func refName(id grant.ID) (string, error) {
	name, err := id.Filename()
	if err != nil {
		return "", err
	}
	if base, ok := strings.CutSuffix(name, "."); ok {
		name = base + "%2e"
	}
	return strings.ReplaceAll(name, "..", "%2e."), nil
}

// parseRefName is the inverse of refName.
func parseRefName(name string) (grant.ID, bool) {
	id, ok := grant.ParseFilename(strings.ReplaceAll(name, "%2e", "."))
	if !ok {
		return "", false
	}
	back, err := refName(id)
	return id, err == nil && back == name
}

// shorten keeps foreign text in an error to a length that a line can bear.
func shorten(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
