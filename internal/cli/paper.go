package cli

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// paper is how a report is laid out where it is read: on a terminal, with the
// colours and letters that it has, or plain.
type paper struct {
	width    int // in columns
	terminal bool
	colour   bool
	unicode  bool
}

// Widths of a report, in columns: the one that is taken where nobody tells, and
// the one beyond which lines are hard to read.
const (
	usualWidth  = 80
	widestLines = 120
	least       = 40
	endless     = 1 << 20 // where no person looks, nothing is broken into lines
)

// paper looks at where w writes. A terminal that calls itself dumb is none: it may
// be an editor's buffer, or a log. NO_COLOR takes the colours and leaves the layout
// (https://no-color.org).
func (a *app) paper(w io.Writer) paper {
	p := paper{width: endless}
	f, ok := w.(*os.File)
	if !ok || a.env.get("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.terminal, p.colour, p.unicode, p.width = true, a.env.get("NO_COLOR") == "", a.env.unicode(), usualWidth
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		p.width = max(least, min(columns, widestLines))
	}
	return p
}

// unicode reports whether the locale has letters beyond ASCII, by the first
// variable that is set, as setlocale(3) reads them.
func (e environment) unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(e.get(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

const yellow = "33"

func (p paper) paint(code, text string) string {
	if !p.colour || text == "" || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// pick returns the first text where there is Unicode, else the second.
func (p paper) pick(unicode, ascii string) string {
	if p.unicode {
		return unicode
	}
	return ascii
}

// bar draws a part of 1 in n columns. What is not nothing is at least one mark, and
// what is not all is never full.
func (p paper) bar(part float64, n int, code string) string {
	full := int(part*float64(n) + 0.5)
	switch {
	case part <= 0:
		full = 0
	case full < 1:
		full = 1
	case full >= n && part < 1:
		full = n - 1
	}
	full = min(full, n)
	return p.paint(code, strings.Repeat(p.pick("█", "#"), full)) + p.paint(faint, strings.Repeat(p.pick("░", "."), n-full))
}

// fit brings a text to a width in columns: cut with a mark, or filled up. Every
// rune counts as one column, which holds for what this program prints.
func (p paper) fit(text string, n int) string {
	have := utf8.RuneCountInString(text)
	if have <= n {
		return text + strings.Repeat(" ", n-have)
	}
	mark := p.pick("…", "~")
	return string([]rune(text)[:max(n-1, 0)]) + mark
}

// wrap breaks a text into lines of at most n columns, between words where that can
// be. A word that is longer has a line of its own, whole: it may be a path.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > n:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// entry is a text in lines as wide as the paper, the first behind a head, the others
// below it. Control characters, which a store or a path can hold, are left out.
func (p paper) entry(head, headCode, text, code string) string {
	margin := utf8.RuneCountInString(head)
	var b strings.Builder
	for i, line := range wrap(oneLine(text), max(p.width-margin, least/2)) {
		if i > 0 {
			head = strings.Repeat(" ", margin)
		}
		b.WriteString(p.paint(headCode, head) + p.paint(code, line) + "\n")
	}
	return b.String()
}
