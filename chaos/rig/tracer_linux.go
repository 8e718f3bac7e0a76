//go:build amd64 || arm64

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sight is one system call of a traced process, at its beginning.
type Sight struct {
	// Program is "" for the binary itself, and for what it has started the name
	// and what it is to do, as in "git push".
	Program string
	Call    string
	Path    string // the file that it is about; of two names, the second
	FD      int    // -1 for calls that name a file
	Made    bool   // openat that creates
	Code    int    // of exit_group
}

// Victim is whom a SIGKILL meets.
type Victim uint8

const (
	Nobody     Victim = iota
	Caller            // the process that makes the call
	Binary            // the binary alone: what it has started goes on
	Everything        // the binary and all that it has started
)

// Meddle is what a tracer does to a call.
type Meddle struct {
	Kill  Victim        // SIGKILL; if it meets the caller, the call does not happen
	Errno syscall.Errno // the call does not happen and fails with it; 0: nothing
}

// Watcher is told of every call in the one order in which they happen, whatever
// the thread or the process.
type Watcher interface {
	Enters(Sight) Meddle
	// Leaves is told the value; negative is an error number.
	Leaves(s Sight, value int64)
}

// RunTraced runs a prepared call under ptrace(2), with all that it starts, to
// the end of the last of them. strace would do the same, but counts calls by
// thread, and Go moves its work between threads as it likes: the tenth write of
// a run is another one each time. The watcher sees one order, and meets the same
// point in each run.
func (b *Box) RunTraced(ctx context.Context, argv []string, env []string, w Watcher) (Result, error) {
	type outcome struct {
		r   Result
		err error
	}
	done := make(chan outcome, 1)
	go childless(func() { // its own thread, which is the only one that may touch the processes
		r, err := b.traced(ctx, argv, env, w)
		done <- outcome{r, err}
	})
	o := <-done
	b.canary.Look("standard output", []byte(o.r.Stdout))
	b.canary.Look("standard error", []byte(o.r.Stderr))
	return o.r, o.err
}

// childless runs f on a thread of its own that has started no process before:
// whom it waits for later is whom f has started. What /proc does not tell is
// taken for a child, up to a number of threads that no program reaches.
func childless(f func()) { childlessAfter(f, 100) }

func childlessAfter(f func(), tries int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid()))
	if tries == 0 || err == nil && len(bytes.TrimSpace(children)) == 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // this thread is held, so it is another
		defer close(done)
		childlessAfter(f, tries-1)
	}()
	<-done
}

func (b *Box) traced(ctx context.Context, argv, env []string, w Watcher) (r Result, err error) {
	var streams [3]*os.File
	for i, name := range []string{os.DevNull, "", ""} {
		if name != "" {
			streams[i], err = os.Open(name)
		} else {
			streams[i], err = os.CreateTemp(b.Home, "stream.")
		}
		if err != nil {
			return r, err
		}
		defer streams[i].Close()
		if name == "" {
			defer os.Remove(streams[i].Name())
		}
	}
	begun := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: b.Home, Env: env, Files: []uintptr{streams[0].Fd(), streams[1].Fd(), streams[2].Fd()},
		Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	if err != nil {
		return r, fmt.Errorf("starting a traced process: %w", err)
	}
	t := &tracer{pid: pid, w: w, canary: b.canary, threads: map[int]*thread{}, running: map[int]string{pid: ""}}
	stop := context.AfterFunc(ctx, t.killAll)
	defer stop()
	err = t.all()
	r = Result{Code: t.code, Took: t.ended.Sub(begun)}
	for i, text := range []*string{&r.Stdout, &r.Stderr} {
		content, rerr := os.ReadFile(streams[i+1].Name())
		*text, err = string(content), errors.Join(err, rerr)
	}
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("a traced run: %w", ErrBounded))
	}
	return r, err
}

// tracer is the state of a traced process and of those that it has started.
type tracer struct {
	pid     int
	w       Watcher
	canary  *Canary
	threads map[int]*thread
	code    int
	ended   time.Time // when the binary had

	mu      sync.Mutex
	running map[int]string // processes, and what they run; see Sight
}

// thread is one thread of one of them: the call that it is in.
type thread struct {
	process int
	told    bool // the watcher knows of the call
	sight   Sight
	errno   syscall.Errno
}

// starting is what a process runs that was forked and has not become another
// program yet. Its calls are those of the one that forked it, or of no interest.
const starting = "a fork"

func (t *tracer) killAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pid := range t.running {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (t *tracer) runs(pid int, program string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[pid] = program
}

func (t *tracer) gone(pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, pid)
}

func (t *tracer) all() error {
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(t.pid, &ws, 0, nil); err != nil {
		return fmt.Errorf("waiting for a traced process: %w", err)
	}
	const options = syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEFORK |
		syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(t.pid, options); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	t.threads[t.pid] = &thread{process: t.pid}
	if err := syscall.PtraceSyscall(t.pid, 0); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	for {
		// Only those that this thread has started or traces: this program has other
		// children.
		id, err := syscall.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("waiting for a traced process: %w", err)
		}
		if err := t.stopped(id, ws); err != nil && !errors.Is(err, syscall.ESRCH) { // ESRCH: killed meanwhile
			return fmt.Errorf("tracing: %w", err)
		}
	}
}

func (t *tracer) stopped(id int, ws syscall.WaitStatus) error {
	if !ws.Stopped() {
		if id == t.pid {
			t.code, t.ended = ws.ExitStatus(), time.Now() // -1 when a signal ended it
		}
		if th := t.threads[id]; th != nil && th.process == id {
			t.gone(id)
		}
		delete(t.threads, id)
		return nil
	}
	deliver := 0
	th := t.threads[id]
	switch sig := ws.StopSignal(); {
	case th == nil: // a new thread or process begins with a SIGSTOP
		t.begins(id)
	case sig == syscall.SIGTRAP|0x80:
		if err := t.atCall(id, th); err != nil {
			return err
		}
	case sig == syscall.SIGTRAP && ws.TrapCause() == syscall.PTRACE_EVENT_EXEC:
		t.execs(id)
	case sig == syscall.SIGTRAP: // an event, such as a clone
	default:
		deliver = int(sig)
	}
	return syscall.PtraceSyscall(id, deliver)
}

// begins notes a thread, or a process that was forked.
func (t *tracer) begins(id int) {
	process := processOf(id)
	t.threads[id] = &thread{process: process}
	if process == id {
		t.runs(id, starting)
	}
}

// execs notes which program a process has become, and looks for tokens in what
// it was given.
func (t *tracer) execs(pid int) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return // killed meanwhile
	}
	t.runs(pid, programOf(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")))
	t.canary.Look("the arguments of git and of what it starts", line)
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil {
		t.canary.Look("the environment of git, but for the forge's token", withoutHeader(env))
	}
}

// withoutHeader takes out the variable by which git gets the header that it
// sends to a forge: environments are seen by nobody else.
func withoutHeader(env []byte) []byte {
	var rest [][]byte
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if !bytes.HasPrefix(v, []byte("GIT_CONFIG_VALUE_")) || !bytes.Contains(v, []byte("=Authorization: Basic ")) {
			rest = append(rest, v)
		}
	}
	return bytes.Join(rest, []byte{0})
}

// callState is struct ptrace_syscall_info of ptrace(2), of Linux 5.3.
type callState struct {
	op         uint8
	_          [3]uint8
	arch       uint32
	ip, sp     uint64
	number     uint64 // at entry; at exit, the value
	args       [6]uint64
	_reserved  uint64
	_reserved2 uint64
}

const (
	getCallState = 0x420e
	callEntry    = 1
	callExit     = 2
)

func (t *tracer) atCall(id int, th *thread) error {
	var s callState
	if _, _, e := syscall.Syscall6(syscall.SYS_PTRACE, getCallState, uintptr(id), unsafe.Sizeof(s), uintptr(unsafe.Pointer(&s)), 0, 0); e != 0 {
		return e
	}
	switch s.op {
	case callEntry:
		*th = thread{process: th.process}
		t.mu.Lock()
		program := t.running[th.process]
		t.mu.Unlock()
		th.sight, th.told = sightOf(id, program, s)
		if !th.told {
			return nil
		}
		m := t.w.Enters(th.sight)
		if m.Errno != 0 {
			th.errno = m.Errno
			return skipCall(id)
		}
		return t.kill(th, m.Kill)
	case callExit:
		value := int64(s.number)
		if th.errno != 0 {
			value = -int64(th.errno)
			if err := setValue(id, value); err != nil {
				return err
			}
		}
		if th.told {
			t.w.Leaves(th.sight, value)
		}
		*th = thread{process: th.process}
	}
	return nil
}

func (t *tracer) kill(caller *thread, v Victim) error {
	switch v {
	case Caller:
		return syscall.Kill(caller.process, syscall.SIGKILL)
	case Binary:
		return syscall.Kill(t.pid, syscall.SIGKILL)
	case Everything:
		t.killAll()
	}
	return nil
}
