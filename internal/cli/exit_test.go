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
	"evergrant/internal/record"
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
		{"store, denied", fmt.Errorf("a list: %w", grant.ErrDenied), 6, ""},
		{"rolled back", engine.ErrRolledBack, 6, "--accept-rollback"},
		{"ahead", engine.ErrAhead, 6, "--min-generation"},
		{"plain", fmt.Errorf("%w: %w", grant.ErrUnreadable, record.ErrPlain), 6, "key rotate"},
		{"in doubt at the end of the time", &engine.WaitError{Err: fmt.Errorf("%w: %w", grant.ErrInDoubt, cli.ErrTimeout)}, 4, ""},
		{"leased at a signal", &engine.WaitError{Err: fmt.Errorf("%w: %w", engine.ErrLeased, cli.ErrInterrupted)}, 9, "--wait"},
		{"unreachable at the end of the time", fmt.Errorf("%w: %w", engine.ErrUnreachable, context.DeadlineExceeded), 5, ""},
		{"not found", grant.ErrNotFound, 6, ""},
		{"too large", grant.ErrTooLarge, 6, ""},
		{"unsaved, block printed", cli.Unsaved(engine.ErrStore, true, ""), 7, "rescue block above"},
		{"unsaved, block and spill", cli.Unsaved(engine.ErrStore, true, "/x/spill"), 7, "rescue block above"},
		{"unsaved, spilled", cli.Unsaved(engine.ErrStore, false, "/x/spill"), 7, "kept in /x/spill on this machine"},
		{"unsaved, nowhere", cli.Unsaved(engine.ErrStore, false, ""), 7, "no durable place"},
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
	if code := cli.Report(&out, cli.Usage("a\nb\x1b[31m\rc", "evergrant repair GRANT mends it"), "acme/api"); code != 2 {
		t.Errorf("code %d", code)
	}
	if want := "evergrant: a; b[31mc\nevergrant: hint: evergrant repair acme/api mends it\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if cli.Report(&out, nil, "") != 0 {
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

// TestBecause: what ended the waiting is said, and hides nothing.
func TestBecause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{context.Canceled, 1, "ended without a result: stopped by a signal"},
		{fmt.Errorf("looking: %w", context.Canceled), 1, "ended without a result: stopped by a signal"},
		{&engine.WaitError{Next: time.Unix(0, 0), Err: fmt.Errorf("%w: %w", grant.ErrInDoubt, context.Canceled)}, 4,
			"in doubt: a reply was lost: stopped by a signal; next try at 1970-01-01T00:00:00Z"},
		{fmt.Errorf("%w: %w", engine.ErrLeased, context.Canceled), 9, "another holder has the lease: stopped by a signal"},
		{fmt.Errorf("%w: %w", engine.ErrUnreachable, context.Canceled), 5, "provider cannot be reached: stopped by a signal"},
		{engine.ErrBound, 2, engine.ErrBound.Error()},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if got := cli.Because(ctx, tt.err); got != tt.err {
			t.Errorf("%v became %v before anything ended", tt.err, got)
		}
		cancel(cli.ErrInterrupted)
		got := cli.Because(ctx, tt.err)
		if code, _ := cli.Classify(got); code != tt.code || got.Error() != tt.text {
			t.Errorf("%v: code %d, %q; want %d, %q", tt.err, code, got, tt.code, tt.text)
		}
	}
	if cli.Because(t.Context(), nil) != nil {
		t.Error("no error became one")
	}
}

func TestInWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: %w", grant.ErrInDoubt, &grant.RefreshError{Err: errors.New("connection was closed")}), "in doubt: a reply was lost: connection was closed"},
		{fmt.Errorf("%w: %w", grant.ErrInDoubt, &grant.RefreshError{Status: 200, Err: errors.New("the answer is empty")}), "in doubt: a reply was lost: HTTP 200: the answer is empty"},
		{fmt.Errorf("%w: %w", grant.ErrInDoubt, &grant.RefreshError{Status: 502}), "in doubt: a reply was lost: HTTP 502"},
		{fmt.Errorf("%w: %w", engine.ErrUnreachable, &grant.RefreshError{Fate: grant.Unspent, Status: 429}), "provider says later: HTTP 429"},
		{fmt.Errorf("%w: %w", engine.ErrUnreachable, &grant.RefreshError{Fate: grant.Unspent, Err: errors.New("connect to x: connection refused")}), "provider cannot be reached: connect to x: connection refused"},
		{fmt.Errorf("%w: %w", engine.ErrRefused, &grant.RefreshError{Fate: grant.Refused, Status: 401, Code: "invalid_client"}), "provider refused the request: invalid_client, HTTP 401"},
		{errors.New("token endpoint of x"), "token endpoint of x"},
	} {
		if got := cli.InWords(tt.err.Error()); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
