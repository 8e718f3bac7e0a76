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
	found, places, texts, size := h.canary.Leaks()
	r := row.Row{Part: "leaks", Name: "output, errors, arguments, state folders and stores of every part", Store: "file", Provider: "all",
		Trials: texts, Leaks: found, Note: fmt.Sprintf("%.1f MiB searched, plain, hex and base64", float64(size)/(1<<20))}
	if found > 0 {
		r.Note += "; found in " + strings.Join(places, ", ")
	}
	p := row.Row{Part: "leaks", Name: "planted on purpose, and found", Store: "file", Provider: "all", Trials: planted, Faults: planted - len(missed)}
	for _, m := range missed {
		p.Broken = append(p.Broken, "a planted leak was not found: "+m)
	}
	h.say("leaks: %d in %d texts; %d of %d planted ones found", found, texts, p.Faults, planted)
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
	box, err := rig.NewBox(ctx, filepath.Join(h.dir, "planted"), h.binary, c)
	if err != nil {
		return 0, nil, err
	}
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
	check("in hexadecimal", hex.EncodeToString([]byte(token)))
	for i := range 3 {
		check(fmt.Sprintf("in base64, moved by %d", i), base64.URLEncoding.EncodeToString([]byte(strings.Repeat("x", i)+token)))
	}
	check("in a basic authorization header", basic)
	// A file beside the record, and the arguments of a process.
	if err := os.WriteFile(filepath.Join(box.Store, "planted.txt"), text, 0o600); err != nil {
		return 0, nil, err
	}
	before, _, _, _ := c.Leaks()
	if err := box.Search(); err != nil {
		return 0, nil, err
	}
	planted++
	if after, _, _, _ := c.Leaks(); after != before+1 {
		missed = append(missed, "in a file of the store's folder")
	}
	return planted, missed, nil
}
