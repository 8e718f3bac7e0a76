//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"slices"

	"evergrant/chaos/row"
)

// needed are the points without which a study of kill points shows nothing:
// where the token is spent, and where its successor becomes durable. A run that
// does without one of them, such as a sync, is red.
func needed() []point {
	return []point{
		{stepConnect, socket, "connect"},
		{stepLease, "record temp", "write"}, {stepLease, "record temp", "fsync"}, {stepLease, "record", "renameat"}, {stepLease, "record folder", "fsync"},
		{stepRequest, socket, "write"}, {stepReply, socket, "read"},
		{stepSpill, "spill", "write"}, {stepSpill, "spill", "fsync"}, {stepSpill, "spill folder", "fsync"},
		{stepSave, "record temp", "write"}, {stepSave, "record temp", "fsync"}, {stepSave, "record", "renameat"}, {stepAfter, "record folder", "fsync"},
	}
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
		Part: k.part, Name: "the points of an undisturbed run", Store: "file", Provider: k.provider, Trials: studyRuns, Faults: studyRuns,
		Note: fmt.Sprintf("%d calls in %d runs; %d of them must be there", len(k.points), studyRuns, len(needed())),
	}
	for _, p := range needed() {
		if !slices.Contains(k.points, p) {
			r.Broken = append(r.Broken, "an undisturbed run does without "+p.String())
		}
	}
	for _, p := range k.strange {
		r.Broken = append(r.Broken, "something else comes between the reply and the spill's write: "+p.String())
	}
	return r
}
