package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/atomicfile"
	"evergrant/internal/config"
	"evergrant/internal/grant"
)

// configured are the settings that a file may hold, with the variable that says
// the same. What is meant for one call (--force, --after, --json) is no setting.
func configured() map[string]configurable {
	text, list, yes, span := config.Text, config.List, config.Switch, config.Duration
	return map[string]configurable{
		"provider": {text, "EVERGRANT_PROVIDER"}, "token-url": {text, "EVERGRANT_TOKEN_URL"}, "issuer": {text, ""},
		"client-id": {text, "EVERGRANT_CLIENT_ID"}, "client-auth": {text, ""}, "body": {text, "EVERGRANT_BODY"}, "scope": {text, ""}, "param": {list, ""},
		"client-secret-env": {text, ""}, "client-secret-file": {text, ""},
		"client-key-env": {text, ""}, "client-key-file": {text, ""}, "client-key-id": {text, ""},
		"store": {text, "EVERGRANT_STORE"}, "key-env": {text, "EVERGRANT_KEY"}, "key-file": {text, "EVERGRANT_KEY"}, "recipient": {list, ""},
		"git-token-env": {text, "EVERGRANT_GIT_TOKEN"}, "allow-public": {yes, ""}, "github-token-env": {text, "EVERGRANT_GITHUB_TOKEN"}, "gitea-token-env": {text, "EVERGRANT_GITEA_TOKEN"},
		"from-env": {text, ""}, "no-create": {yes, ""}, "min-ttl": {span, ""}, "wait": {span, ""}, "timeout": {span, ""},
		"best-effort": {yes, ""}, "no-revoke-running": {yes, ""}, "single-writer": {yes, ""}, "min-generation": {config.Count, ""}, "sink": {list, ""},
		"notify": {list, notifyVar}, "notify-env": {text, notifyVar}, "notify-format": {text, ""},
	}
}

type configurable struct {
	kind config.Kind
	env  string // "": none
}

// registerConfig adds the flag to a command that works on a grant of the file.
func registerConfig(f *pflag.FlagSet) {
	f.String("config", "", "configuration `FILE` with named grants (EVERGRANT_CONFIG; default evergrant/config.yaml in the user's configuration folder)")
}

// configPath is the file that is read: the one that is named, or the user's, if
// it is there. The working folder is never looked into: a pull request can write it.
func (a *app) configPath(named string) (path string, must bool) {
	if named = or(named, a.env.get("EVERGRANT_CONFIG")); named != "" {
		return named, true
	}
	if dir := a.env.configFolder(); dir != "" {
		path = filepath.Join(dir, "config.yaml")
	}
	return path, false
}

// configFolder is the user's folder for configuration; "": there is none.
func (e environment) configFolder() string {
	base := e.get("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) {
		switch home := e.get("HOME"); {
		case runtime.GOOS == "windows":
			base = e.get("APPDATA")
		case runtime.GOOS == "darwin" && filepath.IsAbs(home):
			base = filepath.Join(home, "Library", "Application Support")
		case filepath.IsAbs(home):
			base = filepath.Join(home, ".config")
		}
	}
	if !filepath.IsAbs(base) {
		return ""
	}
	return filepath.Join(base, "evergrant")
}

// readConfig reads the configuration; found is false when none was named and the
// user has none.
func (a *app) readConfig(named string) (f config.File, found bool, err error) {
	path, must := a.configPath(named)
	if path == "" {
		return f, false, nil
	}
	b, mode, err := atomicfile.ReadRegular(path, config.MaxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !must:
		return f, false, nil
	case err != nil:
		return f, false, usagef("--config: %s: %v", shownPath(path), err)
	case mode&0o022 != 0 && runtime.GOOS != "windows":
		return f, false, usagef("--config: %s can be written by others, who could send a token elsewhere", shownPath(path)).hint("chmod go-w " + path)
	}
	kinds := map[string]config.Kind{}
	for name, c := range configured() {
		kinds[name] = c.kind
	}
	if f, err = config.Parse(b, path, kinds); err != nil {
		return f, false, usagef("%v", err)
	}
	return f, true, nil
}

// configure fills the flags that the command line left open with what the
// configuration says of the grant. A flag wins over a variable, and a variable
// over the file.
func (a *app) configure(cmd *cobra.Command, args []string) error {
	flags := cmd.Flags()
	if flags.Lookup("config") == nil {
		return nil
	}
	f, found, err := a.readConfig(flags.Lookup("config").Value.String())
	if err != nil || !found {
		return err
	}
	a.config = f
	provider := flags.Lookup("provider")
	preset := a.env.get("EVERGRANT_PROVIDER")
	if provider != nil && provider.Changed {
		preset = provider.Value.String()
	}
	if cmd.ArgsLenAtDash() >= 0 {
		args = args[:cmd.ArgsLenAtDash()]
	}
	if strings.HasSuffix(cmd.Use, operations) && len(args) > 0 {
		args = args[:len(args)-1] // what is wanted of a helper is no grant
	}
	name, err := a.grantOf(args[:min(len(args), 1)], preset)
	if err != nil {
		return err
	}
	g, ok := f.Grant(string(name))
	if !ok {
		a.unconfigured = string(name)
		return nil
	}
	if len(args) == 0 { // a provider of its settings renames it no more
		a.env = a.env.having("EVERGRANT_GRANT", string(name))
	}
	return a.apply(flags, g)
}

// grantOf is the grant of a call before its settings are known: a provider that a file
// describes stands for the name in that file.
func (a *app) grantOf(args []string, preset string) (grant.ID, error) {
	if len(args) == 0 && preset != "" && a.env.get("EVERGRANT_GRANT") == "" {
		p, err := lookup(preset)
		if err != nil {
			return "", err
		}
		preset = p.Name
	}
	return grantName(a.env, args, preset)
}

// elsewhere adds to a mistake of a call whose grant the configuration does not
// have that there is one.
func (a *app) elsewhere(err error) error {
	u := (*usageError)(nil)
	if a.unconfigured == "" || !errors.As(err, &u) || len(a.config.Grants) == 0 {
		return err
	}
	return usagef("%v", err).hint(append(u.hints, fmt.Sprintf("%s has no grant %s; it has %s", shownPath(a.config.Path), a.unconfigured, strings.Join(a.configuredNames(), ", ")))...)
}

// apply sets the flags of one command to a grant's settings.
func (a *app) apply(flags *pflag.FlagSet, g config.Grant) error {
	given := func(name string) bool {
		flag := flags.Lookup(name)
		return flag != nil && flag.Changed
	}
	for _, s := range g.Settings {
		env := configured()[s.Name].env
		switch {
		case flags.Lookup(s.Name) == nil, given(s.Name), env != "" && a.env.get(env) != "", overridden(s.Name, given):
			continue
		}
		for _, v := range s.Values {
			if err := flags.Set(s.Name, beside(s.Name, v, a.config.Path)); err != nil {
				return usagef("%s: the value of %s is refused", s.At, s.Name)
			}
		}
	}
	return nil
}

// overridden reports that a flag which was given says the same in another way.
func overridden(name string, given func(string) bool) bool {
	for _, group := range [][]string{
		{"token-url", "issuer"}, {"notify", "notify-env"}, {"key-env", "key-file"}, {"client-secret-env", "client-secret-file"}, {"client-key-env", "client-key-file"},
	} {
		if slices.Contains(group, name) && slices.ContainsFunc(group, given) {
			return true
		}
	}
	return false
}

// beside makes a relative path of a setting one beside the configuration: the
// working folder of whoever calls has nothing to do with it, and a pull request can
// write it.
func beside(name, value, path string) string {
	scheme, rest := "", value
	switch {
	case strings.HasSuffix(name, "-file"):
	case name == "provider":
		if !strings.ContainsAny(value, `/\`) && !strings.HasSuffix(value, ".yaml") && !strings.HasSuffix(value, ".yml") {
			return value // the name of a preset
		}
	case name == "store" || name == "sink":
		var ok bool
		scheme, rest, ok = strings.Cut(value, ":")
		switch {
		case !ok:
			return value
		case scheme == "git":
			if !strings.HasPrefix(rest, "./") && !strings.HasPrefix(rest, "../") {
				return value // a remote, or a path from the root
			}
		case !slices.Contains([]string{"file", "dotenv", "claude-file", "codex-file"}, scheme):
			return value
		}
		scheme += ":"
	default:
		return value
	}
	if rest == "" || filepath.IsAbs(rest) || strings.HasPrefix(rest, "/") {
		return value
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return value
	}
	return scheme + dir + string(os.PathSeparator) + strings.TrimPrefix(rest, "./")
}
