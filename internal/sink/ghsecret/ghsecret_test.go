package ghsecret_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
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
	return github, ghsecret.Open(of, client)
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

// TestCheck finds what has to be mended, and nothing that passes.
func TestCheck(t *testing.T) {
	t.Parallel()
	for access, fails := range map[double.Access]bool{double.Write: false, double.Read: false, double.Job: true, double.Unseeing: true, double.Unsigned: true, double.Unknown: true} {
		_, s := open(t, "prod", access)
		if err := s.Check(t.Context()); (err != nil) != fails || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("access %d: %v, want an error: %v", access, err, fails)
		}
	}
	if _, s := open(t, "stage", double.Write); s.Check(t.Context()) == nil {
		t.Error("an environment that does not exist passes")
	}
	for _, fault := range []double.Fault{{Status: 500}, {}, {Status: 403, Header: map[string]string{"Retry-After": "60"}}} {
		github, s := open(t, "", double.Write)
		github.Fail(fault)
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("what passes is an error: %v", err)
		}
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
