//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"evergrant/chaos/rig"
	"evergrant/e2e/forge"
)

// stage is the part of a run during which a git store's remote is out, counted
// in pushes: the first takes the lease, the second saves, and what fails is tried
// again.
type stage struct {
	name        string
	first, last int64
	all         bool // reads fail, too
}

func stages() []stage {
	const on = math.MaxInt64
	return []stage{
		{"from the start", 0, on, true},
		{"at the first push, the lease", 1, 1, false},
		{"at each push, from the lease on", 1, on, false},
		{"at one push, the save", 2, 2, false},
		{"at each push, from the save on", 2, on, false},
		{"between lease and save, to the end", 2, on, true},
	}
}

// trouble is one way in which a remote fails.
type trouble struct {
	name string
	// http does it to a request of git; push: the one that carries the objects,
	// and not the question before it.
	http func(w http.ResponseWriter, r *http.Request, next http.Handler)
	push bool
	hook string // or this hook ends the receiving git
	// acts: the remote has moved the ref all the same. lasting: trying again is of
	// no use, and the program knows it. slow: the time for taking a lease is over.
	acts, lasting, slow bool
}

func troubles() []trouble {
	status := func(code int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, "chaos", code) }
	}
	page := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>please sign in to this network</html>")
	}
	lose := func(keep int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) { lose(w, r, next, keep) }
	}
	cut := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, 20)
		reset(w)
	}
	return []trouble{
		{name: "answers 500", http: status(500)},
		{name: "answers 500 to the objects", http: status(500), push: true},
		{name: "answers 503", http: status(503)},
		{name: "answers 403", http: status(403), lasting: true},
		{name: "answers 403 to the objects", http: status(403), push: true, lasting: true},
		{name: "answers with a captive portal's page", http: page},
		{name: "resets the connection", http: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { reset(w) }},
		{name: "hangs", http: hang, slow: true},
		{name: "resets the connection while the objects come", http: cut, push: true},
		{name: "moves the ref and hangs", http: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&kept{header: http.Header{}}, r)
			<-r.Context().Done()
		}, push: true, acts: true, slow: true},
		{name: "moves the ref, and its answer is lost", http: lose(-1), push: true, acts: true},
		{name: "moves the ref, and its answer is cut", http: lose(30), push: true, acts: true},
		{name: "is killed before it moves the ref", hook: "pre-receive"},
		{name: "is killed after it has moved the ref", hook: "post-receive", acts: true},
	}
}

// hang gives no answer as long as the client waits for one.
func hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // else the client's end goes unnoticed
	<-r.Context().Done()
}

// lose lets the server act, passes so many bytes of its answer on (below 0: not
// even the headers), and resets the connection.
func lose(w http.ResponseWriter, r *http.Request, next http.Handler, keep int) {
	a := &kept{header: http.Header{}, code: http.StatusOK}
	next.ServeHTTP(a, r)
	if keep >= 0 {
		for name, values := range a.header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", fmt.Sprint(a.body.Len()))
		w.WriteHeader(a.code)
		_, _ = io.WriteString(w, a.body.String()[:min(keep, a.body.Len()/2)])
		_ = http.NewResponseController(w).Flush()
	}
	reset(w)
}

// reset ends a connection so that the other side sees an error, not an end.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// kept is an answer that nobody has been given yet.
type kept struct {
	header http.Header
	code   int
	body   strings.Builder
}

func (k *kept) Header() http.Header         { return k.header }
func (k *kept) Write(p []byte) (int, error) { return k.body.Write(p) }
func (k *kept) WriteHeader(code int)        { k.code = code }

// fits reports whether a trouble can come at a stage of that store: a hook
// knows of pushes only, and what is about pushes alone leaves reads alone.
func (w trouble) fits(s rig.Store, at stage) bool {
	if w.hook != "" {
		return s.Git && !at.all
	}
	return s.Name == "git http" && !(w.push && at.all)
}

// short reports whether a pair belongs to the form of every day.
func (w trouble) short(at stage) bool {
	switch at.name {
	case "at each push, from the lease on", "from the start":
		return w.name == "answers 500"
	case "at one push, the save":
		return w.acts || w.slow
	case "at each push, from the save on":
		return w.name == "answers 500 to the objects" || w.hook != ""
	case "at the first push, the lease":
		return w.acts
	}
	return false
}

// outcome is how a run must end: its exit codes, and whether it may have
// presented its token.
func (w trouble) outcome(at stage) (codes []int, presents bool) {
	lease, forGood := at.first < 2, at.last > at.first
	switch {
	case at.all && lease && w.slow: // 1: the time of the whole call was over, and nothing was known yet
		return []int{exitStore, 1}, false
	case at.all && lease, w.lasting && lease, w.slow && lease:
		return []int{exitStore}, false
	case w.acts, !forGood:
		return []int{0}, true
	case lease:
		return []int{exitStore}, false
	}
	return []int{exitUnsaved}, true
}

// outages lets the remote of a git store fail at each stage of a run, and lets
// others write into its ref.
func (h *harness) outages(ctx context.Context) error {
	n := h.number(10, 1)
	var rows []trials
	for _, w := range troubles() {
		for _, at := range stages() {
			if !w.fits(h.store, at) || h.short && !w.short(at) {
				continue
			}
			t := h.newTally("outages", fmt.Sprintf("the remote %s %s", w.name, at.name), "strict")
			rows = append(rows, trials{t, n, func(int) error { return h.outage(ctx, t, w, at) }})
		}
	}
	return h.together(waiting, append(rows, h.intrusions(ctx, n)...))
}

func (h *harness) outage(ctx context.Context, t *tally, w trouble, at stage) (err error) {
	b, err := h.bench(ctx, h.strict)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	trial, err := rig.NewTrial(ctx, b.box, b.provider)
	if err != nil {
		return err
	}
	mend, err := w.begin(b.box.Place, at)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	r, err := b.box.Run(trial.Refresh(bounded, "--speed-up", fmt.Sprint(h.store.SpeedUp), "--wait", "5s", "--timeout", "40s", "--sink", "file:"+b.box.NewSink()))
	met, merr := mend()
	if err = errors.Join(err, merr); err != nil {
		return err
	}
	codes, presents := w.outcome(at)
	if presented := trial.Presented(); met && (!slices.Contains(codes, r.Code) || (presented > 0) != presents) {
		t.red("want exit %v; %d presented, %v", codes, presented, r)
	}
	v, err := trial.Recover(ctx, trial.Counts().Answers > 0)
	if err == nil {
		t.add(v, met, "store outage alone")
	}
	return err
}

// begin lets a remote fail. The function that it returns mends it, and tells
// whether anything has failed.
func (w trouble) begin(p *rig.Place, at stage) (mend func() (met bool, err error), err error) {
	if w.hook != "" {
		return w.hooked(p, at)
	}
	var met atomic.Int64
	p.Forge.Intercept(w.intercept(at, &met, p.Forge.Authenticate))
	return func() (bool, error) {
		p.Forge.Intercept(nil)
		return met.Load() > 0, nil
	}, nil
}

// intercept fails requests at a stage and counts them; the others pass. Each push
// begins with a question.
func (w trouble) intercept(at stage, met *atomic.Int64, pass forge.Intercept) forge.Intercept {
	var pushes atomic.Int64
	return func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		asks := r.Method == http.MethodGet && r.URL.Query().Get("service") == "git-receive-pack"
		carries := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-receive-pack")
		n := pushes.Load()
		if asks {
			n = pushes.Add(1)
		}
		if n < at.first || n > at.last || !at.all && !carries && (!asks || w.push) {
			pass(rw, r, next)
			return
		}
		met.Add(1)
		w.http(rw, r, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { pass(rw, r, next) }))
	}
}

// hooked has a hook of the repository end the git that called it. The hook counts
// the pushes by a file.
func (w trouble) hooked(p *rig.Place, at stage) (mend func() (bool, error), err error) {
	hook, count, met := filepath.Join(p.Dir, "hooks", w.hook), filepath.Join(p.Dir, "pushes"), filepath.Join(p.Dir, "killed")
	script := fmt.Sprintf("#!/bin/sh\necho >>'%s'\nn=$(wc -l <'%s')\nif [ \"$n\" -ge %d ] && [ \"$n\" -le %d ]; then echo >>'%s'; kill -9 $PPID; fi\nexit 0\n",
		count, count, at.first, at.last, met)
	if err := os.WriteFile(hook, []byte(script), 0o700); err != nil {
		return nil, err
	}
	return func() (bool, error) {
		_, err := os.Stat(met)
		return err == nil, os.Remove(hook)
	}, nil
}
