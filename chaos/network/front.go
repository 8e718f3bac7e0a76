package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// front is the provider's own end of the line: it hands connections to the
// simulator, or speaks nonsense on them.
type front struct {
	l      net.Listener
	tls    *tls.Config // nil: plain HTTP
	served chan net.Conn
	web    *http.Server

	mu    sync.Mutex
	speak func(*front, net.Conn) // instead of serving; nil: serve
	cert  tls.Certificate
	alpn  []string
	open  map[net.Conn]bool
	done  bool
	hold  bool // connections that are served stay open when the server ends them
	saw   counts
	wg    sync.WaitGroup
}

// newFront listens on a free port. good is the certificate of HTTPS; nil: plain.
func newFront(h http.Handler, good *tls.Certificate) (*front, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{l: l, served: make(chan net.Conn), open: map[net.Conn]bool{}}
	if good != nil {
		f.cert, f.alpn = *good, []string{"http/1.1"}
		f.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: f.configure}
	}
	f.web = &http.Server{
		Handler: h, ReadHeaderTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // clients that leave are the point here
	}
	f.wg.Go(func() { _ = f.web.Serve(handed{f}) }) // ends by close
	f.wg.Go(f.accept)
	return f, nil
}

func (f *front) configure(*tls.ClientHelloInfo) (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saw.hellos++
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{f.cert}, NextProtos: f.alpn}, nil
}

// present changes the certificate and the protocols offered.
func (f *front) present(c tls.Certificate, alpn ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cert, f.alpn = c, alpn
}

// say makes the front speak instead of serving; nil ends it.
func (f *front) say(speak func(*front, net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.speak = speak
}

// keepOpen begins to hold the connections that are served from now on, or ends
// it and closes them.
func (f *front) keepOpen(hold bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold && !hold {
		for c := range f.open {
			_ = c.Close()
			delete(f.open, c)
		}
	}
	f.hold = hold
}

// held is a connection that its server cannot end.
type held struct{ net.Conn }

// Close does nothing; the front closes the connection below.
func (held) Close() error { return nil }

// seen returns what came so far.
func (f *front) seen() counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.saw
}

func (f *front) accept() {
	defer close(f.served)
	for {
		c, err := f.l.Accept()
		if err != nil {
			return // closed
		}
		f.mu.Lock()
		speak := f.speak
		f.open[c] = true
		f.saw.connections++
		if speak != nil {
			f.saw.speeches++
		}
		done, hold := f.done, f.hold
		f.mu.Unlock()
		switch {
		case done:
			_ = c.Close()
		case speak != nil:
			f.wg.Go(func() { speak(f, c); f.forget(c) })
		default:
			served := c
			if hold {
				served = held{c}
			}
			if f.tls != nil {
				served = tls.Server(served, f.tls)
			}
			f.served <- served
		}
	}
}

func (f *front) forget(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

// close ends the listener and every connection.
func (f *front) close() {
	f.mu.Lock()
	f.done = true
	for c := range f.open {
		_ = c.Close()
	}
	f.mu.Unlock()
	_ = f.l.Close()
	_ = f.web.Close()
	f.wg.Wait()
}

// handed is the listener of the simulator's server.
type handed struct{ f *front }

func (h handed) Accept() (net.Conn, error) {
	c, ok := <-h.f.served
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (h handed) Close() error   { return nil } // the front closes the true one
func (h handed) Addr() net.Addr { return h.f.l.Addr() }

// utter writes bytes, at once or after the first bytes of a request, and ends
// the connection when the other side does or after a while.
func utter(text string, afterRequest bool) func(*front, net.Conn) {
	return func(_ *front, c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if afterRequest {
			if _, err := c.Read(make([]byte, 16<<10)); err != nil {
				return
			}
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
}

// utterSecurely finishes the TLS handshake and writes bytes that nobody asked
// for.
func utterSecurely(text string) func(*front, net.Conn) {
	return func(f *front, c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		secure := tls.Server(c, f.tls)
		if _, err := io.WriteString(secure, text); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, secure)
	}
}

// newTunnel is a CONNECT proxy (RFC 9110 §9.3.6) that leads everywhere to one
// address: through it a name that no resolver knows can be reached.
func newTunnel(to string) (*front, error) {
	f, err := newFront(http.NotFoundHandler(), nil)
	if err != nil {
		return nil, err
	}
	f.say(func(_ *front, down net.Conn) {
		ask, err := http.ReadRequest(bufio.NewReader(down))
		if err != nil || ask.Method != http.MethodConnect {
			return
		}
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer up.Close()
		if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(down, up)
			_ = down.(*net.TCPConn).CloseWrite()
		})
		if _, err := io.Copy(up, down); err != nil && !errors.Is(err, net.ErrClosed) {
			_ = down.Close()
		}
		_ = up.(*net.TCPConn).CloseWrite()
		back.Wait()
	})
	return f, nil
}
