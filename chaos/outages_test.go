//go:build linux && (amd64 || arm64)

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"evergrant/chaos/rig"
)

// remote is a server that knows git's requests by their shape only. It counts
// the pushes that it was given whole.
func remote(t *testing.T, w trouble, at stage) (url string, met, moved *atomic.Int64) {
	t.Helper()
	met, moved = new(atomic.Int64), new(atomic.Int64)
	served := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Method == http.MethodPost && len(body) == len(objects()) {
			moved.Add(1)
		}
		_, _ = io.WriteString(rw, strings.Repeat("fine", 100))
	})
	pass := func(rw http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(rw, r) }
	i := w.intercept(at, met, pass)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { i(rw, r, served) }))
	t.Cleanup(s.Close)
	return s.URL + "/store.git", met, moved
}

func objects() string { return strings.Repeat("objects", 1000) }

// push does what git does for one push, and reports whether each of its two
// requests was answered well.
func push(t *testing.T, url string) (asked, carried bool) {
	t.Helper()
	// A connection for each request: on a used one Go asks again by itself.
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	good := func(r *http.Response, err error) bool {
		if err != nil {
			return false
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		return err == nil && r.StatusCode == http.StatusOK && strings.HasPrefix(string(body), "fine")
	}
	if !good(c.Get(url + "/info/refs?service=git-receive-pack")) {
		return false, false
	}
	return true, good(c.Post(url+"/git-receive-pack", "application/x-git-receive-pack-request", strings.NewReader(objects())))
}

// Each trouble comes at its stage and at no other, and moves the ref only if it
// says so.
func TestTroubles(t *testing.T) {
	t.Parallel()
	for _, w := range troubles() {
		if w.hook != "" || w.slow { // hooks need git; what hangs, hangs
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			url, met, moved := remote(t, w, stage{first: 2, last: 2})
			if asked, carried := push(t, url); !asked || !carried || met.Load() != 0 || moved.Load() != 1 {
				t.Fatalf("the first push: %v, %v; met %d times, moved %d times", asked, carried, met.Load(), moved.Load())
			}
			asked, carried := push(t, url)
			if asked != w.push || carried || met.Load() == 0 || (moved.Load() == 2) != w.acts {
				t.Errorf("the second push: %v, %v; met %d times, moved %d times", asked, carried, met.Load(), moved.Load())
			}
			if asked, carried := push(t, url); !asked || !carried {
				t.Errorf("the third push: %v, %v", asked, carried)
			}
		})
	}
}

// A remote that is out altogether answers no reads; one that is out for pushes
// does.
func TestStagesAndReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   stage
		want int
	}{{stage{first: 0, last: 9, all: true}, http.StatusInternalServerError}, {stage{first: 0, last: 9}, http.StatusOK}} {
		url, _, _ := remote(t, troubles()[0], c.at)
		r, err := http.Get(url + "/info/refs?service=git-upload-pack")
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != c.want {
			t.Errorf("%+v: a read gave %d", c.at, r.StatusCode)
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	named := func(trouble string, at string) ([]int, bool) {
		for _, w := range troubles() {
			for _, s := range stages() {
				if w.name == trouble && s.name == at {
					return w.outcome(s)
				}
			}
		}
		t.Fatalf("there is no %q %q", trouble, at)
		return nil, false
	}
	for _, c := range []struct {
		trouble, at string
		codes       []int
		presents    bool
	}{
		{"answers 500", "from the start", []int{exitStore}, false},
		{"answers 500", "at the first push, the lease", []int{0}, true},
		{"answers 500", "at each push, from the lease on", []int{exitStore}, false},
		{"answers 500", "at one push, the save", []int{0}, true},
		{"answers 500", "at each push, from the save on", []int{exitUnsaved}, true},
		{"answers 500", "between lease and save, to the end", []int{exitUnsaved}, true},
		{"answers 403", "at the first push, the lease", []int{exitStore}, false},
		{"answers 403", "at one push, the save", []int{0}, true},
		{"hangs", "from the start", []int{exitStore, 1}, false},
		{"moves the ref, and its answer is lost", "at each push, from the lease on", []int{0}, true},
		{"moves the ref, and its answer is lost", "at each push, from the save on", []int{0}, true},
	} {
		if codes, presents := named(c.trouble, c.at); !slices.Equal(codes, c.codes) || presents != c.presents {
			t.Errorf("%s %s: got %v, %v", c.trouble, c.at, codes, presents)
		}
	}
}

// Every trouble belongs to some stage of a store, by path only those of hooks,
// and the short form leaves out none of the kinds that move the ref.
func TestTroublesFit(t *testing.T) {
	t.Parallel()
	for _, s := range rig.Stores() {
		for _, w := range troubles() {
			fits, short := 0, false
			for _, at := range stages() {
				if w.fits(s, at) {
					fits++
					short = short || w.short(at)
				}
			}
			wanted := s.Name == "git http" || s.Git && w.hook != ""
			if wanted != (fits > 0) || wanted && w.acts && !short {
				t.Errorf("%s, %s: %d stages, in the short form: %v", s.Name, w.name, fits, short)
			}
		}
	}
}
