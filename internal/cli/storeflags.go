package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"evergrant/internal/grant"
	"evergrant/internal/mark"
	"evergrant/internal/record"
	"evergrant/internal/spill"
	"evergrant/internal/store"
)

// storeOptions say where records live and what seals them.
type storeOptions struct {
	url             string
	keyEnv, keyFile string
	recipients      []string
	gitTokenEnv     string
	allowPublic     bool
	githubTokenEnv  string
	giteaTokenEnv   string
	// blind goes without the variable that a snapshot comes in: a person who puts a
	// record back has none, because nobody can read a secret.
	blind bool
	// acceptPlain reads records that are not sealed although there is a key. No
	// flag sets it: left on a job's command line, it would undo what the seal is
	// for.
	acceptPlain bool
}

func (o *storeOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.url, "store", "", "`URL` of the place where records live (EVERGRANT_STORE): "+store.Schemes)
	o.registerKey(f)
	f.StringArrayVar(&o.recipients, "recipient", nil, "further age `RECIPIENT` who can open the records; repeatable")
	f.StringVar(&o.gitTokenEnv, "git-token-env", "", "environment variable `VAR` with the token, or USER:TOKEN, for a git store over https (default EVERGRANT_GIT_TOKEN, else the job's own)")
	f.StringVar(&o.githubTokenEnv, "github-token-env", "", "environment variable `VAR` with a token that may write GitHub secrets (default EVERGRANT_GITHUB_TOKEN)")
	f.StringVar(&o.giteaTokenEnv, "gitea-token-env", "", "environment variable `VAR` with a token that may write secrets of Gitea (default EVERGRANT_GITEA_TOKEN)")
	f.BoolVar(&o.allowPublic, "allow-public", false, "let a git store lie in a public repository, where everybody can read the sealed records")
}

func (o *storeOptions) registerKey(f *pflag.FlagSet) {
	f.StringVar(&o.keyEnv, "key-env", "", "environment variable `VAR` that holds the sealing key (default EVERGRANT_KEY, if set)")
	f.StringVar(&o.keyFile, "key-file", "", "file `PATH` that holds the sealing key")
}

// place is an opened store with what belongs to it on this machine.
type place struct {
	location store.Location
	named    bool // by a flag or EVERGRANT_STORE, not by default
	codec    *record.Codec
	spill    *spill.Folder
	marks    *mark.Folder
	spillDir string
}

// whereabouts names the place, and says how it came to be looked at.
func (p place) whereabouts() string {
	if p.named {
		return p.location.String()
	}
	return p.location.String() + " (the default; EVERGRANT_STORE is not set)"
}

// locate finds out where records live, without opening anything.
func (o *storeOptions) locate(env environment) (loc store.Location, named bool, err error) {
	raw := o.url
	if raw == "" {
		raw = env.get("EVERGRANT_STORE")
	}
	if raw != "" {
		loc, err = store.Parse(raw)
		if err != nil {
			return loc, true, usagef("%v", err)
		}
		loc, err = o.surround(env, loc)
		return loc, true, err
	}
	state, err := env.stateFolder()
	if err != nil {
		return loc, false, err
	}
	return store.File(filepath.Join(state, "grants")), false, nil
}

// surround completes a location by the job's environment and the caller's token.
func (o *storeOptions) surround(env environment, loc store.Location) (store.Location, error) {
	around := store.Surroundings{Getenv: env.get, AllowPublic: o.allowPublic}
	name := o.gitTokenEnv
	if name == "" && env.get("EVERGRANT_GIT_TOKEN") != "" {
		name = "EVERGRANT_GIT_TOKEN"
	}
	if name != "" {
		var err error
		if around.Token, err = env.secretVariable("--git-token-env", name); err != nil {
			return loc, err
		}
	}
	if err := o.surroundSecret(env, loc, &around); err != nil {
		return loc, err
	}
	complete, err := loc.In(around)
	switch {
	case err != nil:
		return loc, usagef("%v", err)
	case o.gitTokenEnv != "" && !complete.TakesToken():
		return loc, usagef("--git-token-env is for a git store over https, and this store is %s", complete)
	}
	return complete, nil
}

// resolve locates the store and prepares its codec, spill and marks.
func (o *storeOptions) resolve(a *app) (place, error) {
	loc, named, err := o.locate(a.env)
	if err != nil {
		return place{}, err
	}
	p := place{location: loc, named: named}
	identity, err := o.identity(a)
	if err != nil {
		return place{}, err
	}
	if identity.IsZero() && len(o.recipients) > 0 {
		return place{}, usagef("--recipient without a sealing key would make records that nobody here can read").
			hint("make a key with evergrant key new and name it with --key-env or --key-file")
	}
	if p.codec, err = o.newCodec(identity); err != nil {
		return place{}, err
	}
	if !loc.Keeps() {
		return p, nil
	}
	state, err := a.env.stateFolder()
	if err != nil {
		return place{}, err
	}
	// Spills and marks belong to one store, however its URL is written: another
	// store's grant of the same name is another grant.
	of := grant.NewSecret(loc.Place()).Digest()
	home := filepath.Join(state, "spill", of)
	p.spillDir = home
	p.spill = spill.Open(home, p.codec)
	if tmp := a.env.get("RUNNER_TEMP"); a.env.githubActions() && filepath.IsAbs(tmp) {
		p.spillDir = filepath.Join(tmp, "evergrant", "spill", of)
		// A step may have emptied it, see [carried].
		p.spill = spill.Open(p.spillDir, p.codec).With(home)
	}
	p.location = p.location.Keeping(filepath.Join(filepath.Dir(filepath.Dir(p.spillDir)), "written", of))
	p.marks = mark.Open(filepath.Join(state, "marks", of))
	return p, nil
}

// looksLikePath reports a path from a root, a home or here, or one at which there is a
// file.
func looksLikePath(text string) bool {
	if strings.ContainsAny(text, "\n\x00") || text == "" {
		return false
	}
	for _, begins := range []string{"/", "./", "../", "~/"} {
		if strings.HasPrefix(text, begins) {
			return true
		}
	}
	info, err := os.Stat(text)
	return err == nil && info.Mode().IsRegular()
}

// newCodec reads and writes records. Whoever gives a key wants records that
// somebody who can write the store, and has no key, cannot plant or read: with a
// key, only sealed ones are read.
func (o *storeOptions) newCodec(identity grant.Secret) (*record.Codec, error) {
	for _, r := range o.recipients {
		if !strings.HasPrefix(r, "age1") {
			return nil, usagef("--recipient is %s; it must be an age recipient, which looks like age1…", shown(r))
		}
	}
	codec, err := record.NewCodec(identity, o.recipients...)
	switch {
	case err != nil:
		return nil, usagef("sealing key: %v", err)
	case identity.IsZero() || o.acceptPlain:
		return codec, nil
	}
	return codec.RequireSealed(), nil
}

// identity reads the sealing key; the zero Secret when there is none.
func (o *storeOptions) identity(a *app) (grant.Secret, error) {
	if o.keyEnv != "" && o.keyFile != "" {
		return grant.Secret{}, usagef("--key-env and --key-file exclude each other")
	}
	name := o.keyEnv
	if name == "" && o.keyFile == "" && a.env.get("EVERGRANT_KEY") != "" {
		name = "EVERGRANT_KEY"
	}
	s, err := a.secretOf("--key", name, o.keyFile)
	if err != nil || s.IsZero() {
		return grant.Secret{}, err
	}
	return parsedKey("--key", name, o.keyFile, s)
}

// parsedKey reads the key that a variable or a file holds, and knows what people put
// there instead: the public half, or in a variable the path of a file.
func parsedKey(flag, variable, path string, s grant.Secret) (grant.Secret, error) {
	key, err := record.ParseKeyFile([]byte(s.Reveal()))
	if err == nil {
		return key, nil
	}
	where := shownPath(path)
	if variable != "" {
		where = "the variable " + showName(variable)
	}
	switch text := strings.TrimSpace(s.Reveal()); {
	case strings.HasPrefix(text, "age1"):
		return key, usagef("sealing key: %s holds the public half of a key, a recipient, which opens nothing", where).
			hint("the key itself looks like AGE-SECRET-KEY-1…; a recipient is named by " + strings.Replace(flag, "key", "recipient", 1))
	case variable != "" && looksLikePath(text):
		return key, usagef("sealing key: %s holds no key but what looks like the path of a file", where).hint("name the file by " + flag + "-file PATH")
	}
	return key, usagef("sealing key: %s: %v", where, err).
		hint("take the key from where its copy is kept; evergrant key new makes another one, which opens no record that there is")
}

// checkSealing refuses to send anything whose only copy might end up where a
// rescue block would be the last resort, and none could be printed.
func (p place) checkSealing(env environment) error {
	if !p.location.Keeps() || p.codec.Sealed() {
		return nil
	}
	const hint = "make a key once with evergrant key new, keep it as a secret, and pass it as EVERGRANT_KEY or with --key-env or --key-file"
	switch {
	case env.ci():
		return usagef("in CI a sealing key is needed: without one no rescue block can be printed when the store fails").hint(hint)
	case !p.location.SameHost():
		return usagef("a store that other machines share needs a sealing key").hint(hint)
	}
	return nil
}

// missing says that a store which somebody looks for is not there: it must not
// be taken for an empty one.
func (p place) missing() error {
	if p.location.Present() {
		return nil
	}
	return &codedError{code: exitStore, err: fmt.Errorf("no store at %s: there is no such folder", p.location),
		hint: "check the path, and whether its volume is mounted"}
}

// open opens the store; its errors are those of the store.
func (p place) open() (grant.Store, error) {
	s, err := p.location.Open(p.codec)
	if err != nil {
		return nil, &codedError{code: exitStore, err: err}
	}
	return s, nil
}
