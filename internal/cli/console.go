package cli

import (
	"fmt"
	"io"
	"sync"

	"evergrant/internal/ghaction"
	"evergrant/internal/workflow"
)

// console is standard error: whole lines from several goroutines, never mixed.
type console struct {
	mu       sync.Mutex
	w        io.Writer
	quiet    bool
	annotate bool // in a step of the GitHub Action
}

func newConsole(w io.Writer) *console { return &console{w: w} }

// redirect sends to w what is said from now on.
func (c *console) redirect(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = w
}

// Write passes text through as it is: errors, rescue blocks, mask commands.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(p)
}

// notef prints one line of progress or warning, which -q leaves out.
func (c *console) notef(format string, args ...any) {
	line := oneLine(inWords(fmt.Sprintf(format, args...)))
	if c.annotate {
		line = workflow.Inert(ghaction.Words(line))
	}
	if !c.quiet {
		fmt.Fprintf(c, "evergrant: %s\n", line)
	}
}

// warnf prints a warning.
func (c *console) warnf(format string, args ...any) {
	if c.annotate {
		c.annotatef(workflow.Warning, "evergrant", format, args...)
		return
	}
	c.notef("warning: "+format, args...)
}

// annotatef prints a line that GitHub shows beside the job's result.
func (c *console) annotatef(level workflow.Level, title, format string, args ...any) {
	line := workflow.Inert(ghaction.Words(oneLine(inWords(fmt.Sprintf(format, args...)))))
	// A log that nobody reads changes nothing.
	_ = workflow.Annotate(c, level, title, line)
}

// prefixed puts the program's name before each record of a log handler.
type prefixed struct{ c *console }

func (p prefixed) Write(b []byte) (int, error) {
	line := "evergrant: " + string(b)
	if p.c.annotate {
		line = workflow.Inert(ghaction.Words(line))
	}
	if _, err := p.c.Write([]byte(line)); err != nil {
		return 0, err
	}
	return len(b), nil
}
