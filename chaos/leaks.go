//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"evergrant/chaos/rig"
	"evergrant/chaos/row"
	"evergrant/e2e/forge"
)

// leaks says what the canary found in everything that the other parts have
// left behind, and plants leaks to show that it would have found them.
func (h *harness) leaks(ctx context.Context) error {
	planted, missed, err := h.plant(ctx)
	if err != nil {
		return err
	}
	rows, err := os.ReadFile(h.rows)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h.canary.Look("the rows", rows)
	h.mu.Lock()
	said := h.said
	h.mu.Unlock()
	h.canary.Look("the harness's own output", said)
	f := h.canary.Found()
	r := row.Row{Part: "leaks", Name: "output, errors, arguments, state folders, stores and sinks of every part", Store: h.store.Name, Provider: "all",
		Texts: f.Texts, Leaks: f.Leaks, Note: fmt.Sprintf("%.1f MiB searched for whole tokens and for any %d characters of one in a row, plain, hex and base64, in %s",
			float64(f.Bytes)/(1<<20), rig.PieceLen, strings.Join(f.Searched, ", "))}
	if f.Leaks > 0 {
		r.Note += "; found in " + strings.Join(f.Places, ", ")
	}
	p := row.Row{Part: "leaks", Name: "planted on purpose, and found", Store: h.store.Name, Provider: "all", Trials: planted, Faults: planted - len(missed)}
	for _, m := range missed {
		p.Broken = append(p.Broken, "a planted leak was not found: "+m)
	}
	h.say("leaks: %d in %d texts; %d of %d planted ones found", f.Leaks, f.Texts, p.Faults, planted)
	return h.keep(r, p)
}

// plant puts tokens where a leak would put them, in folders of its own.
func (h *harness) plant(ctx context.Context) (planted int, missed []string, err error) {
	c := rig.NewCanary()
	p, err := rig.Strict(c)
	if err != nil {
		return 0, nil, err
	}
	defer p.Close()
	box, err := rig.NewBox(ctx, filepath.Join(h.dir, "planted"), h.binary, c, h.store)
	if err != nil {
		return 0, nil, err
	}
	defer box.Close()
	trial, err := rig.NewTrial(ctx, box, p)
	if err != nil {
		return 0, nil, err
	}
	sink := box.NewSink()
	r, err := box.Run(trial.Call(ctx, "--sink", "stdout:", "--sink", "file:"+sink))
	if err != nil {
		return 0, nil, err
	}
	text, err := os.ReadFile(sink)
	if err != nil {
		return 0, nil, err
	}
	token := strings.TrimSpace(string(text))
	quoted, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return 0, nil, err
	}
	basic := base64.StdEncoding.EncodeToString([]byte("client:" + token))
	check := func(name, text string) {
		planted++
		if !c.Holds([]byte(text)) {
			missed = append(missed, name)
		}
	}
	check("standard output of a call that prints the token", r.Stdout)
	check("in a sentence", "refresh of "+token+" failed")
	check("in JSON", string(quoted))
	check("cut to its beginning", token[:40])
	check("the last part of it", token[len(token)-rig.PieceLen:])
	check("a part from its middle, in hexadecimal", hex.EncodeToString([]byte(token[len(token)-2*rig.PieceLen:len(token)-rig.PieceLen])))
	check("in hexadecimal", hex.EncodeToString([]byte(token)))
	for i := range 3 {
		check(fmt.Sprintf("in base64, moved by %d", i), base64.URLEncoding.EncodeToString([]byte(strings.Repeat("x", i)+token)))
	}
	check("in a basic authorization header", basic)
	// A file beside the record, and the arguments of a process.
	if err := os.WriteFile(filepath.Join(box.Place.Dir, "planted.txt"), text, 0o600); err != nil {
		return 0, nil, err
	}
	if err := os.WriteFile(sink, []byte(token+token), 0o600); err != nil {
		return 0, nil, err
	}
	files := 2
	if h.store.Git { // in its folder, and in the same folder unpacked
		if err := plantObjects(box, text); err != nil {
			return 0, nil, err
		}
		files = 5
	}
	before := c.Found().Leaks
	if err := box.Search(); err != nil {
		return 0, nil, err
	}
	planted += files
	if after := c.Found().Leaks; after != before+files {
		missed = append(missed, fmt.Sprintf("%d leaks in files, and %d found", files, after-before))
	}
	return planted, missed, nil
}

// plantObjects packs a text as git packs an object: in the repository, and in a
// temporary folder. Three looks find it: two at the files, and git's own.
func plantObjects(box *rig.Box, text []byte) error {
	path := filepath.Join(box.Temp, "planted")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	oid, err := forge.Run(box.Place.Dir, "hash-object", "-w", path)
	if err != nil {
		return err
	}
	packed, err := os.ReadFile(filepath.Join(box.Place.Dir, "objects", oid[:2], oid[2:]))
	if err != nil {
		return err
	}
	return os.WriteFile(path, packed, 0o600)
}
