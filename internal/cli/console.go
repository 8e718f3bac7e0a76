package cli

import (
	"fmt"
	"io"
	"sync"
)

// console is standard error: whole lines from several goroutines, never mixed.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	quiet bool
}

func newConsole(w io.Writer) *console { return &console{w: w} }

// Write passes text through as it is: errors, rescue blocks, mask commands.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(p)
}

// notef prints one line of progress or warning, which -q leaves out.
func (c *console) notef(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c, "evergrant: %s\n", oneLine(inWords(fmt.Sprintf(format, args...))))
	}
}

// warnf prints a warning.
func (c *console) warnf(format string, args ...any) { c.notef("warning: "+format, args...) }

// prefixed puts the program's name before each record of a log handler.
type prefixed struct{ c *console }

func (p prefixed) Write(b []byte) (int, error) {
	line := append([]byte("evergrant: "), b...)
	if _, err := p.c.Write(line); err != nil {
		return 0, err
	}
	return len(b), nil
}
