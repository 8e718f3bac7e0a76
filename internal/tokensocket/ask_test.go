package tokensocket_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evergrant/internal/tokensocket"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	path := served(t)
	got, err := tokensocket.Ask(t.Context(), path, 8)
	if err != nil || got.Value.Reveal() != "canary-9" || got.Generation != 9 || got.Type != "Bearer" || !got.Expiry.Equal(end) {
		t.Errorf("%+v, %v", got, err)
	}
	said := (*tokensocket.AnswerError)(nil)
	if _, err := tokensocket.Ask(t.Context(), path, 101); !errors.As(err, &said) || said.Class != "unreachable" || said.Text != "the provider is away" {
		t.Errorf("a server that has no token: %v", err)
	}
	if _, err := tokensocket.Ask(t.Context(), filepath.Join(t.TempDir(), "absent"), 0); err == nil || !strings.Contains(err.Error(), "nobody serves the socket") {
		t.Errorf("a socket of nobody: %v", err)
	}
}

// TestAskAnother: what is no server of ours gives no token, and its answer is in
// no error.
func TestAskAnother(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"no HTTP":        "canary\r\n\r\n",
		"nothing":        "",
		"no JSON":        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary",
		"no token":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"two lines":      "HTTP/1.1 200 OK\r\nContent-Length: 106\r\n\r\n{\"access_token\":\"canary\\nhost=evil\",\"expires_at\":\"2030-01-01T00:00:00Z\",\"token_type\":\"x\",\"generation\":5 }",
		"no end":         "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{\"access_token\":\"canary\"}",
		"a page":         "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\na: canary\n",
		"an empty error": "HTTP/1.1 503 Away\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, reply)
				_ = c.Close()
			}()
			got, err := tokensocket.Ask(t.Context(), path, 0)
			if err == nil || !got.Value.IsZero() || strings.Contains(err.Error(), "canary") || errors.As(err, new(*tokensocket.AnswerError)) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestAskEnds: a server that says nothing holds nobody longer than the caller wants.
func TestAskEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := tokensocket.Ask(ctx, path, 0); err == nil || ctx.Err() == nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}
