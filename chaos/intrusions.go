//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"evergrant/chaos/rig"
	"evergrant/e2e/forge"
)

// intrusion is what somebody else does to the ref of a grant.
type intrusion struct {
	name string
	// put returns what the ref is set to; "": it is deleted. ref is at now, and was
	// at before one refresh ago.
	put  func(ctx context.Context, t *rig.Trial, before string) (string, error)
	args []string
	// elsewhere: the job runs on a machine that has never seen the grant.
	elsewhere bool
}

func allIntrusions() []intrusion {
	return []intrusion{
		{name: "a commit of a project is in the ref", elsewhere: true, put: func(_ context.Context, t *rig.Trial, _ string) (string, error) {
			return forge.Run(t.Box.Place.Dir, "rev-parse", "refs/heads/main")
		}},
		{name: "the record of another grant is in the ref", elsewhere: true, put: func(ctx context.Context, t *rig.Trial, _ string) (string, error) {
			other, err := rig.NewTrial(ctx, t.Box, t.Provider)
			if err != nil {
				return "", err
			}
			return at(other)
		}},
		{name: "an older record was put back, on a machine that knew the newer one", put: func(_ context.Context, _ *rig.Trial, before string) (string, error) { return before, nil }},
		{name: "the ref was deleted, and --no-create is given", elsewhere: true, args: []string{"--no-create"},
			put: func(context.Context, *rig.Trial, string) (string, error) { return "", nil }},
	}
}

// at returns where the ref of a grant is; "" if there is none.
func at(t *rig.Trial) (string, error) {
	ref, err := rig.RefOf(t.Grant)
	if err != nil {
		return "", err
	}
	return forge.Run(t.Box.Place.Dir, "for-each-ref", "--format=%(objectname)", ref)
}

func set(t *rig.Trial, oid string) error {
	ref, err := rig.RefOf(t.Grant)
	if err != nil {
		return err
	}
	args := []string{"update-ref", ref, oid}
	if oid == "" {
		args = []string{"update-ref", "-d", ref}
	}
	_, err = forge.Run(t.Box.Place.Dir, args...)
	return err
}

// intrusions puts something else into the ref, and has a job run that still has
// the grant's first refresh token, as CI secrets do: nothing may be presented,
// and nothing written over.
func (h *harness) intrusions(ctx context.Context, n int) (rows []trials) {
	for _, i := range allIntrusions() {
		t := h.newTally("outages", i.name, "strict")
		rows = append(rows, trials{t, n, func(int) error { return h.intrusion(ctx, t, i) }})
	}
	return rows
}

func (h *harness) intrusion(ctx context.Context, t *tally, i intrusion) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	before, err := at(trial)
	if err != nil {
		return err
	}
	if r, err := b.box.Run(trial.Refresh(ctx)); err != nil || r.Code != 0 {
		return errors.Join(err, fmt.Errorf("a refresh before the intrusion: %v", r))
	}
	if err := trial.Mark(ctx); err != nil {
		return err
	}
	right, err := at(trial)
	if err != nil {
		return err
	}
	wrong, err := i.put(ctx, trial, before)
	if err == nil {
		err = set(trial, wrong)
	}
	if err != nil {
		return err
	}
	if i.elsewhere {
		if err := errors.Join(b.box.Search(), os.RemoveAll(b.box.State)); err != nil {
			return err
		}
	}
	args := append([]string{"--speed-up", fmt.Sprint(h.store.SpeedUp), "--wait", "5s", "--timeout", "40s", "--sink", "file:" + b.box.NewSink()}, i.args...)
	r, err := b.box.Run(trial.Tempted(ctx, args...))
	if err != nil {
		return err
	}
	if r.Code != exitStore || trial.Presented() != 0 {
		t.red("want exit %d and nothing presented; %d presented, %v", exitStore, trial.Presented(), r)
	}
	if now, err := at(trial); err != nil || now != wrong {
		t.red("the ref was written over: %q, %v", now, err)
	}
	if err := set(trial, right); err != nil {
		return err
	}
	v, err := trial.Recover(ctx, false)
	if err == nil {
		t.add(v, true, "another writer of the store alone")
	}
	return err
}
