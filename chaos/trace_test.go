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
		if m.Kill {
			return
		}
		if m.Errno != 0 {
			t.Leaves(s, -int64(m.Errno))
		} else {
			t.Leaves(s, 1)
		}
	}
}

func newTrace(meddle func(*trace, point) rig.Meddle) *trace {
	return &trace{box: &rig.Box{Home: "/m", Store: folder, State: "/m/state", Out: "/m/out"}, meddle: meddle}
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
		tr := newTrace(once(c.at, rig.Meddle{Kill: true}))
		play(tr, len(refresh()))
		if !slices.Equal(tr.met, []point{c.at}) {
			t.Fatalf("%v: met %v", c.at, tr.met)
		}
		if got := reason(tr.answered([]bool{true}), aimed{fault{with: rig.Meddle{Kill: true}}, c.at}, c.graced); got != c.want {
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
	late := aimed{fault{with: rig.Meddle{Kill: true}}, point{stepSpill, "record temp", opensW}}
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
		if got := m(nil, p); got.Errno != want || got.Kill {
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
