//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/simulator"
)

// fresh is a checkout whose Action keeps a token fresh at a provider whose every
// refresh ends the token that is running.
type fresh struct {
	*checkout
	provider *simulator.Server
	issuer   string
	family   string
	logs     strings.Builder
}

func newFresh(t *testing.T, node string, life time.Duration) *fresh {
	t.Helper()
	behaviour := simulator.Strict().Behaviour
	behaviour.RevokesAccess = true
	srv, err := simulator.New(simulator.Config{Rules: simulator.Rules{Behaviour: behaviour, AccessLife: life}})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	f := &fresh{checkout: newCheckout(t, node), provider: srv}
	f.issuer, err = srv.Start("127.0.0.1:0")
	must(t, err)
	seed, err := srv.IssueFamily(simulator.DefaultClient)
	must(t, err)
	f.family = srv.FamilyOf(seed.Refresh.Digest())
	f.ship(t, realProgram(t))
	_, key, ok := strings.Cut(newBox(t).run(t, "key", "new").stdout, "AGE-SECRET-KEY-")
	if key, _, _ = strings.Cut(key, "\n"); !ok {
		t.Fatal("evergrant key new printed no key")
	}
	for name, value := range map[string]string{"KEY": "AGE-SECRET-KEY-" + key, "STORE": "file:" + filepath.Join(f.env["HOME"], "grants"),
		"REFRESH-TOKEN": seed.Refresh.Reveal(), "TOKEN-URL": f.issuer + "/token", "CLIENT-ID": simulator.DefaultClient, "KEEP-FRESH": "true"} {
		f.env["INPUT_"+name] = value
	}
	f.env["RUNNER_TRACKING_ID"] = "github_e2e"
	return f
}

// outputs are what the step has set for later ones.
func (f *fresh) outputs(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(f.env["GITHUB_OUTPUT"])
	must(t, err)
	values := map[string]string{}
	for rest := string(b); rest != ""; {
		var head, value string
		head, rest, _ = strings.Cut(rest, "\n")
		name, end, _ := strings.Cut(head, "<<")
		value, rest, _ = strings.Cut(rest, "\n"+end+"\n")
		values[name] = value
	}
	return values
}

// beside is a machine of the same user that uses the grant by the binary itself.
func (f *fresh) beside(t *testing.T) *box {
	b := newBox(t).at(f.env["INPUT_TOKEN-URL"], client{id: simulator.DefaultClient})
	b.set("EVERGRANT_STORE", f.env["INPUT_STORE"])
	b.set("EVERGRANT_KEY", f.env["INPUT_KEY"])
	b.secrets = append(b.secrets, f.env["INPUT_KEY"])
	return b
}

// keepers are the processes in the background that belong to this checkout.
func (f *fresh) keepers() (pids []int) {
	for pid, p := range everyProcess() {
		if strings.HasPrefix(p.line, f.dir) && strings.Contains(p.line, "action keep") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// readsFile is a step that reads the token's file again whenever a call is
// refused, until so many calls were good. It gives up where the file has no good
// token for five seconds.
func (f *fresh) readsFile(path string, calls int) (tokens map[string]bool, err error) {
	tokens = map[string]bool{}
	for good := 0; good < calls; good++ {
		for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			req, err := http.NewRequest(http.MethodGet, f.issuer+"/userinfo", nil)
			if err != nil {
				return nil, err
			}
			req.Header.Set("Authorization", "Bearer "+string(b))
			answer, err := http.DefaultClient.Do(req)
			if err != nil {
				return nil, err
			}
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				tokens[string(b)] = true
				break
			}
			if time.Since(begun) > 5*time.Second {
				return nil, fmt.Errorf("the file has no good token for 5 s: HTTP %d", answer.StatusCode)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return tokens, nil
}

// TestShimKeepFresh runs the main step with keep-fresh, then several later steps
// that read the socket and the file while other processes refresh too, and then the
// post step.
func TestShimKeepFresh(t *testing.T) {
	const (
		life   = 3 * time.Second
		steps  = 3
		others = 3
		least  = 5 // generations that each step sees
	)
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			f := newFresh(t, node, life)
			f.env["INPUT_MIN-TTL"] = "2s"
			// It returns when nobody has its streams any more.
			f.logs.WriteString(f.step(t, 0, "main"))
			f.state(t)
			outputs := f.outputs(t)
			socket, file := outputs["token-socket"], outputs["token-file"]
			if n := len(f.keepers()); n != 1 || outputs["program"] != filepath.Join(f.dir, "action", "bin", theProgram()) {
				t.Fatalf("%d processes in the background; the program is said to be %s\n%s", n, outputs["program"], f.logs.String())
			}

			stop := make(chan struct{})
			var crowd sync.WaitGroup
			for range others {
				b := f.beside(t)
				crowd.Go(func() {
					for !closed(stop) {
						if r, err := b.complete(b.command(t.Context(), "refresh", "--min-ttl", "2s")); err != nil || r.code != 0 {
							t.Errorf("another process: %v\n%v", err, r)
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				})
			}
			calls, again := 0, 0
			self, err := os.Executable()
			must(t, err)
			for range steps {
				b := newBox(t)
				b.set("JOB_RESOURCE", f.issuer+"/userinfo")
				b.set("EVERGRANT_TOKEN_SOCKET", socket)
				cmd := b.command(t.Context(), "job")
				cmd.Path = self
				in, err := cmd.StdinPipe()
				must(t, err)
				before := len(f.provider.Ledger().Presentations)
				job := make(chan result, 1)
				go func() {
					r, err := b.complete(cmd)
					if err != nil {
						t.Error(err)
					}
					job <- r
				}()
				tokens, err := f.readsFile(file, 250)
				for err == nil && len(f.provider.Ledger().Presentations) < before+least {
					var more map[string]bool
					if more, err = f.readsFile(file, 50); err == nil {
						for token := range more {
							tokens[token] = true
						}
					}
				}
				must(t, in.Close())
				r := <-job
				var n, twice, generations int
				if _, serr := fmt.Sscan(r.stdout, &n, &twice, &generations); err != nil || serr != nil || r.code != 0 || generations < least || len(tokens) < least-1 {
					t.Fatalf("a step: %v, %v: %d tokens of the file, %d generations of the socket\n%v", err, serr, len(tokens), generations, r)
				}
				calls, again = calls+n, again+twice
			}
			close(stop)
			crowd.Wait()

			f.logs.WriteString(f.step(t, 0, "post"))
			if log := f.logs.String(); !strings.Contains(log, "evergrant: the token was kept fresh until now: generation ") || strings.Contains(log, "::warning") {
				t.Errorf("the steps say\n%s", log)
			}
			for until := time.Now().Add(5 * time.Second); len(f.keepers()) > 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatal("a process is left")
				}
			}
			if left, err := os.ReadDir(filepath.Join(f.temp, "evergrant", "keep")); err != nil || len(left) > 0 || exists(file) || exists(socket) {
				t.Errorf("left behind: %v (%v)", left, err)
			}
			ledger := f.provider.Ledger()
			if i := slices.IndexFunc(ledger.Presentations, func(p simulator.Presentation) bool { return p.Outcome != simulator.Rotated }); i >= 0 {
				t.Errorf("a refresh token was presented in vain: %+v", ledger.Presentations[i])
			}
			if family, _ := ledger.Family(f.family); !family.Alive {
				t.Error("the family is dead")
			}
			part("%-19s %s: %d steps, %d calls by the socket over %d generations beside %d processes, %d made twice; the file in step; no process and no file left",
				"shim, keep-fresh", version, steps, calls, len(ledger.Presentations), others, again)
		})
	}
}

// TestShimKeepFreshKilled kills the process in the background while the store does
// not answer, as TestShim does with a step, and cancels a step that would have
// started one.
func TestShimKeepFreshKilled(t *testing.T) {
	node := slices.Sorted(maps.Values(nodes(t)))[0]
	f := newFresh(t, node, time.Hour)
	relay := newRelay(t, f.issuer)
	f.env["INPUT_TOKEN-URL"] = relay.url + "/token"
	f.logs.WriteString(f.step(t, 0, "main"))
	f.state(t)
	outputs := f.outputs(t)
	store := strings.TrimPrefix(f.env["INPUT_STORE"], "file:")
	var once sync.Once
	relay.hold(func() {
		once.Do(func() {
			if err := os.Rename(store, store+".away"); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(store, nil, 0o600); err != nil {
				t.Error(err)
			}
		})
	})
	go func() { // nobody gets the answer
		if c, err := net.Dial("unix", outputs["token-socket"]); err == nil {
			_, _ = io.WriteString(c, "token after 2\n")
			_, _ = io.ReadAll(c)
			_ = c.Close()
		}
	}()
	spills := func() int {
		found, err := filepath.Glob(filepath.Join(f.temp, "evergrant", "spill", "*", "*.spill"))
		must(t, err)
		whole := slices.DeleteFunc(found, func(path string) bool {
			b, err := os.ReadFile(path)
			return err != nil || !bytes.HasSuffix(bytes.TrimSpace(b), []byte("}"))
		})
		return len(whole)
	}
	for until := time.Now().Add(20 * time.Second); spills() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("no spill came")
		}
	}
	for _, pid := range f.keepers() {
		killTree(pid)
	}
	relay.hold(nil)
	must(t, os.Remove(store))
	must(t, os.Rename(store+".away", store))
	if log := f.step(t, 0, "post"); !strings.Contains(log, "::warning title=evergrant::the token was not kept fresh until the job's end: the process in the background was killed before") ||
		!strings.Contains(log, "generation 3, which was not saved when the step ended, is in the store now") {
		t.Fatalf("the post step says\n%s", log)
	}

	// A step that is cancelled has its token saved, and starts nothing.
	f.env["INPUT_FORCE"], f.env["STATE_keeper"] = "true", ""
	s := &strict{provider: f.provider, between: relay}
	s.cancel(t, f.checkout, "refreshed, generation 4", "not kept fresh in the background: stopped by a signal")
	if n := len(f.keepers()); n != 0 {
		t.Fatalf("%d processes in the background of a step that was cancelled", n)
	}
	if family, n := s.standing(t, f.family); !family.Alive || n != 3 {
		t.Fatalf("the family is alive: %v, after %d presentations, want 3", family.Alive, n)
	}
	part("%-19s killed in the save and healed by the post step; a step that is cancelled starts nothing", "shim, keep-fresh")
}
