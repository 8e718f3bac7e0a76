package granttest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"evergrant/internal/grant"
)

// Endpoint is a refresher and the token endpoint that it talks to. The
// endpoint answers each presentation with a new token set.
type Endpoint struct {
	Refresher grant.Refresher
	// Credential holds a refresh token that the endpoint accepts. It carries
	// [Canary], and so does whatever else must not leak.
	Credential grant.Credential
	// Presentations counts the requests that arrived.
	Presentations func() int
	// Down takes the endpoint off the network.
	Down func()
}

// TestRefresher checks a refresher against the contracts of [grant.Refresher]
// and [grant.Connection], as far as they are the same for all endpoints. open
// returns a new endpoint with each call.
func TestRefresher(t *testing.T, open func(t *testing.T) Endpoint) {
	for _, c := range []struct {
		name string
		run  func(refresherTest)
	}{
		{"one request", refresherTest.oneRequest},
		{"connecting sends nothing", refresherTest.connectOnly},
		{"gate", refresherTest.gate},
		{"cancelled before the first byte", refresherTest.cancelled},
		{"closed connection", refresherTest.closed},
		{"endpoint is down", refresherTest.down},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(refresherTest{t, open(t)})
		})
	}
}

type refresherTest struct {
	*testing.T
	at Endpoint
}

func (t refresherTest) connect() grant.Connection {
	t.Helper()
	conn, err := t.at.Refresher.Connect(t.Context())
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // each test closes again, or has closed already
	return conn
}

func (t refresherTest) arrived(want int) {
	t.Helper()
	if got := t.at.Presentations(); got != want {
		t.Errorf("%d requests arrived, want %d", got, want)
	}
}

// unspent checks a failure that came before the first byte.
func (t refresherTest) unspent(err error, cause error) {
	t.Helper()
	var re *grant.RefreshError
	if !errors.As(err, &re) || re.Fate != grant.Unspent {
		t.Errorf("got %v, want a RefreshError that says unspent", err)
		return
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Errorf("%v does not wrap %v", err, cause)
	}
	t.quiet(err)
}

func (t refresherTest) quiet(err error) {
	t.Helper()
	if s := err.Error(); strings.Contains(s, Canary) || strings.Contains(s, "\n") {
		t.Error("the error is not one line without secrets")
	}
}

func open() error { return nil }

func (t refresherTest) oneRequest() {
	conn := t.connect()
	set, err := conn.Refresh(t.Context(), t.at.Credential, open)
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	if set.Access.Value.IsZero() || set.Access.Value.Equal(t.at.Credential.Tokens.Access.Value) {
		t.Error("no new access token came")
	}
	if set.ObtainedAt.IsZero() {
		t.Error("ObtainedAt is not set")
	}
	t.arrived(1)
	if _, err := conn.Refresh(t.Context(), t.at.Credential, open); err == nil {
		t.Error("one connection made a second request")
	} else {
		t.unspent(err, nil)
	}
	t.arrived(1)
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func (t refresherTest) connectOnly() {
	if err := t.connect().Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	t.arrived(0)
}

func (t refresherTest) gate() {
	shut := errors.New("the gate is shut")
	_, err := t.connect().Refresh(t.Context(), t.at.Credential, func() error { return shut })
	t.unspent(err, shut)
	t.arrived(0)

	called := 0
	if _, err := t.connect().Refresh(t.Context(), t.at.Credential, func() error { called++; return nil }); err != nil || called != 1 {
		t.Errorf("the gate was called %d times, want once; %v", called, err)
	}
	t.arrived(1)
}

func (t refresherTest) cancelled() {
	ctx, cancel := context.WithCancel(t.Context())
	conn := t.connect()
	cancel()
	_, err := conn.Refresh(ctx, t.at.Credential, open)
	t.unspent(err, context.Canceled)
	if _, err := t.at.Refresher.Connect(ctx); err == nil {
		t.Error("Connect with a cancelled context went through")
	} else {
		t.quiet(err)
	}
	t.arrived(0)
}

func (t refresherTest) closed() {
	conn := t.connect()
	if err := conn.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	_, err := conn.Refresh(t.Context(), t.at.Credential, open)
	t.unspent(err, nil)
	t.arrived(0)
}

func (t refresherTest) down() {
	t.at.Down()
	conn, err := t.at.Refresher.Connect(t.Context())
	if err == nil {
		_ = conn.Close()
		t.Fatal("Connect to an endpoint that is down went through")
	}
	t.quiet(err)
	t.arrived(0)
}
