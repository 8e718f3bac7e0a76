//go:build e2e

package scripts_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// inActions makes the box a step of a GitHub Actions job.
func (b *box) inActions(t *testing.T) {
	t.Helper()
	b.env["GITHUB_ACTIONS"], b.env["CI"] = "true", "true"
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_ENV"} {
		b.env[name] = filepath.Join(b.home, strings.ToLower(name))
		writeFile(t, b.env[name], "EARLIER=without an end")
	}
}

// delivered reads an environment file as a runner does: NAME=VALUE, or
// NAME<<DELIMITER, lines, DELIMITER, and empty lines between them.
func (b *box) delivered(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(b.env[file])
	must(t, err)
	lines, found := strings.Split(string(text), "\n"), map[string]string{}
	for i := 0; i < len(lines); i++ {
		name, value, plain := strings.Cut(lines[i], "=")
		if key, delimiter, block := strings.Cut(lines[i], "<<"); block && len(key) < len(name) {
			end := slices.Index(lines[i+1:], delimiter)
			if end < 0 || len(delimiter) < 32 {
				t.Fatalf("%s: a block has no end, or a delimiter that can be guessed", file)
			}
			name, value, plain = key, strings.Join(lines[i+1:i+1+end], "\n"), true
			i += end + 1
		}
		if lines[i] != "" && !plain {
			t.Fatalf("%s: line %d is neither", file, i+1)
		}
		if name != "" {
			found[name] = value
		}
	}
	if found["EARLIER"] != "without an end" {
		t.Errorf("%s: what was there is glued to what is new", file)
	}
	return found
}

// TestInAJob: every token is masked before anything is done with it, and the
// access token goes into the files of the runner and nowhere else.
func TestInAJob(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			b.inActions(t)
			b.env["EVERGRANT_ENV_NAME"] = "API_TOKEN"
			r := b.run(t, p)
			if r.code != 0 || r.stdout != "" || masks.ReplaceAllString(r.stderr, "") != "" {
				t.Fatalf("want exit 0 and nothing but masks\n%v", r)
			}
			out, env := b.delivered(t, "GITHUB_OUTPUT"), b.delivered(t, "GITHUB_ENV")
			token := out["access-token"]
			if env["API_TOKEN"] != token || len(out) != 3 || len(env) != 2 || !b.provider.AccessValid(grant.NewSecret(token)) {
				t.Error("the variable is not the output, or not good at the provider, or there is more")
			}
			ends, err := strconv.ParseInt(out["expires-at-ms"], 10, 64)
			if left := time.Until(time.UnixMilli(ends)); err != nil || left < 59*time.Minute || left > time.Hour+time.Second {
				t.Errorf("expires-at-ms is %q, which leaves %v (%v)", out["expires-at-ms"], left, err)
			}
			for _, secret := range []string{b.first, token, b.saved(t)} {
				if !strings.Contains(r.stderr, "::add-mask::"+secret+"\n") {
					t.Errorf("not masked: %s", digest(secret))
				}
			}
			st, err := os.Stat(b.env["GITHUB_ENV"])
			must(t, err)
			if saved, err := os.Stat(b.file); err != nil || saved.ModTime().After(st.ModTime()) {
				t.Errorf("the access token was delivered before the refresh token was saved (%v)", err)
			}
		})
		t.Run("odd/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{}, simulator.Fault{Kind: simulator.FaultCanned, ContentType: "application/json",
				Body: `{"access_token":"canary-line-1 50%\ncanary-line-2","refresh_token":"canary-%0A-next"}`})
			b.inActions(t)
			r := b.run(t, p)
			for _, want := range []string{"::add-mask::canary-line-2\n", "::add-mask::canary-%250A-next\n"} {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("standard error lacks %q\n%v", want, r)
				}
			}
			if r.code != 1 || b.saved(t) != "canary-%0A-next" || !strings.Contains(r.stderr, "\n::error::refresh.") {
				t.Errorf("want exit 1 with an annotation, and the token saved\n%v", r)
			}
		})
		t.Run("full/"+p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			b.inActions(t)
			b.env["GITHUB_OUTPUT"] = "/dev/full"
			if r := b.run(t, p); r.code != 8 || len(r.requests) != 1 || digest(b.saved(t)) != b.newest(t) {
				t.Errorf("want exit 8, and the token saved\n%v", r)
			}
		})
	}
}

// TestUnheard: nobody reads what the script says, or what it delivers; the token
// is saved all the same, and a token that cannot be masked is not delivered.
func TestUnheard(t *testing.T) {
	for _, p := range scripts(t) {
		for name, c := range map[string]struct {
			actions bool
			broken  func(*exec.Cmd, *os.File)
			code    int
		}{
			"output":        {false, func(c *exec.Cmd, f *os.File) { c.Stdout = f }, 8},
			"errors":        {false, func(c *exec.Cmd, f *os.File) { c.Stderr = f }, 0},
			"masks":         {true, func(c *exec.Cmd, f *os.File) { c.Stderr = f }, 8},
			"all of a step": {true, func(c *exec.Cmd, f *os.File) { c.Stdout, c.Stderr = f, f }, 8},
		} {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				if c.actions {
					b.inActions(t)
				}
				cmd := b.command(t.Context(), p)
				gone, broken, err := os.Pipe()
				must(t, err)
				must(t, gone.Close())
				defer broken.Close()
				c.broken(cmd, broken)
				_ = cmd.Run() // the code and the file say what counts
				if got := cmd.ProcessState.ExitCode(); got != c.code || digest(b.saved(t)) != b.newest(t) {
					t.Errorf("exit %d, want %d, and the newest token saved", got, c.code)
				}
				if c.code == 8 && c.actions {
					if text, err := os.ReadFile(b.env["GITHUB_OUTPUT"]); err != nil || strings.Contains(string(text), "canary") {
						t.Errorf("a token that could not be masked was delivered (%v)", err)
					}
				}
			})
		}
	}
}

// TestSignals: once the request is out, nothing that a cancelled job sends ends
// the script, nor its children, before the next token is saved.
func TestSignals(t *testing.T) {
	started := time.Now()
	t.Run("scripts", func(t *testing.T) {
		for _, p := range scripts(t) {
			for name, signal := range map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP} {
				for whom, group := range map[string]bool{"the script": false, "its group": true} {
					for _, kind := range []string{"file", "ghsecret"} {
						t.Run(strings.Join([]string{kind, name, whom, p.name}, "/"), func(t *testing.T) {
							t.Parallel()
							cancelled(t, p, kind, signal, group)
						})
					}
				}
			}
		}
	})
	part("signals: SIGINT, SIGTERM and SIGHUP to the script and to its whole group, while the answer is on its way: saved each time (%.0f s)", time.Since(started).Seconds())
}

func cancelled(t *testing.T, p program, kind string, signal syscall.Signal, group bool) {
	t.Helper()
	b := newBox(t, simulator.Config{}, simulator.Fault{Kind: simulator.FaultSlow, After: 300 * time.Millisecond})
	saved := func() string { return b.saved(t) }
	if kind == "ghsecret" {
		g := b.onGitHub(t)
		saved = func() string { v, _ := g.Value("acme/widgets", "GRANT"); return v }
	}
	acted := make(chan struct{}, 8)
	b.issued = func(simulator.Kind) { acted <- struct{}{} }
	cmd := b.command(t.Context(), p)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	before := len(b.provider.Ledger().Presentations)
	must(t, cmd.Start())
	<-acted // the provider has acted, and the answer is held back
	pid := cmd.Process.Pid
	if group {
		pid = -pid
	}
	for range 2 { // the impatient press it twice
		must(t, syscall.Kill(pid, signal))
	}
	r := b.ended(t, p, cmd.Wait(), &stdout, &stderr, before)
	if !cmd.ProcessState.Exited() || r.code != 0 || digest(saved()) != b.newest(t) {
		t.Errorf("%v ended it, or the newest token is not saved\n%v", signal, r)
	}
}

// TestEarlySignal: before the request is out, a signal ends the script, and
// nothing was sent.
func TestEarlySignal(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			g := b.onGitHub(t)
			hung := make(chan struct{}, 1)
			b.pause(t, "gh", hung)
			cmd := b.command(t.Context(), p)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			must(t, cmd.Start())
			<-hung
			must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM))
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() == 0 || len(b.provider.Ledger().Presentations) != 0 || written(g) != "" {
				t.Errorf("%v, %d requests, writes: %s", cmd.ProcessState, len(b.provider.Ledger().Presentations), written(g))
			}
		})
	}
}

// pause makes a tool tell that it was started, by a pipe, and then wait for ever.
func (b *box) pause(t *testing.T, tool string, started chan<- struct{}) {
	t.Helper()
	pipe := filepath.Join(b.home, "started")
	must(t, syscall.Mkfifo(pipe, 0o600))
	text := "#!/bin/sh\necho started >" + pipe + "\nexec " + resolved(t, "sleep") + " 60\n"
	must(t, os.WriteFile(filepath.Join(b.tools, tool), []byte(text), 0o700))
	go func() {
		if _, err := os.ReadFile(pipe); err == nil {
			started <- struct{}{}
		}
	}()
}
