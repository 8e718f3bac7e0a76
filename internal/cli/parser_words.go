package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/spelling"
)

// The parser's complaints in this program's words. Its own speak of arg(s) and
// groups; these say what is wrong and what to write instead.

// inOurWords lets each command check its arguments, and which flags go together,
// before the parser does.
func inOurWords(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) != nil {
				return miscounted(cmd, args)
			}
			return flagsAgree(cmd)
		}
	}
	for _, sub := range cmd.Commands() {
		inOurWords(sub)
	}
}

// miscounted says how a command is written that has too many or too few arguments.
func miscounted(cmd *cobra.Command, args []string) error {
	if cmd.HasSubCommands() && len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	_, takes, _ := strings.Cut(cmd.Use, " ")
	hint := cmd.CommandPath() + " --help has examples"
	written := strings.TrimSpace(cmd.CommandPath() + " " + takes)
	if len(args) == 0 {
		return usagef("an argument is missing: it is written %s", written).hint(hint)
	}
	return usagef("%s, and that is too many: it is written %s", counted(len(args), "argument"), written).hint(hint)
}

// unknownCommand names what may have been meant.
func unknownCommand(parent *cobra.Command, typed string) error {
	var names, near []string
	for _, sub := range parent.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	what := "there is no such command (it is not repeated here)"
	if echoable(typed) {
		words := strings.Fields(parent.CommandPath() + " " + typed)
		what = "there is no command " + strconv.Quote(strings.Join(words[1:], " "))
		near = spelling.Near(typed, names)
		if !parent.HasParent() && len(near) == 0 {
			near = nonEmpty(calledElsewhere(typed))
		}
	}
	switch {
	case len(near) > 0 && !parent.HasParent():
		return usagef("%s; did you mean %s?", what, strings.Join(near, " or ")).hint("evergrant help lists the commands")
	case len(names) == 1:
		return usagef("%s; there is %s", what, names[0]).hint(parent.CommandPath() + " --help tells more")
	case parent.HasParent():
		return usagef("%s; there are %s", what, strings.Join(names, ", ")).hint(parent.CommandPath() + " --help tells more")
	}
	return usagef("%s", what).hint("evergrant help lists the commands; evergrant demo shows what it does")
}

// calledElsewhere is the command for what other programs call by that word; "" for
// one that nobody uses.
func calledElsewhere(word string) string {
	switch strings.ToLower(word) {
	case "list", "ls", "show", "grants", "info":
		return "status"
	case "auth", "signin", "sign-in":
		return "login"
	case "signout", "sign-out", "revoke":
		return "logout"
	case "get", "access-token", "print":
		return "token"
	case "exec", "env":
		return "run"
	case "renew", "update":
		return "refresh"
	case "check", "verify":
		return "doctor"
	case "presets", "provider":
		return "providers"
	case "keygen":
		return "key new"
	case "credential", "git-credential", "docker-credential":
		return "helper"
	}
	return ""
}

// Annotations by which cobra notes which flags go together; its own names of them are
// not exported.
const (
	goTogether = "cobra_annotation_required_if_others_set"
	oneNeeded  = "cobra_annotation_one_required"
	exclusive  = "cobra_annotation_mutually_exclusive"
)

// flagsAgree says which flag is missing, and which two exclude each other.
func flagsAgree(cmd *cobra.Command) error {
	var wrong error
	hint := cmd.CommandPath() + " --help lists the flags"
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if wrong != nil {
			return
		}
		if needed := f.Annotations[cobra.BashCompOneRequiredFlag]; len(needed) > 0 && !f.Changed {
			of, _ := pflag.UnquoteUsage(f)
			wrong = usagef("%s needs --%s %s", cmd.CommandPath(), f.Name, of).hint(hint)
			return
		}
		for _, group := range f.Annotations[goTogether] {
			if given, missing := given(cmd, group); len(given) > 0 && len(missing) > 0 {
				wrong = usagef("%s goes with %s, which is missing", given[0], missing[0]).hint(hint)
			}
		}
		for _, group := range f.Annotations[oneNeeded] {
			if given, missing := given(cmd, group); len(given) == 0 {
				wrong = usagef("%s needs one of %s", cmd.CommandPath(), strings.Join(missing, ", ")).hint(hint)
			}
		}
		for _, group := range f.Annotations[exclusive] {
			if given, _ := given(cmd, group); len(given) > 1 {
				wrong = usagef("%s and %s exclude each other", given[0], given[1]).hint(hint)
			}
		}
	})
	return wrong
}

// given splits a group of flags into those that the command line has and the others.
func given(cmd *cobra.Command, group string) (has, lacks []string) {
	for _, name := range strings.Fields(group) {
		if cmd.Flags().Changed(name) {
			has = append(has, "--"+name)
		} else {
			lacks = append(lacks, "--"+name)
		}
	}
	return has, lacks
}

// flagError words a mistake in a flag without repeating a long value: it may
// be a secret that went to the wrong place.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists the flags"
	if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) {
		return wrongValue(bad).hint(hint)
	}
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		wrong := unknownFlag(cmd, unknown)
		if cmd.Name() == "run" { // it may be one of the command's
			wrong.hint("put -- before the command: evergrant run [GRANT] -- COMMAND [ARGUMENT]...")
		}
		return wrong.hint(hint)
	}
	if lone := (*pflag.ValueRequiredError)(nil); errors.As(err, &lone) {
		of, _ := pflag.UnquoteUsage(lone.GetFlag())
		return usagef("--%s needs a value: --%s %s", lone.GetFlag().Name, lone.GetFlag().Name, strings.ToUpper(of)).hint(hint)
	}
	if syntax := (*pflag.InvalidSyntaxError)(nil); errors.As(err, &syntax) {
		return usagef("a flag is written --NAME or --NAME=VALUE, and one of these is not").hint(hint)
	}
	return usagef("%v", err).hint(hint)
}

func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) *usageError {
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" && len(name) == 1 {
		return usagef("there is no flag -%s", name)
	}
	if dashed := len(name) <= 40 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") == ""; !dashed && !echoable(name) {
		return usagef("there is no such flag (it is not repeated here)")
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	wrong := usagef("there is no flag --%s", oneLine(name))
	if near := spelling.Near(name, names); len(near) > 0 {
		wrong.msg += "; did you mean --" + strings.Join(near, " or --") + "?"
	}
	return wrong
}

func wrongValue(bad *pflag.InvalidValueError) *usageError {
	value := "the value"
	if v := bad.GetValue(); echoable(v) {
		value = strconv.Quote(v)
	}
	kind := bad.GetFlag().Value.Type()
	switch kind { // Go's names for them say nothing to people
	case "uint64":
		kind = "number from 0 on"
	case "uint16":
		kind = "number up to 65535"
	case "int", "int64":
		kind = "whole number"
	}
	wrong := usagef("--%s: %s is not a %s", bad.GetFlag().Name, oneLine(value), kind)
	if kind == "duration" {
		wrong.hint("a duration has its unit: write " + likelyDuration(bad.GetValue()))
	}
	return wrong
}

// likelyDuration is how somebody would have written what was meant.
func likelyDuration(typed string) string {
	digits := strings.TrimLeft(typed, "0123456789")
	n, err := strconv.Atoi(strings.TrimSuffix(typed, digits))
	if err != nil || n > 9999 {
		return "90s, 20m or 72h"
	}
	switch unit := strings.ToLower(strings.TrimLeft(digits, " .,")); {
	case unit == "", strings.HasPrefix(unit, "m"):
		return fmt.Sprintf("%dm", n)
	case strings.HasPrefix(unit, "s"):
		return fmt.Sprintf("%ds", n)
	case strings.HasPrefix(unit, "h"):
		return fmt.Sprintf("%dh", n)
	case strings.HasPrefix(unit, "d"):
		return fmt.Sprintf("%dh", 24*n)
	case strings.HasPrefix(unit, "w"):
		return fmt.Sprintf("%dh", 7*24*n)
	}
	return "90s, 20m or 72h"
}
