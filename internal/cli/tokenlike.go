package cli

import (
	"strconv"
	"strings"
)

// tokenPrefixes begin secrets of well-known issuers and our own sealing key.
func tokenPrefixes() []string {
	return []string{
		"sk-ant-", "sk-proj-", "AGE-SECRET-KEY-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gloas-",
		"xoxe-", "xoxe.", "xoxb-", "xoxp-", "ya29.", "1//0", "GOCSPX-", "eyJ", "rt_", "nrt_", "ntn_",
	}
}

// refuseTokens refuses arguments that are secrets by their looks, before any
// parser can repeat one in a message. A secret may also stand behind any of the
// marks that separate the parts of a URL; there, a prefix alone is not enough,
// because names of files and variables begin like some of them.
func refuseTokens(args []string) error {
	for i, arg := range args {
		value := arg
		if strings.HasPrefix(arg, "-") {
			_, value, _ = strings.Cut(arg, "=")
		}
		name, named, _ := strings.Cut(value, "=")
		refused := looksLikeToken(name) || looksLikeToken(named)
		for part := range strings.FieldsFuncSeq(arg, func(r rune) bool { return strings.ContainsRune("=:#@?&,", r) }) {
			refused = refused || looksLikeToken(part) && mixOf(part).switches >= 3
		}
		if refused {
			return usagef("argument %d looks like a secret; it is refused and not repeated here", i+1).
				hint("secrets come by environment variable or file, e.g. --from-env VAR; one that was typed as an argument is worth replacing")
		}
	}
	return nil
}

func looksLikeToken(s string) bool { return hasTokenPrefix(s, 16) }

// hasTokenPrefix reports a known prefix with at least that many bytes behind it.
func hasTokenPrefix(s string, behind int) bool {
	for _, p := range tokenPrefixes() {
		if len(s) >= len(p)+behind && strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// opaque reports that a text, or a segment of it between slashes, is long and
// mixed as only a machine's words are. It errs on the side of names that people
// give: it is for places where a name is expected, not for client ids.
func opaque(s string) bool {
	for seg := range strings.SplitSeq(s, "/") {
		if m := mixOf(seg); m.length >= 32 && m.upper && m.lower && m.digits > 0 && m.switches >= m.length/8 {
			return true
		}
		for word := range strings.FieldsFuncSeq(seg, func(r rune) bool { return !alphanumeric(r) }) {
			m := mixOf(word)
			switch {
			case m.digits == 0 || !m.upper && !m.lower:
			case m.hexadecimal && m.length >= 32, m.length >= 24 && m.switches >= m.length/6:
				return true
			}
		}
	}
	return false
}

// mix is what a word is made of.
type mix struct {
	length       int
	upper, lower bool
	digits       int
	switches     int // from a letter to a digit or back
	hexadecimal  bool
}

func mixOf(word string) mix {
	m := mix{length: len(word), hexadecimal: true}
	var last rune
	for _, r := range word {
		m.upper = m.upper || r >= 'A' && r <= 'Z'
		m.lower = m.lower || r >= 'a' && r <= 'z'
		m.hexadecimal = m.hexadecimal && (digit(r) || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F')
		if digit(r) {
			m.digits++
		}
		if alphanumeric(r) {
			if last != 0 && digit(last) != digit(r) {
				m.switches++
			}
			last = r
		}
	}
	return m
}

func digit(r rune) bool { return r >= '0' && r <= '9' }

func alphanumeric(r rune) bool {
	return digit(r) || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// longestEcho bounds, in bytes, what is repeated of a word that means nothing
// where it stands.
const longestEcho = 20

// echoable reports that a wrong word may be repeated: it is short, and no secret
// by its looks.
func echoable(s string) bool {
	m := mixOf(s)
	return len(s) <= longestEcho && !hasTokenPrefix(s, 4) && (m.length < 16 || m.switches < m.length/4)
}

// shown is a wrong value as a message may name it.
func shown(s string) string {
	if !echoable(s) {
		return "what was given (it is not repeated here)"
	}
	return strconv.Quote(s)
}

// shownPath is a path as a message may name it. People must be told which path
// is wrong, however long it is, unless it is a secret that took a path's place.
func shownPath(path string) string {
	if opaque(path) || looksLikeToken(path) {
		return "the path (it is not repeated here, because it looks like a secret)"
	}
	return path
}

// scrubbed takes out of a parser's message every argument that may not be
// repeated.
func scrubbed(text string, args []string) string {
	for _, arg := range args {
		_, value, _ := strings.Cut(arg, "=")
		for _, part := range []string{arg, value} {
			if part != "" && !echoable(part) {
				text = strings.ReplaceAll(text, strconv.Quote(part), "(not repeated here)")
				text = strings.ReplaceAll(text, part, "(not repeated here)")
			}
		}
	}
	return text
}
