package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"

	"evergrant/internal/atomicfile"
)

// lastWords are what a process in the background has to say, which has no log: the
// post step reads it from the process, or from the disk where that was killed.
// It never holds a token: nothing is masked there.
type lastWords struct {
	Process int      // its id
	Notes   []string // the latest lines
	Omitted int      // lines before these
	Blocks  []string // sealed rescue blocks, each with its heading
	Writers []string // of the records in Blocks
	Reason  string   // why the process ended; "": it has not

	Generation uint64   // of the last token
	Delivered  int      // tokens so far
	Trouble    *Verdict // what is wrong still
}

// mostNotes bounds what is said in days.
const mostNotes = 40

// teller keeps what was said, and is the console of its process.
type teller struct {
	path string
	mu   sync.Mutex
	told lastWords
}

// Write takes one line, or a block of several.
func (t *teller) Write(p []byte) (int, error) {
	t.change(func(s *lastWords) {
		text := string(p)
		if bytes.Count(p, []byte("\n")) > 1 {
			s.Blocks = append(s.Blocks, text)
			return
		}
		s.Notes = append(s.Notes, strings.TrimSpace(strings.TrimPrefix(text, "evergrant: ")))
		if over := len(s.Notes) - mostNotes; over > 0 {
			s.Notes = append([]string(nil), s.Notes[over:]...)
			s.Omitted += over
		}
	})
	return len(p), nil
}

// change changes it, on the disk too, as far as that can be written: the
// process itself still knows it.
func (t *teller) change(how func(*lastWords)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	how(&t.told)
	if b, err := json.Marshal(t.told); err == nil {
		_ = atomicfile.Write(t.path, b, 0o600)
	}
}

func (t *teller) now() lastWords {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told
}
