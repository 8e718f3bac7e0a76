package login

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"evergrant/internal/oauth"
)

// Loopback waits on this machine for the browser to come back (RFC 8252 §7.3).
type Loopback struct {
	// URI is the redirect URI with the port that is listened at.
	URI string

	path, host string
	listeners  []net.Listener
	server     *http.Server

	mu      sync.Mutex
	request Request
	strange func(error)
	arrived chan arrival
	taken   bool          // an answer was accepted
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed by Finish
	ending  Ending
	shown   chan struct{} // closed when the browser has got the last page
	once    sync.Once     // Close
	seen    sync.Once     // shown
}

type arrival struct {
	code oauth.Code
	err  error
}

// Ending is what the browser shows at the end, in words that hold no secret.
type Ending struct {
	OK         bool
	Title, Say string
}

// pagePath is where the browser is sent on to, so that its history keeps an
// address without a code.
const pagePath = "/evergrant/done"

// DefaultRedirect is the redirect URI where nobody named another, without a port.
const DefaultRedirect = "http://127.0.0.1/callback"

// Listen opens the port of a redirect URI on this machine; a URI without one gets a
// random one. A name such as localhost is listened at on IPv4 and, if there is
// one, on IPv6, since browsers may take either. Nothing but this machine can
// reach it.
func Listen(redirectURI string) (*Loopback, error) {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme != "http" || u.Fragment != "" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("the redirect URI must be http://127.0.0.1:PORT/PATH or http://localhost:PORT/PATH")
	}
	hosts := []string{u.Hostname()}
	if a, err := netip.ParseAddr(u.Hostname()); err != nil || !a.IsLoopback() {
		if !strings.EqualFold(u.Hostname(), "localhost") {
			return nil, errors.New("the redirect URI is http and not on this machine")
		}
		hosts = []string{"127.0.0.1", "::1"}
	}
	l := &Loopback{path: u.Path, arrived: make(chan arrival), closing: make(chan struct{}), ended: make(chan struct{}), shown: make(chan struct{})}
	if l.path == "" {
		l.path = "/"
	}
	port := u.Port()
	for i, host := range hosts {
		one, err := net.Listen("tcp", net.JoinHostPort(host, orZero(port)))
		if err != nil && i > 0 {
			continue // no IPv6, or somebody else's port there
		}
		if err != nil {
			return nil, portError(port, err)
		}
		l.listeners = append(l.listeners, one)
		_, port, _ = net.SplitHostPort(one.Addr().String())
	}
	n, err := strconv.Atoi(port)
	if err == nil {
		l.URI, err = LoopbackURI(redirectURI, n)
	}
	if err != nil {
		return nil, errors.Join(err, l.closeListeners())
	}
	l.host = net.JoinHostPort(u.Hostname(), port)
	return l, nil
}

func orZero(port string) string {
	if port == "" {
		return "0"
	}
	return port
}

func portError(port string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %s of this machine is in use by another program", port)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("port %s of this machine cannot be listened at: %w", orZero(port), err)
}

// Wait serves until an answer to r has come, or ctx ends. What is not such an
// answer gets a page that says so, and is told to strange; it ends nothing. The
// browser of the true answer waits for [Loopback.Finish].
func (l *Loopback) Wait(ctx context.Context, r Request, strange func(error)) (oauth.Code, error) {
	l.mu.Lock()
	l.request, l.strange = r, strange
	l.server = &http.Server{
		Handler: http.HandlerFunc(l.serve), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // port scanners are nobody's business
	}
	l.mu.Unlock()
	for _, one := range l.listeners {
		go func() { _ = l.server.Serve(one) }() // ends with Close
	}
	select {
	case a := <-l.arrived:
		return a.code, a.err
	case <-ctx.Done():
		return oauth.Code{}, ctx.Err()
	}
}

// Finish tells the browser how it ended, waits until it has got the page, for at
// most two seconds, and closes the port.
func (l *Loopback) Finish(e Ending) {
	l.mu.Lock()
	l.ending = e
	waits := l.taken
	l.mu.Unlock()
	close(l.ended)
	if waits {
		late := time.NewTimer(2 * time.Second)
		defer late.Stop()
		select {
		case <-l.shown:
		case <-late.C:
		}
	}
	l.Close()
}

// Close gives the port up. It is safe to call twice.
func (l *Loopback) Close() {
	l.once.Do(func() {
		close(l.closing)
		l.mu.Lock()
		server := l.server
		l.mu.Unlock()
		if server == nil {
			_ = l.closeListeners()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil { // a page may be on its way
			_ = server.Close()
		}
	})
}

func (l *Loopback) closeListeners() error {
	var err error
	for _, one := range l.listeners {
		err = errors.Join(err, one.Close())
	}
	return err
}

func (l *Loopback) serve(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'", "Connection": "close",
	} {
		w.Header().Set(name, value)
	}
	switch {
	case !strings.EqualFold(r.Host, l.host): // a foreign name that leads here (DNS rebinding)
		http.Error(w, "not here", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
	case r.URL.Path == pagePath:
		l.last(w)
	case r.URL.Path == l.path:
		l.answer(w, r)
	default:
		http.NotFound(w, r)
	}
}

// answer takes the browser's answer, once.
func (l *Loopback) answer(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	code := oauth.Code{}
	if err == nil {
		code, err = l.request.Accept(q)
	} else {
		err = ErrForeign
	}
	if errors.Is(err, ErrForeign) {
		l.strange(err)
		page(w, http.StatusBadRequest, Ending{Title: "Not this sign-in", Say: "This answer does not belong to the sign-in that runs in the terminal. It was not used. Open the newest address there."})
		return
	}
	l.mu.Lock()
	again := l.taken
	l.taken = true
	l.mu.Unlock()
	if !again {
		select {
		case l.arrived <- arrival{code, err}:
		case <-l.closing:
		}
	}
	select { // a second visit, such as a reload, sees the same end
	case <-l.ended:
	case <-l.closing:
	case <-r.Context().Done():
	}
	http.Redirect(w, r, pagePath, http.StatusSeeOther)
}

// last is the page that stays.
func (l *Loopback) last(w http.ResponseWriter) {
	select {
	case <-l.ended:
	default:
		page(w, http.StatusNotFound, Ending{Title: "Nothing here yet", Say: "The sign-in is not over."})
		return
	}
	l.mu.Lock()
	e := l.ending
	l.mu.Unlock()
	page(w, http.StatusOK, e)
	l.seen.Do(func() { close(l.shown) })
}

// page writes a page that loads nothing and runs nothing.
func page(w http.ResponseWriter, status int, e Ending) {
	colour := "#8a1f11"
	if e.OK {
		colour = "#1b5e20"
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>evergrant: `+html.EscapeString(e.Title)+`</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}h1{font-size:1.5rem;border-left:.4rem solid `+colour+`;padding-left:.8rem}</style>
<h1>`+html.EscapeString(e.Title)+`</h1>
<p>`+html.EscapeString(e.Say)+`</p>
`)
}
