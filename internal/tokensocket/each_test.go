package tokensocket_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/tokensocket"
)

// short is a listener of a process that has no files left for its first clients.
type short struct {
	net.Listener
	left atomic.Int32
}

func (s *short) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

func seven(context.Context, uint64) (grant.AccessToken, error) {
	return grant.AccessToken{Value: grant.NewSecret("canary-7"), Generation: 7, Expiry: end}, nil
}

func serve(t *testing.T, l net.Listener, hear func(error)) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := tokensocket.New(seven, func(error) string { return "other" }, hear, time.Now)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return func() error { cancel(); return <-done }
}

// TestFailedAccept: a client that cannot be let in ends nothing. It is told once,
// and so is that clients come in again.
func TestFailedAccept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := tokensocket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	limited := &short{Listener: l}
	limited.left.Store(3)
	heard := make(chan error, 8)
	stop := serve(t, limited, func(err error) { heard <- err })
	for range 2 {
		if got := say(t, path, "token\n"); got != "canary-7\n" {
			t.Errorf("%q", got)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	close(heard)
	if first := <-heard; !errors.Is(first, syscall.EMFILE) {
		t.Errorf("heard %v", first)
	}
	if then, ok := <-heard; then != nil || !ok {
		t.Errorf("heard %v, %v", then, ok)
	}
	if more, ok := <-heard; ok {
		t.Errorf("heard %v too", more)
	}
}

// TestClosedUnderneath: a socket that somebody else has closed is an error, and no
// silence.
func TestClosedUnderneath(t *testing.T) {
	t.Parallel()
	l, err := tokensocket.Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := tokensocket.New(seven, func(error) string { return "other" }, func(error) {}, time.Now)
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// TestSilentClients: they hold nobody's end, and more than are served at one time
// keep nobody else out for good.
func TestSilentClients(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := tokensocket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, l, func(err error) { t.Errorf("heard %v", err) })
	var silent []net.Conn
	for range 70 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	answered := make(chan string, 1)
	go func() { answered <- say(t, path, "token\n") }()
	for _, c := range silent[:20] {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-answered; got != "canary-7\n" {
		t.Errorf("%q", got)
	}
	begun := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	if n, err := silent[69].Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a silent client was left alone: %d, %v", n, err)
	}
}
