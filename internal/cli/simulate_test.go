package cli_test

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
	"evergrant/internal/simulator"
)

// TestSimulateAs runs the simulator as each preset and looks at it through the
// client that the preset configures: a refresh does what the preset says, and a
// spent token that comes again is understood.
func TestSimulateAs(t *testing.T) {
	t.Parallel()
	for _, name := range provider.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := provider.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			s := simulateAs(t, p)
			first := s.refresh(t, s.token)
			b := p.Behaviour()
			if first.err != nil {
				t.Fatalf("a refresh failed: %v", first.err)
			}
			if got := !first.set.Refresh.IsZero() && !first.set.Refresh.Equal(s.token); got != b.Rotates {
				t.Errorf("a refresh brings a new refresh token: %v, and the preset says %v", got, b.Rotates)
			}
			again := s.refresh(t, s.token)
			if b.Reuse != grant.ReuseFatal {
				if again.err != nil {
					t.Errorf("the same token at once: %v, and the preset forgives", again.err)
				}
				s.pass(b.Grace + time.Second)
				again = s.refresh(t, s.token)
			}
			if b.Reuse == grant.ReuseSafe {
				if again.err != nil {
					t.Errorf("the same token later: %v, and the preset calls that harmless", again.err)
				}
				return
			}
			var failure *grant.RefreshError
			if !errors.As(again.err, &failure) {
				t.Fatalf("a spent token: %v, want a failure", again.err)
			}
			if want := p.Profile(); failure.Fate != grant.Rejected || failure.Code != want.SpentCode || failure.Status != want.SpentStatus {
				t.Errorf("a spent token: %v, want rejected by %q with HTTP %d", failure, want.SpentCode, want.SpentStatus)
			}
		})
	}
}

// simulated is one grant at a simulator.
type simulated struct {
	client *oauth.Client
	token  grant.Secret
	later  *atomic.Int64 // what the clocks are ahead by
}

type refreshed struct {
	set grant.TokenSet
	err error
}

func simulateAs(t *testing.T, p provider.Preset) simulated {
	t.Helper()
	cfg, err := cli.SimulatedAs(p.Name)
	if err != nil {
		t.Fatal(err)
	}
	s := simulated{later: new(atomic.Int64)}
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(s.later.Load())) }
	srv, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	issuer, err := srv.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := srv.IssueFamily(cfg.Clients[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	s.token = reply.Refresh
	body, err := oauth.ParseBody(p.Profile().Body)
	if err != nil {
		t.Fatal(err)
	}
	s.client, err = oauth.New(oauth.Config{
		TokenURL: issuer + "/token", ClientID: cfg.Clients[0].ID, Body: body, Headers: p.Request.Headers,
		Codes: p.Codes(), Statuses: p.Statuses(), Now: cfg.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pass moves the clocks.
func (s simulated) pass(d time.Duration) { s.later.Add(int64(d)) }

func (s simulated) refresh(t *testing.T, token grant.Secret) refreshed {
	t.Helper()
	conn, err := s.client.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var c grant.Credential
	c.Tokens.Refresh = token
	set, err := conn.Refresh(t.Context(), c, func() error { return nil })
	return refreshed{set, err}
}

// TestFaultsAreListed: the help and the document name every kind of fault that the
// simulator has, and members that it takes.
func TestFaultsAreListed(t *testing.T) {
	t.Parallel()
	run := func(args ...string) string {
		var out bytes.Buffer
		cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &out, &out)
		return out.String()
	}
	_, kinds, _ := strings.Cut(strings.TrimSpace(run("simulate", "--fault", "nothing")), "there are ")
	all := strings.Split(kinds, ", ")
	if len(all) < 14 {
		t.Fatalf("the kinds are %q", kinds)
	}
	help, page := run("simulate", "--help"), string(fromRoot(t, "docs/cli.md"))
	for _, kind := range all {
		if !strings.Contains(page, "`"+kind+"`") || !regexp.MustCompile(`[\s,]`+kind+`[\s,.]`).MatchString(help) {
			t.Errorf("the help or docs/cli.md does not name the fault %s\n%s", kind, help)
		}
	}
	for member, value := range map[string]string{
		"times": "=2", "chance": "=0.1", "before": "=2s", "after": "=2s", "acted": "", "reset": "", "every": "=1s", "status": "=503",
		"retry-after": "=30s", "retry-date": "", "keep": "=0.5", "size": "=1000", "content-type": "=text/html", "body": "=a,b",
	} {
		if _, err := simulator.ParseFault("status," + member + value); err != nil {
			t.Errorf("a member of the documents is not taken: %v", err)
		}
		if !strings.Contains(help, member) || !strings.Contains(page, "`"+member) {
			t.Errorf("the help or docs/cli.md does not name the member %s", member)
		}
	}
}
