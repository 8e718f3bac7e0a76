package grant

import (
	"fmt"
	"strings"
)

// MaxIDLength is the longest name of a grant, in bytes: a name becomes a file
// name, a lock-file name and a git ref, and all three must fit everywhere.
const MaxIDLength = 128

// ID is the local name of a grant, such as "acme/claude". It is chosen by the
// user, means nothing to the provider, and is not a secret.
type ID string

// ParseID checks a name that came from outside: segments of letters, digits,
// "-", "_" and "." joined by single slashes, no segment that starts with a dot
// or ends in ".lock" (git forbids it in refs), at most [MaxIDLength] bytes.
// The error says what is wrong and is fit for a user.
func ParseID(s string) (ID, error) {
	if s == "" {
		return "", fmt.Errorf("grant name is empty")
	}
	if len(s) > MaxIDLength {
		return "", fmt.Errorf("grant name is %d bytes long, at most %d are allowed", len(s), MaxIDLength)
	}
	for seg := range strings.SplitSeq(s, "/") {
		switch {
		case seg == "":
			return "", fmt.Errorf("grant name %q has an empty segment", s)
		case seg[0] == '.':
			return "", fmt.Errorf("grant name %q has a segment that starts with a dot", s)
		case strings.HasSuffix(seg, ".lock"):
			return "", fmt.Errorf("grant name %q has a segment that ends in .lock", s)
		}
		for _, r := range seg {
			if !idRune(r) {
				return "", fmt.Errorf("grant name %q may hold letters, digits, '-', '_', '.' and '/', not %q", s, r)
			}
		}
	}
	return ID(s), nil
}

func idRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '-' || r == '_' || r == '.'
}
