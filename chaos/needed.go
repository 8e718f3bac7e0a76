//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"slices"

	"evergrant/chaos/rig"
	"evergrant/chaos/row"
)

// needed are the points without which a study of kill points shows nothing:
// where the token is spent, and where its successor becomes durable. A run that
// does without one of them, such as a sync, is red.
func needed(s rig.Store) []point {
	all := []point{
		{stepConnect, socket, "connect"}, {stepRequest, socket, "write"}, {stepReply, socket, "read"},
		{stepSpill, "spill", "write"}, {stepSpill, "spill", "fsync"}, {stepSpill, "spill folder", "fsync"},
	}
	if !s.Git {
		return append(all,
			point{stepLease, "record temp", "write"}, point{stepLease, "record temp", "fsync"}, point{stepLease, "record", "renameat"}, point{stepLease, "record folder", "fsync"},
			point{stepSave, "record temp", "write"}, point{stepSave, "record temp", "fsync"}, point{stepSave, "record", "renameat"}, point{stepAfter, "record folder", "fsync"})
	}
	for _, step := range []string{stepLease, stepSave} {
		all = append(all, point{step, pushing, "execve"}, point{step, pushing, "exit_group"})
		if s.Name == "git path" { // the receiving side is this machine's, too
			all = append(all, point{step, "git receive-pack", "execve"}, point{step, "git unpack-objects: incoming objects", "fsync"},
				point{step, "git receive-pack: objects", "linkat"}, point{step, "git receive-pack: lock of the ref", "openat"},
				point{step, "git receive-pack: lock of the ref", "fsync"}, point{step, refMoved, "renameat"})
			continue
		}
		all = append(all, point{step, "git remote-http: socket", "connect"}, point{step, "git send-pack", "execve"},
			point{step, "git remote-http: socket", "write"}, point{step, "git remote-http", "exit_group"})
	}
	return all
}

// unwrittenAt are the points between the first bytes of a reply and the end of
// the spill's write: the only ones at which a kill may cost the reply.
func unwrittenAt() []point {
	return []point{{stepSpill, socket, "read"}, {stepSpill, "spill", opensW}, {stepSpill, "spill", "write"}}
}

// gap returns the points of a run from the reply on to the spill's write; all
// that follow the reply if that never came.
func (t *trace) gap() []point {
	begin := slices.IndexFunc(t.points, func(p point) bool { return p.Step == stepSpill || p.Step == stepSave })
	if begin < 0 {
		return nil
	}
	rest := t.points[begin:]
	if end := slices.Index(rest, point{stepSpill, "spill", "write"}); end >= 0 {
		rest = rest[:end+1]
	}
	return rest
}

// studied says what the study found, and what it should have.
func (k *killer) studied() row.Row {
	r := row.Row{
		Part: k.part, Name: "the points of an undisturbed run", Store: k.store.Name, Provider: k.provider, Trials: studyRuns, Faults: studyRuns,
		Note: fmt.Sprintf("%d calls in %d runs; %d of them must be there", len(k.points), studyRuns, len(needed(k.store))),
	}
	for _, p := range needed(k.store) {
		if !slices.Contains(k.points, p) {
			r.Broken = append(r.Broken, "an undisturbed run does without "+p.String())
		}
	}
	for _, p := range k.strange {
		r.Broken = append(r.Broken, "something else comes between the reply and the spill's write: "+p.String())
	}
	return r
}
