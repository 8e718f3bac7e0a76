//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// kind of a secret: not all may be seen in the same places.
type kind string

const (
	accessTokens  kind = "access token"
	refreshTokens kind = "refresh token"
	sealingKey    kind = "sealing key"
	jobToken      kind = "job's token"
)

func allKinds() []kind { return []kind{accessTokens, refreshTokens, sealingKey, jobToken} }

func allBut(some ...kind) []kind {
	return slices.DeleteFunc(allKinds(), func(k kind) bool { return slices.Contains(some, k) })
}

// forms are the ways in which a secret can be written: plain, in JSON and in a
// URL, hexadecimal, and in base64 at each of the three alignments, in both
// alphabets.
func forms(secret string) [][]byte {
	quoted, _ := json.Marshal(secret) // a string always can be
	var plainly bytes.Buffer          // as most programs write JSON: without escapes for HTML
	encoder := json.NewEncoder(&plainly)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(secret)
	inside := func(literal []byte) []byte { return bytes.Trim(bytes.TrimSpace(literal), `"`) }
	all := [][]byte{[]byte(secret), inside(quoted), inside(plainly.Bytes()), []byte(url.QueryEscape(secret)),
		[]byte(hex.EncodeToString([]byte(secret))), []byte(strings.ToUpper(hex.EncodeToString([]byte(secret))))}
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{0}, shift), secret...)
		padded = padded[:len(padded)/3*3] // what follows the secret changes the rest
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := alphabet.EncodeToString(padded)
			all = append(all, []byte(text[(shift*8+5)/6:])) // what precedes it changes the beginning
		}
	}
	return all
}

// secrets are what may not be seen.
type secrets map[kind][]string

// sweep is one search of everything that runs have left behind.
type sweep struct {
	forms map[kind][][]byte
	texts int
	bytes int64
	leaks []string
}

func newSweep(all secrets) *sweep {
	w := &sweep{forms: map[kind][][]byte{}}
	for k, secrets := range all {
		slices.Sort(secrets)
		for _, s := range slices.Compact(secrets) {
			w.forms[k] = append(w.forms[k], forms(s)...)
		}
	}
	return w
}

// look searches one text; place is a name for people.
func (w *sweep) look(place string, text []byte, forbidden []kind) {
	w.texts++
	w.bytes += int64(len(text))
	for _, k := range forbidden {
		if slices.ContainsFunc(w.forms[k], func(form []byte) bool { return bytes.Contains(text, form) }) {
			w.leaks = append(w.leaks, fmt.Sprintf("%s: a %s", place, k))
		}
	}
}

// tree searches every file below dir, names included. allowed says what may be
// in a file, whose path it is given from dir.
func (w *sweep) tree(t *testing.T, name, dir string, allowed func(path string) []kind) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		w.look(name+"/"+rel+" (its name)", []byte(path), allKinds())
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w.look(name+"/"+rel, text, allBut(allowed(rel)...))
		return nil
	})
	must(t, err)
}

// processes samples what every process of this machine shows to every other:
// its arguments; and of git's the environment too, which is what evergrant
// gives it.
type processes struct {
	mu        sync.Mutex
	arguments map[string]struct{}
	git       map[string]struct{} // environments
	samples   int
	stop      chan struct{}
	ended     chan struct{}
}

// watchProcesses looks until the test ends.
func watchProcesses(t *testing.T) *processes {
	t.Helper()
	p := &processes{arguments: map[string]struct{}{}, git: map[string]struct{}{}, stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(15 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.sample()
			}
		}
	}()
	t.Cleanup(func() { close(p.stop); <-p.ended })
	return p
}

func (p *processes) sample() {
	folders, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.samples++
	for _, f := range folders {
		if _, err := strconv.Atoi(f.Name()); err != nil {
			continue
		}
		// A process that has just ended has no files any more.
		line, err := os.ReadFile("/proc/" + f.Name() + "/cmdline")
		if err != nil || len(line) == 0 {
			continue
		}
		p.arguments[string(line)] = struct{}{}
		program, _, _ := bytes.Cut(line, []byte{0})
		if strings.HasPrefix(filepath.Base(string(program)), "git") {
			if environment, err := os.ReadFile("/proc/" + f.Name() + "/environ"); err == nil {
				p.git[string(environment)] = struct{}{}
			}
		}
	}
}

// search adds what was sampled to a sweep. git needs the job's token, and that
// of the checkout gets the harness's own.
func (p *processes) search(w *sweep) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range p.arguments {
		w.look("arguments of a process", []byte(line), allKinds())
	}
	for environment := range p.git {
		w.look("environment of a git", []byte(environment), allBut(jobToken))
	}
}

// sawGit expects that samples caught git at work with what evergrant gave it, so
// that to find nothing in them means something.
func (p *processes) sawGit(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for environment := range p.git {
		if strings.Contains(environment, "GIT_CONFIG_GLOBAL=") && strings.Contains(environment, "GCM_INTERACTIVE=never") {
			return
		}
	}
	t.Errorf("%d samples, %d environments of git, and none is evergrant's", p.samples, len(p.git))
}

// TestSweepHasTeeth plants secrets where a leak would put them.
func TestSweepHasTeeth(t *testing.T) {
	const secret = "canary-of-the-sweep/with+all%that&escapes\"it"
	s := secrets{refreshTokens: {secret}}
	for name, text := range map[string]string{
		"plain": "x" + secret + "y", "JSON": fmt.Sprintf("%q", secret), "JSON for HTML": `"` + strings.ReplaceAll(strings.ReplaceAll(secret, "&", `\u0026`), `"`, `\"`) + `"`, "URL": "a=" + url.QueryEscape(secret) + "&b",
		"base64 0": base64.StdEncoding.EncodeToString([]byte(secret)), "base64 1": base64.StdEncoding.EncodeToString([]byte("x" + secret + "yz")),
		"base64 2": base64.RawURLEncoding.EncodeToString([]byte("xx" + secret)), "hexadecimal": hex.EncodeToString([]byte(secret)),
	} {
		w := newSweep(s)
		if w.look(name, []byte(text), allKinds()); len(w.leaks) != 1 {
			t.Errorf("%s: %d leaks found", name, len(w.leaks))
		}
		if w.look(name, []byte(text), allBut(refreshTokens)); len(w.leaks) != 1 {
			t.Errorf("%s: found where it may be", name)
		}
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "left"), []byte(secret), 0o600))
	w := newSweep(s)
	if w.tree(t, "planted", dir, func(string) []kind { return nil }); len(w.leaks) != 1 {
		t.Errorf("a file: %d leaks found", len(w.leaks))
	}
}
