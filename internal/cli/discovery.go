package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// discovery finds the token endpoint of an issuer, and keeps nothing of what it
// found: the endpoint of the moment is what a refresh is about to be sent to.
type discovery struct {
	find   func(ctx context.Context) (tokenURL string, err error)
	client func(tokenURL string) (grant.Refresher, error)
}

// discoverer checks an issuer and asks it nothing yet.
func (a *app) discoverer(issuer string, t engine.Timing) (func(context.Context) (string, error), error) {
	if err := oauth.ValidateTokenURL(issuer); err != nil {
		return nil, usagef("--issuer: %v", err)
	}
	return func(ctx context.Context) (string, error) {
		m, err := oauth.Discover(ctx, issuer, oauth.DiscoverConfig{ConnectTimeout: t.Connect, RequestTimeout: t.Request, UserAgent: userAgent})
		if err != nil {
			return "", &discoveryError{err}
		}
		return m.TokenEndpoint, nil
	}, nil
}

// discoveryError says that the issuer did not tell its token endpoint.
type discoveryError struct{ err error }

func (e *discoveryError) Error() string {
	return fmt.Sprintf("finding the token endpoint of the issuer: %v", e.err)
}

func (e *discoveryError) Unwrap() error { return e.err }

// passing reports a failure of the network, which may be over soon. Another
// answer of the issuer tomorrow takes a person.
func (e *discoveryError) passing() bool {
	network := net.Error(nil)
	return errors.As(e.err, &network) || errors.Is(e.err, io.EOF) || errors.Is(e.err, io.ErrUnexpectedEOF) || errors.Is(e.err, context.Canceled)
}

// movedError says that the issuer names another token endpoint than the one that
// the grant's tokens belong to.
type movedError struct{ have, named string }

func (e *movedError) Error() string {
	return fmt.Sprintf("%v: its tokens belong to %s, and the issuer now names %s; nothing was sent", engine.ErrBound, e.have, e.named)
}

func (e *movedError) Unwrap() error { return engine.ErrBound }

// lazily is the refresher of a grant whose endpoint is found by discovery. A
// token that is alive is served without it, so an issuer that is away stops
// nobody. bound is where the record says that its tokens belong.
type lazily struct {
	discovery *discovery
	bound     string
}

// Connect implements [grant.Refresher].
func (l lazily) Connect(ctx context.Context) (grant.Connection, error) {
	found, err := l.discovery.find(ctx)
	if failed := (*discoveryError)(nil); errors.As(err, &failed) && failed.passing() {
		return nil, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	if err == nil && found != l.bound {
		err = &movedError{l.bound, found}
	}
	client := grant.Refresher(nil)
	if err == nil {
		client, err = l.discovery.client(found)
	}
	if err != nil { // definite, and nothing was sent
		return nil, &grant.RefreshError{Fate: grant.Refused, Err: err}
	}
	return client.Connect(ctx)
}

// settle decides where a grant at an issuer belongs. A record that has yielded a
// token knows it, and the issuer is asked only when something is to be sent. A
// grant that starts now has to know it before anything is written, so the issuer
// is asked at once; starts tells whether this call may start it.
func (a *app) settle(ctx context.Context, st grant.Store, p place, id grant.ID, t target, starts bool) (target, error) {
	if t.discovery == nil {
		return t, nil
	}
	known, absent := whereBound(ctx, st, p, id, starts)
	if known == "" && (starts || !absent) {
		return a.discovered(ctx, t)
	}
	t.bind.TokenURL = known
	t.refresher = lazily{t.discovery, known}
	return t, nil
}

// discovered asks the issuer now.
func (a *app) discovered(ctx context.Context, t target) (target, error) {
	if t.discovery == nil {
		return t, nil
	}
	found, err := t.discovery.find(ctx)
	if err == nil {
		_, err = t.discovery.client(found)
	}
	if err != nil && ctx.Err() != nil {
		return t, ctx.Err()
	}
	if failed := (*discoveryError)(nil); errors.As(err, &failed) {
		return t, &codedError{code: exitUnreachable, err: err, hint: hintDiscovery}
	}
	t.bind.TokenURL = found
	t.refresher = lazily{t.discovery, found}
	return t, err
}

const hintDiscovery = "or name the token endpoint yourself with --token-url"

// whereBound returns the token URL that the record of a grant, or one spilled on
// this machine, belongs to. It returns none when there is no record (absent), when
// the store cannot tell, and for a record that has never yielded a token while
// the caller holds one to start from: its first call may have been mistyped.
func whereBound(ctx context.Context, st grant.Store, p place, id grant.ID, starts bool) (tokenURL string, absent bool) {
	c, _, err := st.Load(ctx, id)
	switch {
	case err == nil && starts && c.Tokens.Access.Value.IsZero():
		return "", false
	case err == nil:
		return c.Bind.TokenURL, false
	case errors.Is(err, grant.ErrUnreadable), errors.Is(err, grant.ErrDenied):
		return "", true // the engine says why
	case !errors.Is(err, grant.ErrNotFound):
		return "", false
	case !p.location.Keeps():
		return "", true
	}
	spilled, _ := p.spill.List(ctx, id) // what cannot be read is told by the engine
	newest := grant.Credential{}
	for _, k := range spilled {
		if k.Generation >= newest.Generation {
			newest = k
		}
	}
	return newest.Bind.TokenURL, true
}
