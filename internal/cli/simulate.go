package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"evergrant/internal/atomicfile"
	"evergrant/internal/provider"
	"evergrant/internal/simulator"
)

type simulateOptions struct {
	as, addr    string
	clientID    string
	secretEnv   string
	tls         bool
	caFile      string
	faults      []string
	seed        uint64
	accessLife  time.Duration
	consentLife time.Duration
	json        bool
	stopAfter   time.Duration
}

func (a *app) simulateCommand() *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "run a local authorization server that behaves like a provider, with faults",
		Long: "Runs a local authorization server that behaves like a provider, and prints the settings of one grant at it\n" +
			"as lines for a shell. It is strict: it rotates, and a refresh token that comes twice ends the login. Its ledger\n" +
			"tells what became of each presented token: GET /_sim/ledger with the header " + simulator.AdminHeader + ".\n\n" +
			"A fault is a kind and its members, as in --fault drop,acted,times=2 or --fault status,status=503,chance=0.1. It\n" +
			"comes once, unless times=N or chance=P says otherwise. Kinds that send no true answer leave the token unspent,\n" +
			"unless acted is a member.\n\n" +
			"The true answer, late, by bytes, cut, or under a wrong label: slow, drip, half, truncated, content-type. No answer:\n" +
			"drop, drop-unread. Another answer: status, html, nonsense, huge, empty, redirect, canned.\n\n" +
			"Members: before=2s and after=2s (wait before the provider acts, and before it answers), acted, reset, every=1s,\n" +
			"status=503, retry-after=30s, retry-date, keep=0.5, size=1000, content-type=TYPE, and as the last body=TEXT.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.simulate(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.as, "as", "", "behave like this `PRESET`; without it, like the strictest provider")
	f.StringVar(&o.addr, "addr", "127.0.0.1:0", "`ADDRESS` to listen on; port 0 picks a free one")
	f.StringVar(&o.clientID, "client-id", "", "`ID` of the one client (default the preset's, or "+simulator.DefaultClient+")")
	f.StringVar(&o.secretEnv, "client-secret-env", "", "environment variable `VAR` that holds the client's secret")
	f.BoolVar(&o.tls, "tls", false, "serve HTTPS with a certificate of a fresh authority; needs --ca-file")
	f.StringVar(&o.caFile, "ca-file", "", "with --tls: file `PATH` for the certificate of its authority, which SSL_CERT_FILE names to clients")
	f.StringArrayVar(&o.faults, "fault", nil, "`FAULT`: what goes wrong with the next token request, or with more by times=N or chance=P; see above; repeatable")
	f.Uint64Var(&o.seed, "seed", 1, "drives the faults that come by chance")
	f.DurationVar(&o.accessLife, "access-life", 0, "life of an access token (default the preset's, or 1h)")
	f.DurationVar(&o.consentLife, "consent-life", 0, "absolute life of a login (default the preset's, or none)")
	f.BoolVar(&o.json, "json", false, "print the settings as JSON")
	f.DurationVar(&o.stopAfter, "for", 0, "stop after this time (default: when a signal comes)")
	cmd.MarkFlagsRequiredTogether("tls", "ca-file")
	return cmd
}

// simulated are the settings of one grant at the simulator.
type simulated struct {
	TokenURL     string `json:"token_url"`
	ClientID     string `json:"client_id"`
	Body         string `json:"body"`
	RefreshToken string `json:"refresh_token"`
	Issuer       string `json:"issuer"`
	Admin        string `json:"admin_secret"`
}

func (a *app) simulate(ctx context.Context, o simulateOptions) error {
	cfg, err := a.simulatorConfig(o)
	if err != nil {
		return err
	}
	srv, err := simulator.New(cfg)
	if err != nil {
		return usagef("%v", err)
	}
	defer srv.Close()
	if err := setFaults(srv, o.faults); err != nil {
		return err
	}
	issuer, err := srv.Start(o.addr)
	if err != nil {
		return usagef("--addr: %v", err)
	}
	if o.tls {
		if err := atomicfile.Write(o.caFile, srv.CA(), 0o644); err != nil {
			return err
		}
	}
	client := simulator.DefaultClient
	if len(cfg.Clients) > 0 {
		client = cfg.Clients[0].ID
	}
	reply, err := srv.IssueFamily(client)
	if err != nil {
		return err
	}
	if err := a.printSimulated(simulated{
		TokenURL: issuer + "/token", ClientID: client, Body: o.body(), RefreshToken: reply.Refresh.Reveal(), Issuer: issuer, Admin: srv.AdminSecret().Reveal(),
	}, o.json); err != nil {
		return err
	}
	a.console.notef("simulating %s at %s; stop it with a signal", title(o.as), issuer)
	return a.serveUntil(ctx, o.stopAfter)
}

// body is how the simulated provider is usually asked.
func (o simulateOptions) body() string {
	if o.as != "" {
		if p, err := lookup(o.as); err == nil {
			return p.Profile().Body
		}
	}
	return provider.BodyForm
}

// serveUntil waits for the end that was asked for, which is no failure.
func (a *app) serveUntil(ctx context.Context, d time.Duration) error {
	if d > 0 {
		timed, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		ctx = timed
	}
	<-ctx.Done()
	return nil
}

func title(preset string) string {
	if preset == "" {
		return "a strict provider"
	}
	return preset
}

// printSimulated prints settings that work as they are in a shell: the
// simulator's tokens are worth nothing elsewhere.
func (a *app) printSimulated(s simulated, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, s)
	}
	_, err := fmt.Fprintf(a.stdout, "export EVERGRANT_TOKEN_URL=%s\nexport EVERGRANT_CLIENT_ID=%s\nexport EVERGRANT_BODY=%s\nexport EVERGRANT_REFRESH_TOKEN=%s\nexport EVERGRANT_SIM_ADMIN=%s\n",
		s.TokenURL, s.ClientID, s.Body, s.RefreshToken, s.Admin)
	if err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	return nil
}

func setFaults(srv *simulator.Server, texts []string) error {
	var faults []simulator.Fault
	for _, text := range texts {
		f, err := simulator.ParseFault(text)
		if err != nil {
			return usagef("--fault: %v", err)
		}
		faults = append(faults, f)
	}
	if err := srv.SetFaults(faults...); err != nil {
		return usagef("--fault: %v", err)
	}
	return nil
}

// simulatorConfig turns a preset and flags into a simulated provider.
func (a *app) simulatorConfig(o simulateOptions) (simulator.Config, error) {
	cfg := simulator.Config{Rules: simulator.Strict(), TLS: o.tls, Seed: o.seed, Now: a.now}
	client := simulator.Client{ID: o.clientID, Redirects: []string{"http://127.0.0.1/callback", "http://[::1]/callback", "/callback"}}
	if o.as != "" {
		p, err := lookup(o.as)
		if err != nil {
			return cfg, err
		}
		profile := p.Profile()
		cfg.Rules = simulator.Rules{Behaviour: profile.Behaviour, AccessLife: profile.Access, IdleLimit: profile.Idle, ConsentLife: profile.Absolute}
		cfg.Wire = wireOf(profile)
		if client.ID == "" {
			client.ID = profile.ClientID
		}
		client.Auth = simulator.Auth(profile.Auth)
	}
	if client.ID == "" {
		client.ID = simulator.DefaultClient
	}
	if o.accessLife > 0 {
		cfg.Rules.AccessLife = o.accessLife
	}
	if o.consentLife > 0 {
		cfg.Rules.ConsentLife = o.consentLife
	}
	return cfg, a.authenticateBy(&cfg, client, o)
}

// authenticateBy registers the client. Without a secret it is public, whatever
// the provider asks for: a simulator must be usable without one.
func (a *app) authenticateBy(cfg *simulator.Config, client simulator.Client, o simulateOptions) error {
	if o.secretEnv == "" {
		client.Auth = simulator.AuthNone
	} else {
		secret, err := a.secretOf("--client-secret", o.secretEnv, "")
		if err != nil {
			return err
		}
		client.Secret = secret
		if client.Auth == simulator.AuthNone || client.Auth == simulator.AuthJWT {
			client.Auth = simulator.AuthBasic
		}
	}
	cfg.Clients = []simulator.Client{client}
	return nil
}

func wireOf(p provider.Profile) simulator.Wire {
	w := simulator.Wire{ErrorStatus: p.SpentStatus, SpentMember: p.SpentMember, RefreshExpiry: p.RefreshExpiry, Body: simulator.BodyForm}
	if p.Body == provider.BodyJSON {
		w.Body = simulator.BodyBoth // such servers read forms as well
	}
	if p.ScopeSeparator != " " {
		w.ScopeSeparator = p.ScopeSeparator
	}
	switch p.ErrorShape {
	case provider.ShapeNested:
		w.Errors = simulator.ErrorsNested
	case provider.ShapeOK:
		w.Errors = simulator.ErrorsSlack
	}
	if p.SpentCode != "" && !strings.EqualFold(p.SpentCode, "invalid_grant") {
		w.Codes = map[string]string{string(simulator.ReasonReused): p.SpentCode}
	}
	return w
}
