package cli

import "github.com/spf13/pflag"

// RefreshFlags are the flags that the Action's inputs may be.
func RefreshFlags() []string {
	var o refreshOptions
	flags := pflag.NewFlagSet("refresh", pflag.ContinueOnError)
	o.register(flags)
	o.registerReport(flags)
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// Definite reports whether the post step takes an error for the last word.
var Definite = definite
