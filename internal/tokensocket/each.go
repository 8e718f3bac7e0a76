package tokensocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// mostClients bounds how many are served at one time: others wait until one of
// those has gone. Each has an open file of this process, which has other work.
const mostClients = 64

// How long no client is let in after one could not be, for want of files or memory.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = time.Second
)

// Each gives every client of l to serve, in a goroutine of its own, until ctx
// ends or l is closed, and returns when all of them have returned. A client that cannot
// be let in is no reason to end: hear is told of the first of several such errors, and
// with nil when the next client is in.
func Each(ctx context.Context, l net.Listener, hear func(error), serve func(net.Conn)) error {
	places := make(chan struct{}, mostClients)
	defer func() { // all places are free when everybody has gone
		for range mostClients {
			places <- struct{}{}
		}
	}()
	pause := time.Duration(0)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		if err == nil && ctx.Err() == nil {
			if pause > 0 {
				pause = 0
				hear(nil)
			}
			go func() {
				defer func() { <-places }()
				serve(c)
			}()
			continue
		}
		<-places
		switch {
		case err == nil:
			_ = c.Close()
			return nil
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the socket was closed: %w", err)
		case pause == 0:
			hear(fmt.Errorf("the socket lets nobody in for now: %w", err))
		}
		pause = min(max(2*pause, firstPause), longestPause)
		rest := time.NewTimer(pause)
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
		rest.Stop()
	}
}

// Hurry lets the reads of c end after d, or when ctx ends: a client that says nothing
// keeps nobody. What it returns is called when c needs that no more.
func Hurry(ctx context.Context, c net.Conn, d time.Duration) (done func()) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	return func() { stop() }
}
