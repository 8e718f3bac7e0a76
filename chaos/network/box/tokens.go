package box

import (
	"bytes"
	"encoding/base64"
	"sync"
)

// Tokens are all the tokens that a provider ever issued, for finding them
// where none may be.
type Tokens struct {
	mu   sync.Mutex
	seen [][]byte // each token in each form that is searched for
}

// Add notes a token.
func (t *Tokens) Add(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, []byte(token))
	// A token inside longer base64 text starts at any of three offsets; what
	// depends on its neighbours is cut off.
	for shift := range 3 {
		padded := append(make([]byte, shift), token...)
		padded = padded[:len(padded)/3*3]
		text := base64.RawStdEncoding.EncodeToString(padded)
		t.seen = append(t.seen, []byte(text[(shift*8+5)/6:]))
	}
}

// In counts the tokens that a text holds, plain or as base64.
func (t *Tokens) In(text []byte) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.seen {
		if bytes.Contains(text, s) {
			n++
		}
	}
	return n
}
