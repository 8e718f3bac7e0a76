//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"evergrant/chaos/rig"
)

// point is one place in a run that a fault can hit: of several calls that look
// alike, the first.
type point struct{ Step, Class, Call string }

func (p point) String() string { return fmt.Sprintf("%s: %s %s", p.Step, p.Call, p.Class) }

// ofGit reports whether the call is one of a program that the git store starts.
func (p point) ofGit() bool { return strings.HasPrefix(p.Class, "git") }

// speaks reports whether it is about another process.
func (p point) speaks() bool {
	return p.Class == socket || p.ofGit() && (strings.HasSuffix(p.Class, ": socket") || strings.HasSuffix(p.Class, ": pipe"))
}

// Steps of the protocol, in order, as far as system calls show them.
const (
	stepStart   = "start"
	stepConnect = "connect"
	stepLease   = "lease"
	stepRequest = "request"
	stepReply   = "reply"
	stepSpill   = "spill"
	stepSave    = "save"
	stepAfter   = "after"
)

func steps() []string {
	return []string{stepStart, stepConnect, stepLease, stepRequest, stepReply, stepSpill, stepSave, stepAfter}
}

const (
	socket = "provider socket"
	opensW = "create" // openat that makes the file
)

// trace is a [rig.Watcher] that names every call that touches a file, a name
// or the provider's socket, follows the protocol by them, and meddles where it
// is told to. Calls that neither change nor wait for anything outside the
// process (fcntl, stat, futex, …) leave what the next one finds.
type trace struct {
	box    *rig.Box
	meddle func(t *trace, p point) rig.Meddle // nil: only looks on

	step      string
	connected bool    // the provider was dialled before
	points    []point // in order, each once
	// met are the points at which it meddled.
	met   []point
	sends []send
}

// send is one request that left whole, in the order of the ledger.
type send struct {
	heard bool // a part of the answer was read
	// spilled: a spill, or the record that follows the answer, is in place under
	// its name.
	spilled bool
	// first is the class of the first file that was made after the answer.
	first string
}

// Enters implements [rig.Watcher].
func (t *trace) Enters(s rig.Sight) rig.Meddle {
	class := classOf(s, t.box)
	if class == "" {
		return rig.Meddle{}
	}
	if t.step == "" {
		t.step = stepStart
	}
	swaps := t.swaps(s, class)
	switch {
	case t.step == stepStart && class == socket:
		t.step = stepConnect
	case (t.step == stepStart || t.step == stepConnect) && swaps:
		t.step = stepLease
	case class == socket && s.Call == "connect" && !(t.step == stepLease && t.connected):
		t.step = stepConnect // another attempt, or the first after a grant was begun; after a lease it replaces one that was idle for long
	case t.step == stepLease && class == socket && s.Call == "write":
		t.step = stepRequest
	case t.step == stepSpill && swaps:
		t.step = stepSave
	}
	t.connected = t.connected || class == socket && s.Call == "connect"
	p := point{t.step, class, callName(s)}
	if pushed(s) && t.step == stepSave {
		t.step, t.sends[len(t.sends)-1].spilled = stepAfter, true
	}
	if !slices.Contains(t.points, p) {
		t.points = append(t.points, p)
	}
	if t.meddle == nil {
		return rig.Meddle{}
	}
	m := t.meddle(t, p)
	if m.Kill != rig.Nobody || m.Errno != 0 {
		t.met = append(t.met, p)
	}
	return m
}

// swaps reports whether a Swap of the store begins with a call: the file store
// takes its lock, the git store starts a push.
func (t *trace) swaps(s rig.Sight, class string) bool {
	if t.box.Kind.Git {
		return s.Program == pushing && s.Call == "execve"
	}
	return class == "lock"
}

const pushing = "git push"

// pushed reports whether a push of the git store has just succeeded.
func pushed(s rig.Sight) bool {
	return s.Program == pushing && s.Call == "exit_group" && s.Code == 0
}

func callName(s rig.Sight) string {
	if s.Made && !strings.HasSuffix(s.Path, ".lock") {
		return opensW
	}
	return s.Call
}

// Leaves implements [rig.Watcher].
func (t *trace) Leaves(s rig.Sight, value int64) {
	class := classOf(s, t.box)
	if class == "" || value < 0 {
		return
	}
	if t.step == stepRequest && class == socket && s.Call == "write" {
		t.step, t.sends = stepReply, append(t.sends, send{})
		return
	}
	answer := class == socket && s.Call == "read" && value > 0
	if t.step == stepRequest && answer { // it came before the write was seen to return
		t.step, t.sends = stepReply, append(t.sends, send{})
	}
	if len(t.sends) == 0 {
		return
	}
	now := &t.sends[len(t.sends)-1]
	switch {
	case t.step == stepReply && answer:
		now.heard, t.step = true, stepSpill
	case !now.heard:
	case s.Made && now.first == "" && class != "lock":
		now.first = class
	case s.Call == "write" && class == "spill":
		now.spilled = true // under its own name from the beginning
	case s.Call == "renameat":
		now.spilled = now.spilled || class == "spill" || class == "record" || class == refMoved && t.step == stepSave
		if t.step == stepSave && class == "record" {
			t.step = stepAfter
		}
	}
}

// answered returns the requests that the provider answered with tokens;
// answers is the ledger's word on each. A request of which nobody knows whether
// it left counts as one that was not heard.
func (t *trace) answered(answers []bool) (sends []send) {
	for i, tokens := range answers {
		switch {
		case tokens && i < len(t.sends):
			sends = append(sends, t.sends[i])
		case tokens:
			sends = append(sends, send{})
		}
	}
	return sends
}

// once meddles at the first sight of a point.
func once(at point, with rig.Meddle) func(*trace, point) rig.Meddle {
	return func(t *trace, p point) rig.Meddle {
		if p != at || len(t.met) > 0 {
			return rig.Meddle{}
		}
		return with
	}
}

// failing makes every call of a name fail from a step on, on files of that
// class, or on all files if it is "".
func failing(call, class, from string, errno syscall.Errno) func(*trace, point) rig.Meddle {
	return func(_ *trace, p point) rig.Meddle {
		if p.Call != call || class != "" && p.Class != class || slices.Index(steps(), p.Step) < slices.Index(steps(), from) {
			return rig.Meddle{}
		}
		return rig.Meddle{Errno: errno}
	}
}

// classOf says what a call is about: a kind of file, for programs of git with
// their name before it, or a program; "" for what is nobody's business, such as
// the files of Go's own runtime.
func classOf(s rig.Sight, b *rig.Box) string {
	if s.Program != "" {
		return gitClass(s, b)
	}
	switch {
	case s.FD == 1:
		return "standard output"
	case s.FD == 2:
		return "standard error"
	case strings.HasPrefix(s.Path, "socket:"):
		return socket
	}
	return fileClass(s.Path, b)
}

func fileClass(path string, b *rig.Box) string {
	dir, base := filepath.Split(path)
	inside := func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
	kind := ""
	switch {
	case filepath.Clean(dir) == b.Home && base == "key":
		return "key"
	case strings.HasSuffix(base, ".lock"):
		return "lock"
	case inside(b.Temp):
		return "temporary repository"
	case inside(b.Place.Dir):
		kind = "record"
	case inside(filepath.Join(b.State, "evergrant", "spill")):
		kind = "spill"
	case inside(filepath.Join(b.State, "evergrant", "marks")):
		kind = "mark"
	case inside(b.Out):
		kind = "output"
	case inside("/proc"):
		return "proc"
	default:
		return ""
	}
	switch {
	case strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".tmp"):
		return kind + " temp"
	case filepath.Ext(base) == "" && kind != "output", path == b.Out:
		return kind + " folder"
	}
	return kind
}

// refMoved is the class of the call by which the record of a git store becomes
// the newest.
const refMoved = "git receive-pack: ref"

// gitClass is [classOf] for the programs that the git store starts.
func gitClass(s rig.Sight, b *rig.Box) string {
	kind, program := "", s.Program
	if !strings.HasPrefix(program, "git") {
		program = "git's " + program
	}
	repository, inside := strings.CutPrefix(s.Path, b.Place.Dir+"/")
	switch {
	case s.Call == "execve", s.Call == "exit_group":
		return program
	case s.Call == "connect", strings.HasPrefix(s.Path, "socket:"):
		kind = "socket"
	case strings.HasPrefix(s.Path, "pipe:"):
		kind = "pipe"
	case strings.HasPrefix(s.Path, b.Temp+"/"):
		kind = "temporary repository"
	case !inside:
		return ""
	case strings.HasPrefix(repository, "refs/") && strings.HasSuffix(repository, ".lock"):
		kind = "lock of the ref"
	case strings.HasPrefix(repository, "refs/"):
		kind = "ref"
	case strings.HasPrefix(repository, "objects/tmp_objdir-"):
		kind = "incoming objects"
	case strings.HasPrefix(repository, "objects/"):
		kind = "objects"
	default:
		kind = "repository"
	}
	return program + ": " + kind
}
