package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/simulator"
)

// world is what one script has besides its folder: a provider, the tokens that
// it issued, and what the script has noted.
type world struct {
	srv      *simulator.Server
	family   string
	mu       sync.Mutex
	refresh  []string // every refresh token issued
	access   []string // every access token issued
	secrets  []string // other secrets: the sealing key
	allowed  []string // files that may hold tokens: sinks that were asked for
	snapshot map[string]string
	asked    int
	written  int   // of GitHub's secrets
	keepers  []int // processes in the background, which end with the script
}

// basicSecret holds what form-encoding must not spoil (RFC 6749 §2.3.1).
const basicSecret = "canary-basic:/+%&= secret:é"

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// setUp gives the script a sealed store in $WORK, a state folder, a provider
// that forgives nothing, and a grant there in EVERGRANT_REFRESH_TOKEN.
func setUp(env *testscript.Env) error {
	w := &world{}
	var err error
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return err
	}
	w.srv, err = simulator.New(simulator.Config{NewToken: w.newToken, Clients: []simulator.Client{
		{ID: simulator.DefaultClient, Redirects: []string{"http://127.0.0.1/callback", "http://127.0.0.1/elsewhere", "https://app.example/done"}},
		{ID: "basic", Auth: simulator.AuthBasic, Secret: grant.NewSecret(basicSecret)},
		{ID: "jwt", Verify: func(assertion string) ([]byte, error) {
			signed, err := jose.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				return nil, err
			}
			return signed.Verify(signer.Public())
		}},
	}})
	if err != nil {
		return err
	}
	url, err := w.srv.Start("")
	if err != nil {
		return err
	}
	reply, err := w.srv.IssueFamily(simulator.DefaultClient)
	if err != nil {
		return err
	}
	w.family = reply.Family
	key, recipient, err := record.NewKey()
	if err != nil {
		return err
	}
	w.secrets = append(w.secrets, key.Reveal(), basicSecret)
	env.Values[worldKey{}] = w
	setUpGitHub(env)
	setUpHook(env)
	env.Values[oddKey{}] = new(*odd)
	for name, value := range map[string]string{
		"HOME": env.WorkDir, "XDG_STATE_HOME": filepath.Join(env.WorkDir, "state"), "STATE": filepath.Join(env.WorkDir, "state"),
		"STORE": filepath.Join(env.WorkDir, "grants"), "EVERGRANT_STORE": "file:" + filepath.Join(env.WorkDir, "grants"),
		"EVERGRANT_TOKEN_URL": url + "/token", "EVERGRANT_CLIENT_ID": simulator.DefaultClient, "ISSUER": url,
		"EVERGRANT_REFRESH_TOKEN": reply.Refresh.Reveal(), "EVERGRANT_KEY": key.Reveal(), "RECIPIENT": recipient, "BASIC_SECRET": basicSecret,
		"JWT_KEY": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"CI":      "", "GORACE": "atexit_sleep_ms=0", "NEWLINE": "\n",
	} {
		env.Setenv(name, value)
	}
	env.Defer(func() {
		w.endKeepers()
		_ = w.srv.Close()
		w.checkDisk(env)
	})
	return nil
}

// newToken issues canaries: texts that appear nowhere by accident.
func (w *world) newToken(k simulator.Kind) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	token := "canary-" + rand.Text()
	if k == simulator.KindRefresh {
		w.refresh = append(w.refresh, token)
	} else {
		w.access = append(w.access, token)
	}
	return token
}

// checkDisk is the last act of every script: no token and no key lies in a
// file of the script's folder, but in the sinks that were asked for.
func (w *world) checkDisk(env *testscript.Env) {
	found, err := w.scanDisk(env.WorkDir)
	if err != nil {
		env.T().Fatal("scanning the disk:", err)
	}
	if len(found) > 0 {
		env.T().Fatal("secrets on the disk, in: ", strings.Join(found, ", "))
	}
}

func (w *world) scanDisk(root string) (found []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err == nil && w.holds(string(b), w.all()) && !slices.Contains(w.allowed, filepath.ToSlash(rel)) {
			found = append(found, rel)
		}
		return err
	})
	return found, err
}

func (w *world) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Concat(w.refresh, w.access, w.secrets)
}

// unshared are the secrets that no sink is given.
func (w *world) unshared() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Concat(w.refresh, w.secrets)
}

// holds looks for secrets in a text, also in pieces: a prefix long enough to be
// no accident counts.
func (w *world) holds(text string, secrets []string) bool {
	return slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(text, s[:min(len(s), 20)]) })
}
