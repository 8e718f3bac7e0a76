package cli

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

// What mends a finding is one line for a shell, which a person can paste as it is: it
// repeats what was said for doctor, and asks for what nobody but that person has.

// command is another command of the program for this grant, with those of the flags
// that were given here and that it has. more wins over what was given.
func (d *doctor) command(name string, more ...string) string {
	words := append([]string{"evergrant"}, strings.Fields(name)...)
	var last []string
	switch {
	case !takesGrant(name) || d.grant == "":
	case d.grant[0] == '-': // it is no flag
		last = []string{"--", string(d.grant)}
	default:
		words = append(words, string(d.grant))
	}
	target, _, err := d.cmd.Root().Find(strings.Fields(name))
	if err != nil {
		target = d.cmd
	}
	has := func(flag string) bool {
		return target.Flags().Lookup(flag) != nil || d.cmd.Root().PersistentFlags().Lookup(flag) != nil
	}
	given := func(f *pflag.Flag) {
		if !has(f.Name) || slices.Contains(more, "--"+f.Name) || f.Name == "json" {
			return
		}
		words = append(words, wordsOf(f)...)
	}
	d.cmd.Flags().Visit(given)
	return strings.Join(append(append(words, shellWords(more)...), last...), " ")
}

// takesGrant reports whether the command's argument is the name of a grant.
func takesGrant(name string) bool { return name != "key rotate" && name != "rescue" }

func wordsOf(f *pflag.Flag) []string {
	switch many, ok := f.Value.(pflag.SliceValue); {
	case ok:
		var words []string
		for _, v := range many.GetSlice() {
			words = append(words, "--"+f.Name, shellWord(v))
		}
		return words
	case f.Value.Type() == "bool" && f.Value.String() == "true":
		return []string{"--" + f.Name}
	case f.Value.Type() == "bool":
		return []string{"--" + f.Name + "=false"}
	}
	return []string{"--" + f.Name, shellWord(f.Value.String())}
}

func shellWords(words []string) []string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellWord(w)
	}
	return quoted
}

// given reports whether a flag was given on the command line.
func (d *doctor) given(flag string) bool {
	f := d.cmd.Flags().Lookup(flag)
	return f != nil && f.Changed
}

// say is how a setting gets another value, where it has the one of now from: the
// command line, the configuration, or else a variable.
func (d *doctor) say(flag, value string) string {
	variable := configured()[flag].env
	switch {
	case d.given(flag) || variable == "" && !slices.Contains(d.inFile, flag):
		return d.command("doctor", "--"+flag, value)
	case d.env.get(variable) == "" && slices.Contains(d.inFile, flag):
		return d.editor(d.at)
	}
	return "export " + variable + "=" + shellWord(value)
}

// editor opens a file at a line, by what the person edits with; at is PATH:LINE:COLUMN
// or PATH.
func (d *doctor) editor(at string) string {
	path, line := at, ""
	for range 2 {
		i := strings.LastIndexByte(path, ':')
		if i < 0 || strings.Trim(path[i+1:], "0123456789") != "" || path[i+1:] == "" {
			break
		}
		path, line = path[:i], path[i+1:]
	}
	if line != "" {
		line = "+" + line + " "
	}
	return "${EDITOR:-vi} " + line + shellWord(path)
}

// typed has a secret typed, and printed to who reads it in the shell: it is in no argument
// and in no history. Whoever gives up has a terminal that shows again what is typed.
func typed(what string) string {
	return "$(trap 'stty echo 2>/dev/null' EXIT; trap 'exit 130' INT; printf " + shellWord(what+": ") + ` >&2; stty -echo 2>/dev/null; read -r v && printf %s "$v")`
}

// ask has a secret typed into a variable of the shell and of what it starts.
func ask(what, variable string) string {
	return `v="` + typed(what) + `" && export ` + variable + `="$v"; unset v`
}

// seal is how the right sealing key gets to where the wrong one came from.
func (d *doctor) seal(o storeOptions) string {
	const what = "the sealing key (AGE-SECRET-KEY-...)"
	switch {
	case o.keyFile != "":
		return d.editor(absolute(o.keyFile))
	case o.keyEnv != "":
		return ask(what, o.keyEnv)
	}
	return ask(what, "EVERGRANT_KEY")
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// signIn is how this grant gets a new consent. Whoever looks at a record knows where
// it belongs; alive says that what it has is to be replaced.
func (d *doctor) signIn(c grant.Credential, o refreshOptions, alive bool) string {
	preset := provider.Custom()
	if p, err := lookup(o.client.provider); err == nil {
		preset = p
	} else if p, err := provider.Lookup(c.Provider); err == nil {
		preset = p
	}
	more := d.whereTo(c, o)
	if tool := preset.SignIn.OwnTool; len(tool) > 0 {
		last := tool[len(tool)-1]
		if alive {
			last += " --replace"
		}
		words, end := []string{last, string(d.grant)}, []string(nil)
		if d.grant[0] == '-' {
			words, end = words[:1], []string{"--", string(d.grant)}
		}
		d.cmd.Flags().Visit(func(f *pflag.Flag) {
			if i, _, err := d.cmd.Root().Find([]string{"import"}); err == nil && i.Flags().Lookup(f.Name) != nil && f.Name != "json" {
				words = append(words, wordsOf(f)...)
			}
		})
		return strings.Join(append(slices.Clone(tool[:len(tool)-1]), strings.Join(append(words, end...), " ")), " && ")
	}
	if o.client.issuer != "" || preset.SignIn.AuthorizeURL != "" || preset.SignIn.DeviceURL != "" {
		if alive {
			more = append(more, "--replace")
		}
		return d.command("login", more...)
	}
	const variable = "EVERGRANT_REFRESH_TOKEN"
	// Only this call gets it: in the shell it would be what the next grant starts from.
	return `v="` + typed("a new refresh token") + `" && ` + variable + `="$v" ` + d.command("repair", append(more, "--adopt", "--from-env", variable)...) + "; unset v"
}

// whereTo are the flags that say where a record belongs, as far as nobody said it.
func (d *doctor) whereTo(c grant.Credential, o refreshOptions) []string {
	var more []string
	add := func(flag, value string) {
		if value != "" && !d.given(flag) && !slices.Contains(d.inFile, flag) && d.env.get(configured()[flag].env) == "" {
			more = append(more, "--"+flag, value)
		}
	}
	if o.client.issuer == "" {
		p, err := lookup(o.client.provider)
		if err == nil {
			add("provider", o.client.provider)
		}
		if err != nil || p.TokenURL != o.client.tokenURL {
			add("token-url", o.client.tokenURL)
		}
		if err != nil || p.Client.ID != o.client.clientID {
			add("client-id", o.client.clientID)
		}
	}
	return more
}
