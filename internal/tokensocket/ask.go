package tokensocket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// AnswerError is what a server says instead of a token.
type AnswerError struct{ Class, Text string }

func (e *AnswerError) Error() string { return e.Text }

// errForeign does not repeat what was answered: it may be a token.
var errForeign = errors.New("the socket's answer is no token: it is none of evergrant's")

// longestAnswer bounds an answer, in bytes.
const longestAnswer = 1 << 20

// Ask asks the server of the socket at path for a living access token of a later
// generation than after. An error that the server tells is an [*AnswerError].
func Ask(ctx context.Context, path string, after uint64) (grant.AccessToken, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return grant.AccessToken{}, fmt.Errorf("nobody serves the socket: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	if _, err := fmt.Fprintf(c, "GET /token.json?after=%d HTTP/1.1\r\nHost: localhost\r\n\r\n", after); err != nil {
		return grant.AccessToken{}, fmt.Errorf("asking the socket: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, longestAnswer)), nil)
	if err != nil { // its text has what was read, which may be a token
		return grant.AccessToken{}, errors.Join(errForeign, ctx.Err())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return grant.AccessToken{}, fmt.Errorf("the socket's answer cannot be read: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		class, text, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(body)), "error "), ": ")
		if !ok || resp.Header.Get("Content-Type") != "text/plain" {
			return grant.AccessToken{}, errForeign
		}
		return grant.AccessToken{}, &AnswerError{class, text}
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return grant.AccessToken{}, errForeign
	}
	ends, err := time.Parse(time.RFC3339, a.ExpiresAt)
	t := grant.AccessToken{Value: grant.NewSecret(a.AccessToken), Type: a.TokenType, Expiry: ends, Generation: a.Generation}
	if err != nil || t.Deliverable() != nil {
		return grant.AccessToken{}, errForeign
	}
	return t, nil
}
