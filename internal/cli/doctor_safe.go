package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// No line of doctor can end a login: a line takes no record out of use that can be read,
// starts none where one may be, and lets nothing older than the newest be presented.
// Where only a person can know which of two things is right, the line looks, and why says
// what is to be decided.

// whyStay is for a store that has logins and cannot be used as it is.
const whyStay = "; the logins are in this store, so mend it, or move it as a whole: in another place a grant would start from a token that is spent"

// setAside moves something out of the way, under a name that nothing has: what was set
// aside before stays, too. why is the end of that name.
func setAside(path, why string) string {
	return "mv -n " + shellWord(path) + " " + shellWord(path+"."+why+"-") + `"$(date +%s)-$$"`
}

// until waits for a condition, a look each so many seconds, and gives up after sixty.
func until(condition string, seconds int) string {
	return "(n=60; until " + condition + "; do test $((n=n-1)) -gt 0 || exit 1; sleep " + strconv.Itoa(seconds) + "; done)"
}

// seen is the line that shows what is at a path, and how full its disk is.
func seen(path string) string {
	path = shellWord(path)
	return "ls -la " + path + "; df " + path
}

// begun reports whether a store may have logins: it lists one, or this machine has seen
// one in it. A store that does not tell counts as one that has.
func (d *doctor) begun(ctx context.Context, st grant.Store, p place) bool {
	lister, ok := st.(grant.Lister)
	if !ok || d.marked(p) {
		return true
	}
	for range lister.List(ctx) { // a grant, or that it does not tell
		return true
	}
	return false
}

// marked reports whether this machine has seen any grant in a store.
func (d *doctor) marked(p place) bool {
	marks, err := os.ReadDir(filepath.Dir(d.markFile(p)))
	return len(marks) > 0 || err != nil && !errors.Is(err, os.ErrNotExist)
}

// started reports whether a refresh in an empty place would present something, or this
// machine knows that the place was not empty: then nobody but a person knows that it may
// be made anew. A variable that is named and not set here may be set where the refresh runs.
func (d *doctor) started(p place, o refreshOptions) bool {
	preset := ""
	if found, err := lookup(o.client.provider); err == nil {
		preset = found.Env.Refresh
	}
	seed, _, err := d.seed(o.fromEnv, preset, p.location)
	return err != nil || !seed.IsZero() || d.env.unset(o.fromEnv) != "" || d.marked(p)
}

// fileStoreHas reports whether there are records in the folder of a file store, or that
// it does not tell.
func fileStoreHas(p place) bool {
	entries, err := os.ReadDir(p.location.Path())
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			return true
		}
	}
	return err != nil && p.location.Present()
}

// putBack gets the newest copy of a record into the store, from where a person has it.
// What is in the store is kept beside it.
func (d *doctor) putBack(p place, c grant.Credential) string {
	file := recordFile(p, d.grant)
	switch {
	case file != "" && !p.location.Present():
		return until("test -d "+shellWord(p.location.Path()), 10)
	case file != "":
		older := ""
		if c.Generation > 0 {
			older = setAside(file, "older") + " && "
		}
		name, fresh := filepath.Base(file), shellWord(file+".new")
		return "(umask 077; printf " + shellWord("the newest copy of "+name+": ") + ` >&2; read -r f && cp "$f" ` + fresh + " && " + older + "mv -n " + fresh + " " + shellWord(file) + ")"
	case !p.codec.Sealed():
		return d.command("status")
	}
	return `(printf 'the log with the rescue block: ' >&2; read -r f && ` + d.command("rescue") + ` <"$f")`
}

// acceptRollback is the repair that takes a store as it is, held to the record that was
// looked at: in CI it is done in no other way.
func (d *doctor) acceptRollback(c grant.Credential) string {
	if c.Generation == 0 {
		return d.command("repair", "--accept-rollback")
	}
	return d.command("repair", "--accept-rollback", "--generation", strconv.FormatUint(c.Generation, 10))
}

// untouched is what to do about a record that cannot be read here and may be whole: the
// reason, and a line that looks. ok is false for one that is damaged.
func (d *doctor) untouched(p place, err error) (why, fix string, ok bool) {
	has := func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(err.Error(), t) {
				return true
			}
		}
		return false
	}
	file := recordFile(p, d.grant)
	look := d.command("status")
	if file != "" {
		look = "ls -la " + shellWord(file)
	}
	switch {
	case has("newer evergrant"):
		return "the record is whole, and a newer version has it; put that version here, and leave the record as it is", "evergrant version", true
	case file != "" && has("belongs to user", "may not be opened"):
		return "somebody else of this machine put it there, or a run as another user did; nothing is read from it before it is yours",
			`sudo chown "$(id -u)" ` + shellWord(file), true
	case has("symbolic link"):
		return "a refresh would replace the link and leave what it points to behind, with a spent token; if nobody else uses that one, move it here in the place of the link, or else use the store that it is in", look, true
	case errors.Is(err, record.ErrUnproven):
		return "it may be a copy from another store, whose token is spent; put back what this store had last: a copy of it, or a rescue block (evergrant rescue)", look, true
	case has("it is damaged", "it is empty", "no record of this store", "not an evergrant record", "evergrant did not write"):
		return "", "", false
	}
	return "it may be whole, so nothing takes it away: look at it, and put a copy of the store back, or a rescue block (evergrant rescue)", look, true
}

// workflow is the file of the job that this is; "" elsewhere.
func (d *doctor) workflow() string {
	_, file, inJob := strings.Cut(d.env.get("GITHUB_WORKFLOW_REF"), "/.github/")
	if file, _, _ = strings.Cut(file, "@"); !inJob || file == "" {
		return ""
	}
	return ".github/" + file
}

// keyless is how a sealing key gets to where there is none. A job's disk goes with it,
// and a key that went with it opens nothing any more; nor is a secret written anew,
// which may be the key of the records that there are.
func (d *doctor) keyless() (why, fix string) {
	why = "nothing is sent until there is a key"
	if !d.env.ci() {
		fix, _ = d.newKey()
		return why, fix
	}
	why += "; if the store has records, only their key will do: pass it on as EVERGRANT_KEY; if it has none, make a key once on your own machine, and keep it in the secrets of this CI system and where you keep passwords"
	if w := d.workflow(); w != "" {
		return why, d.editor(w) // env: EVERGRANT_KEY: ${{ secrets.EVERGRANT_KEY }}
	}
	return why, `evergrant key new --out "$HOME"/evergrant.key`
}

// markFix gets a mark out of the way that cannot be read. One of a newer version, or of
// another user, is a good one.
func (d *doctor) markFix(p place, err error) string {
	path := shellWord(d.markFile(p))
	switch {
	case strings.Contains(err.Error(), "newer evergrant"):
		return "evergrant version"
	case errors.Is(err, os.ErrPermission):
		return `sudo chown "$(id -u)" ` + shellWord(filepath.Dir(d.markFile(p))) + " " + path
	}
	return setAside(d.markFile(p), "damaged")
}
