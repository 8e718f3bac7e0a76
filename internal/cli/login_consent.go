package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/login"
	"evergrant/internal/oauth"
)

// consent has the person sign in. finish says in the browser how it ended; it is
// never nil, and does nothing where no browser waits.
func (a *app) consent(ctx context.Context, l loginPlan, arrival *engine.Arrival) (issued oauth.Issued, finish func(login.Ending), err error) {
	finish = func(login.Ending) {}
	if l.why != "" {
		a.console.notef("%s: %s, so: %s", l.id, l.why, map[way]string{
			byDevice: "a code for another device", byPaste: "the answer is pasted", byBrowser: "a browser"}[l.way])
	}
	if who := arrival.Account(); who != (grant.Account{}) {
		a.console.notef("%s: the grant lives, and is %s's", l.id, who)
	}
	switch l.way {
	case byDevice:
		issued, err = a.byDevice(ctx, l)
	case byPaste:
		issued, err = a.byPaste(ctx, l)
	default:
		return a.byBrowser(ctx, l)
	}
	return issued, finish, err
}

// sayf prints what the person has to do next, which -q does not leave out.
func (a *app) sayf(format string, args ...any) {
	// Where nobody reads, nobody acts, and the sign-in ends by its time.
	_, _ = fmt.Fprintf(a.console, "evergrant: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// terminal reports a person at standard input.
func (a *app) terminal() bool {
	f, ok := a.stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) byBrowser(ctx context.Context, l loginPlan) (oauth.Issued, func(login.Ending), error) {
	nobody := func(login.Ending) {}
	port, err := login.Listen(l.asking.RedirectURI)
	if err != nil {
		return oauth.Issued{}, nobody, usagef("%v", err).hint("name another with --port; where the provider wants it registered, the client must have http://127.0.0.1:PORT/callback as a redirect URI")
	}
	l.asking.RedirectURI = port.URI
	r, err := login.NewRequest(l.asking)
	if err != nil {
		port.Close()
		return oauth.Issued{}, nobody, usagef("%v", err)
	}
	if l.opens {
		a.open(ctx, r.URL)
		a.sayf("%s: sign in in the browser; if none opens, open this address on this machine: %s", l.id, r.URL)
	} else {
		a.sayf("%s: sign in at this address, in a browser on this machine: %s", l.id, r.URL)
	}
	a.console.notef("%s: waiting for the answer at %s", l.id, port.URI)
	code, err := port.Wait(ctx, r, func(err error) { a.console.warnf("%v; it was not used", err) })
	if err != nil {
		return oauth.Issued{}, port.Finish, err
	}
	issued, err := l.client.Exchange(ctx, code)
	return issued, port.Finish, err
}

// open shows an address in the system's browser, which gets none of our secrets.
func (a *app) open(ctx context.Context, address string) {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "EVERGRANT_") || strings.Contains(name, "TOKEN") || strings.Contains(name, "SECRET")
	})
	failed := login.Open(address, env)
	go func() { // ends with the program that opens the browser, or with this call
		select {
		case err := <-failed:
			if err != nil {
				a.console.warnf("no browser could be opened (%v): open the address yourself", err)
			}
		case <-ctx.Done():
		}
	}()
}

// triesToPaste is how often a person may paste something that is no answer.
const triesToPaste = 3

func (a *app) byPaste(ctx context.Context, l loginPlan) (oauth.Issued, error) {
	if u := l.asking.RedirectURI; u == login.DefaultRedirect {
		with, err := login.LoopbackURI(u, login.Port)
		if err != nil {
			return oauth.Issued{}, err
		}
		l.asking.RedirectURI = with // nobody listens there; the address holds the answer
	}
	r, err := login.NewRequest(l.asking)
	if err != nil {
		return oauth.Issued{}, usagef("%v", err)
	}
	if l.opens {
		a.open(ctx, r.URL)
	}
	a.sayf("%s: sign in at this address: %s", l.id, r.URL)
	a.sayf("%s: then paste here the code that the page shows, or the whole address that the browser ends at, also of a page that cannot be reached, and press Enter", l.id)
	in := bufio.NewReader(attentive{ctx, a.stdin})
	for try := 1; ; try++ {
		line, err := readLine(in)
		if err != nil {
			return oauth.Issued{}, because(ctx, err)
		}
		code, err := r.AcceptPasted(line)
		refusal := (*login.Refusal)(nil)
		switch {
		case err == nil:
			return l.client.Exchange(ctx, code)
		case errors.As(err, &refusal), errors.Is(err, login.ErrMixUp):
			return oauth.Issued{}, err
		case try == triesToPaste || !a.terminal():
			return oauth.Issued{}, &codedError{code: exitPerson, err: err, hint: "sign in again, and copy the newest answer whole"}
		}
		a.sayf("%s: %v; paste it again", l.id, err)
	}
}

// readLine reads what a person pastes, up to 64 KiB. Terminals end a long line
// at 4 KiB; what comes is then no answer, and is told so.
func readLine(in *bufio.Reader) (string, error) {
	var line strings.Builder
	for {
		part, more, err := in.ReadLine()
		line.Write(part)
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return "", err
		case err != nil && line.Len() == 0:
			return "", &codedError{code: exitPerson, err: errors.New("nothing was pasted: standard input has ended"), hint: "sign in again, in a terminal"}
		case err != nil || !more:
			return line.String(), nil
		case line.Len() > 64<<10:
			return "", &codedError{code: exitPerson, err: errors.New("what was pasted is larger than 64 KiB"), hint: "sign in again, and copy the answer only"}
		}
	}
}

func (a *app) byDevice(ctx context.Context, l loginPlan) (oauth.Issued, error) {
	d, err := l.client.AuthorizeDevice(ctx, l.deviceURL, l.asking.Scope, l.deviceParams)
	if err != nil {
		return oauth.Issued{}, err
	}
	a.sayf("%s: open %s on any device and enter the code %s, within %s", l.id, d.Address, d.UserCode, span(d.Life))
	if d.AddressFull != "" {
		a.sayf("%s: or open %s, which has the code in it, and check that it shows the same", l.id, d.AddressFull)
		a.showCode(d.AddressFull)
	} else {
		a.showCode(d.Address)
	}
	a.console.notef("%s: waiting for the sign-in there", l.id)
	return login.AwaitDevice(ctx, l.client, d, l.asking.Issuer, login.Pause(a.speedUp))
}

// showCode draws an address for a camera, where there is room on a terminal.
func (a *app) showCode(address string) {
	f, ok := a.console.w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || a.env.get("TERM") == "dumb" {
		return
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	picture, qerr := login.QR(address, a.env.get("NO_COLOR") == "")
	if err != nil || qerr != nil || picture.Width > columns || picture.Width/2+4 > rows {
		return
	}
	_, _ = a.console.Write([]byte(picture.Text))
}

// failedPage is what the browser shows; the terminal says more.
func failedPage(err error) login.Ending {
	if refusal := (*login.Refusal)(nil); errors.As(err, &refusal) && refusal.Code == "access_denied" {
		return login.Ending{Title: "Declined", Say: "You did not consent, so nothing was changed. You can close this page."}
	}
	return login.Ending{Title: "Not signed in", Say: "The terminal says why. You can close this page."}
}

// signInError maps what ended a sign-in to an exit code and to what a person can do.
func signInError(err error) error {
	var (
		refusal *login.Refusal
		failed  *oauth.StepError
	)
	const again = "nothing was saved; sign in again"
	switch {
	case errors.As(err, &failed):
		return stepFailed(failed)
	case errors.Is(err, login.ErrCodeEnded):
		return &codedError{code: exitPerson, err: err, hint: again}
	case errors.Is(err, login.ErrMixUp):
		return &codedError{code: exitRequestError, err: err, hint: "check --issuer and --authorize-url; somebody may be trying to mix two providers up"}
	case !errors.As(err, &refusal):
		return err
	}
	switch refusal.Code {
	case "access_denied":
		return &codedError{code: exitPerson, err: errors.New("the consent was declined (access_denied)"), hint: again}
	case "login_required", "consent_required", "interaction_required", "account_selection_required":
		return &codedError{code: exitPerson, err: err, hint: again}
	case "server_error", "temporarily_unavailable":
		return &codedError{code: exitUnreachable, err: err, hint: again + " later"}
	}
	return &codedError{code: exitRequestError, err: err, hint: hintClient}
}

const hintClient = "check the client id and its secret, whether the client may use this way of signing in, its redirect URIs, and --scope"

func stepFailed(e *oauth.StepError) error {
	coded := &codedError{err: e, hint: "nothing was saved; sign in again"}
	switch {
	case e.Fate == grant.Rejected:
		coded.code, coded.hint = exitPerson, "the code was too old, or was used before: sign in again"
	case e.Fate == grant.Refused:
		coded.code, coded.hint = exitRequestError, hintClient
	case e.Fate == grant.Unspent && e.RetryAfter > 0:
		coded.code, coded.hint = exitUnreachable, fmt.Sprintf("nothing was saved; the provider asks to try again in %s", span(e.RetryAfter.Round(time.Second)))
	default:
		coded.code = exitUnreachable
	}
	return coded
}
