package cli

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// progress is the log handler of a run without -v: it tells a person in plain
// lines what is waited for, each thing once.
type progress struct {
	c    *console
	said *sync.Map // what was told, by text before the cause
}

func newProgress(c *console) progress { return progress{c, &sync.Map{}} }

// Enabled implements [slog.Handler].
func (p progress) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs implements [slog.Handler]; the engine uses none.
func (p progress) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup implements [slog.Handler]; the engine uses none.
func (p progress) WithGroup(string) slog.Handler { return p }

// Handle implements [slog.Handler].
func (p progress) Handle(_ context.Context, r slog.Record) error {
	var who, what, why strings.Builder
	what.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		switch value := a.Value.String(); a.Key {
		case "grant":
			who.WriteString(value + ": ")
		case "cause":
			why.WriteString(": " + value)
		case "holder", "pause":
			// Only of use beside the reasons, with -v.
		default:
			what.WriteString(" " + a.Key + " " + value)
		}
		return true
	})
	if _, again := p.said.LoadOrStore(who.String()+what.String(), true); !again {
		p.c.notef("%s", who.String()+what.String()+why.String())
	}
	return nil
}

// reasons is the log handler of a run with -v: everything, as text.
func reasons(c *console) slog.Handler {
	return slog.NewTextHandler(prefixed{c}, &slog.HandlerOptions{Level: slog.LevelDebug})
}
