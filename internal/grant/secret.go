package grant

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is a token, a client secret or a reply that may hold one. It prints
// as a placeholder under every verb, alone and inside any struct: it holds a
// pointer, because fmt bypasses the methods of an unexported field and would
// print a plain string. The zero value is "no secret".
//
// [Secret.Reveal] is the only way out, and greppable.
type Secret struct{ p *string }

// NewSecret wraps s. An empty s gives the zero Secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal returns the text. Callers are the wire encoders, the record and the
// sinks; nothing that logs, formats errors or reports may call it.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// Excerpt is a part of s of at most n bytes and of whole characters: its
// beginning, or, where about is found behind the first half of that, the part that
// begins a little before it.
func (s Secret) Excerpt(n int, about string) Secret {
	text := s.Reveal()
	if len(text) <= n {
		return s
	}
	if i := strings.Index(text, about); i > n/2 {
		text = text[i-n/8:]
	}
	return NewSecret(strings.ToValidUTF8(text[:min(len(text), n)], ""))
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.p == nil }

// Equal compares in constant time.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// Digest names a secret without revealing it: the first 16 bytes of a
// domain-separated SHA-256, as 32 hexadecimal digits; "" for the zero Secret.
// Tokens carry far more entropy than that, so a digest may be stored and shown.
func (s Secret) Digest() string {
	if s.p == nil {
		return ""
	}
	sum := sha256.Sum256([]byte("evergrant/digest/1\x00" + *s.p))
	return hex.EncodeToString(sum[:16])
}

// Format implements [fmt.Formatter] for all verbs.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.placeholder()) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.placeholder()) }

// MarshalText refuses: a secret reaches a durable form through package record
// only, never by an encoder that happens to walk over it.
func (s Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("a secret is never marshalled")
}

func (s Secret) placeholder() string {
	if s.p == nil {
		return "[no secret]"
	}
	return "[secret]"
}
