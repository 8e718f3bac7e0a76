package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"evergrant/internal/grant"
)

// connection implements [grant.Connection].
type connection struct {
	client *Client
	conn   net.Conn
	sent   *meter
	wire   *wire
	// first yields once: when the server's first byte or its hanging up is
	// seen. A server that does either before it was asked has ended the
	// connection, which is worth knowing before the request is on its way.
	first chan error
	used  atomic.Bool
}

// newConnection starts to listen at once; see [connection.first].
func newConnection(c *Client, conn net.Conn, sent *meter) *connection {
	k := &connection{client: c, conn: conn, sent: sent, wire: newWire(conn, MaxReply), first: make(chan error, 1)}
	go func() { // ends with the first byte, the deadline or Close
		_, err := k.wire.Peek(1)
		k.first <- err
	}()
	return k
}

// Close implements [grant.Connection].
func (k *connection) Close() error {
	err := k.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Refresh implements [grant.Connection]. A connection serves one call: after
// any failure, a closed gate included, it is closed. After a success that is
// left to the caller, who has something to save first.
func (k *connection) Refresh(ctx context.Context, c grant.Credential, gate func() error) (_ grant.TokenSet, err error) {
	if k.used.Swap(true) {
		return unspent(errors.New("this connection was used already; each attempt opens its own"))
	}
	defer func() {
		if err != nil {
			_ = k.Close()
		}
	}()
	if c.Tokens.Refresh.IsZero() {
		return unspent(errors.New("there is no refresh token to present"))
	}
	if c.Bind != (grant.Binding{}) && c.Bind != k.client.Binding() {
		return unspent(errors.New("the grant is bound to another token URL or client id"))
	}
	message, err := k.client.encode(c.Tokens.Refresh)
	if err != nil {
		return unspent(err)
	}
	if err := ctx.Err(); err != nil {
		return unspent(err)
	}
	if gate != nil {
		if err := gate(); err != nil {
			return unspent(fmt.Errorf("not sent: %w", err))
		}
	}
	if err := ctx.Err(); err != nil {
		return unspent(err)
	}
	select {
	case err := <-k.first:
		if err == nil {
			return unspent(errors.New("the server spoke before it was asked"))
		}
		return unspent(explain(err, k.client.url.Hostname()))
	default:
	}
	return k.exchange(c.Tokens.Refresh, message)
}

// exchange sends the request and reads tokens out of the answer.
func (k *connection) exchange(presented grant.Secret, message []byte) (grant.TokenSet, error) {
	a, failure := k.send(presented, message)
	if failure != nil {
		return grant.TokenSet{}, failure
	}
	set, failure := k.client.settle(a)
	if failure != nil {
		return grant.TokenSet{}, failure
	}
	return set, nil
}

// send writes the request once and reads the answer. No context has a say any
// more.
func (k *connection) send(presented grant.Secret, message []byte) (answer, *grant.RefreshError) {
	obtained := k.client.cfg.Now()
	if err := k.conn.SetDeadline(time.Now().Add(k.client.net.requestTimeout)); err != nil {
		return answer{}, &grant.RefreshError{Fate: grant.Unspent, Err: explain(err, k.client.url.Hostname())}
	}
	k.sent.armed.Store(true)
	_, err := k.conn.Write(message)
	if err != nil && k.sent.n.Load() == 0 {
		return answer{}, &grant.RefreshError{Fate: grant.Unspent, Err: k.writeError(err)}
	}
	// After a write that failed half-way an answer may still be there.
	a, err := k.answer(presented)
	if err != nil {
		return a, &grant.RefreshError{Fate: grant.InDoubt, Status: a.status, Err: err}
	}
	a.obtained = obtained
	return a, nil
}

// answer reads status, headers and as much of the body as came. An error means
// that there is no body to look at.
func (k *connection) answer(presented grant.Secret) (answer, error) {
	if err := <-k.first; err != nil {
		return answer{}, k.replyError(err)
	}
	resp, err := k.wire.head(http.MethodPost)
	if err != nil {
		return answer{}, k.replyError(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, presented: presented}
	a.body, err = io.ReadAll(resp.Body)
	switch {
	case k.wire.full():
		a.cut = errTooLarge()
	case err != nil:
		a.cut = fmt.Errorf("the answer is incomplete: %w", k.replyError(err))
	}
	return a, nil
}

// writeError may run beside the reader and leaves the wire alone.
func (k *connection) writeError(err error) error {
	if isTimeout(err) {
		return says(fmt.Sprintf("the request could not be sent within %v", k.client.net.requestTimeout), err)
	}
	return explain(err, k.client.url.Hostname())
}

func (k *connection) replyError(err error) error {
	switch {
	case isTimeout(err):
		return says(fmt.Sprintf("no whole answer within %v", k.client.net.requestTimeout), err)
	case k.wire.full():
		return errTooLarge()
	}
	return explainReply(err, k.client.url.Hostname())
}

func unspent(err error) (grant.TokenSet, error) {
	return grant.TokenSet{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
}
