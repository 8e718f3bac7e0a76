//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/chaos/network/box"
	"evergrant/chaos/row"
	"evergrant/internal/grant"
)

// authority is the least token endpoint: it rotates, and says 500 to every
// second request of a race.
func authority(t *testing.T) (tokenURL string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.PostFormValue("refresh_token") == "raced" && n%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"error":"server_error"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"hydra-test-access-%d","refresh_token":"hydra-test-refresh-%d"}`, n, n)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func ask(t *testing.T, r *relay, token string) (*http.Response, error) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return c.PostForm(r.url, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func TestRelayKeepsTheLedger(t *testing.T) {
	t.Parallel()
	to, asked := authority(t)
	tokens := &box.Tokens{}
	r, err := newRelay(to, tokens)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()

	res, err := ask(t, r, "first")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "hydra-test-refresh-1") {
		t.Fatalf("HTTP %d, %v", res.StatusCode, err)
	}
	r.swallow(1)
	if _, err := ask(t, r, "second"); err == nil {
		t.Error("the swallowed answer arrived")
	}
	if got := asked.Load(); got != 2 {
		t.Fatalf("%d requests went on, want each once", got)
	}
	lines := r.lines(0)
	if len(lines) != 2 || !lines[0].passed || lines[1].passed || lines[1].status != 200 || lines[0].token == lines[1].token || lines[1].issued.IsZero() {
		t.Errorf("the ledger is wrong: %d lines", len(lines))
	}
	if tokens.In(body) == 0 || tokens.In([]byte("hydra-test-access-2")) == 0 {
		t.Error("an issued token would not be found where it leaked")
	}
}

func TestRelayRaces(t *testing.T) {
	t.Parallel()
	for _, ahead := range []bool{true, false} {
		to, asked := authority(t)
		r, err := newRelay(to, &box.Tokens{})
		if err != nil {
			t.Fatal(err)
		}
		r.race(rivalCount, ahead)
		res, err := ask(t, r, "raced")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		rivals, failed := 0, 0
		for _, l := range r.lines(0) {
			if l.rival {
				rivals++
			}
			if l.code == "server_error" && l.status == 500 {
				failed++
			}
		}
		if asked.Load() != rivalCount+1 || rivals != rivalCount || failed != 2 {
			t.Errorf("%d requests, %d by rivals, %d failed", asked.Load(), rivals, failed)
		}
		r.close()
	}
}

// TestAccountFindsExcess: what P1 forbids is found in the relay's ledger.
func TestAccountFindsExcess(t *testing.T) {
	t.Parallel()
	at := time.Now()
	first := line{at: at, token: "t", status: 200}
	for _, c := range []struct {
		name  string
		grace time.Duration
		lines []line
		want  int
	}{
		{"once", 0, []line{first}, 0},
		{"again at once", 0, []line{first, {at: at.Add(time.Second), token: "t"}}, 1},
		{"again after the quiet time", 0, []line{first, {at: at.Add(quiet), token: "t"}}, 0},
		{"by a rival", 0, []line{first, {at: at.Add(time.Second), token: "t", rival: true}}, 0},
		{"after an answer that it was not used", 0, []line{
			{at: at, token: "t", status: 400, code: "invalid_request", passed: true}, {at: at.Add(time.Second), token: "t"}}, 0},
		{"in the grace", 5 * time.Second, []line{first, {at: at.Add(time.Second), token: "t"}}, 0},
		{"after the grace", 2 * time.Second, []line{first, {at: at.Add(3 * time.Second), token: "t"}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tokens := &box.Tokens{}
			b, err := box.New(box.Config{Dir: t.TempDir(), Tokens: tokens})
			if err != nil {
				t.Fatal(err)
			}
			r, err := newRelay("http://127.0.0.1:9", tokens)
			if err != nil {
				t.Fatal(err)
			}
			r.ledger = c.lines
			var got row.Row
			if err := (&course{grace: c.grace}).account(&login{box: b, relay: r, tokens: tokens}, &got); err != nil {
				t.Fatal(err)
			}
			if got.P1Violations != c.want {
				t.Errorf("%d presentations are too many, want %d", got.P1Violations, c.want)
			}
		})
	}
}

// TestReasonsOfALoss: the reason is what the relay recorded, not what the
// course intended.
func TestReasonsOfALoss(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	one, two := grant.NewSecret("chaos-one"), grant.NewSecret("chaos-two")
	first := line{at: at(1), ended: at(2), token: "seed", status: 200, issued: one, passed: true}
	own := func(status int, passed bool) line {
		return line{at: at(10), ended: at(12), token: one.Digest(), status: status, issued: two, passed: passed}
	}
	rival := func(begun int, token string) line {
		return line{at: at(begun), ended: at(begun + 1), token: token, rival: true, status: 200}
	}
	const unexcused = "hydra's answer was passed on"
	for _, c := range []struct {
		name    string
		lines   []line
		spilled int
		want    string
	}{
		{"issued and not passed on", []line{first, own(200, false)}, 0, row.Unheard},
		{"and presented again", []line{first, own(200, false), own(400, true)}, 0, row.Unheard},
		{"on the disk", []line{first, own(200, false)}, 1, row.Written},
		{"passed on", []line{first, own(200, true)}, 0, unexcused},
		{"never issued", []line{first, own(500, true)}, 0, unexcused},
		{"never presented", []line{first}, 0, unexcused},
		{"a rival was first", []line{first, rival(9, one.Digest()), own(400, true)}, 0, row.Foreign},
		{"a rival beside the one that won", []line{first, own(200, true), rival(11, one.Digest())}, 0, row.Foreign},
		{"a rival beside the one that won, seen later", []line{first, own(200, true), rival(11, one.Digest()),
			{at: at(20), ended: at(21), token: two.Digest(), status: 400, passed: true}}, 0, row.Foreign},
		{"a rival after the answer", []line{first, own(200, true), rival(13, one.Digest())}, 0, unexcused},
		{"a rival with another token", []line{first, own(200, true), rival(9, "other")}, 0, unexcused},
	} {
		if got := whyLost(c.lines, c.spilled); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestStartSaysWhatIsWrong: a binary that is no hydra ends the session with a
// line, at once.
func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	if _, err := start(context.Background(), "/bin/false", t.TempDir(), 0); err == nil || !strings.Contains(err.Error(), "hydra ended before") {
		t.Errorf("got %v", err)
	}
}
