package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// Exit codes are part of the interface: scripts branch on them, so a code never
// changes its meaning. With 4, 5 and 9 trying again at the printed time is right.
const (
	exitOK           = 0  // delivered
	exitOther        = 1  // anything not named below
	exitUsage        = 2  // usage or configuration; nothing was sent
	exitPerson       = 3  // a person has to sign in again, or to run repair
	exitInDoubt      = 4  // a reply was lost; the next allowed try is printed
	exitUnreachable  = 5  // the provider cannot be reached or says "later"
	exitStore        = 6  // the store cannot be used or is not what it should be
	exitUnsaved      = 7  // refreshed, but saved only as spill or rescue block
	exitUndelivered  = 8  // refreshed and saved, but a sink failed
	exitLeased       = 9  // another holder kept the lease for longer than --wait
	exitRequestError = 10 // the provider refused the request itself
)

// exitCodesTitle is the line above them in the help.
const exitCodesTitle = "Exit codes:\n"

// exitCodes tells the same to users.
const exitCodes = exitCodesTitle + `   0  done
   1  anything not named here
   2  usage; nothing was sent
   3  a person is needed
   4  in doubt: a reply was lost *
   5  the provider is away *
   6  the store cannot be used; nothing was spent
   7  refreshed, but saved only as spill or rescue block
   8  refreshed and saved, but a sink failed
   9  another holder kept the lease *
  10  the provider refused the request; nothing was spent
   *  trying again at the printed time is right`

// errInterrupted is the cause of a context that a signal cancelled.
var errInterrupted = errors.New("stopped by a signal")

// errTimeout is the cause of a context that --timeout cancelled.
var errTimeout = errors.New("the time given by --timeout is over")

// usageError is a mistake in what was asked for, found before anything is
// sent. Hints are lines of their own.
type usageError struct {
	msg   string
	hints []string
}

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) *usageError {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

func (e *usageError) hint(lines ...string) *usageError {
	e.hints = append(e.hints, lines...)
	return e
}

// deliveryError says that sinks failed after the token was saved.
type deliveryError struct{ errs []error }

func (e *deliveryError) Error() string {
	parts := make([]string, len(e.errs))
	for i, err := range e.errs {
		parts[i] = err.Error()
	}
	return strings.Join(parts, "; ")
}

func (e *deliveryError) Unwrap() []error { return e.errs }

// codedError carries an exit code of its own, for commands whose outcome is no
// failure of the engine (status --warn, a rescue block that is foreign).
type codedError struct {
	code int
	err  error
	hint string
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// unsavedError is the engine's error of that name with what became of the record.
type unsavedError struct {
	error
	kept kept
}

func (e *unsavedError) Unwrap() error { return e.error }

func (e *unsavedError) hint() string {
	here := fmt.Sprintf("the record is kept in %s on this machine; mend the store and run evergrant refresh for this grant here", e.kept.path)
	switch {
	case e.kept.block && e.kept.path != "":
		return "keep the rescue block above; mend the store, then: evergrant rescue <LOG, with the same --store and key; or run evergrant refresh for this grant on this machine, which has a copy"
	case e.kept.block && e.kept.earlier:
		return "keep the rescue block in the log of the step that refreshed; mend the store, then: evergrant rescue <LOG, with the same --store and key"
	case e.kept.block:
		return "keep the rescue block above; mend the store, then: evergrant rescue <LOG, with the same --store and key"
	case e.kept.path != "":
		return here
	}
	return "the record is in no durable place, and this login may be lost: use the token while it lives, and expect to sign in again"
}

// outcome is one row of the mapping from errors to exit codes.
type outcome struct {
	is   error
	code int
	hint string
}

// outcomes is read from top to bottom; the first row that matches decides. The
// causes that a store or a provider wraps come after what they mean, and the end
// of a call's time or a signal comes last: it says why the waiting ended, and
// nothing about the token.
func outcomes() []outcome {
	return []outcome{
		{engine.ErrBound, exitUsage, "if the move is meant, say so once: evergrant repair GRANT --rebind with the same flags"},
		{engine.ErrNotAtomic, exitUsage, "add --single-writer if nothing else ever writes this store"},
		{engine.ErrNoToken, exitUsage, "put a refresh token into a variable and name it: --from-env VAR"},
		{engine.ErrRetired, exitPerson, "the grant was logged out; sign in again: evergrant login, or start a grant with another name"},
		{grant.ErrNeedsConsent, exitPerson, "sign in again: evergrant login with the same settings, or put a new refresh token where the first one was; the next refresh starts from it"},
		{grant.ErrInDoubt, exitInDoubt, ""},
		{engine.ErrLeased, exitLeased, "another process is refreshing this grant; try again then, or allow more time with --wait"},
		{engine.ErrWouldRevoke, exitUnreachable, "--no-revoke-running forbids it; try again when that token has ended"},
		{engine.ErrRefused, exitRequestError, "nothing was spent; check the client id, its secret, --client-auth, --body and the token URL, or whether the provider blocks this address"},
		{engine.ErrUnreachable, exitUnreachable, ""},
		{engine.ErrAhead, exitStore, "if the generation named by --after or --min-generation is right, the store was rolled back: restore its newest copy; else correct the flag"},
		{engine.ErrRolledBack, exitStore, "restore the newest copy of the store, or, if there is none: evergrant repair GRANT --accept-rollback"},
		{record.ErrPlain, exitStore, "if it is from before there was a key, seal the store once: evergrant key rotate --new-key-env VAR with the key in VAR; if it was sealed before, somebody without the key has replaced it"},
		{grant.ErrUnreadable, exitStore, ""},
		{grant.ErrDenied, exitStore, ""},
		{grant.ErrTooLarge, exitStore, ""},
		{grant.ErrNotFound, exitStore, ""},
		{engine.ErrStore, exitStore, ""},
	}
}

// classify maps an error to its exit code and the hints that go with it.
func classify(err error) (code int, hints []string) {
	var (
		usage    *usageError
		coded    *codedError
		unsaved  *unsavedError
		delivery *deliveryError
		command  *commandError
		other    *engine.ElsewhereError
		bound    *engine.BoundError
	)
	switch {
	case err == nil:
		return exitOK, nil
	case errors.As(err, &command):
		return command.code, nil
	case errors.As(err, &usage):
		return exitUsage, usage.hints
	case errors.As(err, &coded):
		return coded.code, nonEmpty(coded.hint)
	case errors.As(err, &unsaved):
		return exitUnsaved, nonEmpty(unsaved.hint())
	case errors.As(err, &other):
		return exitUsage, elsewhereHints(other)
	case errors.As(err, &bound) && ofTrial(bound.Have) && !ofTrial(bound.Want):
		return exitUsage, []string{"that is a server on this machine, such as evergrant simulate, so the record may be of a trial: give the real grant another name, or put its login in the place of the trial's: evergrant repair GRANT --adopt --from-env VAR with the same flags"}
	case errors.As(err, &delivery):
		return exitUndelivered, []string{"the record is saved; mend the sink and run the same command again"}
	}
	for _, o := range outcomes() {
		if errors.Is(err, o.is) {
			return o.code, nonEmpty(o.hint)
		}
	}
	switch {
	case errors.Is(err, errInterrupted):
		return exitOther, nil
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		return exitOther, []string{"allow more time with --timeout"}
	}
	return exitOther, nil
}

// elsewhereHints say how to get at the grant that has the token, or at one more.
func elsewhereHints(e *engine.ElsewhereError) []string {
	hints := []string{fmt.Sprintf("if %s is meant, name it; a second grant needs a sign-in of its own", e.Grant)}
	if e.Unspent {
		hints = append(hints, fmt.Sprintf("%s has presented nothing yet: if its name was a mistake, and nobody uses it, repair --adopt --from-env VAR starts this one all the same", e.Grant))
	}
	return hints
}

// ofTrial reports that tokens belong to a server on this machine: http is allowed
// nowhere else.
func ofTrial(b grant.Binding) bool { return strings.HasPrefix(b.TokenURL, "http:") }

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// report prints the one line of an error and its hints, and returns the code.
func report(stderr io.Writer, err error, of grant.ID) int {
	code, hints := classify(err)
	if command := (*commandError)(nil); err == nil || errors.As(err, &command) {
		return code
	}
	fmt.Fprintf(stderr, "evergrant: %s\n", oneLine(inWords(err.Error())))
	for _, h := range hints {
		fmt.Fprintf(stderr, "evergrant: hint: %s\n", naming(h, of))
	}
	return code
}

// naming puts the name of a grant, where it is known, into a command of a hint.
func naming(hint string, of grant.ID) string {
	if of == "" {
		return hint
	}
	return strings.ReplaceAll(hint, "repair GRANT", "repair "+string(of))
}

// inWords takes out of an engine's text what only says again what was said: the
// fate of a token behind the error that means that fate.
func inWords(s string) string {
	if !strings.Contains(s, "token endpoint: ") {
		return s
	}
	fate := `token endpoint: (?:in doubt|unspent|refused|rejected)`
	s = regexp.MustCompile(regexp.QuoteMeta(engine.ErrUnreachable.Error())+": "+fate+` \(([^)]*)\)`).ReplaceAllString(s, "provider says later: $1")
	s = regexp.MustCompile(fate+` \(([^)]*)\)`).ReplaceAllString(s, "$1")
	return regexp.MustCompile(fate+": ").ReplaceAllString(s, "")
}

// misleading are the characters that begin another line, or turn the direction of
// what follows, so that it reads as another text (Unicode UAX #9, UTR #36).
const misleading = "\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

// oneLine keeps foreign text (a path, a system's message) on its line and free
// of control characters, which could forge a line or a runner's command.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || strings.ContainsRune(misleading, r) {
			return -1
		}
		return r
	}, s)
}
