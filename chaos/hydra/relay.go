package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"evergrant/chaos/network/box"
	"evergrant/internal/grant"
)

// line is one presentation of a refresh token, as the relay saw it.
type line struct {
	at     time.Time // sent to hydra
	ended  time.Time // hydra's answer was whole
	token  string    // digest
	rival  bool      // sent by the harness beside the binary
	status int       // 0: hydra did not answer
	code   string    // error code
	issued grant.Secret
	passed bool // the answer was written to the binary
}

// relay stands between the binary and hydra's token endpoint: it takes the
// whole answer before it passes any of it on, and keeps the ledger that hydra
// does not have.
type relay struct {
	to     string // token endpoint of hydra
	web    *http.Server
	url    string
	tokens *box.Tokens
	direct *http.Client
	done   sync.WaitGroup

	mu     sync.Mutex
	ledger []line
	drop   int  // answers to swallow from now on
	rivals int  // requests sent beside the next one
	ahead  bool // and before it
}

func newRelay(to string, t *box.Tokens) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{to: to, url: "http://" + l.Addr().String() + "/oauth2/token", tokens: t,
		direct: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	r.web = &http.Server{Handler: r, ReadHeaderTimeout: 20 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	r.done.Go(func() { _ = r.web.Serve(l) }) // ends by close
	return r, nil
}

func (r *relay) close() {
	_ = r.web.Close()
	r.done.Wait()
}

// swallow loses the next n answers; n < 0: all of them.
func (r *relay) swallow(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop = n
}

// race sends the token of the next request n times more at the same moment,
// just ahead of it or just behind.
func (r *relay) race(n int, ahead bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rivals, r.ahead = n, ahead
}

// lines returns the ledger from one line on.
func (r *relay) lines(from int) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]line(nil), r.ledger[from:]...)
}

func (r *relay) ServeHTTP(w http.ResponseWriter, ask *http.Request) {
	body, err := io.ReadAll(io.LimitReader(ask.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler) // the sender is gone
	}
	r.mu.Lock()
	rivals, ahead := r.rivals, r.ahead
	r.rivals = 0
	r.mu.Unlock()
	var all sync.WaitGroup
	var answer answer
	own := func() { answer = r.forward(ask.Header, body, false) }
	if !ahead {
		all.Go(own)
	}
	for range rivals {
		all.Go(func() { r.note(r.forward(ask.Header, body, true)) })
	}
	if ahead {
		all.Go(own)
	}
	all.Wait()
	r.mu.Lock()
	lost := r.drop != 0
	if r.drop > 0 {
		r.drop--
	}
	r.mu.Unlock()
	answer.passed = !lost && answer.status != 0
	r.note(answer)
	if !answer.passed {
		panic(http.ErrAbortHandler) // closes the connection without a byte
	}
	w.Header().Set("Content-Type", answer.contentType)
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body) // the process may be gone
}

// answer is a line with what hydra said.
type answer struct {
	line
	contentType string
	body        []byte
}

func (r *relay) note(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger = append(r.ledger, a.line)
}

// forward sends a request to hydra once.
func (r *relay) forward(header http.Header, body []byte, rival bool) (a answer) {
	a = answer{line: line{at: time.Now(), rival: rival}}
	defer func() { a.ended = time.Now() }()
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return a
	}
	a.token = grant.NewSecret(form.Get("refresh_token")).Digest()
	req, err := http.NewRequest(http.MethodPost, r.to, bytes.NewReader(body))
	if err != nil {
		return a
	}
	req.Header = header.Clone()
	req.Header.Del("Connection")
	res, err := r.direct.Do(req)
	if err != nil {
		return a
	}
	defer res.Body.Close()
	if a.body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20)); err != nil {
		return a
	}
	a.status, a.contentType = res.StatusCode, res.Header.Get("Content-Type")
	var said struct {
		Error   string `json:"error"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal(a.body, &said) == nil {
		a.code, a.issued = said.Error, grant.NewSecret(said.Refresh)
		for _, t := range []string{said.Access, said.Refresh} {
			if t != "" {
				r.tokens.Add(t)
			}
		}
	}
	return a
}
