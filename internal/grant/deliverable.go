package grant

import "fmt"

// Deliverable reports why a sink must not write t: it is empty, or holds a
// byte outside the printable ASCII of RFC 6749 appendix A.12. A line break in
// a token would let whoever issued it write further lines into an environment
// file, a log or a shell. Every sink asks before it writes anything.
func (t AccessToken) Deliverable() error {
	if t.Value.IsZero() {
		return fmt.Errorf("there is no access token to deliver")
	}
	for i, b := range []byte(t.Value.Reveal()) {
		if b < 0x20 || b > 0x7e {
			return fmt.Errorf("the access token holds a byte (0x%02x at position %d) that no token may have (RFC 6749 appendix A.12); it is not delivered", b, i)
		}
	}
	return nil
}
