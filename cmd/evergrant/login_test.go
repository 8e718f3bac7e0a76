package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// person is what somebody does at the address that login shows.
type person func(ts *testscript.TestScript, address string, stdin io.Writer, p *os.Process)

// persons are the first argument of cmdSigns.
func persons() map[string]person {
	return map[string]person{
		// The browser follows every redirect, and its page is kept as page.html.
		"browser": func(ts *testscript.TestScript, address string, _ io.Writer, _ *os.Process) {
			look(ts, address)
		},
		"declines": func(ts *testscript.TestScript, address string, _ io.Writer, _ *os.Process) {
			look(ts, answerTo(ts, address, url.Values{"error": {"access_denied"}}))
		},
		"errs": func(ts *testscript.TestScript, address string, _ io.Writer, _ *os.Process) {
			look(ts, answerTo(ts, address, url.Values{"error": {"invalid_scope"}}))
		},
		// An answer of somebody else first, then the true one.
		"strangely": func(ts *testscript.TestScript, address string, _ io.Writer, _ *os.Process) {
			foreign, err := url.Parse(answerTo(ts, address, url.Values{"code": {"c"}}))
			ts.Check(err)
			q := foreign.Query()
			q.Set("state", "AAAA")
			foreign.RawQuery = q.Encode()
			look(ts, foreign.String())
			look(ts, address)
		},
		"pastes": func(ts *testscript.TestScript, address string, stdin io.Writer, _ *os.Process) {
			_, err := io.WriteString(stdin, ended(ts, address)+"\n")
			ts.Check(err)
		},
		"mispastes": func(_ *testscript.TestScript, _ string, stdin io.Writer, _ *os.Process) {
			_, _ = io.WriteString(stdin, "code#of-another-state\n")
		},
		"leaves": func(ts *testscript.TestScript, _ string, _ io.Writer, p *os.Process) {
			ts.Check(p.Signal(os.Interrupt))
		},
		"is-late": func(ts *testscript.TestScript, address string, _ io.Writer, _ *os.Process) {
			back := ended(ts, address)
			worldOf(ts).srv.Advance(time.Hour)
			look(ts, back)
		},
		"falls-asleep": func(*testscript.TestScript, string, io.Writer, *os.Process) {},
		// The store's folder goes while the person signs in.
		"breaks-store": func(ts *testscript.TestScript, address string, _ io.Writer, _ *os.Process) {
			store := ts.Getenv("STORE")
			ts.Check(os.MkdirAll(store, 0o700))
			ts.Check(os.Rename(store, store+".away"))
			ts.Check(os.WriteFile(store, nil, 0o600))
			look(ts, address)
		},
	}
}

// cmdSigns is "signs HOW CODE ARG...": runs the program, does HOW at the address
// that it shows, and wants that code. What it said is kept as said.txt, and its
// standard output as out.txt.
func cmdSigns(ts *testscript.TestScript, neg bool, args []string) {
	how, ok := persons()[args[0]]
	want, err := strconv.Atoi(args[1])
	if neg || !ok || err != nil {
		ts.Fatalf("usage: signs HOW CODE ARG...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(ts), args[2:]...)
	var stdout bytes.Buffer
	var stderr lines
	cmd.Env, cmd.Stdout, cmd.Stderr = settings(ts), &stdout, &stderr
	for _, name := range []string{"SSH_CONNECTION", "DISPLAY"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	stdin, err := cmd.StdinPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	shown := regexp.MustCompile(`http://\S+/authorize\?\S+`)
	worldOf(ts).until(ts, "the address", func() bool { return shown.MatchString(stderr.String()) || cmd.Process.Signal(syscall.Signal(0)) != nil })
	how(ts, shown.FindString(stderr.String()), stdin, cmd.Process)
	ts.Check(stdin.Close())
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("%v, want code %d\n%s", err, want, stderr.String())
	}
	checkSignIn(ts, args[2:], want, stdout.String(), stderr.String())
	ts.Check(os.WriteFile(ts.MkAbs("said.txt"), []byte(stderr.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("out.txt"), stdout.Bytes(), 0o600))
}

// checkSignIn holds the output of a sign-in to the rules of the terminal. Lines
// that tell the person what to do are no errors.
func checkSignIn(ts *testscript.TestScript, args []string, code int, stdout, stderr string) {
	var rest strings.Builder
	for line := range strings.Lines(stderr) {
		if !regexp.MustCompile(`^evergrant: [a-z0-9/]+: (sign in|then paste|open|or open|the grant lives|there is no display|this is a session|the client's redirect|.*; paste it again)`).MatchString(line) {
			rest.WriteString(line)
		}
	}
	checkOutput(ts, args, code, stdout, rest.String())
	if strings.Contains(stdout+stderr, "sim-code-") {
		ts.Fatalf("an authorization code in the output")
	}
}

// look opens an address and keeps the page that it ends at.
func look(ts *testscript.TestScript, address string) {
	c := &http.Client{Timeout: 30 * time.Second}
	resp, err := c.Get(address)
	ts.Check(err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if worldOf(ts).holds(string(page), worldOf(ts).all()) || strings.Contains(resp.Request.URL.RawQuery, "code=") && resp.StatusCode == http.StatusOK {
		ts.Fatalf("a secret on the page, or in the address that the browser keeps")
	}
	ts.Check(os.WriteFile(ts.MkAbs("page.html"), page, 0o600))
}

// ended is the address that the provider sends the browser to.
func ended(ts *testscript.TestScript, address string) string {
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(address)
	ts.Check(err)
	defer resp.Body.Close()
	back, err := resp.Location()
	ts.Check(err)
	return back.String()
}

// answerTo makes the answer to a request as a provider would.
func answerTo(ts *testscript.TestScript, address string, q url.Values) string {
	u, err := url.Parse(address)
	ts.Check(err)
	back, err := url.Parse(u.Query().Get("redirect_uri"))
	ts.Check(err)
	q.Set("state", u.Query().Get("state"))
	q.Set("iss", u.Scheme+"://"+u.Host)
	back.RawQuery = q.Encode()
	return back.String()
}
