package git

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"evergrant/internal/grant"
)

// pushed is what a push did to the one ref that it was about.
type pushed uint8

const (
	pushUnknown pushed = iota // the remote may have acted
	pushDone
	pushStale   // somebody else's commit is there: nothing was written
	pushLocked  // the remote could not lock or move the ref: nothing was written
	pushRefused // a rule of the remote forbids it: nothing was written
	pushUnsent  // the push never began, and another try would not either
	// pushNotTaken: the remote could not keep the objects, whatever the ref:
	// nothing was written. No other ref would help.
	pushNotTaken
)

// judge reads a push's outcome from what git(1) prints with --porcelain, and,
// where no line is about the ref, from what git says before it sends.
//
//	!	<commit>:refs/evergrant/x	[remote rejected] (failed to update ref)
func judge(a answer, ref string) (pushed, string) {
	for line := range strings.Lines(string(a.stdout)) {
		fields := strings.SplitN(strings.TrimRight(line, "\r\n"), "\t", 3)
		if len(fields) != 3 || len(fields[0]) != 1 || !strings.HasSuffix(fields[1], ":"+ref) {
			continue
		}
		if fields[0] == "!" {
			return judgeReason(fields[2], ref)
		}
		if a.code == 0 {
			return pushDone, ""
		}
		return pushUnknown, "" // moved, as it seems, and then something failed
	}
	if !a.started || a.code > 0 && lasting(a.stderr) {
		return pushUnsent, ""
	}
	return pushUnknown, ""
}

// judgeReason reads the summary of a "!" line. The side that rejects matters:
// "non-fast-forward" by ourselves is a lost race, by the remote it is a rule,
// because a record's commit has no parent. A reason of the remote that is not known
// proves nothing: forges say "failure" where they have lost count themselves.
// git 2.51 and later give names of their own to what was "failed to update ref".
func judgeReason(summary, ref string) (pushed, string) {
	side, reason, _ := strings.Cut(summary, "] (")
	reason = strings.TrimSuffix(reason, ")")
	plain := strings.ToLower(strings.ReplaceAll(reason, ref, "")) // a grant may be called "denied"
	reason = clean(reason, 120)
	has := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(plain, t) })
	}
	switch {
	case side == "[remote failure":
		return pushUnknown, reason
	case has("stale info", "fetch first", "reference already exists", "reference does not exist", "incorrect old value"),
		side == "[rejected" && has("non-fast-forward"):
		return pushStale, reason
	case has("cannot lock ref", "failed to update ref", "failed to lock", "refname conflict", "reference conflict"):
		return pushLocked, reason
	case has("unpacker error", "unable to migrate objects", "missing necessary objects", "bad pack"):
		return pushNotTaken, reason
	case side == "[rejected":
		return pushRefused, reason // git itself has not sent it
	case side != "[remote rejected" || has("internal error", "server error", "timeout", "timed out", "try again", "temporar", "unavailable"):
		return pushUnknown, reason
	case has(rules()...):
		return pushRefused, reason
	}
	return pushUnknown, reason
}

// rules are what remotes say, in lower case, of a rule that forbids a ref: git's
// receive-pack, JGit, GitHub, GitLab, Gitea, Azure DevOps, Gerrit.
func rules() []string {
	return []string{
		"declined", "denied", "prohibited", "protected", "violation", "hidden ref", "refusing to", "not allowed", "not permitted", "permission", "read-only",
		"non-fast-forward", "non-fast forward", "funny refname", "checked out", "shallow update", "working directory has", "needs a worktree",
	}
}

// lastingError is a refusal that came before the remote had got anything, or by
// its HTTP server as a whole, and that trying again does not mend: it counts as
// [grant.ErrDenied], and its text is the cause alone.
type lastingError struct{ error }

func (e lastingError) Unwrap() []error { return []error{grant.ErrDenied, e.error} }

// lasting knows what git says of such a refusal: no permission, no such
// repository, a host that is not trusted, another object format. Outages are
// not among them: they too come before a push, but trying again is right then,
// as it is after an unknown outcome. What the remote says for itself
// ("remote: …") proves nothing.
func lasting(stderr string) bool {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "remote:") {
			continue
		}
		if request, ok := strings.CutPrefix(line, "error: RPC failed; HTTP "); ok {
			code, _, _ := strings.Cut(request, " ")
			return slices.Contains([]string{"401", "403", "404", "413"}, code)
		}
		for _, start := range [...]string{
			"fatal: Authentication failed for ", "fatal: could not read Username", "fatal: could not read Password", "fatal: unable to update url base from redirection",
			"fatal: the receiving end does not support this repository's hash algorithm", "fatal: detected dubious ownership", "Host key verification failed",
		} {
			if strings.HasPrefix(line, start) {
				return true
			}
		}
		for _, both := range [...][2]string{
			{"fatal: repository '", "not found"}, {"fatal: '", "does not appear to be a git repository"}, {"", ": Permission denied ("},
			{"fatal: unable to access ", "returned error: 401"}, {"fatal: unable to access ", "returned error: 403"}, {"fatal: unable to access ", "returned error: 404"},
			{"fatal: unable to access ", "SSL certificate problem"}, {"fatal: unable to access ", "certificate verification failed"},
			{"fatal: unable to access ", "returned error: 30"}, // a redirect that is not followed
		} {
			if strings.HasPrefix(line, both[0]) && strings.Contains(line, both[1]) {
				return true
			}
		}
	}
	return false
}

// cause is the line of git's errors that says why, without any secret, with
// what to do where that is known. What the remote says in prose is left out.
func (p *program) cause(stderr string, err error) error {
	text := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if fatal, ok := strings.CutPrefix(line, "fatal: "); ok {
			text = fatal
			break
		}
		if e, ok := strings.CutPrefix(line, "error: "); ok && text == "" {
			text = e
		}
	}
	text = clean(p.redact(text), 200)
	if text == "" {
		return fmt.Errorf("git failed (%w)", err)
	}
	if h := p.hint(stderr); h != "" {
		text += "; " + h
	}
	if err = fmt.Errorf("git: %s", text); lasting(stderr) {
		return lastingError{err}
	}
	return err
}

// hint tells a person what to do about git's commonest complaints.
func (p *program) hint(stderr string) string {
	has := func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(stderr, t) {
				return true
			}
		}
		return false
	}
	switch {
	case has("detected dubious ownership"):
		return "the repository belongs to another user of this machine, whose hooks would run as you; use SSH, or a repository of your own"
	case has("Host key verification failed"):
		return "put the host's key into ~/.ssh/known_hosts, from a source that you trust"
	case has("does not appear to be a git repository") && p.remote.scheme == "file":
		return "there is no repository at that path; git init --bare makes one"
	case has("Permission denied (", "Could not read from remote repository"):
		return "check that the repository exists and that a key in the SSH agent or in ~/.ssh may read and write it"
	case has("returned error: 403"):
		return "the token may not do this: a job needs permissions: contents: write, a token of your own needs write access to the repository"
	case has("Authentication failed", "returned error: 401", "could not read Username", "could not read Password"):
		return "no token, or one that is not valid: set GITHUB_TOKEN for the step, or name a variable that holds one with --git-token-env"
	case has("returned error: 404", "' not found"):
		return "there is no such repository, or the token may not see it"
	case has("unable to update url base from redirection", "returned error: 301", "returned error: 302"):
		return "the repository has moved; name its new address, and the old one with ?was="
	case has("does not support this repository's hash algorithm"):
		return "it is an empty repository with SHA-256 object names; push any commit to it first"
	case has("SSL certificate problem", "server certificate verification failed"):
		return "give the authority's certificate with GIT_SSL_CAINFO or SSL_CERT_FILE"
	}
	return ""
}

// redact takes out what git should never print.
func (p *program) redact(s string) string {
	for _, v := range p.env {
		_, basic, ok := strings.Cut(v, "=Authorization: Basic ")
		if !ok {
			continue
		}
		s = strings.ReplaceAll(s, basic, "[secret]")
		if plain, err := base64.StdEncoding.DecodeString(basic); err == nil {
			if _, password, _ := strings.Cut(string(plain), ":"); password != "" {
				s = strings.ReplaceAll(s, password, "[secret]")
			}
		}
	}
	return s
}

// clean keeps foreign text on one line, printable and short.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// notWritten marks an error after which the remote is as it was.
func notWritten(err error) error { return unwritten{err} }

// unwritten is [grant.ErrNotWritten] whose text is the cause alone, which says
// so in its own words.
type unwritten struct{ error }

func (u unwritten) Unwrap() []error { return []error{grant.ErrNotWritten, u.error} }

// errBothRefs: nobody can tell which of two records is the grant's.
var errBothRefs = errors.New("the remote has a record in both of its refs")
