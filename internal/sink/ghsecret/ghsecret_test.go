package ghsecret_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/oauth"
	"evergrant/internal/sink/ghsecret"
)

const token = "github_pat_canary-31"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, environment string, a double.Access) (*double.Server, *ghsecret.Sink) {
	t.Helper()
	github, err := double.New(double.Config{})
	must(t, err)
	must(t, github.AddRepository("acme/widgets", "prod"))
	github.Allow(token, a)
	t.Cleanup(func() {
		for _, v := range github.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		must(t, github.Close())
	})
	of, err := githubapi.ParseSecret("acme/widgets/API_TOKEN", environment)
	must(t, err)
	client, err := githubapi.New(githubapi.Config{API: github.URL, Token: grant.NewSecret(token),
		Transport: oauth.NewTransport(oauth.DiscoverConfig{UserAgent: "evergrant/test"})})
	must(t, err)
	return github, ghsecret.Open(of, client, 0)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"", "prod"} {
		t.Run("environment "+environment, func(t *testing.T) {
			t.Parallel()
			granttest.TestSink(t, func(t *testing.T) granttest.SinkPlace {
				github, s := open(t, environment, double.Write)
				return granttest.SinkPlace{Sink: s, Values: func(*testing.T) []string {
					value, ok := github.Value(strings.TrimSuffix("acme/widgets:"+environment, ":"), "API_TOKEN")
					if !ok {
						return nil
					}
					return []string{value}
				}}
			}, granttest.SinkOptions{Broken: func(t *testing.T) grant.Sink {
				_, s := open(t, environment, double.Read)
				return s
			}})
		})
	}
}

func TestDeliverEndsWithItsContext(t *testing.T) {
	t.Parallel()
	github, s := open(t, "", double.Write)
	github.Fail(double.Fault{Method: http.MethodPut, Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := s.Deliver(ctx, grant.AccessToken{Value: grant.NewSecret("canary-access")})
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v, want the end of its context", err)
	}
}

// TestCheck finds what has to be mended, and tells it from what passes.
func TestCheck(t *testing.T) {
	t.Parallel()
	for access, fails := range map[double.Access]bool{double.Write: false, double.Read: false, double.Job: true, double.Unseeing: true, double.Unsigned: true, double.Unknown: true} {
		_, s := open(t, "prod", access)
		if err := s.Check(t.Context()); (err != nil) != fails || errors.Is(err, grant.ErrUnasked) || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("access %d: %v, want an error: %v", access, err, fails)
		}
	}
	if _, s := open(t, "stage", double.Write); s.Check(t.Context()) == nil {
		t.Error("an environment that does not exist passes")
	}
	for _, fault := range []double.Fault{{Status: 500}, {}, {Status: 403, Header: map[string]string{"Retry-After": "60"}}} {
		github, s := open(t, "", double.Write)
		github.Fail(fault)
		if err := s.Check(t.Context()); !errors.Is(err, grant.ErrUnasked) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want ErrUnasked", err)
		}
	}
}

// inside lets the double answer without a network, so that a test's time need
// not pass.
type inside struct{ http.Handler }

func (i inside) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.Header.Set("User-Agent", "evergrant/test")
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestDeliverIsPatient: what passes is waited for up to two minutes, whether it
// befalls the key or the value; what does not pass ends the delivery at once.
func TestDeliverIsPatient(t *testing.T) {
	t.Parallel()
	limited := map[string]string{"Retry-After": "45"}
	for name, tt := range map[string]struct {
		faults      []double.Fault
		least, most time.Duration // that it takes
		fails       bool
	}{
		"nothing":                       {nil, 0, 0, false},
		"one key that is refused":       {[]double.Fault{{Name: "public-key", Times: 1, Status: 502}}, time.Second, 5 * time.Second, false},
		"no key for a while":            {[]double.Fault{{Name: "public-key", Times: 5, Status: 502}}, 30 * time.Second, time.Minute, false},
		"no writes for a while":         {[]double.Fault{{Method: http.MethodPut, Times: 15, Status: 502}}, 30 * time.Second, time.Minute, false},
		"a limit that the key meets":    {[]double.Fault{{Name: "public-key", Times: 1, Status: 403, Header: limited}}, 45 * time.Second, 50 * time.Second, false},
		"a limit beyond its patience":   {[]double.Fault{{Times: 1, Status: 403, Header: map[string]string{"Retry-After": "600"}}}, 0, time.Second, true},
		"away for good":                 {[]double.Fault{{Status: 502}}, 100 * time.Second, ghsecret.Patience, true},
		"written by none for good":      {[]double.Fault{{Method: http.MethodPut, Status: 503}}, 100 * time.Second, ghsecret.Patience, true},
		"a refusal is none that passes": {[]double.Fault{{Method: http.MethodPut, Status: 403}}, 0, 0, true},
		"nor is a wrong address":        {[]double.Fault{{Name: "public-key", Status: 404}}, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			github, err := double.New(double.Config{})
			must(t, err)
			defer github.Close()
			must(t, github.AddRepository("acme/widgets"))
			github.Allow(token, double.Write)
			github.Fail(tt.faults...)
			synctest.Test(t, func(t *testing.T) {
				of, err := githubapi.ParseSecret("acme/widgets/API_TOKEN", "")
				must(t, err)
				client, err := githubapi.New(githubapi.Config{Token: grant.NewSecret(token), Transport: inside{github}})
				must(t, err)
				begun := time.Now()
				err = ghsecret.Open(of, client, 0).Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret("canary-access")})
				took := time.Since(begun)
				if (err != nil) != tt.fails || took < tt.least || took > tt.most || err != nil && strings.Contains(err.Error(), "canary") {
					t.Errorf("%v after %v, want an error: %v, after %v to %v", err, took, tt.fails, tt.least, tt.most)
				}
				if value, there := github.Value("acme/widgets", "API_TOKEN"); there == tt.fails || there && value != "canary-access" {
					t.Errorf("the secret is there: %v", there)
				}
			})
			for _, v := range github.Violations() {
				t.Errorf("GitHub's description: %s", v)
			}
		})
	}
}

// TestAnotherKey: GitHub may change the key between a look and a delivery.
func TestAnotherKey(t *testing.T) {
	t.Parallel()
	github, s := open(t, "", double.Write)
	must(t, s.Check(t.Context()))
	must(t, github.RotateKey("acme/widgets"))
	for _, value := range []string{"canary-access-1", "canary-access-2"} {
		must(t, s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(value)}))
		if got, ok := github.Value("acme/widgets", "API_TOKEN"); !ok || got != value {
			t.Errorf("the secret holds the token: %v", ok)
		}
	}
	keys := 0
	for _, r := range github.Requests() {
		if r.Method == http.MethodGet {
			keys++
		}
	}
	if keys != 2 {
		t.Errorf("the key was fetched %d times, want 2", keys)
	}
}
