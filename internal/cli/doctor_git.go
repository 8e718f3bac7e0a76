package cli

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"evergrant/internal/grant"
)

// gitFix is what lets a store in a repository be reached, by what git said.
func (d *doctor) gitFix(p place, o refreshOptions, err error, begun bool) string {
	remote := p.location.Remote()
	local := filepath.IsAbs(remote)
	has := func(text string) bool { return strings.Contains(err.Error(), text) }
	switch {
	case local && has("does not appear to be a git repository") && d.started(p, o):
		return until("git ls-remote "+shellWord(remote)+" >/dev/null", 10)
	case local && has("does not appear to be a git repository"):
		return "git init --bare " + shellWord(remote)
	case local && has("non-fast-forward"):
		return "git -C " + shellWord(remote) + " config receive.denyNonFastForwards false"
	case local && has("hidden ref"):
		return "git -C " + shellWord(remote) + " config --unset-all receive.hideRefs"
	case has("~/.ssh/known_hosts"):
		return "ssh -T " + sshHost(remote) // it shows the key, and asks
	case has("a key in the SSH agent") && errors.Is(err, grant.ErrDenied):
		return `test -n "$SSH_AUTH_SOCK" || eval "$(ssh-agent -s)"; printf 'the file of a private key that may write the repository: ' >&2; read -r key; ssh-add "$key"`
	case p.location.Forge() != "" && (errors.Is(err, grant.ErrDenied) || errors.Is(err, grant.ErrNotWritten)):
		return d.gitToken(remote, o)
	case errors.Is(err, grant.ErrNotWritten):
		return d.elsewhereFix(p, begun)
	}
	return until("git ls-remote "+shellWord(remote)+" >/dev/null", 10)
}

// hookFix opens the hook that says which refs may be written, where the repository is on
// this machine; else it shows what is to be kept.
func (d *doctor) hookFix(remote string) string {
	if filepath.IsAbs(remote) {
		for _, name := range []string{"update", "pre-receive", "proc-receive", "reference-transaction"} {
			path := filepath.Join(remote, "hooks", name)
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
				return d.editor(path)
			}
		}
	}
	return d.command("status")
}

// writeFix is what lets a store be written that can be read. A server that takes an
// SSH key for reading only lets nobody begin a push; that is changed there.
func (d *doctor) writeFix(p place, o refreshOptions, err error, begun bool) string {
	if p.location.Kind() == "git" && strings.Contains(err.Error(), "a key in the SSH agent") {
		return until("git ls-remote --upload-pack=git-receive-pack "+shellWord(p.location.Remote())+" >/dev/null", 10)
	}
	return d.storeFix(p, o, err, begun)
}

// sshHost is the server of an SSH remote, as arguments of ssh(1).
func sshHost(remote string) string {
	u, err := url.Parse(remote)
	if err != nil || u.Scheme != "ssh" {
		host, _, _ := strings.Cut(remote, ":") // user@host:path
		return shellWord(host)
	}
	host := u.Hostname()
	if name := u.User.Username(); name != "" {
		host = name + "@" + host
	}
	if port := u.Port(); port != "" {
		return "-p " + port + " " + shellWord(host)
	}
	return shellWord(host)
}

// refAside sets the ref of a record aside, under a name that no grant has.
func (d *doctor) refAside(st grant.Store, p place) string {
	told, ok := st.(interface {
		Refs(id grant.ID) ([]string, error)
	})
	if !ok {
		return ""
	}
	refs, err := told.Refs(d.grant)
	if err != nil {
		return ""
	}
	remote := shellWord(p.location.Remote())
	return fmt.Sprintf(`d="$(mktemp -d)" && git init -q --bare "$d" && r="$(git ls-remote %s %s | cut -f 2 | head -n 1)" && `+
		`git -C "$d" fetch -q %s "$r" && git -C "$d" push -q %s "FETCH_HEAD:$r,set-aside-$(date +%%s)-$$" && git -C "$d" push -q --force-with-lease="$r:$(git -C "$d" rev-parse FETCH_HEAD)" %s ":$r" && `,
		remote, strings.Join(shellWords(refs), " "), remote, remote, remote)
}

// gitToken gets a token that may write the repository: in a job, by the workflow's
// permissions; elsewhere from where git has its own.
func (d *doctor) gitToken(remote string, o refreshOptions) string {
	if w := d.workflow(); w != "" && o.store.gitTokenEnv == "" && d.env.get("EVERGRANT_GIT_TOKEN") == "" {
		return d.editor(w) // permissions: contents: write
	}
	return "export " + or(o.store.gitTokenEnv, "EVERGRANT_GIT_TOKEN") + `="$(printf 'url=%s\n\n' ` + shellWord(remote) + ` | git credential fill | sed -n 's/^password=//p')"`
}
