//go:build linux

// Command scale measures one sealed file store with 1, 1,000 and 10,000
// grants: Load and Swap by the store itself, and status by the real binary as a
// whole process. It prints what it finds and asserts nothing about time.
//
//	scale -evergrant BINARY [-dir FOLDER] [-out FILE]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"evergrant/bench/figure"
	"evergrant/internal/grant"
	"evergrant/internal/record"
	"evergrant/internal/store/file"
)

const (
	samples  = 200 // Loads and Swaps measured per size
	writers  = 8   // goroutines that fill a store
	partSize = 100 // grants that one of them writes at a time
)

// bench is one session.
type bench struct {
	evergrant, dir, out string
	figures             []figure.Figure
}

func main() {
	b := &bench{}
	flag.StringVar(&b.evergrant, "evergrant", "", "path of the evergrant binary")
	flag.StringVar(&b.dir, "dir", os.TempDir(), "folder for the stores: its file system is measured")
	flag.StringVar(&b.out, "out", "", "file for the figures, as JSON lines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.session(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/scale:", err)
		os.Exit(1)
	}
}

func (b *bench) session(ctx context.Context) error {
	if b.evergrant == "" {
		return errors.New("want -evergrant PATH")
	}
	dir, err := os.MkdirTemp(b.dir, "evergrant-scale")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("one sealed file store %38s %12s %12s\n", "median", "p10", "p90")
	for _, size := range []struct {
		grants, runs int
	}{{1, 30}, {1000, 7}, {10000, 3}} {
		if err := b.measure(ctx, filepath.Join(dir, fmt.Sprint(size.grants)), size.grants, size.runs); err != nil {
			return fmt.Errorf("%d grants: %w", size.grants, err)
		}
	}
	if b.out == "" {
		return nil
	}
	f, err := os.Create(b.out)
	if err != nil {
		return err
	}
	return errors.Join(figure.Write(f, b.figures), f.Close())
}

// measure fills a store and takes its figures.
func (b *bench) measure(ctx context.Context, dir string, grants, runs int) error {
	key, _, err := record.NewKey()
	if err != nil {
		return err
	}
	codec, err := record.NewCodec(key)
	if err != nil {
		return err
	}
	store := filepath.Join(dir, "store")
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	if err := fill(ctx, store, codec, grants); err != nil {
		return err
	}
	group := map[int]string{1: "1 grant", 1000: "1,000 grants", 10000: "10,000 grants"}[grants]
	loads, swaps, err := touch(ctx, store, codec, grants)
	if err != nil {
		return err
	}
	took, err := b.status(ctx, dir, key, grants, runs)
	if err != nil {
		return err
	}
	opens, err := open(codec)
	if err != nil {
		return err
	}
	slices.Sort(swaps)
	for _, f := range []figure.Figure{
		figure.Of(group, figure.Load, "ms", loads), figure.Of(group, figure.Swap, "ms", swaps),
		figure.Of(group, figure.SlowSwap, "ms", swaps[len(swaps)-len(swaps)/32:]),
		figure.Of(group, figure.Open, "ms", opens), figure.Of(group, figure.Status, "ms", took),
	} {
		fmt.Printf("  %-14s %-32s %9.3f ms %9.3f ms %9.3f ms\n", group, f.Name, f.Median, f.P10, f.P90)
		b.figures = append(b.figures, f)
	}
	return nil
}

func name(n int) grant.ID { return grant.ID(fmt.Sprintf("team-%d/grant-%d", n%50, n)) }

// recordOf is a record as it is after some weeks of use: a full story and a
// full list of spent tokens.
func recordOf(n, generation int) grant.Credential {
	now := time.Now()
	c := grant.Credential{
		Grant: name(n), Provider: "custom", Consent: fmt.Sprintf("consent-%d", n),
		Bind:       grant.Binding{TokenURL: "https://issuer.example/token", ClientID: "bench"},
		Generation: uint64(generation), Writer: fmt.Sprintf("writer-%d-%d", n, generation),
		Tokens: grant.TokenSet{
			Access: grant.AccessToken{Grant: name(n), Generation: uint64(generation), Type: "Bearer",
				Value:  grant.NewSecret(fmt.Sprintf("bench-access-%d-%d-%s", n, generation, strings.Repeat("x", 80))),
				Expiry: now.Add(8 * time.Hour)},
			Refresh:    grant.NewSecret(fmt.Sprintf("bench-refresh-%d-%d-%s", n, generation, strings.Repeat("y", 80))),
			ObtainedAt: now,
		},
	}
	for i := range grant.MaxSpent {
		c.AddSpent(grant.NewSecret(fmt.Sprintf("spent-%d-%d", n, i)).Digest())
	}
	for range grant.MaxEvents / 2 {
		c.AddEvent(grant.Event{At: now, By: "github run 1234567890", What: grant.EventAttempt})
		c.AddEvent(grant.Event{At: now, By: "github run 1234567890", What: grant.EventRefreshed})
	}
	return c
}

// fill writes grants in small stores and moves their files together: one Swap
// in 32 looks through its whole folder.
func fill(ctx context.Context, dir string, codec *record.Codec, grants int) error {
	parts := make(chan int)
	errs := make([]error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for first := range parts {
				errs[w] = errors.Join(errs[w], fillPart(ctx, dir, codec, first, min(first+partSize, grants)))
			}
		})
	}
	for first := 0; first < grants; first += partSize {
		parts <- first
	}
	close(parts)
	all.Wait()
	return errors.Join(errs...)
}

func fillPart(ctx context.Context, dir string, codec *record.Codec, first, end int) error {
	part := fmt.Sprintf("%s-part-%d", dir, first)
	s, err := file.Open(part, codec, file.Options{})
	if err != nil {
		return err
	}
	for n := first; n < end; n++ {
		if _, err := s.Swap(ctx, name(n), "", recordOf(n, 1)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(part)
	for _, e := range entries {
		err = errors.Join(err, os.Rename(filepath.Join(part, e.Name()), filepath.Join(dir, e.Name())))
	}
	return errors.Join(err, os.Remove(part))
}

// touch loads and swaps grants by chance, each time in a store opened anew, as
// each process does.
func touch(ctx context.Context, dir string, codec *record.Codec, grants int) (loads, swaps []time.Duration, err error) {
	for i := range samples {
		s, err := file.Open(dir, codec, file.Options{})
		if err != nil {
			return nil, nil, err
		}
		n := rand.IntN(grants)
		start := time.Now()
		c, v, err := s.Load(ctx, name(n))
		loads = append(loads, time.Since(start))
		if err != nil {
			return nil, nil, err
		}
		next := recordOf(n, int(c.Generation)+1)
		next.Writer += fmt.Sprint("-", i)
		start = time.Now()
		_, err = s.Swap(ctx, name(n), v, next)
		swaps = append(swaps, time.Since(start))
		if err != nil {
			return nil, nil, err
		}
	}
	return loads, swaps, nil
}

// open times the opening of one sealed record in memory, which status does for
// each grant.
func open(codec *record.Codec) (took []time.Duration, err error) {
	sealed, err := codec.Encode(recordOf(0, 1))
	if err != nil {
		return nil, err
	}
	for range samples {
		start := time.Now()
		_, err := codec.Decode(name(0), sealed)
		took = append(took, time.Since(start))
		if err != nil {
			return nil, err
		}
	}
	return took, nil
}

// status times the binary and checks that it showed every grant.
func (b *bench) status(ctx context.Context, dir string, key grant.Secret, grants, runs int) ([]time.Duration, error) {
	var took []time.Duration
	for range runs {
		cmd := exec.CommandContext(ctx, b.evergrant, "status", "--store", "file:"+filepath.Join(dir, "store"))
		cmd.Env = []string{"HOME=" + dir, "XDG_STATE_HOME=" + filepath.Join(dir, "state"), "LC_ALL=C", "EVERGRANT_KEY=" + key.Reveal()}
		start := time.Now()
		out, err := cmd.Output()
		took = append(took, time.Since(start))
		if err != nil {
			return nil, fmt.Errorf("evergrant status: %w", err)
		}
		if shown := strings.Count(string(out), "team-"); shown != grants {
			return nil, fmt.Errorf("evergrant status shows %d grants", shown)
		}
	}
	return took, nil
}
