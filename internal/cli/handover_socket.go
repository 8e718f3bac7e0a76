package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"evergrant/internal/grant"
	"evergrant/internal/tokensocket"
	"evergrant/internal/workflow"
)

// onlySocket refuses the flags that say which grant where it is read, beside a
// socket that serves one.
func (o *handoverOptions) onlySocket(flags *pflag.FlagSet) (err error) {
	if o.socket == "" {
		return nil
	}
	also := []string{"token-socket", "host", "user", "timeout", "verbose", "quiet", "speed-up", "clock-offset"}
	flags.Visit(func(f *pflag.Flag) {
		if !slices.Contains(also, f.Name) {
			err = usagef("--token-socket and --%s exclude each other: the socket serves one grant, as it was begun", f.Name)
		}
	})
	return err
}

// relayAnswer is answer from the socket of another process, which has the grant,
// its key and its store: whoever asks there needs none of them.
func (a *app) relayAnswer(ctx context.Context, args []string, o handoverOptions, refused grant.Secret, write func(grant.AccessToken) error) error {
	if len(args) > 0 {
		return usagef("--token-socket and a grant's name exclude each other: the socket serves one grant")
	}
	t, err := tokensocket.Ask(ctx, o.socket, 0)
	if err == nil && !refused.IsZero() {
		if refused.Digest() == t.Value.Digest() { // the current one
			_, err = tokensocket.Ask(ctx, o.socket, t.Generation)
		}
		return socketError(o.socket, because(ctx, err))
	}
	if err != nil {
		return socketError(o.socket, because(ctx, err))
	}
	if a.env.githubActions() { // the step's log is the runner's to read
		if oneStream(a.stdout, a.console.w) {
			return usagef("standard error goes where standard output does, so the token could not be masked: what masks it would be taken for a part of it").
				hint("leave out 2>&1: the runner reads masks from this step's standard error")
		}
		if err := workflow.NewMasker(a.console).Mask(t.Value); err != nil {
			return &codedError{code: exitUndelivered, err: fmt.Errorf("masking the token: %w", err)}
		}
	}
	if err := write(t); err != nil {
		return &codedError{code: exitUndelivered, err: fmt.Errorf("handing out the token: %w", err)}
	}
	return nil
}

// socketError has the exit code that the other process would have ended with.
func socketError(path string, err error) error {
	said := (*tokensocket.AnswerError)(nil)
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &said):
		return &codedError{code: exitUnreachable, err: fmt.Errorf("--token-socket %s: %w", shownPath(path), err), hint: "look whether what made the socket still runs"}
	}
	code := max(slices.Index(classes(), said.Class), exitOther)
	return &codedError{code: code, err: fmt.Errorf("--token-socket: %s", said.Text)}
}

// oneStream reports two streams of which a program reads both as one: a pipe or a
// file. A terminal, which is one too, only shows them.
func oneStream(out, log any) bool {
	a, ok := out.(*os.File)
	b, also := log.(*os.File)
	if !ok || !also || term.IsTerminal(int(a.Fd())) {
		return false
	}
	first, err := a.Stat()
	second, serr := b.Stat()
	return err == nil && serr == nil && first.Mode()&os.ModeDevice == 0 && os.SameFile(first, second)
}
