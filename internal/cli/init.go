package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"evergrant/internal/provider"
	"evergrant/templates"
)

func (a *app) initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "write a workflow for a CI system, or judge those that are there",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("init needs the name of a CI system: github").hint("evergrant init github --help tells what it does")
		},
	}
	cmd.AddCommand(a.initGithubCommand())
	return cmd
}

// initOptions are the flags of init github.
type initOptions struct {
	template, consumer, provider, tokenURL, clientID, grant string
	clientSecret                                            bool
	params                                                  []string
	action, branch, out                                     string
	print, check, json                                      bool
}

func (a *app) initGithubCommand() *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "github [--check [FILE…]]",
		Short: "write a GitHub Actions workflow and tell what remains to be done, or judge workflows",
		Long: "Writes a GitHub Actions workflow that keeps a grant alive, and tells what remains to be done: at most one secret,\n" +
			"one key and one file. It sends nothing, and overwrites no file that is different.\n\n" +
			"With --check it judges workflows instead, all of .github/workflows if none is named: what in them would lose a\n" +
			"rotating login, give it to strangers, or let it be used twice. Exit 2 if there is an error among the findings.",
		RunE: func(_ *cobra.Command, args []string) error {
			if o.check {
				return a.initCheck(o, args)
			}
			return a.initGithub(o, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.template, "template", "comment", "`NAME` of the workflow: "+strings.Join(templates.Names(), ", "))
	f.StringVar(&o.consumer, "consumer", "", "`ACTION` that gets the token, where the template has one: "+strings.Join(templates.Consumers(), " or "))
	f.StringVar(&o.provider, "provider", "", "`PRESET` that describes the provider; see evergrant providers")
	f.StringVar(&o.tokenURL, "token-url", "", "`URL` of the token endpoint; overrides the preset")
	f.StringVar(&o.clientID, "client-id", "", "client `ID`, or ${{ vars.NAME }}; overrides the preset")
	f.BoolVar(&o.clientSecret, "with-client-secret", false, "the client has a secret: the workflow takes it from a secret of the repository")
	f.StringArrayVar(&o.params, "param", nil, "preset setting or extra request parameter, `NAME=VALUE`; repeatable")
	f.StringVar(&o.grant, "grant", "", "`NAME` of the grant in the store; the preset's name if empty")
	f.StringVar(&o.action, "action", "", "the copy of evergrant's Action that you trust: `OWNER/NAME@COMMIT`, or ./PATH in the repository")
	f.StringVar(&o.branch, "branch", "", "default `BRANCH` of the repository, where the template starts for pushes; found out if empty")
	f.StringVar(&o.out, "out", "", "`PATH` of the workflow; .github/workflows/evergrant-TEMPLATE.yml of this repository if empty")
	f.BoolVar(&o.print, "print", false, "write the workflow to standard output and no file")
	f.BoolVar(&o.check, "check", false, "judge workflows instead")
	f.BoolVar(&o.json, "json", false, "with --check: JSON on standard output")
	for flag, words := range map[string][]string{"template": templates.Names(), "consumer": templates.Consumers(), "provider": provider.Names()} {
		// The one error is a flag that is not there.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// initGithub writes a workflow, or prints it, and tells what remains.
func (a *app) initGithub(o initOptions, args []string) error {
	switch {
	case len(args) > 0:
		return usagef("files are named with --check only").hint("the workflow's place is given by --out PATH")
	case o.json:
		return usagef("--json goes with --check only")
	case o.print && o.out != "":
		return usagef("--print writes no file, and --out names one: give one of them")
	}
	root := repositoryRoot(".")
	if root == "" && !o.print && o.out == "" {
		return usagef("this folder is in no git repository, so there is no place for the workflow").
			hint("run it in a clone, or give --out PATH or --print")
	}
	w, err := newWorkflow(o, root)
	if err != nil {
		return err
	}
	text, err := templates.Render(o.template, w.words)
	if err != nil {
		return err
	}
	a.warn(w.warned)
	if o.print {
		return a.printWorkflow(w, text)
	}
	return a.writeWorkflow(w, text)
}

// templateNamed refuses a template that is not there.
func templateNamed(name string) error {
	if slices.Contains(templates.Names(), name) {
		return nil
	}
	return usagef("there is no template %s; there are %s", shown(name), strings.Join(templates.Names(), ", "))
}
