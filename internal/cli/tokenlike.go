package cli

import "strings"

// tokenPrefixes begin secrets of well-known issuers and our own sealing key.
func tokenPrefixes() []string {
	return []string{
		"sk-ant-", "sk-proj-", "AGE-SECRET-KEY-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
		"xoxe-", "xoxe.", "xoxb-", "xoxp-", "ya29.", "1//0", "eyJ", "rt_", "nrt_", "ntn_",
	}
}

// refuseTokens refuses arguments that are secrets by their looks, before any
// parser can repeat one in a message.
func refuseTokens(args []string) error {
	for i, arg := range args {
		value := arg
		if strings.HasPrefix(arg, "-") {
			_, value, _ = strings.Cut(arg, "=")
		}
		if k, v, ok := strings.Cut(value, "="); ok && looksLikeToken(v) || looksLikeToken(k) {
			return usagef("argument %d looks like a secret; it is refused and not repeated here", i+1).
				hint("secrets come by environment variable or file, e.g. --from-env VAR; one that was typed as an argument is worth replacing")
		}
	}
	return nil
}

func looksLikeToken(s string) bool {
	for _, p := range tokenPrefixes() {
		if len(s) >= len(p)+16 && strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// opaque reports that a word is long and mixed as only tokens are: no name
// that a person chose has 32 characters in one segment with capitals, small
// letters and digits.
func opaque(s string) bool {
	for seg := range strings.SplitSeq(s, "/") {
		var upper, lower, digit bool
		for _, r := range seg {
			upper = upper || r >= 'A' && r <= 'Z'
			lower = lower || r >= 'a' && r <= 'z'
			digit = digit || r >= '0' && r <= '9'
		}
		if len(seg) >= 32 && upper && lower && digit {
			return true
		}
	}
	return false
}
