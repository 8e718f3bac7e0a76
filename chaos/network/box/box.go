// Package box is one machine as the program under test sees it: a home, a
// sealed file store, a state folder and an environment of its own. It runs the
// real binary there and looks for tokens where none may be.
package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"evergrant/internal/record"
)

// bound ends a process that hangs. Every wait of the program, divided by the
// speed, is far below it.
const bound = 2 * time.Minute

// Config describes a machine.
type Config struct {
	Binary string // the evergrant binary
	Dir    string // an empty folder of the caller's, which also removes it
	Grant  string
	Speed  int // for --speed-up
	Tokens *Tokens
	Flags  []string // of refresh: where the grant lives
}

// Box is a machine. Its methods may be called at the same time, but for Set
// and Unset.
type Box struct {
	cfg Config
	env map[string]string

	mu    sync.Mutex
	calls int
	leaks int
}

// New makes the folders and a sealing key.
func New(c Config) (*Box, error) {
	key, _, err := record.NewKey()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"home", "sinks"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	home := filepath.Join(c.Dir, "home")
	return &Box{cfg: c, env: map[string]string{
		"PATH": "/nonexistent", "HOME": home, "TMPDIR": home, "LC_ALL": "C",
		"EVERGRANT_STORE": "file:" + filepath.Join(home, "store"), "EVERGRANT_KEY": key.Reveal(),
		"XDG_STATE_HOME": filepath.Join(home, "state"), "XDG_CONFIG_HOME": filepath.Join(home, "config"),
	}}, nil
}

// Set sets a variable of the machine; Unset removes it.
func (b *Box) Set(name, value string) { b.env[name] = value }

// Unset removes a variable of the machine.
func (b *Box) Unset(name string) { delete(b.env, name) }

// Result is what one call left behind.
type Result struct {
	Code   int
	Line   string // the one line that says what went wrong, without the program's name
	Stderr string
	Access string // the access token that was delivered; "": none
	Took   time.Duration
}

// Refresh is Deliver with --force: a new token, whatever the old one's life.
func (b *Box) Refresh(ctx context.Context, args ...string) (Result, error) {
	return b.Deliver(ctx, append([]string{"--force"}, args...)...)
}

// Deliver runs "evergrant refresh" with a file as its sink. An error means that
// the program could not be run or did not end.
func (b *Box) Deliver(ctx context.Context, args ...string) (Result, error) {
	b.mu.Lock()
	b.calls++
	sink := filepath.Join(b.cfg.Dir, "sinks", strconv.Itoa(b.calls))
	b.mu.Unlock()
	argv := append([]string{"refresh", "--speed-up", strconv.Itoa(b.cfg.Speed), "--sink", "file:" + sink}, b.cfg.Flags...)
	r, err := b.Run(ctx, append(append(argv, args...), b.cfg.Grant)...)
	if err != nil {
		return r, err
	}
	token, err := os.ReadFile(sink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	r.Access = strings.TrimSpace(string(token))
	return r, nil
}

// Run runs the binary with any arguments.
func (b *Box) Run(ctx context.Context, argv ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, b.cfg.Binary, argv...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.env["HOME"], &stdout, &stderr
	for name, value := range b.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Result{}, fmt.Errorf("evergrant %s did not end within %v", argv[0], bound)
	case err != nil && !errors.As(err, &exit):
		return Result{}, fmt.Errorf("evergrant %s: %w", argv[0], err)
	}
	r := Result{Code: cmd.ProcessState.ExitCode(), Stderr: stderr.String(), Took: time.Since(start)}
	if r.Code != 0 {
		r.Line = lastLine(r.Stderr)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range [][]byte{stdout.Bytes(), stderr.Bytes(), []byte(strings.Join(argv, " "))} {
		b.leaks += b.cfg.Tokens.In(text)
	}
	return r, nil
}

// lastLine is the error: the last line that is no hint.
func lastLine(stderr string) string {
	line := ""
	for l := range strings.Lines(stderr) {
		l, ours := strings.CutPrefix(strings.TrimSpace(l), "evergrant: ")
		if ours && !strings.HasPrefix(l, "hint:") {
			line = l
		}
	}
	return line
}

// Spilled counts the records that wait on this machine's disk.
func (b *Box) Spilled() (int, error) {
	n := 0
	err := walk(filepath.Join(b.env["XDG_STATE_HOME"], "evergrant", "spill"), func(string) error { n++; return nil })
	return n, err
}

// Leaks counts the tokens found so far in output and arguments, and now in
// every file of the machine but the sinks: the store is sealed.
func (b *Box) Leaks() (int, error) {
	b.mu.Lock()
	n := b.leaks
	b.mu.Unlock()
	err := walk(b.env["HOME"], func(path string) error {
		text, err := os.ReadFile(path)
		n += b.cfg.Tokens.In(text)
		return err
	})
	return n, err
}

func walk(dir string, f func(path string) error) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return f(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
