package git

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// What the tests of pure parts need of the package's inside.

// Outcome is a push's outcome by name.
func Outcome(stdout, stderr string, code int, ref string) (outcome, reason string) {
	p, reason := judge(answer{stdout: []byte(stdout), stderr: stderr, code: code, started: true}, ref)
	return [...]string{"unknown", "done", "stale", "locked", "refused", "unsent", "not taken"}[p], reason
}

// Cause is what is told of git's errors.
func Cause(r Remote, c Credential, stderr string) string {
	p := program{remote: r, env: configuration(r, c)}
	return p.cause(stderr, errLong).Error()
}

// Denied reports whether what git complains of counts as a refusal to be asked.
func Denied(stderr string) bool {
	p := program{}
	return errors.Is(p.cause(stderr, errLong), grant.ErrDenied)
}

// Environment is what git gets, by name.
func Environment(r Remote, c Credential, get func(string) string, ssh string) map[string]string {
	env := append(environment(r, get, []string{"/opt/git/bin"}), sshEnvironment(ssh)...)
	all := make(map[string]string)
	for _, v := range append(env, configuration(r, c)...) {
		name, value, _ := strings.Cut(v, "=")
		all[name] = value
	}
	return all
}

// BreakSeen breaks the lock that was seen a moment ago.
func BreakSeen(now func() time.Time, dir, lock string, old fs.FileInfo) (broken bool, err error) {
	s := Store{now: now}
	return s.breakSeen(dir, lock, old)
}

// NextObject reads one entry of git cat-file --batch.
func NextObject(b []byte, kind string) (id, content, rest []byte, ok bool) {
	o, rest, ok := nextObject(b, kind)
	return []byte(o.id), o.content, rest, ok
}

var (
	RefName      = refName
	ParseRefName = parseRefName
	Clean        = clean
)
