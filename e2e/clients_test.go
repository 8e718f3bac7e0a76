//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClients keeps a login alive for three kinds of client: real code flow,
// one refresh by openid-client, then refreshes through the binary. Then it
// spends an old token on purpose, to see that the server's account would have
// shown it, and what evergrant says of a dead family.
func TestClients(t *testing.T) {
	const rounds = 6
	server := startServer(t, nil)
	keyFile := filepath.Join(t.TempDir(), "client.pem")
	must(t, os.WriteFile(keyFile, []byte(server.privateKey), 0o600))

	for _, c := range []client{
		publicClient,
		{id: "basic", auth: "client_secret_basic", flags: []string{"--client-auth", "client_secret_basic", "--client-secret-env", "CLIENT_SECRET"}},
		{id: "jwt", auth: "private_key_jwt", flags: []string{"--client-auth", "private_key_jwt", "--client-key-file", keyFile, "--client-key-id", server.kid}},
	} {
		t.Run(c.auth, func(t *testing.T) {
			l := server.consent(t, c)
			b := newBox(t).at(server.tokenURL(), c).seeded(l.Refresh)
			b.set("CLIENT_SECRET", clientSecret)
			b.secrets = append(b.secrets, clientSecret)

			tokens := map[string]bool{l.Access: true}
			last := uint64(0)
			for i := range rounds {
				d := b.deliver(t, "--force", c.id)
				b.unset("EVERGRANT_REFRESH_TOKEN") // from here on the record alone carries the chain
				if d.Action != "refreshed" || !d.Rotated || i > 0 && d.Generation != last+1 {
					t.Fatalf("refresh %d: report %+v after generation %d", i+1, d.report, last)
				}
				if tokens[d.token] || !server.alive(t, d.token) {
					t.Fatalf("refresh %d: the access token is old or dead", i+1)
				}
				tokens[d.token], last = true, d.Generation
				got := server.expect(t, fmt.Sprintf("refresh %d", i+1), refreshes(1))
				if a := got.agents[0]; !strings.HasPrefix(a, "evergrant/") || !strings.HasSuffix(a, "HTTP/1.1") {
					t.Fatalf("refresh %d came as %q", i+1, a)
				}
			}
			if d := b.deliver(t, "--min-ttl", "5m", c.id); d.Action != "served" || d.Generation != last {
				t.Fatalf("enough life left, and the report is %+v", d.report)
			}
			server.expect(t, "a token with enough life left", counts{})
			part("%-19s code flow, openid-client, then %d refreshes: %d token requests, %d rotations saved, family alive",
				c.auth, rounds, rounds, rounds)
			if c.auth == "none" {
				deadFamily(t, server, b, l)
			}
		})
	}
}

// deadFamily spends an old token, as a second program would that kept a copy.
func deadFamily(t *testing.T, server *authServer, b *box, l login) {
	if status := server.present(t.Context(), t, l.Spent); status != 400 {
		t.Fatalf("the server answers a spent token with HTTP %d", status)
	}
	server.expect(t, "a spent token presented", counts{requests: 1, failed: 1, revoked: 1})
	r := b.fails(t, 3, "--force", publicClient.id)
	server.expect(t, "the first refresh in a dead family", counts{requests: 1, failed: 1})
	b.fails(t, 3, "--force", publicClient.id)
	server.expect(t, "a rejected token is not sent again", counts{})
	part("%-19s a spent token presented elsewhere: family revoked by the server, exit 3, nothing sent again", "reuse")
	for _, word := range []string{publicClient.id, "sign in"} {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("exit 3 does not say %q:\n%v", word, r)
		}
	}
}

// part prints the closing line of a part, past the test's own buffering.
func part(format string, args ...any) { fmt.Printf("e2e: "+format+"\n", args...) }
