package cli

import (
	"context"
	"net"
	"os"
	"slices"
	"time"

	"evergrant/internal/sink"
	"evergrant/internal/tokensocket"
)

// hand gives the newest token to every place that has not taken it. That one does
// not is told once, until it has.
func (k *keeper) hand(ctx context.Context) error {
	k.handing.Lock()
	defer k.handing.Unlock()
	k.mu.Lock()
	p, t, later := k.p, k.last.Access, k.delivered > 1
	p.sinks = slices.Clone(k.owed)
	k.mu.Unlock()
	if len(p.sinks) == 0 {
		return nil
	}
	if later { // whoever asks for the token meanwhile waits
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, laterDelivery/time.Duration(k.a.speedUp))
		defer cancel()
	}
	taken, err := k.a.deliver(ctx, p, t)
	wrote, _ := os.Lstat(k.file) // if it is not there, nothing has to be removed
	has := func(url string) bool { return slices.Contains(taken, url) }

	k.mu.Lock()
	k.owes = err
	if k.last.Access.Generation == t.Generation { // else all of them are owed another
		k.owed = slices.DeleteFunc(p.sinks, func(s sink.Sink) bool { return has(s.URL) })
	}
	if has("file:" + k.file) {
		k.wrote = wrote
	}
	well := slices.ContainsFunc(k.failing, has)
	k.failing = slices.DeleteFunc(k.failing, has)
	worse := false
	for _, s := range p.sinks {
		if !has(s.URL) && !slices.Contains(k.failing, s.URL) {
			k.failing, worse = append(k.failing, s.URL), true
		}
	}
	k.mu.Unlock()
	switch {
	case err != nil && worse && later:
		k.a.console.warnf("%s: %v; the %s goes on", k.p.id, err, k.a.beside())
	case err == nil && well:
		k.a.console.notef("%s: every place has the token again", k.p.id)
	}
	return err
}

// debts returns what hands the newest token again, less and less often, to places
// that have not taken it.
func (k *keeper) debts() func(context.Context) {
	next, pause := time.Time{}, k.pause
	return func(ctx context.Context) {
		if now := k.a.now(); now.Before(next) {
			return
		}
		if k.hand(ctx) == nil {
			next, pause = time.Time{}, k.pause
			return
		}
		pause = min(2*pause, lookFar)
		next = k.a.now().Add(pause)
	}
}

// written is the token's file as it was written last; nil: it was not. A nil keeper
// has written none.
func (k *keeper) written() os.FileInfo {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wrote
}

// answer serves the socket until ctx ends.
func (k *keeper) answer(ctx context.Context, l net.Listener) {
	if err := tokensocket.New(k.newer, k.class, k.hear, k.a.now).Serve(ctx, l); err != nil {
		k.hear(err)
	}
}

// hear is told why the socket lets nobody in, and nil when it does again.
func (k *keeper) hear(err error) {
	k.mu.Lock()
	before := k.deaf
	k.deaf = err
	k.mu.Unlock()
	switch {
	case err != nil:
		k.a.console.warnf("%s: %v; the %s goes on", k.p.id, err, k.a.beside())
	case before != nil:
		k.a.console.notef("%s: the socket lets clients in again", k.p.id)
	}
}
