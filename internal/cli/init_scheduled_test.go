package cli_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/cli"
	"evergrant/internal/provider"
)

// TestScheduleFitsTheLife: for each preset that template scheduled takes, the token
// in the secret lives all the time, although one run is missing and the next is
// late; and where a refresh ends the running token, it comes in the second half of
// its life. A preset whose tokens no schedule can follow is refused.
func TestScheduleFitsTheLife(t *testing.T) {
	t.Parallel()
	var refused []string
	for _, name := range provider.Names() {
		p, err := provider.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"init", "github", "--print", "--template", "scheduled", "--action", testAction, "--provider", name}
		if p.Client.ID == "" {
			args = append(args, "--client-id", "x")
		}
		if p.Client.Secret == provider.SecretRequired {
			args = append(args, "--with-client-secret")
		}
		for v, about := range p.Vars {
			if about.Default == "" {
				args = append(args, "--param", v+"=some.example.com")
			}
		}
		var stdout, stderr bytes.Buffer
		code := cli.Main(args, func(string) (string, bool) { return "", false }, strings.NewReader(""), &stdout, &stderr)
		life := p.Behaviour().Life
		switch {
		case code == 2 && life > 0 && strings.Contains(stderr.String(), fmt.Sprintf("it lives for %s,", cli.Span(life))):
			refused = append(refused, name)
			continue
		case code != 0:
			t.Errorf("%s: exit %d\n%s", name, code, stderr.String())
			continue
		case life == 0:
			if !strings.Contains(stderr.String(), "is not known here") {
				t.Errorf("%s: nobody says that the life of its tokens is not known\n%s", name, stderr.String())
			}
			continue
		}
		every, minTTL := clockOf(t, stdout.String())
		first := life
		for age := time.Duration(0); age < life; age += every {
			if life-age < minTTL {
				first = age
				break
			}
		}
		// The run that should refresh is missing, and the one after it late.
		if second := first + every + every/2; second >= life || minTTL > life*9/10 {
			t.Errorf("%s: a run every %v with min-ttl %v refreshes a token of %v at %v, and with one run missing at %v", name, every, minTTL, life, first, second)
		}
		said := strings.Contains(stdout.String(), "\n# A refresh ends the token before it, every "+cli.Span(first)) && strings.Contains(stderr.String(), "ends the token before it, here every "+cli.Span(first))
		if p.Behaviour().RevokesAccess && first < life/2 || p.Behaviour().RevokesAccess != said {
			t.Errorf("%s: a refresh after %v of %v, and it is said that it ends the token: %v\n%s", name, first, life, said, stderr.String())
		}
	}
	if want := []string{"hubspot", "keycloak", "xero"}; !slices.Equal(refused, want) {
		t.Errorf("refused are %q, want %q", refused, want)
	}
}

// clockOf reads how often a workflow runs, and its min-ttl.
func clockOf(t *testing.T, text string) (every, minTTL time.Duration) {
	t.Helper()
	w := parsed(t, text)
	crons, ok := w.On["schedule"].([]any)
	if !ok || len(crons) != 1 {
		t.Fatalf("it starts for %v", w.On)
	}
	fields := strings.Fields(fmt.Sprint(crons[0].(map[string]any)["cron"]))
	if len(fields) != 5 || fmt.Sprint(fields[1:]) != "[* * * *]" {
		t.Fatalf("the schedule is %q", fields)
	}
	minTTL, err := time.ParseDuration(fmt.Sprint(w.Jobs["refresh"].keeper(t).With["min-ttl"]))
	if err != nil {
		t.Fatal(err)
	}
	return time.Hour / time.Duration(len(strings.Split(fields[0], ","))), minTTL
}
