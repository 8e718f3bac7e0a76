package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, tt := range []struct {
		name string
		err  error
		code int
		hint string // a part of the first hint; "": there is none
	}{
		{"delivered", nil, 0, ""},
		{"anything", cause, 1, ""},
		{"signal", fmt.Errorf("x: %w", cli.ErrInterrupted), 1, ""},
		{"timeout", fmt.Errorf("x: %w", cli.ErrTimeout), 1, "--timeout"},
		{"deadline", context.DeadlineExceeded, 1, "--timeout"},
		{"usage", cli.Usage("x", "do y"), 2, "do y"},
		{"bound", engine.ErrBound, 2, "--rebind"},
		{"not atomic", engine.ErrNotAtomic, 2, "--single-writer"},
		{"no token", engine.ErrNoToken, 2, "--from-env"},
		{"needs consent", grant.ErrNeedsConsent, 3, "sign in again"},
		{"retired", engine.ErrRetired, 3, "sign in again"},
		{"in doubt", &engine.WaitError{Next: time.Unix(0, 0), Err: grant.ErrInDoubt}, 4, ""},
		{"unreachable", engine.ErrUnreachable, 5, ""},
		{"later", &engine.WaitError{Err: fmt.Errorf("%w: %w", engine.ErrUnreachable, cause)}, 5, ""},
		{"would revoke", &engine.WaitError{Err: engine.ErrWouldRevoke}, 5, "--no-revoke-running"},
		{"store", fmt.Errorf("%w: %w", engine.ErrStore, cause), 6, ""},
		{"store, unreadable", fmt.Errorf("%w: %w", engine.ErrStore, grant.ErrUnreadable), 6, ""},
		{"rolled back", engine.ErrRolledBack, 6, "--accept-rollback"},
		{"not found", grant.ErrNotFound, 6, ""},
		{"too large", grant.ErrTooLarge, 6, ""},
		{"unsaved, block printed", &engine.UnsavedError{Spilled: true, Rescued: true, Err: engine.ErrStore}, 7, "rescue block above"},
		{"unsaved, spilled", &engine.UnsavedError{Spilled: true, Err: engine.ErrStore}, 7, "on this machine"},
		{"unsaved, nowhere", &engine.UnsavedError{Err: engine.ErrStore}, 7, "no durable place"},
		{"sink", cli.Undelivered(cause), 8, "mend the sink"},
		{"leased", &engine.WaitError{Err: engine.ErrLeased}, 9, "--wait"},
		{"refused", fmt.Errorf("%w: %w", engine.ErrRefused, &grant.RefreshError{Fate: grant.Refused}), 10, "client id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.err
			if err != nil {
				err = fmt.Errorf("grant x: %w", err)
			}
			code, hints := cli.Classify(err)
			if code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if (tt.hint == "") != (len(hints) == 0) || len(hints) > 0 && !strings.Contains(hints[0], tt.hint) {
				t.Errorf("hints %q, want one with %q", hints, tt.hint)
			}
		})
	}
}

func TestReportIsOneLineAndHints(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if code := cli.Report(&out, cli.Usage("a\nb\x1b[31m\rc", "mend it")); code != 2 {
		t.Errorf("code %d", code)
	}
	if want := "evergrant: a; b[31mc\nevergrant: hint: mend it\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if cli.Report(&out, nil) != 0 {
		t.Error("success has a code")
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m", time.Hour: "1h",
		90 * time.Minute: "1h 30m", 24 * time.Hour: "1d", 27*24*time.Hour + 3*time.Hour: "27d 3h", -time.Hour: "1h ago",
	} {
		if got := cli.Span(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}
