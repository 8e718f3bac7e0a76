//go:build linux

// Command step measures a step of a job: from its start to the token, which
// the next step can use when this one is over, and the questions that go to the
// forge and to the provider. The Action and the binary by itself, with and
// without life left, beside what a step costs in any case, run in one session,
// interleaved, in a new order each round: once with the forge on this machine,
// and once with each question to it held back as a distance would. It prints
// what it finds and asserts nothing about time.
//
//	step -evergrant BINARY -action FOLDER [-n ROUNDS] [-dir FOLDER] [-out FILE]
//
// FOLDER is the source tree's root, with action.yml. Needs git, and Node for the
// Action.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"evergrant/bench/figure"
	"evergrant/bench/sample"
	"evergrant/e2e/forge"
	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/simulator"
)

const (
	warmups = 1
	token   = "bench-job-token"
	holder  = "acme/widgets"
)

// distances are how long each question to the forge is held back.
func distances() []time.Duration { return []time.Duration{0, 40 * time.Millisecond} }

// bench is one session.
type bench struct {
	rounds                      int
	evergrant, action, dir, out string

	forge    *forge.Server
	provider *simulator.Server
	tokenURL string
	key      grant.Secret
	node     string // "": not installed
	figures  []figure.Figure
}

func main() {
	b := &bench{}
	flag.IntVar(&b.rounds, "n", 15, "rounds at each distance")
	flag.StringVar(&b.evergrant, "evergrant", "", "path of the evergrant binary")
	flag.StringVar(&b.action, "action", "", "folder with action.yml and action/")
	flag.StringVar(&b.dir, "dir", os.TempDir(), "folder for what the runs leave")
	flag.StringVar(&b.out, "out", "", "file for the figures, as JSON lines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.session(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/step:", err)
		os.Exit(1)
	}
}

func (b *bench) session(ctx context.Context) (err error) {
	if b.evergrant == "" || b.action == "" || b.rounds < 1 {
		return errors.New("want -evergrant PATH, -action FOLDER and at least one round")
	}
	if b.dir, err = os.MkdirTemp(b.dir, "evergrant-step"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	root := filepath.Join(b.dir, "forge")
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(holder)), 0o700); err != nil {
		return err
	}
	if err := forge.Init(filepath.Join(root, holder+".git")); err != nil {
		return err
	}
	if b.forge, err = forge.Serve(root, token); err != nil {
		return err
	}
	defer b.forge.Close()
	if b.provider, err = simulator.New(simulator.Config{}); err != nil {
		return err
	}
	issuer, err := b.provider.Start("")
	if err != nil {
		return err
	}
	defer b.provider.Close()
	b.tokenURL = issuer + "/token"
	if b.key, _, err = record.NewKey(); err != nil {
		return err
	}
	if err := b.publish(); err != nil {
		return err
	}
	for _, d := range distances() {
		if err := b.measure(ctx, d); err != nil {
			return err
		}
	}
	return b.write()
}

// publish lays the Action out as its published copy has it, with the binary.
func (b *bench) publish() error {
	folder := filepath.Join(b.dir, "published", "action")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(b.action, "action"))); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(folder, "bin"), 0o700); err != nil {
		return err
	}
	program, err := os.ReadFile(b.evergrant)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "bin", "evergrant-linux-"+runtime.GOARCH), program, 0o700); err != nil {
		return err
	}
	// A version manager puts a shell script in node's place, whose cost is not the Action's.
	if out, err := exec.Command("node", "-p", "process.execPath").Output(); err == nil {
		b.node = string(out[:len(out)-1])
	}
	return nil
}

// measure runs every contender once per round, in a new order each time.
func (b *bench) measure(ctx context.Context, distance time.Duration) error {
	b.forge.Intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		time.Sleep(distance)
		b.forge.Authenticate(w, r, next)
	})
	contenders := b.contenders()
	for round := range warmups + b.rounds {
		for _, i := range rand.Perm(len(contenders)) {
			c := contenders[i]
			t, err := b.once(ctx, c)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
			if round >= warmups {
				c.took = append(c.took, t.wall)
				c.asked = append(c.asked, time.Duration(t.forge))
			}
			c.begun = true
		}
	}
	group := "the forge on this machine"
	if distance > 0 {
		group = fmt.Sprintf("each question to it held back %v", distance)
	}
	fmt.Printf("\na step of a job, %s, %d rounds, ms\n", group, b.rounds)
	fmt.Printf("  %-44s %8s %8s %8s   %s\n", "", "median", "p10", "p90", "questions to forge, provider")
	for _, c := range contenders {
		f := figure.Of("A step of a job, "+group, fmt.Sprintf("%s; %d, %d", c.name, sample.Quantile(c.asked, 0.5), c.sends), "ms", c.took)
		fmt.Printf("  %-44s %8.1f %8.1f %8.1f   %d, %d\n", c.name, f.Median, f.P10, f.P90, sample.Quantile(c.asked, 0.5), c.sends)
		b.figures = append(b.figures, f)
	}
	if b.node == "" {
		fmt.Println("not measured: node is not installed, which the Action needs")
	}
	return nil
}

func (b *bench) write() error {
	if b.out == "" {
		return nil
	}
	f, err := os.Create(b.out)
	if err != nil {
		return err
	}
	return errors.Join(figure.Write(f, b.figures), f.Close())
}
