package cli

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/spf13/pflag"

	"evergrant/internal/config"
)

// atOnce is how many grants refresh --all has under way.
const atOnce = 8

// refreshAll refreshes every grant of the configuration. One that fails keeps no
// other from its token; the exit code is that of the first one, in the order of the file,
// that failed.
func (a *app) refreshAll(ctx context.Context, given *pflag.FlagSet) error {
	if len(a.config.Grants) == 0 {
		return usagef("--all is for the grants of a configuration, and there is none").hint("name it with --config; evergrant refresh GRANT needs none")
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
			codes[i] = one.end(one.refreshConfigured(ctx, given, g))
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

// refreshConfigured is refresh for one grant: what the command line says holds for
// each, then what the file says of it.
func (a *app) refreshConfigured(ctx context.Context, given *pflag.FlagSet, g config.Grant) error {
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
		return fmt.Errorf("grant %s: %w", g.Name, failed)
	}
	if err := a.apply(flags, g); err != nil {
		return err
	}
	o.minTTLSet = flags.Changed("min-ttl")
	a.json = o.json
	return a.refresh(ctx, []string{g.Name}, o)
}
