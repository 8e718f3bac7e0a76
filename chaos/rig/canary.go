//go:build linux && (amd64 || arm64)

package rig

import (
	"bytes"
	"compress/zlib"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"evergrant/internal/simulator"
)

// Canary makes the tokens of a run, all of which begin with one word that
// occurs nowhere else, and finds them wherever they should not be: by the word,
// which JSON and URL escapes leave as it is, and by any [PieceLen] characters in
// a row of what makes each token different from the others. So half a token is
// found too.
//
// It is safe for concurrent use.
type Canary struct {
	word  string
	forms [][]byte

	mu     sync.Mutex
	pieces map[piece]struct{}
	access map[string]struct{} // the access tokens
	places map[string]int      // texts with a token that may not hold it
	looked map[string]int      // texts, by place
	bytes  int64
}

// PieceLen is how many characters of a token's random part, in a row, count as
// a leak. They hold 60 bits, so that nothing else looks like them.
const PieceLen = 12

type piece [PieceLen]byte

// NewCanary returns a canary with a word of its own.
func NewCanary() *Canary {
	c := &Canary{
		word: "canary" + rand.Text(), pieces: map[piece]struct{}{}, access: map[string]struct{}{},
		places: map[string]int{}, looked: map[string]int{},
	}
	c.forms = encodings(c.word)
	return c
}

// encodings returns the forms in which a word can be found: plain, hex, and
// base64 at each of the three alignments, in both alphabets.
func encodings(word string) [][]byte {
	forms := [][]byte{[]byte(word), []byte(hex.EncodeToString([]byte(word))), []byte(strings.ToUpper(hex.EncodeToString([]byte(word))))}
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{0}, shift), word...)
		padded = padded[:len(padded)/3*3] // what follows the word changes the rest
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := alphabet.EncodeToString(padded)
			forms = append(forms, []byte(text[(shift*8+5)/6:])) // what precedes it changes the beginning
		}
	}
	return forms
}

// NewToken is a source of tokens for [simulator.Config].
func (c *Canary) NewToken(k simulator.Kind) string {
	random := rand.Text()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range len(random) - PieceLen + 1 {
		c.pieces[piece([]byte(random[i:i+PieceLen]))] = struct{}{}
	}
	if k == simulator.KindRefresh {
		return c.word + "/refresh/" + random
	}
	token := c.word + "/access/" + random
	c.access[token] = struct{}{}
	return token
}

// Holds reports whether a text holds a token or a piece of one.
func (c *Canary) Holds(text []byte) bool {
	if slices.ContainsFunc(c.forms, func(f []byte) bool { return bytes.Contains(text, f) }) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.piecewise(text)
}

// piecewise looks for pieces in a text as it is, and in whatever in it can be
// read as hexadecimal or base64. The caller holds the lock.
func (c *Canary) piecewise(text []byte) bool {
	if c.piece(text) {
		return true
	}
	for run := range runs(text, 2*PieceLen, isHex) {
		for shift := range 2 {
			part := run[shift:]
			plain := make([]byte, len(part)/2)
			if _, err := hex.Decode(plain, part[:len(part)/2*2]); err == nil && c.piece(plain) {
				return true
			}
		}
	}
	for run := range runs(text, PieceLen*4/3, isBase64) {
		run = standard(run)
		for shift := range 4 {
			part := run[min(shift, len(run)):]
			plain := make([]byte, len(part)/4*3)
			if _, err := base64.RawStdEncoding.Decode(plain, part[:len(part)/4*4]); err == nil && c.piece(plain) {
				return true
			}
		}
	}
	return false
}

// piece looks for pieces in a text, in capitals or not.
func (c *Canary) piece(text []byte) bool {
	for run := range runs(text, PieceLen, isRandom) {
		run = bytes.ToUpper(run)
		for i := range len(run) - PieceLen + 1 {
			if _, found := c.pieces[piece(run[i:i+PieceLen])]; found {
				return true
			}
		}
	}
	return false
}

// runs yields the parts of a text, as long as can be and of at least that
// length, whose every byte is of one kind.
func runs(text []byte, least int, kind func(byte) bool) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		begin := 0
		for i := range len(text) + 1 {
			if i < len(text) && kind(text[i]) {
				continue
			}
			if i-begin >= least && !yield(text[begin:i]) {
				return
			}
			begin = i + 1
		}
	}
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

// isRandom: the alphabet of [rand.Text], in capitals or not.
func isRandom(b byte) bool { return isLetter(b) || '2' <= b && b <= '7' }

func isHex(b byte) bool { return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' }

func isBase64(b byte) bool {
	return isLetter(b) || '0' <= b && b <= '9' || b == '+' || b == '/' || b == '-' || b == '_'
}

// standard writes base64 of the alphabet for URLs in the standard one.
func standard(run []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(run, []byte("-"), []byte("+")), []byte("_"), []byte("/"))
}

// Look searches one text; the place is a name for people.
func (c *Canary) Look(place string, text []byte) { c.note(place, text, c.Holds(text)) }

func (c *Canary) note(place string, text []byte, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked[place]++
	c.bytes += int64(len(text))
	if found {
		c.places[place]++
	}
}

// deliverable reports whether a file among the sinks holds what it may: one
// access token and the end of a line, or, where the process was killed before
// it wrote, nothing.
func (c *Canary) deliverable(text []byte) bool {
	line := strings.TrimSuffix(string(text), "\n")
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, whole := c.access[line]; whole {
		return true
	}
	return len(text) == 0
}

// Tree searches every file below dir, names included. Of each file, place says
// what to call it and whether a delivered access token is right in it. Files
// that vanish meanwhile are no error.
func (c *Canary) Tree(dir string, place func(path string) (name string, delivered bool)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, delivered := place(path)
		c.Look("names of files", []byte(path))
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case delivered:
			c.note("files in "+name+", but for the token delivered", text, !c.deliverable(text))
		default:
			c.Look("files in "+name, text)
			if plain := inflated(text); len(plain) > 0 {
				c.Look("objects of git in "+name+", unpacked", plain)
			}
		}
		return nil
	})
}

// inflated returns what a loose object of git holds, or as much of it as was
// written; nil for other files.
func inflated(text []byte) []byte {
	r, err := zlib.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	plain, _ := io.ReadAll(io.LimitReader(r, 16<<20)) // the rest was never written
	return plain
}

// Found is what a canary has seen.
type Found struct {
	Leaks    int      // texts with a token that may not hold it
	Places   []string // where they were, with counts
	Texts    int      // texts that were searched
	Bytes    int64
	Searched []string // where they were, with counts
}

// Found returns what was seen until now.
func (c *Canary) Found() Found {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := Found{Bytes: c.bytes}
	f.Leaks, f.Places = counted(c.places)
	f.Texts, f.Searched = counted(c.looked)
	return f
}

func counted(in map[string]int) (total int, each []string) {
	for _, p := range slices.Sorted(maps.Keys(in)) {
		total += in[p]
		each = append(each, fmt.Sprintf("%s (%d)", p, in[p]))
	}
	return total, each
}
