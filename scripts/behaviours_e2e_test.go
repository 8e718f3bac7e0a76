//go:build e2e

package scripts_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// behaviour is one row of what a provider may do, and what must come of it.
type behaviour struct {
	name     string
	config   simulator.Config
	fault    string // of the one request; "": none
	revoke   bool   // the grant was ended before
	env      map[string]string
	code     int
	requests int    // that the provider saw; 0: one at most
	saved    bool   // the token that the answer brought is in the file
	says     string // by the scripts
	binary   int    // its code where it can do better than a script, and why:
	why      string // "" where it is the same
}

const asJSON = "content-type=application/json,body="

// behaviours is the table. Every row names one request at most: nothing is ever
// sent again.
func behaviours() []behaviour {
	canned := func(name, body string, b behaviour) behaviour {
		b.name, b.fault = name, "canned,"+asJSON+body
		return b
	}
	failed := func(name, fault string, code int, says string) behaviour {
		return behaviour{name: name, fault: fault, code: code, says: says}
	}
	const doubt = "in doubt: "
	return []behaviour{
		{name: "rotates", requests: 1, saved: true},
		{name: "takes JSON only", config: simulator.Config{Wire: simulator.Wire{Body: simulator.BodyJSON}}, env: map[string]string{"EVERGRANT_BODY": "json"}, requests: 1, saved: true},
		{name: "takes forms only", config: simulator.Config{Wire: simulator.Wire{Body: simulator.BodyForm}}, env: map[string]string{"EVERGRANT_BODY": "form"}, requests: 1, saved: true},
		{name: "refuses the body", config: simulator.Config{Wire: simulator.Wire{Body: simulator.BodyJSON}}, code: 10, says: "(HTTP 400, invalid_request)"},
		{name: "keeps the token and says so", config: simulator.Config{Rules: simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}}}, requests: 1},
		{name: "keeps the token in silence", config: simulator.Config{Rules: simulator.Rules{Behaviour: grant.Behaviour{Reuse: grant.ReuseSafe}, OmitUnchanged: true}}, requests: 1},
		{name: "says nothing of the type", config: simulator.Config{Wire: simulator.Wire{NoTokenType: true}}, requests: 1, saved: true},
		{name: "a life in words, scopes in a list", config: simulator.Config{Wire: simulator.Wire{Expires: simulator.ExpiresWords, Scope: simulator.ScopeArray}}, requests: 1, saved: true},
		{name: "answers late", fault: "slow,before=400ms,after=400ms", requests: 1, saved: true},
		{name: "answers under another type", fault: "content-type", requests: 1, saved: true},
		{name: "was revoked", revoke: true, code: 3, requests: 1, says: "(HTTP 400, invalid_grant)"},
		{name: "was revoked, told in a nested error", revoke: true, config: simulator.Config{Wire: simulator.Wire{Errors: simulator.ErrorsNested}}, code: 3, requests: 1, says: "invalid_grant"},
		{name: "was revoked, told under 200", revoke: true, config: simulator.Config{Wire: simulator.Wire{ErrorStatus: 200}}, code: 3, requests: 1, says: "(HTTP 200, invalid_grant)"},
		{name: "another client", env: map[string]string{"EVERGRANT_CLIENT_ID": "nobody"}, code: 10, says: "invalid_client"},
		failed("later, in seconds", "status,status=429,retry-after=60s", 5, "Retry-After: 60"),
		failed("later, as a date", "status,status=429,retry-after=60s,retry-date", 5, "Retry-After: "+[]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}[(int(time.Now().Add(time.Minute).UTC().Weekday())+6)%7]),
		failed("too many requests", "canned,status=429,"+asJSON+`{"error":{"type":"rate_limit_error","message":"slowly"}}`, 5, "(HTTP 429, rate_limit_error)"),
		failed("away for a time", "status,status=503,retry-after=7s", 5, "Retry-After: 7"),
		failed("503 without a time", "status,status=503", 4, doubt),
		failed("500", "status,status=500", 4, doubt),
		failed("500 after acting", "status,status=500,acted", 4, doubt),
		failed("500 that blames the request", "canned,status=500,"+asJSON+`{"error":"invalid_request"}`, 4, doubt),
		failed("busy under 400", "canned,status=400,"+asJSON+`{"error":"temporarily_unavailable"}`, 4, "(HTTP 400, temporarily_unavailable)"),
		failed("busy under 429", "canned,status=429,"+asJSON+`{"error":"temporarily_unavailable"}`, 5, "(HTTP 429, temporarily_unavailable)"),
		failed("busy under 503", "canned,status=503,"+asJSON+`{"error":"temporarily_unavailable"}`, 4, doubt),
		failed("refused in words of its own", "canned,status=400,"+asJSON+`{"error":"no_such_thing"}`, 10, "the refresh token itself may be dead"),
		failed("a bot filter", "html", 10, "an HTML page"),
		failed("not there", "status,status=404", 10, "(HTTP 404)"),
		failed("a redirect", "redirect", 10, "(HTTP 307)"),
		failed("a redirect that browsers follow", "redirect,status=302", 10, "(HTTP 302)"),
		failed("hangs up unread", "drop-unread", 4, doubt),
		failed("acts and hangs up", "drop,acted", 4, doubt),
		failed("acts and resets", "drop,acted,reset", 4, doubt),
		failed("half an answer", "half,keep=0.2", 4, doubt),
		failed("a cut object", "truncated,keep=0.2", 4, doubt),
		failed("nonsense", "nonsense", 4, doubt),
		failed("nothing", "empty", 4, doubt),
		failed("a gibibyte", "huge", 4, doubt),
		failed("byte by byte, for hours", "drip,every=1s", 4, doubt),
		canned("no token", `{"token_type":"Bearer","expires_in":60}`, behaviour{code: 4, says: doubt}),
		canned("a list", `[1,2]`, behaviour{code: 4, says: doubt}),
		canned("null", `null`, behaviour{code: 4, says: doubt}),
		canned("an unknown error", `{"error":"canary-refresh"}`, behaviour{code: 4, says: "(HTTP 200)"}),
		canned("a refresh token alone", `{"refresh_token":"next-1"}`, behaviour{code: 1, saved: true, says: "its refresh token is saved"}),
		canned("an access token of two lines", `{"access_token":"a\nb","refresh_token":"next-1"}`, behaviour{code: 1, saved: true, says: "its refresh token is saved"}),
		canned("another type of token", `{"access_token":"a","refresh_token":"next-1","token_type":"mac"}`,
			behaviour{code: 1, saved: true, says: "bearer", binary: 0, why: "it tells the type beside the token"}),
		canned("a type of two lines", `{"access_token":"a","refresh_token":"next-1","token_type":"bearer\n999","expires_in":"1\n2"}`,
			behaviour{code: 1, saved: true, says: "bearer", binary: 0, why: "it tells the type beside the token"}),
		canned("a refresh token of two lines", `{"access_token":"a","refresh_token":"x\ny"}`,
			behaviour{code: 7, says: "NOT SAVED", binary: 0, why: "its store keeps any bytes"}),
		canned("a refresh token that is a list", `{"access_token":"a","refresh_token":["x"]}`,
			behaviour{code: 7, says: "NOT SAVED", binary: 4, why: "it keeps the raw answer in its record"}),
		canned("two mebibytes", `{"access_token":"a","refresh_token":"next-1","scope":"`+strings.Repeat("x ", 1<<20)+`"}`,
			behaviour{saved: true}),
		{name: "all but the end", fault: "truncated,keep=0.97", requests: 1, saved: true},
	}
}

// TestBehaviours runs the scripts and the program over the table: the same class
// of outcome, by the exit code, by the provider's ledger, by what is saved.
func TestBehaviours(t *testing.T) {
	started := time.Now()
	all := programs(t)
	runs, better := 0, 0
	t.Run("table", func(t *testing.T) {
		for _, row := range behaviours() {
			if row.why != "" {
				better++
			}
			for _, p := range all {
				runs++
				t.Run(row.name+"/"+p.name, func(t *testing.T) {
					t.Parallel()
					row.meet(t, p)
				})
			}
		}
	})
	if !t.Failed() {
		part("%d behaviours of a provider, three scripts and the program: %d runs, the same class of outcome but for %d that only the program can do better; never a second request (%.0f s)",
			len(behaviours()), runs, better, time.Since(started).Seconds())
	}
}

func (row behaviour) meet(t *testing.T, p program) {
	t.Helper()
	var faults []simulator.Fault
	if row.fault != "" {
		f, err := simulator.ParseFault(row.fault)
		must(t, err)
		faults = append(faults, f)
	}
	b := newBox(t, row.config, faults...)
	for name, value := range row.env {
		b.env[name] = value
	}
	b.env["EVERGRANT_TOKEN_URL"] = b.url + "/token?tenant=a&b=%20c" // the query stays as it is
	if row.revoke {
		b.provider.RevokeFamily(b.provider.FamilyOf(digest(b.first)))
	}
	r := b.run(t, p)
	want := row.code
	if p.other && row.why != "" {
		want = row.binary
	}
	if r.code != want {
		t.Fatalf("want exit %d\n%v", want, r)
	}
	if len(r.requests) > 1 || row.requests > 0 && len(r.requests) != row.requests {
		t.Errorf("%d requests, want %d", len(r.requests), row.requests)
	}
	if !p.other && !strings.Contains(r.stderr, row.says) {
		t.Errorf("standard error lacks %q\n%v", row.says, r)
	}
	if got := strings.TrimSpace(r.stdout); (got != "") != (want == 0 || want == 7) {
		t.Errorf("exit %d and this on standard output: %q", want, r.stdout)
	} else if want == 0 && row.saved && !strings.HasPrefix(row.fault, "canned") && !b.provider.AccessValid(grant.NewSecret(got)) {
		t.Error("the access token is not good at the provider")
	}
	if p.other {
		return
	}
	switch saved := b.saved(t); {
	case !row.saved && saved != "":
		t.Errorf("something is saved: %q", saved)
	case row.saved && strings.HasPrefix(row.fault, "canned") && saved != "next-1", row.saved && !strings.HasPrefix(row.fault, "canned") && digest(saved) != b.newest(t):
		t.Errorf("what is saved is not the newest token: %q", saved)
	}
}

// TestChain refreshes five times in turn: each run spends what the one before has
// saved, although the variable still has the first token.
func TestChain(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			last := digest(b.first)
			for range 5 {
				r := b.run(t, p)
				if r.code != 0 || len(r.requests) != 1 || r.requests[0].Token != last || r.requests[0].Outcome != simulator.Rotated {
					t.Fatalf("it did not present the saved token once\n%v", r)
				}
				last = digest(b.saved(t))
			}
			if l := b.provider.Ledger(); !l.Families[0].Alive || l.Families[0].Newest != last {
				t.Error("the login is dead, or the file does not have its newest token")
			}
		})
	}
}

// TestUnreachable: whatever fails before the request is sent has spent nothing.
func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for _, p := range programs(t) {
		for name, at := range map[string]func(b *box){
			"refused":      func(b *box) { b.env["EVERGRANT_TOKEN_URL"] = "http://" + closed.Addr().String() + "/token" },
			"no such host": func(b *box) { b.env["EVERGRANT_TOKEN_URL"] = "https://no-such-host.invalid/token" },
			"no certificate": func(b *box) {
				b.env["EVERGRANT_TOKEN_URL"] = strings.Replace(b.url, "http://", "https://", 1) + "/token"
			},
			"a proxy that is away": func(b *box) {
				b.env["EVERGRANT_TOKEN_URL"] = "https://id.example/token"
				b.env["HTTPS_PROXY"], b.env["https_proxy"] = "http://"+closed.Addr().String(), "http://"+closed.Addr().String()
			},
		} {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				at(b)
				r := b.run(t, p)
				if r.code != 5 || len(r.requests) != 0 || r.stdout != "" || b.saved(t) != "" {
					t.Errorf("want exit 5 and nothing sent\n%v", r)
				}
			})
		}
	}
}

// TestTLS: a certificate of an unknown authority is refused before anything is
// sent; with the authority given as each tool takes it, all works.
func TestTLS(t *testing.T) {
	for _, p := range programs(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{TLS: true})
			if r := b.run(t, p); r.code != 5 || len(r.requests) != 0 {
				t.Fatalf("want exit 5 and nothing sent\n%v", r)
			}
			ca := b.home + "/ca.pem"
			writeFile(t, ca, string(b.provider.CA()))
			for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
				b.env[name] = ca
			}
			if r := b.run(t, p); r.code != 0 || len(r.requests) != 1 || !p.other && digest(b.saved(t)) != b.newest(t) {
				t.Fatalf("with the authority: %v", r)
			}
		})
	}
}

// TestOwnName: the provider sees our name and version, and a plain request.
func TestOwnName(t *testing.T) {
	for _, p := range scripts(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, simulator.Config{})
			seen := b.listen(t)
			if r := b.run(t, p); r.code != 4 {
				t.Fatalf("a server that hangs up: %v", r)
			}
			head := strings.ToLower(<-seen)
			for _, want := range []string{"post /x/token?a=b&c=%7bd%7d http/1.1\r\n", "user-agent: evergrant-script/0.1.0\r\n", "accept: application/json\r\n", "content-type: application/x-www-form-urlencoded\r\n"} {
				if !strings.Contains(head, want) {
					t.Errorf("the request lacks %q: %q", want, strings.SplitN(head, "\r\n\r\n", 2)[0])
				}
			}
			for _, bad := range []string{"expect:", "authorization:", "cookie:", "transfer-encoding:"} {
				if strings.Contains(head, bad) {
					t.Errorf("the request has %q", bad)
				}
			}
		})
	}
}

// listen points the box at a bare socket that reads one request and hangs up.
func (b *box) listen(t *testing.T) <-chan string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	b.env["EVERGRANT_TOKEN_URL"] = fmt.Sprintf("http://%s/x/token?a=b&c=%%7Bd%%7D", l.Addr())
	seen := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var all strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(all.String(), "client_id="); {
			n, err := conn.Read(buffer)
			all.Write(buffer[:n])
			if err != nil {
				break
			}
		}
		seen <- all.String()
	}()
	return seen
}
