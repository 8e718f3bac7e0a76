//go:build amd64 || arm64

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sight is one system call of a traced process, at its beginning.
type Sight struct {
	Call string
	Path string // the file that it is about; of two names, the second
	FD   int    // -1 for calls that name a file
	Made bool   // openat that creates
}

// Meddle is what a tracer does to a call.
type Meddle struct {
	Kill  bool          // SIGKILL to the whole process, and the call does not happen
	Errno syscall.Errno // the call does not happen and fails with it; 0: nothing
}

// Watcher is told of every call in the one order in which they happen, whatever
// the thread.
type Watcher interface {
	Enters(Sight) Meddle
	// Leaves is told the value; negative is an error number.
	Leaves(s Sight, value int64)
}

// RunTraced runs a prepared call under ptrace(2). strace would do the same, but
// counts calls by thread, and Go moves its work between threads as it likes:
// the tenth write of a run is another one each time. The watcher sees one
// order, and meets the same point in each run.
func (b *Box) RunTraced(ctx context.Context, argv []string, env []string, w Watcher) (Result, error) {
	type outcome struct {
		r   Result
		err error
	}
	done := make(chan outcome, 1)
	go func() { // its own thread, which is the only one that may touch the process
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r, err := b.traced(ctx, argv, env, w)
		done <- outcome{r, err}
	}()
	o := <-done
	b.canary.Look("standard output", []byte(o.r.Stdout))
	b.canary.Look("standard error", []byte(o.r.Stderr))
	return o.r, o.err
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
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	defer stop()
	t := &tracer{pid: pid, w: w, threads: map[int]*thread{}}
	err = t.all()
	r = Result{Code: t.code, Took: time.Since(begun)}
	for i, text := range []*string{&r.Stdout, &r.Stderr} {
		content, rerr := os.ReadFile(streams[i+1].Name())
		*text, err = string(content), errors.Join(err, rerr)
	}
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("a traced run: %w", ErrBounded))
	}
	return r, err
}

// tracer is the state of one traced process.
type tracer struct {
	pid     int
	w       Watcher
	threads map[int]*thread
	code    int
}

// thread is one thread of it: the call that it is in.
type thread struct {
	inside bool
	told   bool // the watcher knows of the call
	sight  Sight
	errno  syscall.Errno
}

func (t *tracer) all() error {
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(t.pid, &ws, 0, nil); err != nil {
		return fmt.Errorf("waiting for a traced process: %w", err)
	}
	const options = syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEFORK |
		syscall.PTRACE_O_TRACEVFORK | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(t.pid, options); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	t.threads[t.pid] = &thread{}
	if err := syscall.PtraceSyscall(t.pid, 0); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	for {
		// Only this process and its threads, which are a group of their own: this
		// program has other children.
		id, err := syscall.Wait4(-t.pid, &ws, unix.WALL|unix.WNOTHREAD, nil)
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
			t.code = ws.ExitStatus() // -1 when a signal ended it
		}
		delete(t.threads, id)
		return nil
	}
	deliver := 0
	th := t.threads[id]
	switch sig := ws.StopSignal(); {
	case th == nil: // a new thread begins with a SIGSTOP
		t.threads[id] = &thread{}
	case sig == syscall.SIGTRAP|0x80:
		if err := t.atCall(id, th); err != nil {
			return err
		}
	case sig == syscall.SIGTRAP: // an event, such as a clone
	default:
		deliver = int(sig)
	}
	return syscall.PtraceSyscall(id, deliver)
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
		*th = thread{inside: true}
		th.sight, th.told = sightOf(t.pid, s)
		if !th.told {
			return nil
		}
		m := t.w.Enters(th.sight)
		switch {
		case m.Kill:
			return syscall.Kill(t.pid, syscall.SIGKILL)
		case m.Errno != 0:
			th.errno = m.Errno
			return skipCall(id)
		}
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
		*th = thread{}
	}
	return nil
}

// nameArgument says which argument of a call is a path; 0: none, the first is
// a descriptor.
func watched(number uint64) (call string, nameArgument int, ok bool) {
	switch number {
	case unix.SYS_OPENAT:
		return "openat", 1, true
	case unix.SYS_UNLINKAT:
		return "unlinkat", 1, true
	case unix.SYS_MKDIRAT:
		return "mkdirat", 1, true
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return "renameat", 3, true
	case unix.SYS_READ:
		return "read", 0, true
	case unix.SYS_WRITE:
		return "write", 0, true
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		return "fsync", 0, true
	case unix.SYS_CLOSE:
		return "close", 0, true
	case unix.SYS_FLOCK:
		return "flock", 0, true
	case unix.SYS_GETDENTS64:
		return "getdents64", 0, true
	case unix.SYS_CONNECT:
		return "connect", 0, true
	}
	return "", 0, false
}

func sightOf(pid int, s callState) (Sight, bool) {
	call, name, ok := watched(s.number)
	if !ok {
		return Sight{}, false
	}
	v := Sight{Call: call, FD: -1}
	if name > 0 {
		v.Path = textAt(pid, uintptr(s.args[name]))
		v.Made = call == "openat" && s.args[2]&unix.O_CREAT != 0
		return v, v.Path != ""
	}
	v.FD = int(int32(s.args[0]))
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, v.FD))
	v.Path = link
	return v, err == nil
}

// textAt reads a path from the memory of a process, page by page: what follows
// it may not be there.
func textAt(pid int, at uintptr) string {
	var text strings.Builder
	for text.Len() < 4096 {
		page := make([]byte, 4096-int(at%4096))
		n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &page[0], Len: uint64(len(page))}},
			[]unix.RemoteIovec{{Base: at, Len: len(page)}}, 0)
		if err != nil {
			return ""
		}
		part, _, ended := strings.Cut(string(page[:n]), "\x00")
		text.WriteString(part)
		if ended {
			return text.String()
		}
		at += uintptr(n)
	}
	return ""
}
