package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/oauth"
)

// provider asks the token endpoint something that presents nothing: a form without a
// field. What matters is whether an OAuth server answers, and its clock.
func (d *doctor) provider(ctx context.Context, t target, o refreshOptions) {
	address := t.bind.TokenURL
	if t.discovery != nil {
		found, err := t.discovery.find(ctx)
		if err != nil {
			d.issuer(err, o.client.issuer)
			return
		}
		address = found
	}
	if address == "" {
		return
	}
	a := d.asked(ctx, http.MethodPost, address)
	if code, what, fix := d.judge(a, address); what != "" {
		d.find(code, "provider", what, "nobody gets a new token; the one that lives is served", fix)
		return
	}
	d.fine("provider", "%s answers, in %v", address, a.took.Round(time.Millisecond))
	d.clock("provider", a)
}

// issuer is what is wrong with one that did not tell its token endpoint: it is away, or
// it is none.
func (d *doctor) issuer(err error, address string) {
	const why = "without it nobody knows where the tokens are refreshed"
	failed, dns := (*discoveryError)(nil), (*net.DNSError)(nil)
	away := errors.As(err, &failed) && failed.passing() && !(errors.As(err, &dns) && dns.IsNotFound)
	if away || later().MatchString(err.Error()) {
		d.find(exitUnreachable, "issuer", err.Error(), why, waitFor(http.MethodGet, strings.TrimSuffix(address, "/")+"/.well-known/openid-configuration"))
		return
	}
	d.find(exitUsage, "issuer", err.Error(), why, d.another("issuer", "the issuer", "ISSUER"))
}

// later knows an answer that waiting changes.
func later() *regexp.Regexp { return regexp.MustCompile(`HTTP (429|50[234])\b`) }

// asking is one exchange without any secret.
type asking struct {
	status int
	html   bool
	oauth  bool      // it is an error as in RFC 6749 section 5.2
	date   time.Time // by the server's clock; zero: it did not say
	at     time.Time // by ours, in the middle of the exchange
	took   time.Duration
	err    error
}

// asked makes one exchange with an address, however many grants are there.
func (d *doctor) asked(ctx context.Context, method, address string) asking {
	a, known := d.answers[address]
	if !known {
		a = exchange(ctx, method, address, d.now)
		d.answers[address] = a
	}
	return a
}

func exchange(ctx context.Context, method, address string, now func() time.Time) (a asking) {
	r, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		a.err = errors.New("the address is no URL")
		return a
	}
	r.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	begun := now()
	resp, err := oauth.NewTransport(oauth.DiscoverConfig{UserAgent: userAgent}).RoundTrip(r)
	if err != nil {
		a.err = err
		return a
	}
	a.took = now().Sub(begun)
	a.at = begun.Add(a.took / 2)
	a.status = resp.StatusCode
	body, _ := io.ReadAll(resp.Body) // it was read already
	a.html = strings.Contains(resp.Header.Get("Content-Type"), "html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
	var told struct{ Error json.RawMessage }
	a.oauth = json.Unmarshal(body, &told) == nil && len(told.Error) > 0
	a.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero: it did not say
	return a
}

// judge says what is wrong with an answer of a token endpoint, and what mends it. An
// error is what is right: nothing was presented.
func (d *doctor) judge(a asking, address string) (code int, what, fix string) {
	dns := (*net.DNSError)(nil)
	switch {
	case errors.As(a.err, &dns) && dns.IsNotFound && address != d.right:
		return exitUsage, a.err.Error(), d.anotherURL()
	case a.err != nil:
		return exitUnreachable, a.err.Error(), waitFor(http.MethodPost, address)
	case a.status/100 == 3:
		return exitUsage, fmt.Sprintf("%s sends to another address (HTTP %d), and redirects are not followed", address, a.status), d.anotherURL()
	case a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed:
		return exitUsage, fmt.Sprintf("there is no token endpoint at %s (HTTP %d)", address, a.status), d.anotherURL()
	case a.html:
		return exitUnreachable, fmt.Sprintf("%s answers with an HTML page (HTTP %d): a bot filter that does not like this machine's address, or a sign-in page of its network; another network or runner may pass", address, a.status),
			until("curl -sS -m 20 -X POST "+shellWord(address)+" | grep -q '^ *[{]'", 60)
	case a.status == http.StatusForbidden && !a.oauth:
		return exitUnreachable, fmt.Sprintf("%s answers HTTP %d, and not as an OAuth server does: a bot filter that does not like this machine's address; another network or runner may pass", address, a.status),
			until("curl -sS -m 20 -X POST "+shellWord(address)+" | grep -q '^ *[{]'", 60)
	case a.status == http.StatusTooManyRequests || a.status/100 == 5 && !a.oauth:
		return exitUnreachable, fmt.Sprintf("%s says later (HTTP %d)", address, a.status), waitFor(http.MethodPost, address)
	}
	return exitOK, "", ""
}

// anotherURL asks for the right token URL, where the wrong one came from.
func (d *doctor) anotherURL() string {
	return d.another("token-url", "the token URL", "EVERGRANT_TOKEN_URL")
}

// another asks for the right value of a setting, where the wrong one came from. Values
// of the flag that are kept are right.
func (d *doctor) another(flag, what, variable string, kept ...string) string {
	typed := "printf '" + what + ": ' >&2; read -r " + variable
	switch {
	case d.given(flag):
		words := []string{"--" + flag, "URL"}
		for _, k := range kept {
			words = append(words, "--"+flag, k)
		}
		return typed + "; " + strings.Replace(d.command("doctor", words...), "--"+flag+" URL", "--"+flag+` "$`+variable+`"`, 1)
	case d.env.get(configured()[flag].env) == "" && d.at != "":
		return d.editor(d.at)
	}
	return typed + "; export " + variable
}

// waitFor waits until an address answers anything but "later", to a request like ours.
// Where nothing answers, curl says 000.
func waitFor(method, address string) string {
	return until("curl -sS -m 20 -o /dev/null -w '%{http_code}\\n' -X "+method+" "+shellWord(address)+" | grep -qvE '^(000|429|5)'", 10)
}

// clockOff is by how much a clock may be off before it is worth a finding: half of the
// skew that machines which share a store allow each other.
const clockOff = 30 * time.Second

// clock compares this machine's clock with the one of a server.
func (d *doctor) clock(whose string, a asking) {
	if a.date.IsZero() {
		return
	}
	// A Date has whole seconds, so it is half a second late on average.
	off := a.at.Sub(a.date.Add(500 * time.Millisecond))
	if off.Abs() <= clockOff+a.took {
		d.fine("clock", "within %v of the %s's", max(off.Abs().Round(time.Second), time.Second), whose)
		return
	}
	ahead := "behind"
	if off > 0 {
		ahead = "ahead of"
	}
	d.find(exitUsage, "clock", fmt.Sprintf("this machine's clock is %s %s the %s's", span(off.Abs()), ahead, whose),
		"lives of tokens are told by it: dead ones count as living, or living ones as dead, and machines that share a store take each other's leases for over", setClock())
}

func setClock() string {
	switch runtime.GOOS {
	case "darwin":
		return "sudo sntp -sS time.apple.com"
	case "windows":
		return "w32tm /resync"
	}
	return "sudo timedatectl set-ntp true"
}

// forgeClock asks the forge of a store for its time.
func (d *doctor) forgeClock(ctx context.Context, st grant.Store, p place) {
	if told, ok := st.(interface{ Clock() time.Time }); ok {
		if t := told.Clock(); !t.IsZero() {
			d.clock("forge", asking{date: t, at: d.now()})
		}
		return
	}
	if forge := p.location.Forge(); forge != "" {
		if a := d.asked(ctx, http.MethodGet, forge); a.err == nil {
			d.clock("forge", a)
		}
	}
}

// shadows looks for variables that the provider's programs prefer to the token.
func (d *doctor) shadows(t target) {
	for _, name := range t.shadows {
		if d.env.get(name) != "" {
			d.find(exitUsage, "shadow", fmt.Sprintf("%s is set, and the programs of %s prefer it to the token", name, t.title),
				"they go on with something else, which may end, or cost money, while the token is fine", "unset "+name)
		}
	}
}

// place is what is wrong with where a record would go, by the rules that refresh
// keeps.
func (d *doctor) place(err error, p place) {
	u := (*usageError)(nil)
	if !errors.As(err, &u) || strings.Contains(u.msg, "sealing key") {
		return // told already
	}
	fix := d.say("store", "git:")
	if state, serr := d.env.stateFolder(); serr == nil && !d.env.ci() {
		fix = d.say("store", "file:"+state+"/grants")
	}
	d.find(exitUsage, "no-store", err.Error(), "the next refresh token would be lost, and with it the login; nothing is sent", fix)
}

// sinks asks those that can tell whether they may be written.
func (d *doctor) sinks(ctx context.Context, p place, t target, o refreshOptions) {
	plan := plan{place: p, target: t}
	if err := d.openSinks(&plan, o.sinks, &o.store); err != nil {
		d.find(exitUsage, "sink", err.Error(), whySink, d.sinkFix(o, d.unopened(p, t, o), false, err))
		return
	}
	for _, s := range plan.sinks {
		var err error
		switch asked := s.Sink.(type) {
		case interface {
			Prove(ctx context.Context) error
		}:
			err = asked.Prove(ctx)
		case grant.Checker:
			err = asked.Check(ctx)
		default:
			continue
		}
		switch {
		case err == nil:
			d.fine("sink", "%s can be written", s.URL)
		case errors.Is(err, grant.ErrUnasked):
			d.find(exitUnreachable, "sink", fmt.Sprintf("sink %s: %v", s.URL, err), whySink, d.waitForForge(s.URL))
		default:
			d.find(exitUsage, "sink", fmt.Sprintf("sink %s: %v", s.URL, err), whySink, d.sinkFix(o, s.URL, true, err))
		}
	}
}

// waitForForge waits until the API answers that a URL of a store or a sink names, or
// else the job's, or else GitHub's.
func (d *doctor) waitForForge(place string) string {
	_, query, _ := strings.Cut(place, "?")
	named, err := url.ParseQuery(query)
	if err != nil {
		named = nil
	}
	return waitFor(http.MethodGet, or(named.Get("api"), or(d.env.get("GITHUB_API_URL"), githubapi.DefaultAPI)))
}

const whySink = "the token would be fetched and not reach the place that waits for it"

// unopened is the first sink that cannot be opened.
func (d *doctor) unopened(p place, t target, o refreshOptions) string {
	i := slices.IndexFunc(o.sinks, func(u string) bool {
		return d.openSinks(&plan{place: p, target: t}, []string{u}, &o.store) != nil
	})
	if i < 0 {
		return "" // it is a default one
	}
	return o.sinks[i]
}

// sinkFix gets a token that may write a sink, if that is what it lacks; else it asks for
// another sink. asked says that its forge has answered.
func (d *doctor) sinkFix(o refreshOptions, at string, asked bool, err error) string {
	says := err.Error()
	unable := asked && regexp.MustCompile(`HTTP 40[134]\b`).MatchString(says) ||
		!asked && regexp.MustCompile(`EVERGRANT_GIT(EA|HUB)_TOKEN|--git(ea|hub)-token-env|GITHUB_TOKEN|the forge's token`).MatchString(says)
	switch scheme, _, _ := strings.Cut(at, ":"); {
	case unable && scheme == "gitea-secret":
		return ask("a token of Gitea with write:repository", or(o.store.giteaTokenEnv, "EVERGRANT_GITEA_TOKEN"))
	case unable && scheme == "ghsecret":
		return "export " + or(o.store.githubTokenEnv, "EVERGRANT_GITHUB_TOKEN") + `="$(gh auth token)"`
	}
	if _, path, cannot := strings.Cut(says, "the folder of "); cannot {
		if path, away := strings.CutSuffix(path, " takes no new file: "+syscall.ENOENT.Error()); away {
			return "mkdir -p " + shellWord(filepath.Dir(absolute(path)))
		}
	}
	kept := slices.DeleteFunc(slices.Clone(o.sinks), func(u string) bool { return u == at })
	return d.another("sink", "the sink", "SINK", kept...)
}
