//go:build linux && (amd64 || arm64)

package rig

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
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
// occurs nowhere else, and finds them wherever they should not be. Whatever
// holds a token holds the word; JSON and URL escapes leave it as it is.
//
// It is safe for concurrent use.
type Canary struct {
	word  string
	forms [][]byte

	mu     sync.Mutex
	places map[string]int
	bytes  int64
	looked int
}

// NewCanary returns a canary with a word of its own.
func NewCanary() *Canary {
	c := &Canary{word: "canary" + rand.Text(), places: map[string]int{}}
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
	if k == simulator.KindRefresh {
		return c.word + "/refresh/" + rand.Text()
	}
	return c.word + "/access/" + rand.Text()
}

// Holds reports whether a text holds a token or a part that begins one.
func (c *Canary) Holds(text []byte) bool {
	return slices.ContainsFunc(c.forms, func(f []byte) bool { return bytes.Contains(text, f) })
}

// Look searches one text; the place is a name for people.
func (c *Canary) Look(place string, text []byte) {
	found := c.Holds(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked++
	c.bytes += int64(len(text))
	if found {
		c.places[place]++
	}
}

// Tree searches every file below dir, names included, but for those that
// allowed names. Files that vanish meanwhile are no error.
func (c *Canary) Tree(place, dir string, allowed func(path string) bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		c.Look("a file's name in "+place, []byte(path))
		if !d.Type().IsRegular() || allowed != nil && allowed(path) {
			return nil
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			c.Look("a file in "+place, text)
		}
		return err
	})
}

// Leaks returns how many texts held a token that may not, the places, and how
// much was searched.
func (c *Canary) Leaks() (leaks int, places []string, looked int, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(c.places)) {
		leaks += c.places[p]
		places = append(places, fmt.Sprintf("%s (%d)", p, c.places[p]))
	}
	return leaks, places, c.looked, c.bytes
}
