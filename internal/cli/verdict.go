package cli

import (
	"errors"
	"slices"
	"strings"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// Verdict is what --json says of a failure. It is exported for encoding/json, which
// fills no embedded pointer to another kind of type. Members are added freely and never
// change their meaning.
type Verdict struct {
	Error   string  `json:"error"` // the line of standard error
	Code    int     `json:"code"`  // the exit code
	Class   string  `json:"class"` // the exit code as a word
	NextTry *string `json:"next_try"`
	Hint    *string `json:"hint"`
}

// failure is the report of a command that has no other: it never holds a token.
type failure struct {
	Grant *grant.ID `json:"grant"` // null: it was not known yet
	Verdict
	Warnings []string `json:"warnings"`
}

// classes are the exit codes as words.
func classes() []string {
	return []string{
		exitOK: "ok", exitOther: "other", exitUsage: "usage", exitPerson: "person", exitInDoubt: "in_doubt",
		exitUnreachable: "unreachable", exitStore: "store", exitUnsaved: "unsaved", exitUndelivered: "undelivered",
		exitLeased: "leased", exitRequestError: "refused",
	}
}

func verdictOf(err error) Verdict {
	code, hints := classify(err)
	v := Verdict{Error: oneLine(inWords(err.Error())), Code: code, Class: classes()[code]}
	if wait := (*engine.WaitError)(nil); errors.As(err, &wait) {
		v.NextTry = optional(wait.Next)
	}
	if len(hints) > 0 {
		hint := strings.Join(hints, "; ")
		v.Hint = &hint
	}
	return v
}

// end reports a run's error on standard error and, where JSON was asked for and
// no report was printed, on standard output. It returns the exit code.
func (a *app) end(err error) int {
	code := report(a.console, err, a.grant)
	if err == nil || !a.json || a.reported {
		return code
	}
	f := failure{Verdict: verdictOf(err), Warnings: emptyNotNull(a.warned)}
	if a.grant != "" {
		f.Grant = &a.grant
	}
	if f.Hint != nil {
		*f.Hint = naming(*f.Hint, a.grant)
	}
	// A standard output that is closed changes nothing: the code tells.
	_ = printJSON(a.stdout, f)
	return code
}

// asksJSON reports whether a command line whose parsing failed asked for JSON.
func asksJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json")
}
