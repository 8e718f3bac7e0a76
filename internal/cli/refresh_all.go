package cli

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/spf13/pflag"

	"evergrant/internal/config"
	"evergrant/internal/grant"
)

// atOnce is how many grants refresh --all has under way.
const atOnce = 8

// refreshAll refreshes every grant of the configuration. One that fails keeps no
// other from its token; the exit code is that of the first one, in the order of the file,
// that failed. Before anything is sent, grants that would get in each other's way
// are refused.
func (a *app) refreshAll(ctx context.Context, given *pflag.FlagSet) error {
	if len(a.config.Grants) == 0 {
		return usagef("--all is for the grants of a configuration, and there is none").hint("name it with --config; evergrant refresh GRANT needs none")
	}
	if given.Changed("from-env") {
		return usagef("--from-env with --all would start every grant from one refresh token").hint("write from-env for each grant into the configuration")
	}
	all := make([]refreshOptions, len(a.config.Grants))
	for i, g := range a.config.Grants {
		var err error
		if all[i], err = a.configuredOptions(given, g); err != nil {
			return err
		}
	}
	if err := a.apart(all); err != nil {
		return err
	}
	codes := make([]int, len(a.config.Grants))
	var (
		out     sync.Mutex // whole reports, one after the other
		running sync.WaitGroup
		turn    = make(chan struct{}, atOnce)
	)
	for i, g := range a.config.Grants {
		turn <- struct{}{}
		running.Go(func() {
			defer func() { <-turn }()
			var said bytes.Buffer
			one := &app{args: a.args, env: a.env, stdin: a.stdin, stdout: &said, console: a.console,
				verbose: a.verbose, quiet: a.quiet, began: true, speedUp: a.speedUp, clockOffset: a.clockOffset, config: a.config}
			one.json = all[i].json
			codes[i] = one.end(one.refresh(ctx, []string{g.Name}, all[i]))
			out.Lock()
			defer out.Unlock()
			if _, err := a.stdout.Write(said.Bytes()); err != nil && codes[i] == exitOK {
				codes[i] = exitUndelivered
			}
		})
	}
	running.Wait()
	failed, code := 0, exitOK
	for _, c := range codes {
		if c != exitOK {
			failed++
			if code == exitOK {
				code = c
			}
		}
	}
	if failed == 0 {
		return nil
	}
	a.console.notef("%d of %d grants failed", failed, len(codes))
	return &commandError{code}
}

// configuredOptions are those of refresh for one grant: what the command line says
// holds for each, then what the file says of it.
func (a *app) configuredOptions(given *pflag.FlagSet, g config.Grant) (refreshOptions, error) {
	o := refreshOptions{namedSeed: true}
	flags := pflag.NewFlagSet(g.Name, pflag.ContinueOnError)
	o.register(flags)
	o.registerReport(flags)
	var failed error
	given.Visit(func(f *pflag.Flag) {
		same := flags.Lookup(f.Name)
		if same == nil || failed != nil {
			return
		}
		if many, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range many.GetSlice() {
				failed = flags.Set(f.Name, v)
			}
			return
		}
		failed = flags.Set(f.Name, f.Value.String())
	})
	if failed != nil {
		return o, fmt.Errorf("grant %s: %w", g.Name, failed)
	}
	err := a.apply(flags, g)
	o.minTTLSet = flags.Changed("min-ttl")
	return o, err
}

// apart refuses two grants that start from one refresh token, which would be
// spent twice, or that write into one place, where the later token would win.
func (a *app) apart(all []refreshOptions) error {
	starts, places := map[string]string{}, map[string]string{}
	for i, o := range all {
		name := a.config.Grants[i].Name
		if o.fromEnv != "" {
			if v := a.env.get(o.fromEnv); v != "" {
				digest := grant.NewSecret(v).Digest()
				if other, taken := starts[digest]; taken {
					return usagef("grants %s and %s would start from one refresh token, which works once", other, name).
						hint("give each grant a from-env of its own, with a sign-in of its own")
				}
				starts[digest] = name
			}
		}
		for _, sink := range o.sinks {
			if other, taken := places[sink]; taken {
				return usagef("grants %s and %s would write their tokens into one place", other, name).hint("give each grant a sink of its own")
			}
			places[sink] = name
		}
	}
	return nil
}
