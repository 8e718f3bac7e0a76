package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"evergrant/internal/again"
	"evergrant/internal/engine"
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
	p.mask = workflow.NewMasker(a.masks())
	for _, u := range urls {
		if err := checkSinkName(u); err != nil {
			return err
		}
		s, err := sink.Open(u, sink.Deps{
			Stdout: a.stdout, Getenv: a.env.get, Mask: p.mask, GitHub: a.githubClient(o), Gitea: a.giteaAccess(o), Store: p.place.location.Place(),
			SpeedUp: a.speedUp,
		})
		if err != nil {
			known := usagef("%v", err)
			if inner := (*usageError)(nil); errors.As(err, &inner) {
				known = known.hint(inner.hints...)
			}
			return known
		}
		p.sinks = append(p.sinks, s)
		p.warned = append(p.warned, readable(u)...)
	}
	return nil
}

// readable warns of a file that others can read: a sink that changes one that is
// there keeps its mode, because the file is its owner's.
func readable(url string) []string {
	scheme, path, _ := strings.Cut(url, ":")
	switch scheme {
	case "dotenv":
		path, _, _ = strings.Cut(path, "#")
	case "claude-file", "codex-file":
	default:
		return nil
	}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o044 != 0 && runtime.GOOS != "windows" {
		return []string{fmt.Sprintf("others can read %s, which gets the token (mode %04o): chmod 600 %s", shownPath(path), st.Mode().Perm(), shownPath(path))}
	}
	return nil
}

// remote reports a sink behind a network, which may be tried for a while: one that
// can be asked whether it may be written.
func remote(s sink.Sink) bool {
	_, asked := s.Sink.(grant.Checker)
	return asked
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

// askFor is how long a sink that does not answer is asked again before a refresh
// that ends the token in it.
const askFor = 30 * time.Second

// checkSinks asks each sink that can tell whether it may be written, before
// anything is spent. One that does not answer now is tried when there is a token.
// But where a refresh ends the running token, which the sink may hold, it is asked
// for a while, and unasked says that it has not answered still.
func (a *app) checkSinks(ctx context.Context, p plan) (unasked, err error) {
	revokes := p.target.behaviour.RevokesAccess
	patient, cancel := context.WithTimeout(ctx, askFor/time.Duration(a.speedUp))
	defer cancel()
	for _, s := range p.sinks {
		asked, ok := s.Sink.(grant.Checker)
		if !ok {
			continue
		}
		if err = asked.Check(ctx); revokes && errors.Is(err, grant.ErrUnasked) {
			err = again.Pauses{First: time.Second, Longest: 5 * time.Second}.Try(patient, func(ctx context.Context) (time.Duration, error) {
				err := asked.Check(ctx)
				if errors.Is(err, grant.ErrUnasked) {
					return 0, err
				}
				return again.Stop, err
			})
		}
		switch {
		case errors.Is(err, grant.ErrUnasked) && revokes:
			unasked = fmt.Errorf("sink %s: %w", s.URL, err)
		case err != nil && !errors.Is(err, grant.ErrUnasked):
			return nil, usagef("sink %s: %v", s.URL, err).hint("nothing was sent; mend the sink, or leave it out")
		}
	}
	return unasked, nil
}

// hold leaves the running token alone while it lives, if a sink that may have it did
// not answer: the next one might reach nobody. It does not where the caller wants
// another token in any case.
func (s *session) hold(r *engine.Request) bool {
	if s.unasked == nil || r.Force || r.After > 0 || r.NoRevokeRunning {
		return false
	}
	r.NoRevokeRunning = true
	return true
}

// held is the error of a refresh that hold kept back.
func (s *session) held() error {
	return &codedError{code: exitUnreachable, err: fmt.Errorf("grant %s: a refresh would end the running token, and the next one may not be delivered: %w", s.id, s.unasked),
		hint: "nothing was sent; try again when the sink answers; --force refreshes all the same"}
}

// lingering is the context of a delivery: it outlives the call's own, because a
// token that is fetched and saved must not be kept back by a signal, and yet ends
// soon after it, because a sink may be tried for minutes.
func (a *app) lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if wait(out, 10*time.Second/time.Duration(a.speedUp)) {
			cancel()
		}
	})
	return out, func() { stop(); cancel() }
}

// deliver gives the token to every sink; one that fails does not keep it from
// the others, nor does one that hangs: those on this machine come first. In GitHub Actions it is masked before anything is written.
func (a *app) deliver(ctx context.Context, p plan, t grant.AccessToken) (delivered []string, err error) {
	if len(p.sinks) == 0 {
		return nil, nil
	}
	ctx, cancel := a.lingering(ctx)
	defer cancel()
	if a.env.githubActions() {
		if err := p.mask.Mask(t.Value); err != nil {
			return nil, &deliveryError{[]error{err}}
		}
	}
	var failed []error
	reached := map[string]bool{}
	inTurn := slices.DeleteFunc(slices.Clone(p.sinks), remote)
	inTurn = append(inTurn, slices.DeleteFunc(slices.Clone(p.sinks), func(s sink.Sink) bool { return !remote(s) })...)
	for _, s := range inTurn {
		if err := s.Deliver(ctx, t); err != nil {
			failed = append(failed, fmt.Errorf("sink %s: %w", s.URL, err))
			continue
		}
		reached[s.URL] = true
	}
	for _, s := range p.sinks {
		if reached[s.URL] {
			delivered = append(delivered, s.URL)
		}
	}
	if len(failed) > 0 {
		return delivered, &deliveryError{failed}
	}
	return delivered, nil
}
