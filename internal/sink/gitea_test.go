package sink_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/sink"
	"evergrant/internal/sink/giteasecret"
)

// TestGiteaSecret: the URL names the secret that gets the token, at the job's own
// forge or at the one that the URL names, and never at another system's API.
func TestGiteaSecret(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the request is not whole: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body))
		w.WriteHeader(http.StatusCreated)
	}))
	defer forge.Close()
	vars := map[string]string{"GITHUB_API_URL": forge.URL + "/api/v1"}
	deps := sink.Deps{
		Getenv: func(n string) string { return vars[n] },
		Gitea: func() (giteasecret.Access, error) {
			return giteasecret.Access{Token: grant.NewSecret("canary-gitea"), Transport: oauth.NewTransport(oauth.DiscoverConfig{})}, nil
		},
	}
	deliver := func(url string) {
		t.Helper()
		s, err := sink.Open(url, deps)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(canary)}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		want := `PUT /api/v1/repos/acme/widgets/actions/secrets/API_TOKEN {"data":"` + canary + `"}`
		if len(asked) != 1 || asked[0] != want {
			t.Errorf("%s: asked %q, want %q", url, asked, want)
		}
		asked = nil
	}
	deliver("gitea-secret:acme/widgets/api_token")
	named := "gitea-secret:acme/widgets/API_TOKEN?api=" + vars["GITHUB_API_URL"]
	vars["GITHUB_API_URL"] = "https://api.github.com"
	deliver(named)
	if _, err := sink.Open("gitea-secret:acme/widgets/X", deps); err == nil || !strings.Contains(err.Error(), "?api=https://HOST/api/v1") {
		t.Errorf("in a job of GitHub: %v", err)
	}
	vars = nil
	if _, err := sink.Open("gitea-secret:acme/widgets/X", deps); err == nil || !strings.Contains(err.Error(), "names no forge") {
		t.Errorf("in no job: %v", err)
	}
	refused := errors.New("no token for you")
	deps.Gitea = func() (giteasecret.Access, error) { return giteasecret.Access{}, refused }
	if _, err := sink.Open(named, deps); !errors.Is(err, refused) {
		t.Errorf("%v, want why there is no token", err)
	}
}
