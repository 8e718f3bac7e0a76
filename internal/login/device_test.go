package login_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/login"
	"evergrant/internal/oauth"
	"evergrant/internal/simulator"
)

// clock lets time pass at the provider instead of waiting for it.
type clock struct {
	srv   *simulator.Server
	waits []time.Duration
	at    map[int]func() // before the n-th wait, from 0
	early int            // the wait, from 1, that is a second too short for the provider
}

func (c *clock) pause(ctx context.Context, d time.Duration) error {
	if f := c.at[len(c.waits)]; f != nil {
		f()
	}
	c.waits = append(c.waits, d)
	if len(c.waits) == c.early {
		d -= time.Second
	}
	c.srv.Advance(d)
	return ctx.Err()
}

func device(t *testing.T, w world) oauth.Device {
	t.Helper()
	d, err := w.client.AuthorizeDevice(t.Context(), w.url+"/device_authorization", "read", map[string]string{"audience": "api"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{DevicePolls: 3})
	d := device(t, w)
	if d.Address != w.url+"/device" || !strings.HasSuffix(d.AddressFull, "?user_code="+d.UserCode) || d.Interval != 5*time.Second || d.Life != 10*time.Minute {
		t.Errorf("the device is %+v", d)
	}
	c := &clock{srv: w.srv}
	issued, err := login.AwaitDevice(t.Context(), w.client, d, "", c.pause)
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Repeat([]time.Duration{5 * time.Second}, 4); !slices.Equal(c.waits, want) {
		t.Errorf("it waited %v, want %v", c.waits, want)
	}
	if !w.srv.Usable(issued.Tokens.Refresh) || strings.Join(issued.Tokens.Access.Scope, " ") != "read" {
		t.Errorf("the tokens are no good, or for scope %q", issued.Tokens.Access.Scope)
	}
}

func TestDeviceSlowsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{DevicePolls: 2})
	c := &clock{srv: w.srv, early: 2}
	if _, err := login.AwaitDevice(t.Context(), w.client, device(t, w), "", c.pause); err != nil {
		t.Fatal(err)
	}
	// The provider calls the second poll early, and from then on wants five
	// seconds more, for good (RFC 8628 §3.5).
	if want := []time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second, 10 * time.Second}; !slices.Equal(c.waits, want) {
		t.Errorf("it waited %v, want %v", c.waits, want)
	}
}

func TestDeviceEndsWithoutConsent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		cfg   simulator.Config
		at    func(w world, d oauth.Device) map[int]func()
		check func(error) bool
		waits int
	}{
		{"declined", simulator.Config{Approve: simulator.ApproveDeny, DevicePolls: 1}, nil, refused("access_denied"), 2},
		{"nobody came", simulator.Config{Approve: simulator.ApproveAsk, DeviceLife: 30 * time.Second}, nil, is(login.ErrCodeEnded), 6},
		{"ended early at the provider", simulator.Config{Approve: simulator.ApproveAsk}, func(w world, _ oauth.Device) map[int]func() {
			return map[int]func(){2: func() { w.srv.Advance(time.Hour) }}
		}, is(login.ErrCodeEnded), 3},
		{"declined by the person's page", simulator.Config{Approve: simulator.ApproveAsk}, func(w world, d oauth.Device) map[int]func() {
			return map[int]func(){1: func() { _ = w.srv.DecideDevice(d.UserCode, false) }}
		}, refused("access_denied"), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.cfg)
			d := device(t, w)
			k := &clock{srv: w.srv}
			if c.at != nil {
				k.at = c.at(w, d)
			}
			_, err := login.AwaitDevice(t.Context(), w.client, d, "", k.pause)
			if !c.check(err) || len(k.waits) > c.waits {
				t.Errorf("AwaitDevice: %v after %v", err, k.waits)
			}
		})
	}
}

// TestDeviceSurvivesAnOutage: a poll without an answer is made again, with a
// longer pause. If the lost answer had the tokens, the next one says so.
func TestDeviceSurvivesAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{Approve: simulator.ApproveAsk})
	d := device(t, w)
	approve := func() {
		if err := w.srv.DecideDevice(d.UserCode, true); err != nil {
			t.Error(err)
		}
	}
	if err := w.srv.SetFaults(fault(t, "drop,times=1"), fault(t, "status,status=503,times=1")); err != nil {
		t.Fatal(err)
	}
	c := &clock{srv: w.srv, at: map[int]func(){2: approve}}
	if _, err := login.AwaitDevice(t.Context(), w.client, d, "", c.pause); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second}; !slices.Equal(c.waits, want) {
		t.Errorf("it waited %v, want %v", c.waits, want)
	}

	lost := device(t, w)
	c = &clock{srv: w.srv, at: map[int]func(){0: func() {
		if err := w.srv.DecideDevice(lost.UserCode, true); err != nil {
			t.Error(err)
		}
		if err := w.srv.SetFaults(fault(t, "drop,acted,times=1")); err != nil {
			t.Error(err)
		}
	}}}
	_, err := login.AwaitDevice(t.Context(), w.client, lost, "", c.pause)
	failed := (*oauth.StepError)(nil)
	if !errors.As(err, &failed) || failed.Fate != grant.Rejected || len(c.waits) != 2 {
		t.Errorf("after a lost answer: %v, %v", err, c.waits)
	}
}

func fault(t *testing.T, text string) simulator.Fault {
	t.Helper()
	f, err := simulator.ParseFault(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDeviceIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simulator.Config{Approve: simulator.ApproveAsk})
	ctx, cancel := context.WithCancel(t.Context())
	c := &clock{srv: w.srv, at: map[int]func(){1: cancel}}
	if _, err := login.AwaitDevice(ctx, w.client, device(t, w), "", c.pause); !errors.Is(err, context.Canceled) {
		t.Errorf("AwaitDevice: %v", err)
	}
	if err := login.Pause(1)(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Pause: %v", err)
	}
	if err := login.Pause(1000)(t.Context(), time.Millisecond); err != nil {
		t.Errorf("Pause: %v", err)
	}
}

func TestDeviceAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		body   string
		fate   grant.Fate
		says   string
	}{
		{"page", 200, "<html>sign in</html>", grant.InDoubt, "HTML page"},
		{"empty", 200, "", grant.InDoubt, "neither a device code nor an error"},
		{"not there", 404, "", grant.Refused, "nothing at this address"},
		{"client", 401, `{"error":"invalid_client"}`, grant.Refused, "invalid_client"},
		{"error with 200", 200, `{"error":"unauthorized_client"}`, grant.Refused, "unauthorized_client"},
		{"later", 503, `{}`, grant.InDoubt, "HTTP 503"},
		{"plain page", 200, `{"device_code":"d","user_code":"u","verification_uri":"http://id.example/d"}`, grant.Refused, "names no page"},
		{"page with a command", 200, `{"device_code":"d","user_code":"u","verification_uri":"https://id.example/\u001b[31m"}`, grant.Refused, "names no page"},
		{"no user code", 200, `{"device_code":"d","verification_uri":"https://id.example/d"}`, grant.Refused, "names no page"},
		{"user code with a command", 200, `{"device_code":"d","user_code":"\u001b]0;x","verification_uri":"https://id.example/d"}`, grant.Refused, "names no page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			client, err := oauth.New(oauth.Config{TokenURL: srv.URL + "/token", ClientID: "c"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.AuthorizeDevice(t.Context(), srv.URL+"/device", "", nil)
			failed := (*oauth.StepError)(nil)
			if !errors.As(err, &failed) || failed.Fate != c.fate || !strings.Contains(err.Error(), c.says) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("AuthorizeDevice: %v", err)
			}
		})
	}
}
