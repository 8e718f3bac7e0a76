package cli

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// keeper keeps one grant's access token alive beside a command. It refreshes
// ahead of time, notices when somebody else has, and delivers every new token.
type keeper struct {
	a       *app
	p       plan
	session *session
	request engine.Request // what each look asks for
	pause   time.Duration  // between two looks
	timeout time.Duration  // of one look
	tasks   sync.WaitGroup

	mu   sync.Mutex
	last engine.Outcome
	told string // the trouble that was told last
}

// How often a store is looked at. A file store costs a read of a small file; any
// other costs a request to a forge.
const (
	lookNear = time.Second
	lookFar  = time.Minute
)

// keeper makes the first token; its errors are those of refresh.
func (a *app) keeper(ctx context.Context, p plan, o runOptions) (*keeper, error) {
	ctx, cancel := within(ctx, o.timeout)
	defer cancel()
	s, err := a.begun(ctx, p, o.refreshOptions)
	if err != nil {
		return nil, because(ctx, err)
	}
	k := &keeper{a: a, p: p, session: s, pause: lookFar, timeout: o.timeout}
	if p.place.location.SameHost() {
		k.pause = lookNear
	}
	k.pause /= time.Duration(a.speedUp)
	k.request = p.request
	k.request.After, k.request.Force, k.request.NoCreate = 0, false, true
	if err := k.look(ctx, p.request); err != nil {
		return nil, a.explain(p, because(ctx, err))
	}
	a.warn(p.warned)
	return k, nil
}

// look asks once and delivers what is new. A token that was had and not saved is
// delivered all the same, and told.
func (k *keeper) look(ctx context.Context, r engine.Request) error {
	out, err := k.session.engine.Access(ctx, k.p.id, r)
	unsaved := (*engine.UnsavedError)(nil)
	if errors.As(err, &unsaved) {
		k.tell(&unsavedError{err, k.session.kept})
	} else if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if out.Access.Generation <= k.last.Access.Generation {
		return nil
	}
	first := k.last.Access.Generation == 0
	if err := k.deliver(ctx, out.Access); err != nil {
		if first {
			return err
		}
		k.a.console.warnf("%v", err)
		return nil // the next look delivers it again
	}
	k.a.warn(k.a.consider(out))
	k.last = out
	k.a.console.notef("%s: %s, generation %d, good until %s", k.p.id, action(out), out.Access.Generation, stamp(out.Access.Expiry))
	return nil
}

// deliver masks the token, which the command may print, and fills the sinks.
func (k *keeper) deliver(ctx context.Context, t grant.AccessToken) error {
	if k.a.env.githubActions() {
		if err := k.p.mask.Mask(t.Value); err != nil {
			return &deliveryError{[]error{err}}
		}
	}
	_, err := k.a.deliver(ctx, k.p, t)
	return err
}

// keep looks until ctx ends. While the provider or the store is in trouble it
// asks less and less often, and still notices what others have fetched.
func (k *keeper) keep(ctx context.Context) {
	ahead := k.request.MinTTL
	notBefore, backoff := time.Time{}, k.pause
	for generation := uint64(0); wait(ctx, k.pause); {
		if g := k.current().Generation; g != generation {
			// Jobs that share a grant do not all refresh at one moment.
			generation = g
			k.request.MinTTL = ahead + time.Duration(rand.Float64()*float64(ahead)/10)
		}
		ask, now := k.request, k.a.now()
		if now.Before(notBefore) {
			if !k.current().Expiry.After(now.Add(k.margin())) {
				continue
			}
			ask.MinTTL = 0
		}
		err := k.bounded(ctx, ask)
		switch {
		case err == nil && ask.MinTTL > 0:
			k.recovered()
			notBefore, backoff = time.Time{}, k.pause
		case err != nil && ctx.Err() == nil:
			k.tell(err)
			backoff = min(2*backoff, lookFar)
			notBefore = k.a.now().Add(backoff)
			if later := (*engine.WaitError)(nil); errors.As(err, &later) && later.Next.After(notBefore) {
				notBefore = later.Next
			}
		}
	}
}

// margin is how near its end a token counts as over.
func (k *keeper) margin() time.Duration { return k.a.timing(k.p.place).Skew }

func (k *keeper) bounded(ctx context.Context, r engine.Request) error {
	ctx, cancel := within(ctx, k.timeout)
	defer cancel()
	return k.look(ctx, r)
}

// newer is what the socket asks: the current token, or one after a refused one.
func (k *keeper) newer(ctx context.Context, after uint64) (grant.AccessToken, error) {
	ask := k.request
	ask.MinTTL, ask.After = 0, after
	if err := k.bounded(ctx, ask); err != nil {
		return grant.AccessToken{}, err
	}
	return k.current(), nil
}

// class names an error's class as --json does.
func (k *keeper) class(err error) string { return verdictOf(err).Class }

func (k *keeper) current() grant.AccessToken {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last.Access
}

func (k *keeper) goodUntil() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := stamp(k.last.GoodUntil)
	if k.last.NextRefreshEnds {
		at += ", or the next refresh by anybody"
	}
	return at
}

// tell says what is wrong, once until it is something else. The command goes on:
// its token may live for long.
func (k *keeper) tell(err error) {
	text := verdictOf(err).Error
	k.mu.Lock()
	again := text == k.told
	k.told = text
	k.mu.Unlock()
	if !again {
		k.a.console.warnf("%s: %s; the command goes on", k.p.id, text)
	}
}

func (k *keeper) recovered() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told != "" {
		k.a.console.notef("%s: well again", k.p.id)
		k.told = ""
	}
}

// wait reports whether the pause passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
