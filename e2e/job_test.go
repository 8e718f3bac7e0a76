//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"evergrant/internal/simulator"
)

// TestMain lets this program be the job that evergrant run runs.
func TestMain(m *testing.M) {
	if resource := os.Getenv("JOB_RESOURCE"); resource != "" {
		if err := job(resource); err != nil {
			fmt.Fprintln(os.Stderr, "job:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// job calls a protected resource until its standard input ends. A call that is
// refused is made once more with a newer token; a second refusal ends the job.
func job(resource string) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", os.Getenv("EVERGRANT_TOKEN_SOCKET"))
	}}}
	calls, again, generations := 0, 0, map[uint64]bool{}
	for {
		select {
		case <-ended:
			fmt.Printf("%d %d %d\n", calls, again, len(generations))
			return nil
		default:
		}
		generation, status, err := call(socket, resource, 0)
		if err == nil && status == http.StatusUnauthorized {
			again++
			generation, status, err = call(socket, resource, generation)
		}
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("call %d, generation %d: HTTP %d, %w", calls, generation, status, errors.Join(err))
		}
		generations[generation] = true
		calls++
	}
}

func call(socket *http.Client, resource string, after uint64) (generation uint64, status int, err error) {
	resp, err := socket.Get("http://localhost/token.json?after=" + strconv.FormatUint(after, 10))
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return 0, 0, fmt.Errorf("the socket says %s", text)
	}
	var token struct {
		Value      string `json:"access_token"`
		Generation uint64 `json:"generation"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil {
		return 0, 0, err
	}
	req, err := http.NewRequest(http.MethodGet, resource, nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token.Value)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	return token.Generation, answer.StatusCode, answer.Body.Close()
}

// TestLongJob keeps a job of 30 minutes alive, sixty times as fast, beside eight
// other processes that use the same grant, at a provider whose every refresh ends
// the token that is running.
func TestLongJob(t *testing.T) {
	const (
		fast    = 60
		lasts   = 30 * time.Minute / fast
		others  = 8
		least   = 100
		life    = 2 * time.Second // whole seconds, as expires_in has them
		wanted  = 1750 * time.Millisecond
		between = 20 * time.Millisecond
	)
	behaviour := simulator.Strict().Behaviour
	behaviour.RevokesAccess = true
	srv, err := simulator.New(simulator.Config{Rules: simulator.Rules{Behaviour: behaviour, AccessLife: life}})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	issuer, err := srv.Start("127.0.0.1:0")
	must(t, err)
	seed, err := srv.IssueFamily(simulator.DefaultClient)
	must(t, err)
	b := newBox(t).at(issuer+"/token", client{id: simulator.DefaultClient}).seeded(seed.Refresh.Reveal())
	b.set("EVERGRANT_STORE", "file:"+b.home+"/grants")
	b.set("JOB_RESOURCE", issuer+"/userinfo")
	flags := append([]string{"--speed-up", strconv.Itoa(fast), "--min-ttl", wanted.String(), "shared"}, b.flags...)

	self, err := os.Executable()
	must(t, err)
	cmd := b.command(t.Context(), append(append([]string{"run", "--token-socket", "token.sock"}, flags...), "--", self)...)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	ended := make(chan result, 1)
	go func() {
		r, err := b.complete(cmd)
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	stop := time.After(lasts)
	over, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for range others {
		crowd.Go(func() {
			for over.Err() == nil {
				r, err := b.complete(b.command(t.Context(), append([]string{"refresh"}, flags[:5]...)...))
				if err != nil || r.code != 0 {
					t.Errorf("another process: %v\n%v", err, r)
					return
				}
				time.Sleep(between)
			}
		})
	}
	select {
	case <-stop:
	case r := <-ended:
		t.Errorf("the job ended early\n%v", r)
		ended <- r
	}
	cancel()
	crowd.Wait()
	must(t, stdin.Close())
	r := <-ended
	ledger := srv.Ledger()
	var calls, again, generations int
	if _, err := fmt.Sscan(r.stdout, &calls, &again, &generations); r.code != 0 || err != nil {
		t.Fatalf("the job: %v\n%v", err, r)
	}
	if n := len(ledger.Presentations); generations < least || n < least {
		t.Errorf("the job saw %d generations of %d refreshes, want %d", generations, n, least)
	}
	for _, p := range ledger.Presentations {
		if p.Outcome != simulator.Rotated {
			t.Fatalf("a refresh token was presented in vain: %+v", p)
		}
	}
	if strings.Contains(r.stderr, "goroutine ") {
		t.Error("a panic")
	}
	part("%-19s %d calls over %d generations beside %d processes, each refresh ending the running token: %d calls made twice, none three times",
		"a long job", calls, generations, others, again)
}
