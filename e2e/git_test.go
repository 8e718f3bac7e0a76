//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// onGit moves the box's store into a bare git repository, sealed.
func (b *box) onGit(t *testing.T) (repository string) {
	t.Helper()
	repository = filepath.Join(b.home, "store.git")
	cmd := exec.Command("git", "init", "--quiet", "--bare", repository)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.home, "GIT_CONFIG_NOSYSTEM=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	key := b.run(t, "key", "new")
	if key.code != 0 || !strings.Contains(key.stdout, "AGE-SECRET-KEY-") {
		t.Fatal("evergrant key new printed no key")
	}
	secret := key.stdout[strings.Index(key.stdout, "AGE-SECRET-KEY-"):]
	secret, _, _ = strings.Cut(secret, "\n")
	b.set("PATH", os.Getenv("PATH"))
	b.set("EVERGRANT_STORE", "git:"+repository)
	b.set("EVERGRANT_KEY", secret)
	b.secrets = append(b.secrets, secret)
	return repository
}

// TestCrowdOnGit starts 32 processes at once on one git store, round after
// round, each of which the server must see as one token request.
func TestCrowdOnGit(t *testing.T) {
	server := startServer(t, nil)
	l := server.consent(t, publicClient)
	b := newBox(t).at(server.issuer+"/token", publicClient).seeded(l.Refresh)
	repository := b.onGit(t)
	last := b.deliver(t, "--force", "shared")
	server.expect(t, "the first refresh", refreshes(1))
	started := time.Now()
	const rounds = 3
	for range rounds {
		last = newCrowd().round(t, b, last, "--after", strconv.FormatUint(last.Generation, 10))
		server.expect(t, "32 processes on a git store", refreshes(1))
	}
	if !server.alive(t, last.token) {
		t.Fatal("the family is dead")
	}
	took := time.Since(started)

	// A deleted ref is no fresh start for whoever forbids one, nor on a machine
	// that remembers the grant.
	cmd := exec.Command("git", "--git-dir", repository, "update-ref", "-d", "refs/evergrant/shared")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.home}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git update-ref: %v\n%s", err, out)
	}
	b.fails(t, 6, "shared")
	b.set("XDG_STATE_HOME", filepath.Join(b.home, "another-machine"))
	b.fails(t, 6, "--no-create", "shared")
	server.expect(t, "a deleted ref", refreshes(0))
	part("%-19s %d processes at once, %d rounds: %d token requests, family alive (%.1f s); a deleted ref starts nothing",
		"crowd on git", crowdSize, rounds, rounds, took.Seconds())
}
