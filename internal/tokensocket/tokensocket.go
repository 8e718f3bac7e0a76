// Package tokensocket serves the living access token of one grant on a Unix
// socket, to the programs of the user who made it.
//
// A connection speaks one of two protocols, told apart by its first line:
//
//	token [after N]              one line back: the token, or "error CLASS: text"
//	GET /token[?after=N] HTTP/…  the token as text, with its generation and end in headers;
//	                             /token.json has the same as one JSON object
//
// after N says that the API refused the token of generation N, so that only a
// newer one will do.
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
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// Get returns a living access token of a later generation than after.
type Get func(ctx context.Context, after uint64) (grant.AccessToken, error)

// Server serves until its context ends.
type Server struct {
	get   Get
	class func(error) string
	hear  func(error)
	now   func() time.Time
}

// New returns a server that asks get for each request; class names the class of
// an error in one word. hear is told once when no client can be let in, and with nil
// when one can again: the server goes on by itself.
func New(get Get, class func(error) string, hear func(error), now func() time.Time) *Server {
	return &Server{get, class, hear, now}
}

// idle bounds how long a client may take to say what it wants.
const idle = 10 * time.Second

// longestLine bounds a request line, in bytes.
const longestLine = 4096

// Listen makes the socket at path, for this user only. A socket that nobody
// serves any more is replaced; anything else that is there is an error.
func Listen(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there already and is no socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another process serves the socket %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("a socket that nobody serves cannot be removed: %w", err)
		}
	}
	l, err := listenPrivately(path)
	if err != nil {
		return nil, fmt.Errorf("the socket %s cannot be made: %w", path, err)
	}
	return &named{l, path}, nil
}

// longest is what the address of a Unix socket holds: 103 bytes and a zero on
// macOS and BSD, four more on Linux (unix(4), unix(7)).
const longest = 103

// LongestFolder is how many bytes the path of a folder may have in which Listen
// makes a socket with a short name.
const LongestFolder = longest - len("/.evergrant-4294967295/s")

// listenPrivately makes the socket in a folder that only this user can enter,
// and moves it once its mode is right: at no moment could anybody else connect.
// The process's file mode mask would do the same to every file that another
// goroutine makes meanwhile.
func listenPrivately(path string) (*net.UnixListener, error) {
	if n := max(len(path), len(filepath.Dir(path))+len("/.evergrant-4294967295/s")); n > longest {
		return nil, fmt.Errorf("its path is %d bytes too long for a Unix socket: choose a folder with a shorter one", n-longest)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".evergrant-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	first := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(first, 0o600); err == nil {
		err = os.Rename(first, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// named is a listener whose socket goes by another name than the one it was
// made with; closing it removes that.
type named struct {
	*net.UnixListener
	path string
}

func (n *named) Close() error { return errors.Join(os.Remove(n.path), n.UnixListener.Close()) }

// Serve answers on l until ctx ends, and returns when every answer has been given.
// A client that says nothing does not hold the end. Its error says that somebody
// else closed l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer func() { // a connection may have come at the very end
		stop()
		_ = l.Close()
	}()
	return Each(ctx, l, s.hear, func(c net.Conn) { s.answer(ctx, c) })
}

// answer serves one connection and closes it.
func (s *Server) answer(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer Hurry(ctx, c, idle)()
	in := bufio.NewReaderSize(c, longestLine)
	line, err := in.ReadSlice('\n')
	if err != nil && !(errors.Is(err, io.EOF) && len(line) > 0) {
		return // a client that says nothing, or more than a line may hold
	}
	words := strings.Fields(string(line))
	if len(words) == 3 && strings.HasPrefix(words[2], "HTTP/") {
		s.http(ctx, c, words, in)
		return
	}
	after, err := parseLine(words)
	if err != nil {
		fmt.Fprintf(c, "error usage: %v\n", err)
		return
	}
	t, err := s.get(ctx, after)
	if err != nil {
		fmt.Fprintf(c, "error %s: %s\n", s.class(err), oneLine(err))
		return
	}
	fmt.Fprintf(c, "%s\n", t.Value.Reveal())
}

func parseLine(words []string) (after uint64, err error) {
	switch {
	case len(words) == 1 && words[0] == "token":
		return 0, nil
	case len(words) == 3 && words[0] == "token" && words[1] == "after":
		if after, err = strconv.ParseUint(words[2], 10, 64); err == nil {
			return after, nil
		}
	}
	return 0, errors.New("say token, or token after N")
}

// http answers one request and closes: a client that wants more dials again.
func (s *Server) http(ctx context.Context, c net.Conn, request []string, in *bufio.Reader) {
	for { // the headers say nothing that matters here
		line, err := in.ReadSlice('\n')
		if err != nil || len(strings.TrimSpace(string(line))) == 0 {
			break
		}
	}
	path, query, _ := strings.Cut(request[1], "?")
	after, err := uint64(0), error(nil)
	if n, ok := strings.CutPrefix(query, "after="); ok {
		after, err = strconv.ParseUint(n, 10, 64)
	} else if query != "" {
		err = errors.New("unknown")
	}
	switch {
	case request[0] != http.MethodGet:
		respond(c, http.StatusMethodNotAllowed, "text/plain", "", "error usage: only GET\n")
		return
	case path != "/token" && path != "/token.json":
		respond(c, http.StatusNotFound, "text/plain", "", "error usage: there is /token and /token.json\n")
		return
	case err != nil:
		respond(c, http.StatusBadRequest, "text/plain", "", "error usage: the query may be after=N\n")
		return
	}
	t, err := s.get(ctx, after)
	if err != nil {
		respond(c, http.StatusServiceUnavailable, "text/plain", "", fmt.Sprintf("error %s: %s\n", s.class(err), oneLine(err)))
		return
	}
	headers := fmt.Sprintf("Evergrant-Generation: %d\r\nEvergrant-Expires: %s\r\n", t.Generation, t.Expiry.UTC().Format(time.RFC3339))
	if path == "/token" {
		respond(c, http.StatusOK, "text/plain", headers, t.Value.Reveal())
		return
	}
	body, err := json.Marshal(answer{t.Value.Reveal(), t.Type, t.Expiry.UTC().Format(time.RFC3339), int64(t.Expiry.Sub(s.now()) / time.Second), t.Generation})
	if err != nil {
		return
	}
	respond(c, http.StatusOK, "application/json", headers, string(body)+"\n")
}

// answer is /token.json, in the words of RFC 6749 §5.1.
type answer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresAt   string `json:"expires_at"` // RFC 3339
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Generation  uint64 `json:"generation"`
}

func respond(c net.Conn, status int, kind, headers, body string) {
	_ = c.SetWriteDeadline(time.Now().Add(idle))
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\nConnection: close\r\n%s\r\n%s",
		status, http.StatusText(status), kind, len(body), headers, body)
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
