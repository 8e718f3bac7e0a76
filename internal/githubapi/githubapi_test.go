package githubapi_test

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
	"evergrant/internal/oauth"
)

// canary is the token of these tests. It may be in no error.
const canary = "github_pat_canary-5d0c"

const value = "canary-value-91"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a double with one repository, and a token that may write there.
func world(t *testing.T) *double.Server {
	t.Helper()
	s, err := double.New(double.Config{})
	must(t, err)
	must(t, s.AddRepository("acme/widgets", "prod & more"))
	s.Allow(canary, double.Write)
	t.Cleanup(func() {
		for _, v := range s.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		must(t, s.Close())
	})
	return s
}

func client(t *testing.T, api, token string) *githubapi.Client {
	t.Helper()
	c, err := githubapi.New(githubapi.Config{API: api, Token: grant.NewSecret(token), Transport: transport(2 * time.Second)})
	must(t, err)
	return c
}

func transport(limit time.Duration) http.RoundTripper {
	return oauth.NewTransport(oauth.DiscoverConfig{UserAgent: "evergrant/test", RequestTimeout: limit})
}

func secret(t *testing.T, environment string) githubapi.Secret {
	t.Helper()
	s, err := githubapi.ParseSecret("acme/widgets/token", environment)
	must(t, err)
	return s
}

// TestSecretsOfBothKinds goes through all calls, at github.com's address and at
// that of an Enterprise Server.
func TestSecretsOfBothKinds(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"", "prod & more"} {
		for _, base := range []string{"", "/api/v3/"} {
			s := world(t)
			where := strings.TrimSuffix("acme/widgets:"+environment, ":")
			c, name := client(t, s.URL+base, canary), secret(t, environment)
			if _, err := c.Describe(t.Context(), name); !errors.Is(err, githubapi.ErrAbsent) {
				t.Fatalf("a secret that is not there: %v", err)
			}
			key, err := c.PublicKey(t.Context(), name)
			must(t, err)
			for _, v := range []string{value, value + "-2"} {
				must(t, c.Put(t.Context(), name, key, grant.NewSecret(v)))
				if got, ok := s.Value(where, "TOKEN"); !ok || got != v {
					t.Errorf("the secret holds %d bytes, want %d", len(got), len(v))
				}
			}
			d, err := c.Describe(t.Context(), name)
			must(t, err)
			if d.Created.IsZero() || d.Updated.Before(d.Created) || d.Updated.Sub(c.Time()).Abs() > 5*time.Second {
				t.Errorf("made at %v, written at %v, and GitHub's clock says %v", d.Created, d.Updated, c.Time())
			}
			must(t, c.Delete(t.Context(), name))
			must(t, c.Delete(t.Context(), name))
			if _, ok := s.Value(where, "TOKEN"); ok {
				t.Error("a deleted secret is there")
			}
			for _, r := range s.Requests() {
				if r.UserAgent != "evergrant/test" || r.Token != canary {
					t.Errorf("%s %s as %q", r.Method, r.Path, r.UserAgent)
				}
			}
		}
	}
}

// TestRefusals: each says what is wrong and what to do, in one line without the
// token, and is sent once.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		access      double.Access
		token       string
		repository  string
		environment string
		write       bool
		says        []string
		requests    int
	}{
		"unknown token":            {says: []string{"does not know the token", "expired"}, requests: 1},
		"no such repository":       {access: double.Write, repository: "acme/other", says: []string{"no repository acme/other", "may not see it"}, requests: 2},
		"unseeing token":           {access: double.Unseeing, says: []string{"no repository acme/widgets", "may not see it"}, requests: 2},
		"no such environment":      {access: double.Write, environment: "stage", says: []string{`acme/widgets has no environment "stage"`, "Settings"}, requests: 3},
		"single sign-on":           {access: double.Unsigned, says: []string{"single sign-on of acme", "Configure SSO"}, requests: 1},
		"read only":                {access: double.Read, write: true, says: []string{"lacks the permission secrets=write"}, requests: 1},
		"read only, environment":   {access: double.Read, environment: "prod & more", write: true, says: []string{"lacks the permission environments=write"}, requests: 1},
		"a job's own token":        {access: double.Job, token: "ghs_canary-job-token", says: []string{"secrets=write", "GITHUB_TOKEN never has it", "fine-grained"}, requests: 1},
		"a job's own token writes": {access: double.Job, token: "ghs_canary-job-token", write: true, says: []string{"GITHUB_TOKEN never has it"}, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := world(t)
			token := "other-" + canary
			if tt.token != "" {
				token = tt.token
			}
			s.Allow(token, tt.access)
			c, of := client(t, s.URL, token), secret(t, tt.environment)
			key, err := client(t, s.URL, canary).PublicKey(t.Context(), secret(t, ""))
			must(t, err)
			if tt.repository != "" {
				of.Owner, of.Repo, _ = strings.Cut(tt.repository, "/")
			}
			before := len(s.Requests())
			if tt.write {
				err = c.Put(t.Context(), of, key, grant.NewSecret(value))
			} else {
				_, err = c.Describe(t.Context(), of)
			}
			refusal := (*githubapi.Error)(nil)
			if !errors.As(err, &refusal) || !refusal.Lasting() || !refusal.Unwritten() || errors.Is(err, githubapi.ErrAbsent) {
				t.Fatalf("%v, want a lasting refusal", err)
			}
			for _, text := range tt.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			clean(t, err)
			if n := len(s.Requests()) - before; n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
}

func clean(t *testing.T, err error) {
	t.Helper()
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is not one line without secrets: %v", err)
	}
}

func TestRenamedRepository(t *testing.T) {
	t.Parallel()
	s := world(t)
	s.Rename("acme/widgets")
	_, err := client(t, s.URL, canary).Describe(t.Context(), secret(t, ""))
	if err == nil || !strings.Contains(err.Error(), "has moved") || len(s.Requests()) != 1 {
		t.Errorf("%v after %d requests, want that it has moved, and no redirect followed", err, len(s.Requests()))
	}
}

// TestRateLimits: a read is sent once; a write waits as long as it is asked to
// and its context allows; while GitHub asks to wait nothing is sent at all.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	reset := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
	for name, tt := range map[string]struct {
		fault double.Fault
		least time.Duration // that the client waits
		most  time.Duration
	}{
		"Retry-After":     {double.Fault{Status: 403, Header: map[string]string{"Retry-After": "7"}, Message: "You have exceeded a secondary rate limit."}, 6 * time.Second, 8 * time.Second},
		"429":             {double.Fault{Status: 429}, 59 * time.Second, 61 * time.Second},
		"secondary, bare": {double.Fault{Status: 403, Message: "You have exceeded a secondary rate limit. Please wait."}, 59 * time.Second, 61 * time.Second},
		"absurd":          {double.Fault{Status: 403, Header: map[string]string{"Retry-After": "999999999"}}, 23 * time.Hour, 25 * time.Hour},
		"primary":         {double.Fault{Status: 403, Header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4102444800"}}, time.Hour, 100 * 366 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := world(t)
			c, of := client(t, s.URL, canary), secret(t, "")
			s.Fail(tt.fault)
			_, err := c.Describe(t.Context(), of)
			refusal := (*githubapi.Error)(nil)
			if !errors.As(err, &refusal) || refusal.Lasting() || !refusal.Unwritten() || !strings.Contains(err.Error(), "limits the rate") {
				t.Fatalf("%v, want a limit", err)
			}
			if wait := time.Until(refusal.Until); wait < tt.least || wait > tt.most {
				t.Errorf("to wait until %v, want %v to %v from %s", refusal.Until, tt.least, tt.most, reset(0))
			}
			s.Mend()
			if _, err := c.PublicKey(t.Context(), of); !errors.As(err, &refusal) {
				t.Errorf("while GitHub asks to wait: %v", err)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d requests, want 1: nothing is sent while GitHub asks to wait", n)
			}
		})
	}
}

func TestWritesAreSentAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  double.Fault
		writes int // requests
		fails  bool
	}{
		"one 502":                {double.Fault{Times: 1, Status: 502}, 2, false},
		"cut before it acts":     {double.Fault{Times: 1}, 2, false},
		"cut after it acted":     {double.Fault{Times: 1, Acted: true}, 2, false},
		"a limit of a second":    {double.Fault{Times: 1, Status: 403, Header: map[string]string{"Retry-After": "1"}}, 2, false},
		"500 for ever":           {double.Fault{Status: 500}, 3, true},
		"a limit of ten minutes": {double.Fault{Times: 1, Status: 403, Header: map[string]string{"Retry-After": "600"}}, 1, true},
		"a refusal":              {double.Fault{Status: 422}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := world(t)
			c, of := client(t, s.URL, canary), secret(t, "")
			key, err := c.PublicKey(t.Context(), of)
			must(t, err)
			tt.fault.Method = http.MethodPut
			s.Fail(tt.fault)
			err = c.Put(t.Context(), of, key, grant.NewSecret(value))
			if (err != nil) != tt.fails {
				t.Errorf("error %v, want one: %v", err, tt.fails)
			}
			if err != nil {
				clean(t, err)
			}
			if got, ok := s.Value("acme/widgets", "TOKEN"); ok == tt.fails || ok && got != value {
				t.Errorf("the secret is there: %v", ok)
			}
			if n := len(s.Requests()) - 1; n != tt.writes {
				t.Errorf("%d writes, want %d", n, tt.writes)
			}
		})
	}
}

// TestWritesEndWithTheirContext: no pause outlives it.
func TestWritesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s := world(t)
	c, of := client(t, s.URL, canary), secret(t, "")
	key, err := c.PublicKey(t.Context(), of)
	must(t, err)
	s.Fail(double.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err = c.Put(ctx, of, key, grant.NewSecret(value))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	clean(t, err)
}

func TestTooLongIsNotSent(t *testing.T) {
	t.Parallel()
	s := world(t)
	c, of := client(t, s.URL, canary), secret(t, "")
	key, err := c.PublicKey(t.Context(), of)
	must(t, err)
	must(t, c.Put(t.Context(), of, key, grant.NewSecret(strings.Repeat("x", githubapi.MaxValue))))
	before := len(s.Requests())
	if err := c.Put(t.Context(), of, key, grant.NewSecret(strings.Repeat("x", githubapi.MaxValue+1))); !errors.Is(err, grant.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	if len(s.Requests()) != before {
		t.Error("a value that is too long was sent")
	}
}

// TestNotTheAPI: whatever answers at a wrong address is not taken for GitHub.
func TestNotTheAPI(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer string
		says   string
	}{
		"a page":           {"<html>canary-page</html>", "not one of GitHub's API"},
		"another document": {`{"key_id":"","key":"canary"}`, "not one of GitHub's API"},
		"half a key":       {`{"key_id":"1","key":"Y2FuYXJ5"}`, "not one of GitHub's API"},
	} {
		c, err := githubapi.New(githubapi.Config{Token: grant.NewSecret(canary), Transport: answers(tt.answer)})
		must(t, err)
		_, err = c.PublicKey(t.Context(), secret(t, ""))
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		clean(t, err)
		if _, err := c.Describe(t.Context(), secret(t, "")); err == nil || errors.Is(err, githubapi.ErrAbsent) {
			t.Errorf("%s: Describe gave %v", name, err)
		}
	}
}

// answers is a server that says the same to everybody.
type answers string

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body{strings.NewReader(string(a))}}, nil
}

type body struct{ *strings.Reader }

func (body) Close() error { return nil }
