package oauth_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// Frames and error codes of HTTP/2 (RFC 9113 §6 and §7).
const (
	frameHeaders   = 1
	frameRST       = 3
	frameSettings  = 4
	frameGoAway    = 7
	protocolError  = 1
	refusedStream  = 7
	clientPreface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	lastStreamNone = 0
)

func writeFrame(c net.Conn, kind byte, stream uint32, payload ...uint32) {
	b := make([]byte, 9, 32)
	for _, p := range payload {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	b[2], b[3] = byte(len(b)-9), kind
	binary.BigEndian.PutUint32(b[5:], stream)
	c.Write(b)
}

// h2Server speaks enough HTTP/2 to be sent a request, which it answers in a way
// that makes a client think that the request was not processed. It also speaks
// HTTP/1.1 where the client asks for it, and counts requests of both.
type h2Server struct {
	*httptest.Server
	h1, h2 atomic.Int64
}

func newH2Server(t *testing.T, protocols []string, answer func(c net.Conn, stream uint32)) *h2Server {
	t.Helper()
	s := &h2Server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.h1.Add(1)
		tokenHandler().ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{NextProtos: protocols, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(protocols, "http/1.1") || slices.Contains(hello.SupportedProtos, "h2") {
			return nil, nil
		}
		// Go's server forgives a client without h2; others do not (RFC 7301 §3.2).
		strict := s.TLS.Clone()
		strict.NextProtos = []string{"none-of-yours"}
		return strict, nil
	}}
	s.Config.ErrorLog = quiet()
	s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(_ *http.Server, c *tls.Conn, _ http.Handler) { s.serve(c, answer) },
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *h2Server) serve(c net.Conn, answer func(net.Conn, uint32)) {
	defer c.Close()
	preface := make([]byte, len(clientPreface))
	if _, err := io.ReadFull(c, preface); err != nil || string(preface) != clientPreface {
		return
	}
	writeFrame(c, frameSettings, 0)
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, c, size); err != nil {
			return
		}
		if head[3] == frameHeaders {
			s.h2.Add(1)
			answer(c, binary.BigEndian.Uint32(head[5:]))
		}
	}
}

// Go's own client resends in each of these cases; ours presents once at most.
// The first half is what gives the test its teeth.
func TestNothingBeneathResends(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(c net.Conn, stream uint32){
		"GOAWAY":         func(c net.Conn, _ uint32) { writeFrame(c, frameGoAway, 0, lastStreamNone, 0) },
		"REFUSED_STREAM": func(c net.Conn, s uint32) { writeFrame(c, frameRST, s, refusedStream) },
		"PROTOCOL_ERROR": func(c net.Conn, s uint32) { writeFrame(c, frameRST, s, protocolError) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, protocols := range map[string][]string{"h2 only": {"h2"}, "both": {"h2", "http/1.1"}} {
				t.Run(kind, func(t *testing.T) {
					t.Parallel()
					resent := make(chan struct{})
					var seen atomic.Int64
					theirs := newH2Server(t, protocols, func(c net.Conn, s uint32) {
						if seen.Add(1) == 2 {
							close(resent)
						}
						answer(c, s)
					})
					client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust(theirs.Server), ForceAttemptHTTP2: true}}
					req, err := http.NewRequestWithContext(t.Context(), "POST", theirs.URL, bytes.NewReader([]byte("x")))
					if err != nil {
						t.Fatal(err)
					}
					go func() {
						if resp, err := client.Do(req); err == nil {
							resp.Body.Close()
						}
					}()
					<-resent

					ours := newH2Server(t, protocols, answer)
					set, f := refresh(t, newClient(t, oauth.Config{TokenURL: ours.URL, TLS: trust(ours.Server)}))
					if kind == "h2 only" {
						wantFate(t, f, grant.Unspent, "server does not offer HTTP/1.1")
					} else {
						wantTokens(t, set, f)
					}
					if n := ours.h1.Load() + ours.h2.Load(); n > 1 || ours.h2.Load() > 0 {
						t.Errorf("presented %d times by HTTP/1.1, %d times by HTTP/2", ours.h1.Load(), ours.h2.Load())
					}
				})
			}
		})
	}
}

// A server that ignores ALPN and answers HTTP/1.1 with HTTP/2 frames.
func TestHTTP2AnswerToHTTP1(t *testing.T) {
	t.Parallel()
	for _, kind := range []byte{frameGoAway, frameSettings} {
		s := newRawServer(t, nil, func(s *rawServer, c net.Conn) {
			s.request(c)
			writeFrame(c, kind, 0, 0, 0)
			hangUp(c)
		})
		_, f := refresh(t, newClient(t, oauth.Config{TokenURL: s.url()}))
		wantFate(t, f, grant.InDoubt, "")
		if s.presentations.Load() != 1 || s.connections.Load() != 1 {
			t.Errorf("%d presentations on %d connections", s.presentations.Load(), s.connections.Load())
		}
	}
}
