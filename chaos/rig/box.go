//go:build linux && (amd64 || arm64)

// Package rig is what the parts of the chaos harness stand on: machines on
// which the real binary runs, providers whose ledger judges, and a canary that
// finds tokens where none may be.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"evergrant/internal/grant"
)

// Box is one machine as evergrant sees it: home, sealed store, state folder.
// Nothing of the caller's environment gets in.
type Box struct {
	Home  string
	Kind  Store
	Place *Place // the store
	State string // folder of spills and marks
	Temp  string // folder of temporary files
	Out   string // folder of the sinks, the only one that may hold tokens

	binary string
	key    string
	canary *Canary
	calls  atomic.Uint64
}

// NewBox makes a machine in dir with a store and a key of its own.
func NewBox(ctx context.Context, dir, binary string, c *Canary, kind Store) (*Box, error) {
	b := &Box{
		Home: dir, Kind: kind, State: filepath.Join(dir, "state"), Temp: filepath.Join(dir, "tmp"), Out: filepath.Join(dir, "out"),
		binary: binary, key: filepath.Join(dir, "key"), canary: c,
	}
	for _, d := range []string{b.Home, b.Temp, b.Out} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	if err := b.Keep(filepath.Join(dir, "store")); err != nil {
		return nil, err
	}
	r, err := b.Run(b.Command(ctx, "key", "new", "--out", b.key))
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("making a key: %v", r)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Keep gives the machine another store, in a folder that is not there yet.
func (b *Box) Keep(dir string) error {
	p, err := b.Kind.keep(dir, b.canary)
	if err != nil {
		return fmt.Errorf("making a store: %w", err)
	}
	b.Close()
	b.Place = p
	return nil
}

// Close ends what serves the machine's store.
func (b *Box) Close() {
	if b.Place != nil {
		b.Place.close()
	}
}

// Command prepares a call of the binary. It and all that it starts are killed
// when ctx ends.
func (b *Box) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Dir = b.Home
	cmd.Env = append([]string{
		"PATH=" + b.Place.path, "HOME=" + b.Home, "TMPDIR=" + b.Temp, "LC_ALL=C", "EVERGRANT_STORE=" + b.Place.URL,
		"XDG_STATE_HOME=" + b.State, "XDG_CONFIG_HOME=" + filepath.Join(b.Home, "config"),
	}, b.Place.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Result is what one call left behind.
type Result struct {
	Code           int            // exit code; -1 when a signal ended it
	Signal         syscall.Signal // that signal; 0: none
	Stdout, Stderr string
	Took           time.Duration
}

// String shows what a report may show: the outcome, and how long it took.
func (r Result) String() string {
	return fmt.Sprintf("after %v, %s", r.Took.Round(time.Millisecond), r.Outcome())
}

// Outcome is the exit code and the last line of stderr that is no hint: alike
// for runs that ended alike.
func (r Result) Outcome() string {
	lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
	last := len(lines) - 1
	for last > 0 && strings.HasPrefix(lines[last], "evergrant: hint: ") {
		last--
	}
	return fmt.Sprintf("exit %d: %s", r.Code, lines[last])
}

// Run runs a prepared call to its end. An exit code is no error.
func (b *Box) Run(cmd *exec.Cmd) (Result, error) {
	c, err := b.Start(cmd)
	if err != nil {
		return Result{}, err
	}
	return c.Wait()
}

// Call is a running one.
type Call struct {
	Cmd    *exec.Cmd
	box    *Box
	begun  time.Time
	out    locked
	errs   locked
	ended  chan struct{}
	result Result
	err    error
}

// locked is a buffer that can be read while the process writes to it.
type locked struct {
	mu    sync.Mutex
	b     bytes.Buffer
	block time.Time // when the first line of a rescue block was in it
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.b.Write(p)
	if l.block.IsZero() && bytes.Contains(l.b.Bytes(), []byte("BEGIN ")) {
		l.block = time.Now()
	}
	return n, err
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Start starts a prepared call. Streams that the caller set stay as they are;
// the others are kept and searched for tokens.
func (b *Box) Start(cmd *exec.Cmd) (*Call, error) {
	c := &Call{Cmd: cmd, box: b, begun: time.Now(), ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = io.Writer(&c.out)
	}
	if cmd.Stderr == nil {
		cmd.Stderr = io.Writer(&c.errs)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go c.finish()
	return c, nil
}

func (c *Call) finish() {
	defer close(c.ended)
	pid := c.Cmd.Process.Pid
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		c.box.canary.Look("the arguments of a process", line)
	}
	err := c.Cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.err = err
	}
	var signal syscall.Signal
	if ws, ok := c.Cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		signal = ws.Signal()
	}
	c.result = Result{Signal: signal, Code: c.Cmd.ProcessState.ExitCode(), Stdout: c.out.String(), Stderr: c.errs.String(), Took: time.Since(c.begun)}
	c.box.canary.Look("standard output", []byte(c.result.Stdout))
	c.box.canary.Look("standard error", []byte(c.result.Stderr))
}

// Block is when the process began to print a rescue block; zero: not yet.
func (c *Call) Block() time.Time {
	c.errs.mu.Lock()
	defer c.errs.mu.Unlock()
	return c.errs.block
}

// Ended is closed when the process is gone.
func (c *Call) Ended() <-chan struct{} { return c.ended }

// Signal sends a signal to the process if it still runs.
func (c *Call) Signal(s os.Signal) { _ = c.Cmd.Process.Signal(s) }

// Git returns the processes that the process has started. Each leads a session
// of its own, in which is what it has started itself.
func (c *Call) Git() (leaders []int) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.Cmd.Process.Pid))
	if err != nil {
		return nil
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(child); err == nil {
				leaders = append(leaders, pid)
			}
		}
	}
	return leaders
}

// KillGit sends SIGKILL to processes and to all in their sessions' first groups,
// and returns how many of them were there.
func KillGit(leaders []int) (n int) {
	for _, pid := range leaders {
		if syscall.Kill(-pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

// Wait returns the result once the process is gone.
func (c *Call) Wait() (Result, error) {
	<-c.ended
	return c.result, c.err
}

// NewSink returns a fresh path for an access token.
func (b *Box) NewSink() string { return filepath.Join(b.Out, fmt.Sprint(b.calls.Add(1))) }

// Status is what evergrant status says of one grant.
type Status struct {
	Generation uint64
	Unsaved    int
	State      string
}

// Status asks for the state of one grant. That the store does not open is an
// error.
func (b *Box) Status(ctx context.Context, id string) (Status, error) {
	r, err := b.Run(b.Command(ctx, "status", "--json", "--key-file", b.key, id))
	if err != nil {
		return Status{}, err
	}
	if r.Code == exitStore {
		if there, err := b.Place.recorded(grant.ID(id)); err != nil || !there {
			return Status{State: "absent"}, err
		}
	}
	var s Status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || r.Code != 0 {
		return s, fmt.Errorf("the store does not open: %v", r)
	}
	return s, nil
}

// exitStore is the interface's exit code for a store that has no such record
// or cannot be read; which of the two it is, the place says.
const exitStore = 6

// Search looks for tokens in everything that the machine keeps. A file among
// the sinks may hold one access token, which is the one that its call delivered,
// and nothing else.
func (b *Box) Search() error {
	if err := b.canary.Tree(b.Home, b.place); err != nil || b.Place.contents == nil {
		return err
	}
	if _, err := os.Lstat(b.Place.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil // its disk is gone, and was searched before
	}
	text, err := b.Place.contents()
	b.canary.Look("objects of git, unpacked", text)
	return err
}

// place names a file for people, and says what it may hold.
func (b *Box) place(path string) (name string, delivered bool) {
	inside := func(dir string) bool { return strings.HasPrefix(path, dir+string(filepath.Separator)) }
	switch {
	case inside(b.Out):
		return "the sinks' folder", true
	case inside(b.Place.Dir):
		return "the store's folder", false
	case inside(b.Temp):
		return "temporary folders", false
	case inside(b.State):
		return "the state folder", false
	}
	return "the rest of the machine", false
}
