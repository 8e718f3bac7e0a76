//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// relay stands between the binary and a token endpoint. It takes the whole
// answer before it passes any of it on, in one write, and knows when that was:
// what happens between the provider's act and the reply's arrival can be
// arranged, and told apart.
type relay struct {
	url string

	mu       sync.Mutex
	holding  func()          // called with the whole answer in hand
	passing  func(time.Time) // called once the answer was written
	passedAt []time.Time
	open     int
	idle     *sync.Cond // open is 0
}

// newRelay forwards to the host of a plain HTTP address until the test ends.
func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	u, err := url.Parse(to)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{url: "http://" + l.Addr().String()}
	r.idle = sync.NewCond(&r.mu)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			r.enter(1)
			go func() {
				defer r.enter(-1)
				r.carry(c, u.Host)
			}()
		}
	})
	t.Cleanup(func() { _ = l.Close(); accepting.Wait(); r.wait() })
	return r
}

func (r *relay) enter(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open += n; r.open == 0 {
		r.idle.Broadcast()
	}
}

// settle returns when what a killed process had sent has reached the provider
// or never will. Connections are accepted in order, so a connection of its own
// that says nothing comes after all of the process's.
func (r *relay) settle(t *testing.T) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	_, _ = io.Copy(io.Discard, c) // until the relay closes it
	must(t, c.Close())
	r.wait()
}

// wait waits until no connection is open.
func (r *relay) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.open > 0 {
		r.idle.Wait()
	}
}

// hold calls f for each answer before it is passed on; nil holds nothing.
func (r *relay) hold(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = f
}

// notify calls f after each answer was written, with the time just before;
// nil calls nothing.
func (r *relay) notify(f func(time.Time)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passing = f
}

// passed returns when the n-th answer (from 0) was about to be written to the
// process; false: it never was.
func (r *relay) passed(n int) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n >= len(r.passedAt) {
		return time.Time{}, false
	}
	return r.passedAt[n], true
}

func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.passedAt)
}

// carry serves one connection with at most one request.
func (r *relay) carry(down net.Conn, host string) {
	defer down.Close()
	var request, answer bytes.Buffer
	ask, err := http.ReadRequest(bufio.NewReader(io.TeeReader(down, &request)))
	if err != nil {
		return // killed before it asked
	}
	if _, err := io.Copy(io.Discard, ask.Body); err != nil {
		return
	}
	up, err := net.Dial("tcp", host)
	if err != nil {
		return
	}
	defer up.Close()
	if _, err := up.Write(request.Bytes()); err != nil {
		return
	}
	res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(up, &answer)), ask)
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return
	}
	r.mu.Lock()
	holding := r.holding
	r.mu.Unlock()
	if holding != nil {
		holding()
	}
	at := time.Now()
	r.mu.Lock()
	r.passedAt = append(r.passedAt, at)
	passing := r.passing
	r.mu.Unlock()
	_, _ = down.Write(answer.Bytes()) // the process may be gone
	if passing != nil {
		passing(at)
	}
}
