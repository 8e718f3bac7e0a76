//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// client is one of the clients that op/server.mjs knows.
type client struct {
	id    string
	auth  string // token_endpoint_auth_method
	flags []string
}

var publicClient = client{id: "public", auth: "none"}

// box is one machine as evergrant sees it: home, store, state folder, and the
// variables set on it. Nothing of the caller's environment gets in.
type box struct {
	home  string
	store string // the folder of the file store
	flags []string
	env   []string
	// secrets may appear in no output of any call.
	secrets []string
}

// newBox returns a machine with an empty home and a file store in it.
func newBox(t *testing.T) *box {
	t.Helper()
	home := t.TempDir()
	return &box{home: home, store: filepath.Join(home, "store")}
}

// at points the box at a token endpoint.
func (b *box) at(tokenURL string, c client) *box {
	b.flags = append([]string{"--token-url", tokenURL, "--client-id", c.id}, c.flags...)
	return b
}

func (b *box) stateDir() string { return filepath.Join(b.home, "state") }

// seeded makes the next calls start from a refresh token.
func (b *box) seeded(refreshToken string) *box {
	b.secrets = append(b.secrets, refreshToken)
	b.set("EVERGRANT_REFRESH_TOKEN", refreshToken)
	return b
}

func (b *box) set(name, value string) { b.env = append(b.env, name+"="+value) }

func (b *box) unset(name string) {
	kept := b.env[:0:0]
	for _, e := range b.env {
		if !strings.HasPrefix(e, name+"=") {
			kept = append(kept, e)
		}
	}
	b.env = kept
}

// command prepares a call of the binary; refresh gets the endpoint's flags.
func (b *box) command(ctx context.Context, args ...string) *exec.Cmd {
	if args[0] == "refresh" {
		args = append(append([]string{args[0]}, b.flags...), args[1:]...)
	}
	cmd := exec.CommandContext(ctx, os.Getenv("EVERGRANT_E2E_BINARY"), args...)
	cmd.Dir = b.home
	cmd.Env = append([]string{
		"PATH=/nonexistent", "HOME=" + b.home, "TMPDIR=" + b.home, "LC_ALL=C", "EVERGRANT_STORE=file:" + b.store,
		"XDG_STATE_HOME=" + b.stateDir(), "XDG_CONFIG_HOME=" + filepath.Join(b.home, "config"),
	}, b.env...)
	return cmd
}

// result is what one call left behind.
type result struct {
	args           []string
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("evergrant %s: exit %d\nstdout: %s\nstderr: %s",
		strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// run calls the binary and waits for it.
func (b *box) run(t *testing.T, args ...string) result {
	t.Helper()
	return b.finish(t, b.command(t.Context(), args...))
}

func (b *box) finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	r, err := b.complete(cmd)
	must(t, err)
	return r
}

// complete runs a command to its end. It is an error if that could not be
// done, or if a secret got into the output.
func (b *box) complete(cmd *exec.Cmd) (result, error) {
	var stdout, stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	} else {
		cmd.Stderr = io.MultiWriter(&stderr, cmd.Stderr)
	}
	cmd.Stdout = &stdout
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{}, fmt.Errorf("evergrant: %w", err)
	}
	r := result{args: cmd.Args[1:], code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	for _, s := range b.secrets {
		if strings.Contains(r.stdout+r.stderr, s) || strings.Contains(strings.Join(r.args, " "), s) {
			return result{}, fmt.Errorf("evergrant %s: a secret is in its output or arguments", cmd.Args[1])
		}
	}
	return r, nil
}

// report is the part of the JSON report that the tests read.
type report struct {
	Generation uint64
	Action     string
	Rotated    bool
	State      string
	Warnings   []string
}

// delivery is a report with the access token that came with it.
type delivery struct {
	report
	token string
}

// deliver runs refresh with a file sink and expects it to succeed.
func (b *box) deliver(t *testing.T, args ...string) delivery {
	t.Helper()
	r, d := b.try(t, args...)
	if r.code != 0 {
		t.Fatalf("want exit 0\n%v", r)
	}
	return d
}

// try runs refresh with a file sink and returns what it delivered, if it did.
func (b *box) try(t *testing.T, args ...string) (result, delivery) {
	t.Helper()
	sink := filepath.Join(t.TempDir(), "token")
	r := b.run(t, append([]string{"refresh", "--json", "--sink", "file:" + sink}, args...)...)
	d, err := readDelivery(r, sink)
	if r.code == 0 && err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
	return r, d
}

func readDelivery(r result, sink string) (delivery, error) {
	var d delivery
	if err := json.Unmarshal([]byte(r.stdout), &d.report); err != nil {
		return d, fmt.Errorf("the report is no JSON: %w", err)
	}
	token, err := os.ReadFile(sink)
	d.token = strings.TrimSpace(string(token))
	return d, err
}

// fails expects one exit code, and one plain line on stderr that says why.
func (b *box) fails(t *testing.T, code int, args ...string) result {
	t.Helper()
	r, _ := b.try(t, args...)
	if r.code != code {
		t.Fatalf("want exit %d\n%v", code, r)
	}
	if strings.TrimSpace(r.stderr) == "" || strings.Contains(r.stderr, "goroutine ") {
		t.Fatalf("exit %d without a clear line\n%v", code, r)
	}
	return r
}
