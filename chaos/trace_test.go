//go:build linux && (amd64 || arm64)

package main

import (
	"slices"
	"syscall"
	"testing"

	"evergrant/chaos/rig"
	"evergrant/chaos/row"
)

const folder = "/m/store"

// refresh is the calls of a run, as the tracer tells them.
func refresh() []rig.Sight {
	const spill = "/m/state/evergrant/spill/x/g.0.spill"
	return []rig.Sight{
		{Call: "openat", Path: "/m/key", FD: -1},
		{Call: "connect", Path: "socket:[1]", FD: 5},
		{Call: "openat", Path: folder + "/g.lock", FD: -1, Made: true},
		{Call: "openat", Path: folder + "/.g.json.0.tmp", FD: -1, Made: true},
		{Call: "renameat", Path: folder + "/g.json", FD: -1},
		{Call: "write", Path: "socket:[1]", FD: 5},
		{Call: "read", Path: "socket:[1]", FD: 5},
		{Call: "openat", Path: spill, FD: -1, Made: true},
		{Call: "write", Path: spill, FD: 7},
		{Call: "openat", Path: folder + "/g.lock", FD: -1, Made: true},
		{Call: "renameat", Path: folder + "/g.json", FD: -1},
		{Call: "unlinkat", Path: spill, FD: -1},
	}
}

// play tells a trace of the first n calls; it returns at a kill.
func play(t *trace, n int) {
	for _, s := range refresh()[:n] {
		m := t.Enters(s)
		if m.Kill != rig.Nobody {
			return
		}
		if m.Errno != 0 {
			t.Leaves(s, -int64(m.Errno))
		} else {
			t.Leaves(s, 1)
		}
	}
}

func box(s rig.Store) *rig.Box {
	return &rig.Box{Home: "/m", Kind: s, Place: &rig.Place{Dir: folder}, State: "/m/state", Temp: "/m/tmp", Out: "/m/out"}
}

func newTrace(meddle func(*trace, point) rig.Meddle) *trace {
	return &trace{box: box(rig.Stores()[0]), meddle: meddle}
}

func TestTraceFollowsTheProtocol(t *testing.T) {
	t.Parallel()
	tr := newTrace(nil)
	play(tr, len(refresh()))
	want := []point{
		{stepStart, "key", "openat"}, {stepConnect, socket, "connect"}, {stepLease, "lock", "openat"}, {stepLease, "record temp", opensW},
		{stepLease, "record", "renameat"}, {stepRequest, socket, "write"}, {stepReply, socket, "read"}, {stepSpill, "spill", opensW},
		{stepSpill, "spill", "write"}, {stepSave, "lock", "openat"}, {stepSave, "record", "renameat"}, {stepAfter, "spill", "unlinkat"},
	}
	if !slices.Equal(tr.points, want) {
		t.Errorf("got %v\nwant %v", tr.points, want)
	}
	if s := tr.sends; len(s) != 1 || s[0] != (send{heard: true, spilled: true, first: "spill"}) {
		t.Errorf("got %+v", s)
	}
}

// A connection that was idle while the lease was taken is opened again: the
// request is one all the same.
func TestTraceFollowsANewConnection(t *testing.T) {
	t.Parallel()
	tr := newTrace(nil)
	calls := slices.Insert(refresh(), 5, rig.Sight{Call: "close", Path: "socket:[1]", FD: 5}, rig.Sight{Call: "connect", Path: "socket:[2]", FD: 5})
	for _, s := range calls {
		tr.Enters(s)
		tr.Leaves(s, 1)
	}
	if !slices.Contains(tr.points, point{stepRequest, socket, "write"}) || len(tr.sends) != 1 || tr.step != stepAfter {
		t.Errorf("got %v, %+v, up to %s", tr.points, tr.sends, tr.step)
	}
}

// The reason of a loss follows from where the process was killed.
func TestReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at     point
		graced bool
		want   string
	}{
		{point{stepReply, socket, "read"}, false, row.Unheard},
		{point{stepSpill, "spill", opensW}, false, row.Unwritten},
		{point{stepSpill, "spill", "write"}, false, row.Unwritten},
		{point{stepSave, "lock", "openat"}, false, row.Written},
		{point{stepAfter, "spill", "unlinkat"}, false, row.Written},
		{point{stepReply, socket, "read"}, true, "in spite of a grace that is longer than the takeover"},
	} {
		tr := newTrace(once(c.at, rig.Meddle{Kill: rig.Binary}))
		play(tr, len(refresh()))
		if !slices.Equal(tr.met, []point{c.at}) {
			t.Fatalf("%v: met %v", c.at, tr.met)
		}
		if got := reason(tr.answered([]bool{true}), aimed{fault{with: rig.Meddle{Kill: rig.Binary}}, c.at}, c.graced); got != c.want {
			t.Errorf("%v: got %q, want %q", c.at, got, c.want)
		}
	}
	// A process that lived on has no excuse.
	tr := newTrace(once(point{stepSpill, "spill", opensW}, rig.Meddle{Errno: syscall.EIO}))
	play(tr, 8)
	if got := reason(tr.answered([]bool{true}), aimed{point: point{stepSpill, "spill", opensW}}, false); row.Excused(got) {
		t.Errorf("an error excuses a loss: %q", got)
	}
	// Nor is the second answer's reading the first one's.
	tr = newTrace(once(point{stepReply, socket, "read"}, rig.Meddle{Errno: syscall.EIO}))
	play(tr, 7)
	play(tr, 7)
	if got := reason(tr.answered([]bool{true, false}), aimed{}, false); got != row.Unheard {
		t.Errorf("the first answer was lost, and the reason is %q", got)
	}
	// A kill at any other place than on the way to the spill has none either.
	late := aimed{fault{with: rig.Meddle{Kill: rig.Binary}}, point{stepSpill, "record temp", opensW}}
	if got := reason([]send{{heard: true}}, late, false); row.Excused(got) {
		t.Errorf("a detour excuses a loss: %q", got)
	}
}

func TestFailing(t *testing.T) {
	t.Parallel()
	one := failing("fsync", "spill", stepReply, syscall.EIO)
	if one(nil, point{stepSave, "record temp", "fsync"}).Errno != 0 || one(nil, point{stepSpill, "spill", "fsync"}).Errno != syscall.EIO {
		t.Error("it does not mind the class")
	}
	m := failing("fsync", "", stepReply, syscall.EIO)
	for p, want := range map[point]syscall.Errno{
		{stepLease, "record temp", "fsync"}: 0, {stepSpill, "spill", "fsync"}: syscall.EIO,
		{stepSave, "record temp", "fsync"}: syscall.EIO, {stepSave, "record temp", "write"}: 0,
	} {
		if got := m(nil, p); got.Errno != want || got.Kill != rig.Nobody {
			t.Errorf("%v: got %+v", p, got)
		}
	}
}

// What stands between the reply and the spill's write is told from the rest.
func TestGap(t *testing.T) {
	t.Parallel()
	tr := newTrace(nil)
	play(tr, len(refresh()))
	if want := unwrittenAt()[1:]; !slices.Equal(tr.gap(), want) {
		t.Errorf("got %v, want %v", tr.gap(), want)
	}
	tr = newTrace(nil)
	detour := slices.Insert(refresh(), 7, rig.Sight{Call: "openat", Path: "/m/out/1", FD: -1, Made: true})
	for _, s := range detour {
		tr.Enters(s)
		tr.Leaves(s, 1)
	}
	if got := tr.gap(); len(got) != 3 || got[0] != (point{stepSpill, "output", opensW}) {
		t.Errorf("got %v", got)
	}
}

const oid = "1111111111111111111111111111111111111111"

// pushes are the calls of one Swap of a git store by its path.
func pushes() []rig.Sight {
	const remote = folder
	return []rig.Sight{
		{Call: "mkdirat", Path: "/m/tmp/evergrant-git-1/repository", FD: -1},
		{Program: "git push", Call: "execve", Path: "/usr/bin/git", FD: -1},
		{Program: "sh", Call: "execve", Path: "/bin/sh", FD: -1},
		{Program: "git receive-pack", Call: "execve", Path: "/usr/lib/git-core/git-receive-pack", FD: -1},
		{Program: "git receive-pack", Call: "read", Path: "pipe:[7]", FD: 0},
		{Program: "git unpack-objects", Call: "fsync", Path: remote + "/objects/tmp_objdir-incoming-x/11/tmp_obj_y", FD: 3},
		{Program: "git receive-pack", Call: "linkat", Path: remote + "/objects/11/" + oid[2:], FD: -1},
		{Program: "git receive-pack", Call: "openat", Path: remote + "/refs/evergrant/g.lock", FD: -1, Made: true},
		{Program: "git receive-pack", Call: "renameat", Path: remote + "/refs/evergrant/g", FD: -1},
		{Program: "git push", Call: "exit_group", FD: -1},
	}
}

// The git store's steps follow its pushes; each program that it starts has
// points of its own.
func TestTraceFollowsGit(t *testing.T) {
	t.Parallel()
	tr := &trace{box: box(rig.Stores()[1])}
	tell := func(all ...rig.Sight) {
		for _, s := range all {
			tr.Enters(s)
			if s.Call != "exit_group" {
				tr.Leaves(s, 1)
			}
		}
	}
	whole := refresh()
	tell(whole[:2]...)  // key, connect
	tell(pushes()...)   // lease
	tell(whole[5:9]...) // request, reply, spill
	tell(pushes()...)   // save
	tell(whole[11:]...) // the spill goes
	tell(rig.Sight{Program: "git ls-remote", Call: "openat", Path: "/etc/passwd", FD: -1})
	of := func(step string) []point {
		return []point{
			{step, pushing, "execve"}, {step, "git's sh", "execve"}, {step, "git receive-pack", "execve"}, {step, "git receive-pack: pipe", "read"},
			{step, "git unpack-objects: incoming objects", "fsync"}, {step, "git receive-pack: objects", "linkat"},
			{step, "git receive-pack: lock of the ref", "openat"}, {step, refMoved, "renameat"}, {step, pushing, "exit_group"},
		}
	}
	want := []point{{stepStart, "key", "openat"}, {stepConnect, socket, "connect"}, {stepConnect, "temporary repository", "mkdirat"}}
	want = append(want, of(stepLease)...)
	want = append(want, point{stepRequest, socket, "write"}, point{stepReply, socket, "read"}, point{stepSpill, "spill", opensW}, point{stepSpill, "spill", "write"},
		point{stepSpill, "temporary repository", "mkdirat"})
	want = append(want, of(stepSave)...)
	want = append(want, point{stepAfter, "spill", "unlinkat"})
	if !slices.Equal(tr.points, want) {
		t.Errorf("got %v\nwant %v", tr.points, want)
	}
	if s := tr.sends; len(s) != 1 || s[0] != (send{heard: true, spilled: true, first: "spill"}) {
		t.Errorf("got %+v", s)
	}
}

// A reply that was not spilled is saved once a push has succeeded, or the ref has
// moved, and not by a push that has failed.
func TestTraceKnowsWhatGitSaved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calls int
		code  int
		want  bool
	}{"before": {8, 0, false}, "the ref has moved": {9, 0, true}, "the push failed": {10, 1, true}, "the push succeeded": {10, 0, true}} {
		tr := &trace{box: box(rig.Stores()[1]), step: stepSave, sends: []send{{heard: true}}}
		for _, s := range pushes()[:c.calls] {
			s.Code = c.code
			tr.Enters(s)
			tr.Leaves(s, 0)
		}
		if got := tr.sends[0].spilled; got != c.want {
			t.Errorf("%s: saved: %v", name, got)
		}
	}
	// Over HTTP only the end of the push tells.
	for code, want := range []bool{true, false} {
		tr := &trace{box: box(rig.Stores()[2]), step: stepSave, sends: []send{{heard: true}}}
		tr.Enters(rig.Sight{Program: pushing, Call: "exit_group", FD: -1, Code: code})
		if got := tr.sends[0].spilled; got != want || (tr.step == stepAfter) != want {
			t.Errorf("exit %d: saved: %v, step %s", code, got, tr.step)
		}
	}
}

// Every call of git can be killed alone; the pushes' with the binary, too.
func TestFaultsFitGit(t *testing.T) {
	t.Parallel()
	names := func(p point) (all []string) {
		for _, f := range faults() {
			if f.fits(p) {
				all = append(all, f.name)
			}
		}
		return all
	}
	alone, binary, both := "SIGKILL of that process alone", "SIGKILL of evergrant alone, git goes on,", "SIGKILL of evergrant and git"
	for p, want := range map[point][]string{
		{stepSpill, "spill", "write"}:                                {"SIGKILL", "EIO", "ENOSPC"},
		{stepStart, "git fetch", "execve"}:                           {alone, "EIO"},
		{stepSave, pushing, "exit_group"}:                            {alone, binary, both},
		{stepSave, refMoved, "renameat"}:                             {alone, binary, both, "EIO", "ENOSPC"},
		{stepLease, "git receive-pack: pipe", "write"}:               {alone, binary, both, "EIO"},
		{stepLease, "git unpack-objects: incoming objects", "fsync"}: {alone, binary, both, "EIO", "ENOSPC"},
	} {
		if got := names(p); !slices.Equal(got, want) {
			t.Errorf("%v: got %q", p, got)
		}
	}
}
