package cli

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"evergrant/internal/engine"
	"evergrant/internal/ghaction"
	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/notify"
	"evergrant/internal/oauth"
)

// notifyVar holds the receivers of notices where no flag names them.
const notifyVar = "EVERGRANT_NOTIFY"

// notifyOptions say who is told what a person should know of a grant.
type notifyOptions struct {
	urls        []string
	env, format string
}

func (o *notifyOptions) register(f *pflag.FlagSet) {
	f.StringArrayVar(&o.urls, "notify", nil, "`URL` that gets a POST when a person should know something, or github-issue:; repeatable (EVERGRANT_NOTIFY)")
	f.StringVar(&o.env, "notify-env", "", "environment variable `VAR` with such URLs, one a line, because most are secrets (default EVERGRANT_NOTIFY)")
	f.StringVar(&o.format, "notify-format", "", "`FORM` of the message: json or slack (default slack for hooks.slack.com, else json)")
}

// notices are the receivers of one call.
type notices struct {
	hooks []*notify.Hook
	issue *notify.Issue
	lacks string // why there is no issue although one was asked for
}

func (n notices) none() bool { return len(n.hooks) == 0 && n.issue == nil && n.lacks == "" }

// receivers checks who is to be told. It sends nothing.
func (o *notifyOptions) receivers(env environment) (n notices, err error) {
	var given []grant.Secret
	for _, u := range o.urls {
		given = append(given, grant.NewSecret(u))
	}
	from := "--notify"
	if o.env != "" || len(o.urls) == 0 && env.get(notifyVar) != "" {
		from = or(o.env, notifyVar)
		if _, err := env.secretVariable("--notify-env", from); err != nil {
			return n, err
		}
		for line := range strings.Lines(env.get(from)) {
			if line = strings.TrimSpace(line); line != "" {
				given = append(given, grant.NewSecret(line))
			}
		}
		from = "the variable " + showName(from)
	}
	for _, u := range given {
		// The colon at its end is easily lost in YAML.
		if u.Equal(grant.NewSecret(notify.IssueURL)) || u.Equal(grant.NewSecret(strings.TrimSuffix(notify.IssueURL, ":"))) {
			if n.issue, n.lacks, err = jobIssue(env); err != nil {
				return n, err
			}
			continue
		}
		h, err := notify.ParseHook(u, o.format)
		if err != nil {
			return n, usagef("%s: %v", from, err)
		}
		if !slices.ContainsFunc(n.hooks, h.Same) {
			h.Transport = notifyTransport()
			n.hooks = append(n.hooks, h)
		}
	}
	return n, nil
}

func notifyTransport() *oauth.Transport {
	return oauth.NewTransport(oauth.DiscoverConfig{RequestTimeout: notify.Limit, UserAgent: userAgent})
}

// jobIssue is the receiver in the repository that a job runs for. A job without a
// token is told so when there is something to tell; it costs no token of its grant.
func jobIssue(env environment) (i *notify.Issue, lacks string, err error) {
	const only = "--notify github-issue: is an issue of the repository that a job of GitHub Actions runs for"
	repository, err := githubapi.ParseRepository(env.get("GITHUB_REPOSITORY"))
	switch {
	case !env.githubActions() || err != nil:
		return nil, "", usagef(only + ", and this is no such job").hint("elsewhere name a URL: --notify-env VAR")
	case strings.HasSuffix(strings.TrimRight(env.get("GITHUB_API_URL"), "/"), "/api/v1"):
		return nil, "", usagef(only + "; this forge's issues are of another kind").hint("name a URL: --notify-env VAR")
	}
	token := env.get("GITHUB_TOKEN")
	if token == "" {
		return nil, "there is no token for it in GITHUB_TOKEN: add env: GITHUB_TOKEN: ${{ github.token }} to the step, and issues: write to the permissions of the job", nil
	}
	client, err := githubapi.New(githubapi.Config{API: env.get("GITHUB_API_URL"), Token: grant.NewSecret(token), Transport: notifyTransport()})
	if err != nil {
		return nil, "", usagef("--notify github-issue: %v", err)
	}
	return &notify.Issue{Client: client, Repository: repository}, "", nil
}

// listen lets a call's store tell what was seen of the grant, and makes the
// notifier. Without receivers nothing is between the engine and its store.
func (a *app) listen(p plan, st grant.Store) (grant.Store, *listener, error) {
	if p.notices.none() {
		return st, nil, nil
	}
	l := &listener{a: a, p: p, watch: notify.NewWatch(st, p.id)}
	kept := l.watch
	if !p.place.location.Keeps() {
		kept = nil
	}
	book, err := notify.NewBook(kept, a.noticesFolder(p.place), p.id, a.now)
	if err != nil {
		return nil, nil, err
	}
	l.notifier = &notify.Notifier{Hooks: p.notices.hooks, Issue: p.notices.issue, Book: book}
	if a.speedUp > 1 {
		l.notifier.Limit = notify.Limit / time.Duration(a.speedUp)
	}
	return l.watch, l, nil
}

// noticesFolder is where this machine notes what it has told of a store's grants;
// "": nowhere.
func (a *app) noticesFolder(p place) string {
	state, err := a.env.stateFolder()
	if err != nil {
		return ""
	}
	return filepath.Join(state, "notices", grant.NewSecret(p.location.Place()).Digest())
}

// listener is who tells of one grant while a session lasts. A nil one tells
// nothing.
type listener struct {
	a        *app
	p        plan
	watch    *notify.Watch
	notifier *notify.Notifier
}

// heard tells what the outcome of a call means for people. It changes neither the
// outcome nor standard output: what cannot be told is a warning.
func (l *listener) heard(ctx context.Context, out engine.Outcome, err error) {
	if l == nil {
		return
	}
	f := l.facts(out, err)
	if l.p.notices.lacks != "" && f.Condition.Trouble() {
		l.a.console.warnf("the issue for %s was not written: %s", l.p.id, l.p.notices.lacks)
	}
	for _, failed := range l.notifier.Tell(ctx, f) {
		l.a.console.warnf("%v", failed)
	}
}

func (l *listener) facts(out engine.Outcome, err error) notify.Facts {
	a := l.a
	f := notify.Facts{Grant: l.p.id, Provider: l.p.target.name, Now: a.now(), By: a.env.label(), RunURL: a.env.runPage(), Generation: out.Access.Generation, Fixed: l.p.target.fixed}
	l.watch.Fill(&f)
	if !l.p.place.location.Keeps() { // each call begins a consent of its own
		f.Consent, f.Since = "", time.Time{}
	}
	f.Condition = l.condition(out, err)
	if err == nil {
		switch f.Condition {
		case notify.NeedsPerson:
			c, _ := l.watch.Record()
			err, f.Reason = grant.ErrNeedsConsent, or(c.Reason, out.Reason)
		case notify.InDoubt:
			err = grant.ErrInDoubt
		}
	}
	if !f.Condition.Trouble() {
		return f
	}
	v := verdictOf(err)
	f.Reason = or(f.Reason, strings.TrimPrefix(v.Error, "grant "+string(l.p.id)+": "))
	for _, said := range []string{grant.ErrNeedsConsent.Error() + ": ", "in doubt: "} { // by the notice itself
		f.Reason = strings.TrimPrefix(f.Reason, said)
	}
	if v.Hint != nil {
		f.Hint = *v.Hint
	}
	if wait := (*engine.WaitError)(nil); errors.As(err, &wait) {
		f.NextTry = wait.Next
	}
	if a.step != nil {
		f.Reason, f.Hint = ghaction.Words(f.Reason), ghaction.Words(f.Hint)
	}
	return f
}

// condition is how the call found the grant. What a call that ended otherwise knows
// of it is nothing: the provider is away, the store is, or another holder has it.
func (l *listener) condition(out engine.Outcome, err error) notify.Condition {
	code, _ := classify(err)
	switch {
	case code == exitUnsaved:
		return notify.Unsaved
	case errors.Is(err, engine.ErrRetired):
		return notify.Retired
	case code == exitPerson:
		return notify.NeedsPerson
	case code == exitInDoubt:
		return notify.InDoubt
	case err != nil:
		return notify.Unknown
	}
	c, ok := l.watch.Record() // newer than an outcome that a running command got before
	if out.State == grant.NeedsConsent || ok && c.State == grant.NeedsConsent {
		return notify.NeedsPerson
	}
	switch leased := c.Lease != nil && c.Lease.Until.After(l.a.now()); {
	case !ok || !c.InDoubt() || l.p.target.behaviour.Reuse == grant.ReuseSafe:
		return notify.Fine
	case leased: // its holder is about to know
		return notify.Unknown
	}
	return notify.InDoubt
}

// heardLater tells what became of the records that a job could not save: err is why
// they are not in the store, nil that they are.
func (a *app) heardLater(ctx context.Context, at place, o notifyOptions, records []grant.Credential, err error) {
	n, wrong := o.receivers(a.env)
	if len(records) == 0 || wrong != nil { // the step itself has told what is wrong
		return
	}
	st, away := at.open()
	if away != nil {
		return // err says so
	}
	_, l, broken := a.listen(plan{id: a.grant, place: at, notices: n, target: target{name: records[0].Provider}}, st)
	if l == nil || broken != nil {
		return
	}
	var out engine.Outcome
	for _, c := range records {
		out.Access.Generation = max(out.Access.Generation, c.Generation)
	}
	if err == nil {
		looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), notify.Limit)
		defer cancel()
		if _, _, err := l.watch.Load(looking, a.grant); err != nil {
			return
		}
	}
	l.heard(ctx, out, err)
}

// runPage is the page of the job's run; "": it has none.
func (e environment) runPage() string {
	server, repository, run := e.get("GITHUB_SERVER_URL"), e.get("GITHUB_REPOSITORY"), e.get("GITHUB_RUN_ID")
	if !e.githubActions() || server == "" || repository == "" || run == "" {
		return ""
	}
	return server + "/" + repository + "/actions/runs/" + word(run)
}
