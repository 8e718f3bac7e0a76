package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// stage prints the demonstration and counts what holds.
type stage struct {
	w               io.Writer
	colour          bool
	acts            int
	checked, failed int
}

func (a *app) newStage() *stage {
	f, ok := a.stdout.(*os.File)
	colour := ok && term.IsTerminal(int(f.Fd())) && a.env.get("NO_COLOR") == "" && a.env.get("TERM") != "dumb"
	return &stage{w: a.stdout, colour: colour}
}

// Escape sequences of the few colours (ECMA-48 §8.3.117).
const (
	bold  = "1"
	green = "32"
	red   = "31;1"
	faint = "2"
)

func (s *stage) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *stage) say(lines ...string) {
	for _, l := range lines {
		fmt.Fprintln(s.w, strings.TrimRight(s.paint(faint, l), " "))
	}
}

// act begins a part of the story.
func (s *stage) act(title string) {
	s.acts++
	fmt.Fprintf(s.w, "\n%s\n", s.paint(bold, fmt.Sprintf("%d  %s", s.acts, title)))
}

// note tells what is done.
func (s *stage) note(format string, args ...any) {
	fmt.Fprintf(s.w, "       %s\n", fmt.Sprintf(format, args...))
}

// expect prints whether something holds.
func (s *stage) expect(holds bool, format string, args ...any) {
	s.checked++
	mark := s.paint(green, "  ok ")
	if !holds {
		s.failed++
		mark = s.paint(red, "FAILS")
	}
	fmt.Fprintf(s.w, "%s  %s\n", mark, fmt.Sprintf(format, args...))
}

func (s *stage) end() {
	if s.failed == 0 {
		fmt.Fprintf(s.w, "\n%s\n", s.paint(green, fmt.Sprintf("All %d expectations hold.", s.checked)))
		return
	}
	fmt.Fprintf(s.w, "\n%s\n", s.paint(red, fmt.Sprintf("%d of %d expectations do not hold.", s.failed, s.checked)))
}
