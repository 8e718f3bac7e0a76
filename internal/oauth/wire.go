package oauth

import (
	"bufio"
	"errors"
	"io"
	"net/http"
)

// maxInterim is how many 1xx answers are skipped (RFC 9110 §15.2).
const maxInterim = 8

// wire reads answers off a connection, up to a number of bytes.
type wire struct {
	*bufio.Reader
	limit io.LimitedReader
	conn  io.Reader
	err   error // what ended the connection; nil while it lives
}

func newWire(conn io.Reader, limit int64) *wire {
	w := &wire{conn: conn}
	w.limit = io.LimitedReader{R: readerFunc(w.read), N: limit + 1}
	w.Reader = bufio.NewReader(&w.limit)
	return w
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func (w *wire) read(b []byte) (int, error) {
	n, err := w.conn.Read(b)
	if err != nil {
		w.err = err
	}
	return n, err
}

// full reports that the peer sent more than the limit.
func (w *wire) full() bool { return w.limit.N <= 0 }

// head reads a status line and headers and skips interim answers. Errors of
// the parser are replaced: their texts quote what the peer sent.
func (w *wire) head(method string) (*http.Response, error) {
	for range maxInterim {
		resp, err := http.ReadResponse(w.Reader, &http.Request{Method: method})
		switch {
		case err == nil && (resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols):
			return resp, nil
		case err == nil:
			continue
		case w.err != nil && !errors.Is(w.err, io.EOF):
			return nil, w.err
		case w.err != nil:
			return nil, io.ErrUnexpectedEOF // a line that is cut looks malformed to the parser
		}
		return nil, says("the answer is not HTTP/1.1", nil)
	}
	return nil, says("the answer never came, only interim ones", nil)
}
