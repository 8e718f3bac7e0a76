package ghsecret_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/record"
	"evergrant/internal/store/ghsecret"
)

const (
	acme = grant.ID("acme/main")
	repo = "acme/widgets"
	name = "STATE"
	// token is what GitHub asks for. It may be seen nowhere.
	token = "github_pat_canary-77c1"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is GitHub with one repository, and the key of its records.
type world struct {
	*testing.T
	github      *double.Server
	codec       *record.Codec
	environment string
}

// newWorld makes a world whose clock moves on by step with each look at a secret.
func newWorld(t *testing.T, step time.Duration) *world {
	t.Helper()
	return newWorldOf(t, double.Config{Step: step})
}

func newWorldOf(t *testing.T, c double.Config) *world {
	t.Helper()
	github, err := double.New(c)
	must(t, err)
	must(t, github.AddRepository(repo, "prod"))
	github.Allow(token, double.Write)
	t.Cleanup(func() {
		for _, v := range github.Violations() {
			t.Errorf("GitHub's description: %s", v)
		}
		must(t, github.Close())
	})
	identity, _, err := record.NewKey()
	must(t, err)
	codec, err := record.NewCodec(identity)
	must(t, err)
	return &world{T: t, github: github, codec: codec}
}

func (w *world) where() string {
	if w.environment != "" {
		return repo + ":" + w.environment
	}
	return repo
}

// job opens the store as a job does that was queued now.
func (w *world) job(secret string) *ghsecret.Store {
	w.Helper()
	text, _ := w.github.Value(w.where(), secret)
	return w.open(secret, text, token)
}

// queued opens the store with a snapshot of long ago.
func (w *world) queued(snapshot string) *ghsecret.Store { return w.open(name, snapshot, token) }

func (w *world) open(secret, snapshot, token string) *ghsecret.Store {
	w.Helper()
	s, err := ghsecret.Open(w.config(secret, snapshot, token))
	must(w, err)
	return s
}

func (w *world) config(secret, snapshot, token string) ghsecret.Config {
	w.Helper()
	of, err := githubapi.ParseSecret(repo+"/"+secret, w.environment)
	must(w, err)
	client, err := githubapi.New(githubapi.Config{API: w.github.URL, Token: grant.NewSecret(token), Transport: transport()})
	must(w, err)
	return ghsecret.Config{
		Secret: of, API: w.github.URL, Client: client, Codec: w.codec, Variable: "VAR", Snapshot: grant.NewSecret(snapshot),
	}
}

func transport() http.RoundTripper {
	return oauth.NewTransport(oauth.DiscoverConfig{UserAgent: "evergrant/test", RequestTimeout: 2 * time.Second})
}

// value is what the secret holds.
func (w *world) value() string {
	w.Helper()
	text, ok := w.github.Value(w.where(), name)
	if !ok {
		w.Fatal("there is no secret")
	}
	return text
}

// written is when the secret was last written, by GitHub's clock.
func (w *world) written() time.Time {
	w.Helper()
	c := w.config(name, "", token)
	d, err := c.Client.Describe(w.Context(), c.Secret)
	must(w, err)
	return d.Updated
}

// secrets is a store of many grants: one secret for each, as their owner would
// keep them.
type secrets struct {
	w  *world
	mu sync.Mutex
	of map[grant.ID]*ghsecret.Store
}

func newSecrets(w *world) *secrets { return &secrets{w: w, of: map[grant.ID]*ghsecret.Store{}} }

func (s *secrets) store(id grant.ID) grant.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[id] == nil {
		s.of[id] = s.w.job("STATE_" + grant.NewSecret(string(id)).Digest())
	}
	return s.of[id]
}

func (s *secrets) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	return s.store(id).Load(ctx, id)
}

func (s *secrets) Swap(ctx context.Context, id grant.ID, old grant.Version, next grant.Credential) (grant.Version, error) {
	return s.store(id).Swap(ctx, id, old, next)
}

func (s *secrets) Properties() grant.Properties { return s.store(acme).Properties() }
