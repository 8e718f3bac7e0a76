package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/sink"
	"evergrant/internal/workflow"
)

// openSinks checks the sinks before anything is spent. In a step of GitHub
// Actions a preset that says where its token is expected has sinks by default.
func (a *app) openSinks(p *plan, urls []string, o *storeOptions) error {
	if urls == nil && a.env.githubActions() && p.target.accessEnv != "" {
		if a.env.get("GITHUB_ENV") != "" {
			urls = append(urls, "github-env:"+p.target.accessEnv)
		}
		if a.env.get("GITHUB_OUTPUT") != "" {
			urls = append(urls, "github-output:access-token")
		}
	}
	p.mask = workflow.NewMasker(a.console)
	for _, u := range urls {
		if err := checkSinkName(u); err != nil {
			return err
		}
		s, err := sink.Open(u, sink.Deps{
			Stdout: a.stdout, Getenv: a.env.get, Mask: p.mask, GitHub: a.githubClient(o), Gitea: a.giteaAccess(o), Store: p.place.location.Place(),
		})
		if err != nil {
			known := usagef("%v", err)
			if inner := (*usageError)(nil); errors.As(err, &inner) {
				known = known.hint(inner.hints...)
			}
			return known
		}
		p.sinks = append(p.sinks, s)
	}
	return nil
}

// checkSinkName refuses what looks like a secret where a sink's URL has the name
// of a variable or an output: it would be repeated, and stored under its value.
func checkSinkName(url string) error {
	scheme, name, _ := strings.Cut(url, ":")
	switch scheme {
	case "dotenv":
		if i := strings.LastIndexByte(name, '#'); i >= 0 {
			name = name[i+1:]
		} else {
			return nil
		}
	case "github-env":
	case "ghsecret", "gitea-secret":
		name, _, _ = strings.Cut(name, "?")
		if slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return opaque(part) || looksLikeToken(part) }) {
			return usagef("--sink %s: what was given looks like a secret (it is not repeated here)", scheme)
		}
		return nil
	case "github-output":
		name = strings.ReplaceAll(name, "-", "_")
	default:
		return nil
	}
	if opaque(name) || looksLikeToken(name) || !echoable(name) && strings.Trim(name, letters+"0123456789_") != "" {
		return usagef("--sink %s: what was given is not the name of a variable (it is not repeated here)", scheme)
	}
	return nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// deliver gives the token to every sink; one that fails does not keep it from
// the others. In GitHub Actions it is masked before anything is written.
func (a *app) deliver(ctx context.Context, p plan, t grant.AccessToken) (delivered []string, err error) {
	if len(p.sinks) == 0 {
		return nil, nil
	}
	// The token is fetched and saved: a signal now must not keep it back.
	ctx = context.WithoutCancel(ctx)
	if a.env.githubActions() {
		if err := p.mask.Mask(t.Value); err != nil {
			return nil, &deliveryError{[]error{err}}
		}
	}
	var failed []error
	for _, s := range p.sinks {
		if err := s.Deliver(ctx, t); err != nil {
			failed = append(failed, fmt.Errorf("sink %s: %w", s.URL, err))
			continue
		}
		delivered = append(delivered, s.URL)
	}
	if len(failed) > 0 {
		return delivered, &deliveryError{failed}
	}
	return delivered, nil
}
