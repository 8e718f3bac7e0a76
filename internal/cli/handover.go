package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"evergrant/internal/grant"
	"evergrant/internal/handover"
)

// handoverOptions are the flags of refresh, whom the token belongs to, and the only
// hosts that get it: a helper that is configured for all hosts by mistake must not
// hand a token to each that git or docker talks to.
type handoverOptions struct {
	refreshOptions
	user   string
	hosts  []string
	socket string // of run or of the Action, which has the grant
}

// operations ends the usage of a helper whose last argument says what is wanted.
const operations = " OPERATION"

func (a *app) handoverCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "helper",
		Short: "answer other programs that ask for a credential, in their own protocols",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("which protocol?").hint("there are git-credential, docker-credential, kubectl, claude and curl")
		},
	}
	for _, h := range []struct {
		name, args, short string
		user              string
		answer            func(ctx context.Context, args []string, o handoverOptions) error
	}{
		{"git-credential", operations, "a git credential helper: get answers with the token, erase asks for a newer one", "oauth2", a.helpGit},
		{"docker-credential", operations, "a docker credential helper: get answers with the token", "oauth2", a.helpDocker},
		{"kubectl", "", "a client-go credential plugin: prints an ExecCredential", "", a.helpKubernetes},
		{"claude", "", "an apiKeyHelper of Claude Code: prints the token", "", a.helpClaude},
		{"curl", "", "a configuration for curl --config - with the token in a header", "", a.helpCurl},
	} {
		var o handoverOptions
		cmd := &cobra.Command{
			Use:   h.name + " [GRANT]" + h.args,
			Short: h.short,
			Args:  cobra.MaximumNArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				o.minTTLSet = cmd.Flags().Changed("min-ttl")
				o.sinks = []string{} // standard output is the program's that asks
				if err := o.onlySocket(cmd.Flags()); err != nil {
					return err
				}
				return h.answer(cmd.Context(), args, o)
			},
		}
		if program, short := strings.CutSuffix(h.name, "-credential"); short {
			cmd.Aliases = []string{program}
		}
		o.register(cmd.Flags())
		cmd.Flags().StringVar(&o.socket, "token-socket", "", "socket `PATH` of evergrant run or of the Action's keep-fresh, which is asked in place of a store")
		if h.user != "" {
			cmd.Flags().StringVar(&o.user, "user", h.user, "`NAME` of the user that goes with the token")
			cmd.Flags().StringArrayVar(&o.hosts, "host", nil, "the `HOST` that gets the token, with its port if it has one, and no other does; repeatable")
			_ = cmd.MarkFlagRequired("host")
		}
		command.AddCommand(cmd)
	}
	return command
}

// operation takes the last argument, by which a program says what it wants.
func operation(args []string, known ...string) (what string, rest []string, err error) {
	if len(args) > 0 {
		if what = args[len(args)-1]; slices.Contains(known, what) {
			return what, args[:len(args)-1], nil
		}
	}
	return "", nil, usagef("what is wanted? The last argument is one of %v", known)
}

// answer gets a token and writes it. A token that could not be saved is good, and
// its error is told after it.
func (a *app) answer(parent context.Context, args []string, o handoverOptions, refused grant.Secret, write func(grant.AccessToken) error) error {
	if len(args) > 1 {
		return usagef("at most one grant can be named")
	}
	ctx, cancel := within(parent, o.timeout)
	defer cancel()
	if o.socket != "" {
		return a.relayAnswer(ctx, args, o, refused, write)
	}
	p, err := a.plan(args, o.refreshOptions)
	if err != nil {
		return err
	}
	s, out, err := a.obtain(ctx, p, o.refreshOptions)
	if out.Access.Value.IsZero() {
		return err
	}
	had := err
	defer func() { // once it is written
		if !out.Access.Value.IsZero() {
			s.listener.heard(ctx, out, had)
		}
	}()
	if !refused.IsZero() {
		if refused.Digest() != out.Access.Value.Digest() {
			return err // it is not the current one that was refused
		}
		p.request.After, p.warned = out.Access.Generation, nil
		s, out, had = a.obtain(ctx, p, o.refreshOptions)
		return had
	}
	if werr := write(out.Access); err == nil && werr != nil {
		err = &deliveryError{[]error{werr}}
	}
	return err
}

func (a *app) helpGit(ctx context.Context, args []string, o handoverOptions) error {
	what, args, err := operation(args, "get", "store", "erase")
	if err != nil {
		return err
	}
	q, err := handover.ReadGit(attentive{ctx, a.stdin})
	if err != nil {
		return usagef("git-credential: %v", err)
	}
	switch {
	case what == "store" || what == "erase" && q.Password.IsZero():
		return nil // tokens are kept where the grant is
	case !o.serves(q.Host) || q.Protocol != "https" && q.Protocol != "http":
		return nil // nothing to offer: git asks the next helper
	case q.Protocol == "http" && !loopback(q.Host):
		return usagef("git asks for a token for an address without TLS, which would show it to the network").hint("use the https address of the remote")
	case what == "erase":
		return a.answer(ctx, args, o, q.Password, nil)
	}
	return a.answer(ctx, args, o, grant.Secret{}, func(t grant.AccessToken) error { return handover.WriteGit(a.stdout, o.user, t) })
}

func (a *app) helpDocker(ctx context.Context, args []string, o handoverOptions) error {
	what, args, err := operation(args, "get", "store", "erase", "list")
	if err != nil {
		return err
	}
	if what == "list" {
		return printJSON(a.stdout, map[string]string{})
	}
	if what != "get" {
		return nil // tokens are kept where the grant is
	}
	server, err := handover.ReadDocker(attentive{ctx, a.stdin})
	if err != nil {
		return usagef("docker-credential: %v", err)
	}
	if !o.serves(registryHost(server)) {
		_, err := fmt.Fprintln(a.stdout, "credentials not found in native keychain") // docker knows this text
		return errors.Join(&commandError{exitOther}, err)
	}
	return a.answer(ctx, args, o, grant.Secret{}, func(t grant.AccessToken) error {
		return handover.WriteDocker(a.stdout, server, o.user, t)
	})
}

// serves reports a host that was named. Names of hosts know no case (RFC 9110,
// section 4.2.3).
func (o *handoverOptions) serves(host string) bool {
	return slices.ContainsFunc(o.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// loopback reports an address of this machine, with or without a port.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// registryHost is the host of a registry, which docker writes with and without a
// scheme and a path.
func registryHost(server string) string {
	if _, rest, ok := strings.Cut(server, "://"); ok {
		server = rest
	}
	host, _, _ := strings.Cut(server, "/")
	return host
}

func (a *app) helpKubernetes(ctx context.Context, args []string, o handoverOptions) error {
	version, err := handover.KubernetesVersion(a.env.get("KUBERNETES_EXEC_INFO"))
	if err != nil {
		return usagef("%v", err)
	}
	return a.answer(ctx, args, o, grant.Secret{}, func(t grant.AccessToken) error { return handover.WriteKubernetes(a.stdout, version, t) })
}

// helpClaude is token, under the name of who asks.
func (a *app) helpClaude(ctx context.Context, args []string, o handoverOptions) error {
	if len(args) > 1 {
		return usagef("at most one grant can be named")
	}
	if o.socket != "" {
		return a.answer(ctx, args, o, grant.Secret{}, func(t grant.AccessToken) error { return handover.WritePlain(a.stdout, t) })
	}
	o.sinks = []string{"stdout:"}
	return a.refresh(ctx, args, o.refreshOptions)
}

func (a *app) helpCurl(ctx context.Context, args []string, o handoverOptions) error {
	return a.answer(ctx, args, o, grant.Secret{}, func(t grant.AccessToken) error { return handover.WriteCurl(a.stdout, t) })
}
