package cli

import (
	"time"

	"github.com/spf13/pflag"

	"evergrant/internal/config"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// The tests of this package are external; these are the inner parts that have
// tables of their own.
var (
	Classify       = classify
	Report         = report
	Because        = because
	InWords        = inWords
	OneLine        = oneLine
	Opaque         = opaque
	Shown          = shown
	ShownPath      = shownPath
	Scrubbed       = scrubbed
	Span           = span
	RefuseTokens   = refuseTokens
	CleanToken     = cleanToken
	ErrInterrupted = errInterrupted
	ErrTimeout     = errTimeout
	HelpOf         = helpOf
	LikelyDuration = likelyDuration
)

// Usage makes a usage error with a hint.
func Usage(msg, hint string) error { return usagef("%s", msg).hint(hint) }

// Undelivered makes the error of a sink that failed.
func Undelivered(err error) error { return &deliveryError{[]error{err}} }

// Unsaved makes the error of a record that the store did not take.
func Unsaved(err error, block bool, path string) error {
	return &unsavedError{err, kept{block: block, path: path}}
}

// StateFolder is environment.stateFolder.
func StateFolder(env func(string) (string, bool)) (string, error) {
	return environment(env).stateFolder()
}

// SimulatedAs is what simulate --as PRESET runs, for a client without secret.
func SimulatedAs(preset string) (simulator.Config, error) {
	return new(app).simulatorConfig(simulateOptions{as: preset})
}

// Configured is the settings of a configuration file, by name.
func Configured() map[string]config.Kind {
	kinds := map[string]config.Kind{}
	for name, c := range configured() {
		kinds[name] = c.kind
	}
	return kinds
}

// FlagUse is what --help says of a flag of refresh; "" when there is none.
func FlagUse(name string) string {
	var o refreshOptions
	flags := pflag.NewFlagSet("refresh", pflag.ContinueOnError)
	o.register(flags)
	o.registerReport(flags)
	f := flags.Lookup(name)
	if f == nil {
		return ""
	}
	_, use := pflag.UnquoteUsage(f)
	return use
}

// StoryText is the story of a record in words, as a pipe gets it.
func StoryText(generation uint64, events []grant.Event, leased bool, now time.Time) string {
	s := grantStatus{Generation: generation, events: events}
	if leased {
		s.Lease = &statusLease{}
	}
	return storyText(story(s, now), now, paper{width: endless})
}
