package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/simulator"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "the whole story on this machine in seconds, no account, no network",
		Long: "Runs a simulated provider that forgives nothing, real jobs that share one grant there, and the accidents that\n" +
			"lose a login elsewhere. What it says is read from the provider's ledger; it ends with code 1 when something\n" +
			"does not hold.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context()) },
	}
}

// demoSpeed divides the protocol's durations, so that a lease of 90 s takes 6 s.
const demoSpeed = 15

// demoGrant is the one grant of the demonstration.
const demoGrant = grant.ID("demo")

// demonstration is a simulated provider, a folder, and jobs that are real
// processes of this program. A step that does not come about in time is an
// error; an expectation that does not hold is counted and the story goes on.
type demonstration struct {
	*stage
	dir, exe string
	srv      *simulator.Server
	settings []string // environment of every job
	codec    *record.Codec
	family   string
}

func (a *app) demo(ctx context.Context) error {
	d, stop, err := a.newDemonstration()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel() // before stop: it ends the jobs
	d.say("", "A strict provider, simulated here: it rotates refresh tokens, and a token",
		"that comes a second time ends the login. The jobs are real processes, and",
		"what follows is read from the provider's ledger.")
	for _, act := range []func(context.Context) error{d.crowd, d.killedBeforeTheAnswer, d.killedWithTheAnswer, d.storeLost} {
		if err := act(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("demo: %w", err)
		}
	}
	d.summingUp()
	if d.failed > 0 {
		return &codedError{code: exitOther, err: fmt.Errorf("demo: %d of %d expectations do not hold", d.failed, d.checked)}
	}
	return nil
}

// ownPath is where this program lies, by the system or, in an empty root without
// /proc, by how it was called.
func ownPath() (string, error) {
	path, err := os.Executable()
	if err == nil {
		return path, nil
	}
	called, lerr := exec.LookPath(os.Args[0])
	if lerr != nil {
		return "", err
	}
	return filepath.Abs(called)
}

func (a *app) newDemonstration() (d *demonstration, stop func(), err error) {
	d = &demonstration{stage: a.newStage()}
	if d.exe, err = ownPath(); err != nil {
		return nil, nil, err
	}
	if d.dir, err = os.MkdirTemp("", "evergrant-demo-"); err != nil {
		return nil, nil, err
	}
	if d.srv, err = simulator.New(simulator.Config{}); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	stop = func() {
		_ = d.srv.Close()
		_ = os.RemoveAll(d.dir)
	}
	if err = d.setUp(a.env); err != nil {
		stop()
		return nil, nil, err
	}
	return d, stop, nil
}

func (d *demonstration) setUp(env environment) error {
	issuer, err := d.srv.Start("")
	if err != nil {
		return err
	}
	first, err := d.srv.IssueFamily(simulator.DefaultClient)
	if err != nil {
		return err
	}
	d.family = first.Family
	key, _, err := record.NewKey()
	if err != nil {
		return err
	}
	if d.codec, err = record.NewCodec(key); err != nil {
		return err
	}
	d.settings = []string{
		"HOME=" + d.dir, "XDG_STATE_HOME=" + d.state(),
		"EVERGRANT_GRANT=" + string(demoGrant), "EVERGRANT_STORE=file:" + d.grants(),
		"EVERGRANT_TOKEN_URL=" + issuer + "/token", "EVERGRANT_CLIENT_ID=" + simulator.DefaultClient,
		"EVERGRANT_REFRESH_TOKEN=" + first.Refresh.Reveal(), "EVERGRANT_KEY=" + key.Reveal(),
	}
	if root := env.get("SYSTEMROOT"); root != "" { // sockets need it on Windows
		d.settings = append(d.settings, "SYSTEMROOT="+root)
	}
	return nil
}

func (d *demonstration) state() string  { return filepath.Join(d.dir, "state") }
func (d *demonstration) grants() string { return filepath.Join(d.dir, "grants") }

// presentations is the ledger's list of refresh tokens shown so far.
func (d *demonstration) presentations() []simulator.Presentation {
	return d.srv.Ledger().Presentations
}

func (d *demonstration) standing() simulator.Standing {
	s, _ := d.srv.Standing(d.family)
	return s
}

func (d *demonstration) summingUp() {
	ledger, s := d.srv.Ledger(), d.standing()
	twice, reused := 0, 0
	for _, n := range s.Refreshes {
		if n > 1 {
			twice++
		}
	}
	for _, p := range ledger.Presentations {
		if p.Outcome == simulator.ReuseDetected {
			reused++
		}
	}
	d.act("the provider's ledger, at the end")
	d.expect(s.Alive, "the login is alive, after %d refreshes", s.Generation-1)
	d.expect(twice == 0, "every refresh token was exchanged once (%d times twice)", twice)
	d.expect(reused == 0, "no spent token ever came back (%d did)", reused)
	d.end()
}
