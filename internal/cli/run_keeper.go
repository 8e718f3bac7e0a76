package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/sink"
)

// keeper keeps one grant's access token alive beside a command. It refreshes
// ahead of time, notices when somebody else has, and delivers every new token.
type keeper struct {
	a       *app
	p       plan
	session *session
	file    string         // of the token; "": there is none
	request engine.Request // what each look asks for
	pause   time.Duration  // between two looks
	timeout time.Duration  // of one look
	tasks   sync.WaitGroup

	handing   sync.Mutex // one delivery at a time: no older token comes last
	mu        sync.Mutex
	last      engine.Outcome
	delivered int         // tokens so far
	owed      []sink.Sink // places that have not taken the last one
	failing   []string    // URLs of places of which it was told that they do not
	owes      error       // why, or nil
	wrote     os.FileInfo // the token's file, as it was written last
	deaf      error       // why the socket lets nobody in, or nil
	told      string      // the trouble that was told last
	trouble   *Verdict
}

// How often a store is looked at. A file store costs a read of a small file; any
// other costs a request to a forge.
const (
	lookNear = time.Second
	lookFar  = time.Minute
)

// laterDelivery is how long a sink is tried with a token beside a running command.
const laterDelivery = 5 * time.Second

// keeper makes the first token; its errors are those of refresh.
func (a *app) keeper(ctx context.Context, p plan, o runOptions) (*keeper, error) {
	ctx, cancel := within(ctx, o.timeout)
	defer cancel()
	s, err := a.begun(ctx, p, o.refreshOptions)
	if err != nil {
		return nil, because(ctx, err)
	}
	k := &keeper{a: a, p: p, session: s, file: o.tokenFile, pause: lookFar, timeout: o.timeout}
	if p.place.location.SameHost() {
		k.pause = lookNear
	}
	k.pause /= time.Duration(a.speedUp)
	k.request = p.request
	k.request.After, k.request.Force, k.request.NoCreate = 0, false, true
	if err := k.look(ctx, p.request); isUnsaved(err) {
		k.tell(err)
		s.listener.heard(ctx, k.last, err)
	} else if err != nil {
		err = a.explain(p, because(ctx, err))
		s.listener.heard(ctx, engine.Outcome{}, err)
		return nil, err
	} else {
		k.tasks.Go(func() { s.listener.heard(ctx, k.outcome(), nil) }) // the command need not wait for it
	}
	a.warn(p.warned)
	return k, nil
}

// isUnsaved reports the error of a token that was had all the same.
func isUnsaved(err error) bool {
	unsaved := (*unsavedError)(nil)
	return errors.As(err, &unsaved)
}

// look asks once and delivers what is new. A token that was had and not saved is
// delivered all the same; its error is an [unsavedError]. Of the first token the error of
// a delivery counts too; of a later one that is told, and tried again by [keeper.keep].
func (k *keeper) look(ctx context.Context, r engine.Request) error {
	first := k.current().Generation == 0
	out, err := k.session.engine.Access(ctx, k.p.id, r)
	unsaved := (*engine.UnsavedError)(nil)
	if errors.As(err, &unsaved) {
		err = &unsavedError{err, k.session.kept}
	} else if err != nil {
		return err
	}
	fresh, merr := k.learn(out, err == nil)
	if merr != nil {
		return merr
	}
	if !fresh {
		return err
	}
	if derr := k.hand(ctx); derr != nil && first {
		return derr
	}
	k.a.warn(k.a.consider(out))
	k.a.console.notef("%s: %s, generation %d, good until %s%s", k.p.id, action(out), out.Access.Generation, stamp(out.Access.Expiry), orNext(out.NextRefreshEnds))
	return err
}

// learn takes in an outcome, and reports a token that is newer than the last. From
// here on it is the current one, whoever could be given it: the one before may be
// over. It is masked first, because the command may print it.
func (k *keeper) learn(out engine.Outcome, saved bool) (fresh bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if out.Access.Generation <= k.last.Access.Generation {
		k.last.State, k.last.Reason = out.State, out.Reason
		return false, nil
	}
	if k.a.env.githubActions() {
		if err := k.p.mask.Mask(out.Access.Value); err != nil {
			return false, &deliveryError{[]error{err}}
		}
	}
	k.last = out
	k.owed = slices.Clone(k.p.sinks)
	k.delivered++
	if saved {
		k.told, k.trouble = "", nil // whatever it was, somebody got through
	}
	return true, nil
}

// keep looks until ctx ends. While the provider or the store is in trouble it
// asks less and less often, and still notices what others have fetched.
func (k *keeper) keep(ctx context.Context) {
	ahead := k.request.MinTTL
	ask := k.request // a copy: the socket reads that one meanwhile
	wanted := ahead
	notBefore, backoff := time.Time{}, k.pause
	again := k.debts()
	for generation := uint64(0); wait(ctx, k.pause); {
		again(ctx)
		if g := k.current().Generation; g != generation {
			// Jobs that share a grant do not all refresh at one moment.
			generation = g
			wanted = ahead + time.Duration(rand.Float64()*float64(ahead)/10)
		}
		now := k.a.now()
		ask.MinTTL = wanted
		if now.Before(notBefore) {
			if !k.current().Expiry.After(now.Add(k.margin())) {
				continue
			}
			ask.MinTTL = 0
		}
		err := k.bounded(ctx, ask, k.timeout)
		if ctx.Err() == nil {
			k.session.listener.heard(ctx, k.outcome(), err)
		}
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

func (k *keeper) bounded(ctx context.Context, r engine.Request, most time.Duration) error {
	ctx, cancel := within(ctx, most)
	defer cancel()
	return k.look(ctx, r)
}

// shortLook is how long the socket waits for a store while it has a token that is
// good: a store that hangs must not keep a living token back.
const shortLook = 2 * time.Second

// newer is what the socket asks: the current token, or one after a refused one. A
// token that lives is the answer also when the store cannot be asked whether there is
// a newer one; one that was refused never is.
func (k *keeper) newer(ctx context.Context, after uint64) (grant.AccessToken, error) {
	ask := k.request
	ask.MinTTL, ask.After = 0, after
	held, patience := k.current(), k.timeout
	living := held.Generation > after && held.Expiry.After(k.a.now().Add(k.margin()))
	if living && (patience == 0 || patience > shortLook) {
		patience = shortLook
	}
	err := k.bounded(ctx, ask, patience)
	t := k.current()
	switch {
	case isUnsaved(err):
		k.tell(err)
	case err != nil && living && ctx.Err() == nil && storeAway(err):
		return t, nil
	case err != nil:
		k.mu.Lock()
		defer k.mu.Unlock()
		if errors.Is(err, grant.ErrNeedsConsent) {
			k.last.State = grant.NeedsConsent
		}
		return grant.AccessToken{}, err
	}
	if t.Generation <= after {
		return grant.AccessToken{}, fmt.Errorf("grant %s: %w: there is no token after generation %d", k.p.id, engine.ErrAhead, after)
	}
	return t, nil
}

// storeAway reports an error that says of a token only that its store could not be
// asked.
func storeAway(err error) bool {
	code, _ := classify(err)
	return code == exitStore || errors.Is(err, context.DeadlineExceeded)
}

// class names an error's class as --json does.
func (k *keeper) class(err error) string { return verdictOf(err).Class }

func (k *keeper) current() grant.AccessToken {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last.Access
}

func (k *keeper) outcome() engine.Outcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// ailing is what is wrong still, or nil. A token can live on although nobody gets
// another one.
func (k *keeper) ailing() *Verdict {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := errors.Join(k.owes, k.deaf)
	switch {
	case k.trouble != nil:
		return k.trouble
	case k.last.State == grant.NeedsConsent:
		err = fmt.Errorf("grant %s: %w", k.p.id, grant.ErrNeedsConsent)
	case err == nil:
		return nil
	}
	v := verdictOf(err)
	return &v
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
	v := verdictOf(err)
	k.mu.Lock()
	again := v.Error == k.told
	k.told, k.trouble = v.Error, &v
	k.mu.Unlock()
	if !again {
		k.a.console.warnf("%s: %s; the %s goes on", k.p.id, v.Error, k.a.beside())
	}
}

func (k *keeper) recovered() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told != "" {
		k.a.console.notef("%s: well again", k.p.id)
		k.told, k.trouble = "", nil
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
