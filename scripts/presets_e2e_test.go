//go:build e2e

package scripts_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// simulated is what the program's simulator prints of itself.
type simulated struct {
	TokenURL     string `json:"token_url"`
	ClientID     string `json:"client_id"`
	Body         string `json:"body"`
	RefreshToken string `json:"refresh_token"`
}

// simulate starts the program's simulator as a provider.
func simulate(t *testing.T, as string) simulated {
	t.Helper()
	cmd := exec.Command(programs(t)[3].argv[0], "simulate", "--as", as, "--json", "--for", "5m")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait() // it was told to end
	})
	var s simulated
	must(t, json.NewDecoder(out).Decode(&s))
	return s
}

// TestDeadLogins: of each provider that init offers a script for, and where a
// spent token ends the login at once, a script says so, in that provider's way
// of telling it.
func TestDeadLogins(t *testing.T) {
	seen := 0
	for _, preset := range accepted(t) {
		if b := preset.Behaviour(); !b.Rotates || b.Reuse != grant.ReuseFatal {
			continue
		}
		seen++
		for _, p := range scripts(t) {
			t.Run(preset.Name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				s := simulate(t, preset.Name)
				b := newBox(t, simulator.Config{})
				b.secrets = append(b.secrets, s.RefreshToken)
				for name, value := range map[string]string{"TOKEN_URL": s.TokenURL, "CLIENT_ID": s.ClientID, "BODY": s.Body, "REFRESH_TOKEN": s.RefreshToken} {
					b.env["EVERGRANT_"+name] = value
				}
				if r := b.run(t, p); r.code != 0 || b.saved(t) == "" {
					t.Fatalf("the first refresh: %v", r)
				}
				b.env["EVERGRANT_WRITE_BACK"] = "file:" + b.file + "-2" // so the first token is spent again
				if r := b.run(t, p); r.code != 3 || !strings.Contains(r.stderr, "the provider takes this refresh token no more") {
					t.Errorf("a spent token: want exit 3\n%v", r)
				}
			})
		}
	}
	if seen < 5 {
		t.Errorf("only %d providers end the login at once", seen)
	}
}
