package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// store examines the place of the record and the record's being there. known is
// false where there is nothing more to say of the record.
func (d *doctor) store(ctx context.Context, p place, o refreshOptions) (c grant.Credential, known bool) {
	if !p.location.Keeps() || !d.folder(p) {
		return c, false
	}
	if err := p.checkSealing(d.env); err != nil {
		why, fix := d.keyless()
		d.find(exitUsage, "no-key", err.Error(), why, fix)
		return c, false
	}
	if err := p.missing(); err != nil && o.noCreate {
		d.find(exitStore, "store", err.Error()+"; is its volume mounted?", whyStore+"; nothing is made in its place, because a refresh there would start from a token that may be spent", d.putBack(p, c))
		return c, false
	}
	st, err := p.open()
	if err != nil {
		d.find(exitStore, "store", err.Error(), whyStore, d.storeFix(p, o, err, false))
		return c, false
	}
	if !st.Properties().Atomic && !o.singleWriter {
		d.find(exitUsage, "not-atomic", fmt.Sprintf("%s does not keep two writers apart, and nobody said that there is one only", p.location),
			"two runs at once would spend one refresh token, and lose the login; refresh sends nothing until you give your word (concurrency that never cancels)", d.alone())
	}
	c, _, err = st.Load(ctx, d.grant)
	absent := errors.Is(err, grant.ErrNotFound)
	switch {
	case err == nil, absent:
	case errors.Is(err, grant.ErrUnreadable):
		d.unreadable(st, p, o, err)
		return c, false
	default:
		d.find(exitStore, "store", err.Error(), whyStore, d.storeFix(p, o, err, d.begun(ctx, st, p)))
		return c, false
	}
	d.prove(ctx, st, p, o)
	d.forgeClock(ctx, st, p)
	if absent {
		d.absent(ctx, p, o)
		return c, false
	}
	d.fine("record", "generation %d, %s", c.Generation, sealedOrNot(p))
	return c, true
}

const whyStore = "without its store nothing is refreshed: the next refresh token would have no place"

func sealedOrNot(p place) string {
	if p.codec.Sealed() {
		return "sealed, and this key opens it"
	}
	return "not sealed"
}

// folder looks at what a file store lies in, before it is opened: what is wrong
// there has a command that mends it.
func (d *doctor) folder(p place) bool {
	path := p.location.Path()
	st, err := os.Stat(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	switch {
	case err != nil:
		if above, found := fileAbove(path); found {
			d.find(exitStore, "store-folder", above+" is not a folder, and the store's is below it", whyStore, setAside(above, "not-a-folder"))
			return false
		}
		return true // opening it says why
	case !st.IsDir():
		d.find(exitStore, "store-folder", path+" is not a folder", whyStore, setAside(path, "not-a-folder"))
		return false
	case st.Mode().Perm()&0o022 != 0 && runtime.GOOS != "windows":
		d.find(exitStore, "store-mode", fmt.Sprintf("others may write in %s (mode %04o)", path, st.Mode().Perm()),
			"whoever can write there can put an old record in the place of the new one, and the login is lost", ownFolder(path))
		return false
	case st.Mode().Perm()&0o700 != 0o700 && runtime.GOOS != "windows":
		d.find(exitStore, "store-mode", fmt.Sprintf("its owner may not read, write and enter %s (mode %04o)", path, st.Mode().Perm()), whyStore, ownFolder(path))
		return false
	}
	file := recordFile(p, d.grant)
	if st, err := os.Lstat(file); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		d.find(exitStore, "record-mode", fmt.Sprintf("%s is open to others (mode %04o)", file, st.Mode().Perm()),
			"others of this machine may have read it; if it was not sealed and they did, sign in again as well", "chmod 600 "+shellWord(file))
		return false
	}
	return true
}

// fileAbove is what stands in the way to a path and is no folder.
func fileAbove(path string) (above string, found bool) {
	for up := filepath.Dir(path); up != filepath.Dir(up); up = filepath.Dir(up) {
		if st, err := os.Stat(up); err == nil {
			return up, !st.IsDir()
		}
	}
	return "", false
}

// ownFolder makes a folder one that its user may use, and nobody else; where it is
// another's, it becomes this user's first.
func ownFolder(path string) string {
	mode := "chmod 700 " + shellWord(path)
	return mode + ` 2>/dev/null || { sudo chown "$(id -u)" ` + shellWord(path) + " && " + mode + "; }"
}

// recordFile is the file of a grant in a file store; "" elsewhere.
func recordFile(p place, id grant.ID) string {
	name, err := id.Filename()
	if err != nil || p.location.Path() == "" {
		return ""
	}
	return filepath.Join(p.location.Path(), name+".json")
}

// prove has the store show that it can be written.
func (d *doctor) prove(ctx context.Context, st grant.Store, p place, o refreshOptions) {
	prover, ok := st.(grant.Prover)
	if !ok {
		d.fine("store", "%s answers", p.location)
		return
	}
	err, known := d.proven[p.location.String()]
	if !known {
		err = prover.Prove(ctx, d.grant)
		d.proven[p.location.String()] = err
	}
	switch {
	case err == nil && st.Properties().Atomic:
		d.fine("store", "%s can be written, and of two writers one loses", p.location)
	case err == nil:
		d.fine("store", "%s can be written", p.location)
	case errors.Is(err, grant.ErrNotExclusive):
		begun := d.begun(ctx, st, p)
		d.find(exitStore, "store-exclusive", err.Error(), "two machines would both be told that they may spend the one refresh token, and the login is lost"+stay(begun), d.elsewhereFix(p, begun))
	default:
		begun := d.begun(ctx, st, p)
		d.find(exitStore, "store-write", err.Error(), "a refresh could not save what it gets; it finds that out before it sends anything, and sends nothing"+stay(begun), d.writeFix(p, o, err, begun))
	}
}

func stay(begun bool) string {
	if begun {
		return whyStay
	}
	return ""
}

// elsewhereFix names another place for the records, as long as there are none: those
// of a folder move along.
func (d *doctor) elsewhereFix(p place, begun bool) string {
	switch {
	case p.location.Kind() == "file":
		return d.movedFix(p)
	case begun:
		return d.hookFix(p.location.Remote())
	}
	return d.say("store", "git:"+p.location.Remote()+"#refs/heads/evergrant/")
}

// storeFix is what lets a store be reached, by its kind and by what it said.
func (d *doctor) storeFix(p place, o refreshOptions, err error, begun bool) string {
	switch {
	case p.location.Kind() == "file":
		return d.movedFix(p)
	case p.location.Kind() == "git":
		return d.gitFix(p, o, err, begun)
	case errors.Is(err, grant.ErrDenied) || errors.Is(err, grant.ErrNotWritten):
		return "export " + or(o.store.githubTokenEnv, "EVERGRANT_GITHUB_TOKEN") + `="$(gh auth token)"`
	}
	return d.waitForForge(p.location.String())
}

// movedFix moves the records to a new folder: what keeps this one from being written is
// no matter of the program, such as a full disk or another owner. The folder is never one
// that is there, whose records may be newer; and the one of now is set aside, because two
// folders with one login spend each other's tokens. A folder that other machines share is
// theirs, too, and one whose records are gone is looked for.
func (d *doctor) movedFix(p place) string {
	from := p.location.Path()
	has := fileStoreHas(p)
	if !p.location.SameHost() || !has && d.marked(p) {
		return seen(from)
	}
	to := from + ".moved"
	if state, err := d.env.stateFolder(); err == nil {
		to = filepath.Join(state, "moved-grants")
	}
	free := to
	for n := 2; ; n++ {
		if _, err := os.Lstat(free); err != nil {
			break
		}
		free = fmt.Sprintf("%s-%d", to, n)
	}
	made := "mkdir -p " + shellWord(filepath.Dir(free)) + " && mkdir " + shellWord(free)
	if has {
		aside := shellWord(from+".set-aside-") + `"$t"`
		made += ` && t="$(date +%s)-$$" && mv -n ` + shellWord(from) + " " + aside + " && { cp -R " + aside + "/. " + shellWord(free) + " || { mv -n " + aside + " " + shellWord(from) + "; false; }; }"
	}
	return "(umask 077 && " + made + ") && " + d.say("store", "file:"+free)
}

// alone is the caller's word that nobody else writes the store.
func (d *doctor) alone() string {
	if w := d.workflow(); w != "" {
		return d.editor(w)
	}
	if d.at != "" {
		return d.editor(d.at)
	}
	return d.command("doctor", "--single-writer")
}

// newKey makes a key, unless there is one where it would be, and the file that has it.
func (d *doctor) newKey() (fix, path string) {
	dir := d.env.configFolder()
	path = shellWord(filepath.Join(dir, "evergrant.key"))
	return "mkdir -p " + shellWord(dir) + " && { test -e " + path + " || evergrant key new --out " + path + "; } && export EVERGRANT_KEY=\"$(cat " + path + ")\"", path
}

// unreadable examines a record that is there and cannot be read.
func (d *doctor) unreadable(st grant.Store, p place, o refreshOptions, err error) {
	switch {
	case errors.Is(err, record.ErrPlain):
		more := []string{"--store", p.location.String(), "--new-key-env", or(o.store.keyEnv, "EVERGRANT_KEY")}
		if o.store.keyFile != "" {
			more = []string{"--store", p.location.String(), "--key-file", absolute(o.store.keyFile), "--new-key-file", absolute(o.store.keyFile)}
		}
		d.find(exitStore, "plain", err.Error(), "with a key only sealed records are read, because whoever can write the store could plant a plain one; seal the store once, if it is from before there was a key",
			d.command("key rotate", more...))
	case errors.Is(err, record.ErrKey):
		d.find(exitStore, "key", err.Error(), "only the key that sealed the record opens it; nothing is sent, and nothing is overwritten", d.seal(o.store))
	case p.location.Kind() == "ghsecret":
		d.find(exitStore, "record", err.Error(), "this run sees what the secret held when it was queued; nothing is sent, because that may be spent",
			d.newRun(p))
	default:
		if why, fix, whole := d.untouched(p, err); whole {
			d.find(exitStore, "record", err.Error(), why, fix)
			return
		}
		d.find(exitStore, "record", err.Error(), "the newest refresh token is in it; put a copy of the store back, or a rescue block (evergrant rescue); if there is none, set it aside and sign in again",
			d.aside(st, p)+d.signIn(grant.Credential{}, o, false))
	}
}

// newRun starts the workflow once more: only a run that is queued from now on sees what
// the secret holds now.
func (d *doctor) newRun(p place) string {
	words := []string{"--repo", p.location.Repository()}
	where, ref, _ := strings.Cut(d.env.get("GITHUB_WORKFLOW_REF"), "@")
	if repository, file, inJob := strings.Cut(where, "/.github/workflows/"); inJob {
		words = []string{file, "--repo", repository}
		if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			words = append(words, "--ref", branch)
		}
	}
	return "gh workflow run " + strings.Join(shellWords(words), " ") // without a file it asks which
}

// aside sets a record aside that nobody can read. It is kept.
func (d *doctor) aside(st grant.Store, p place) string {
	if file := recordFile(p, d.grant); file != "" {
		return setAside(file, "set-aside") + " && "
	}
	return d.refAside(st, p)
}

// absent examines a grant that has no record.
func (d *doctor) absent(ctx context.Context, p place, o refreshOptions) {
	if d.rolledBack(ctx, p, o, grant.Credential{}) || d.unsaved(ctx, p) {
		return
	}
	preset := ""
	if found, err := lookup(o.client.provider); err == nil {
		preset = found.Env.Refresh
	}
	seed, _, err := d.seed(o.fromEnv, preset, p.location)
	switch {
	case err == nil && !seed.IsZero():
		d.fine("record", "none yet; the first refresh starts from the refresh token that was given")
		return
	case o.client.tokenURL == "" && o.client.issuer == "" && o.client.provider == "":
		d.fine("record", "none yet")
		return
	}
	what := "there is no record of this grant, and no refresh token to start from"
	if name := d.env.unset(o.fromEnv); err == nil && name != "" {
		what += ": " + notSet(name)
	}
	d.find(exitPerson, "no-grant", what, "there is nothing to keep alive yet; a person has to sign in once",
		d.signIn(grant.Credential{}, o, false))
}
