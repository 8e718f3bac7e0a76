package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evergrant/internal/atomicfile"
	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/record"
)

type rescueOptions struct {
	store storeOptions
	raw   string
	out   string
}

func (a *app) rescueCommand() *cobra.Command {
	var o rescueOptions
	cmd := &cobra.Command{
		Use:   "rescue <LOG",
		Short: "put the record of a rescue block back into the store",
		Long: "Reads rescue blocks from standard input and puts their records back into the store, unless newer ones\n" +
			"are there. A whole CI log will do, with its timestamps and colours. With a configuration each goes where that\n" +
			"says that its grant lives.\n\n" +
			"With --raw it takes a provider's answer that could not be read out of a grant's record, into a file.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{configuresItself: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.readOwn(cmd.Flags()); err != nil {
				return err
			}
			return a.rescue(cmd.Context(), cmd.Flags(), o)
		},
	}
	o.store.register(cmd.Flags())
	registerConfig(cmd.Flags())
	cmd.Flags().StringVar(&o.raw, "raw", "", "`GRANT` whose kept answer is taken out of its record")
	cmd.Flags().StringVar(&o.out, "out", "", "file `PATH` for the kept answer; created with mode 0600, never overwritten")
	cmd.MarkFlagsRequiredTogether("raw", "out")
	return cmd
}

func (a *app) rescue(ctx context.Context, given *pflag.FlagSet, o rescueOptions) error {
	o.store.blind = true
	h, err := a.homes(given, o.store)
	if err != nil {
		return err
	}
	if o.raw != "" {
		return a.rescueRaw(ctx, h, o)
	}
	if err := h.anyKey(); err != nil {
		return err
	}
	found, err := record.ParseRescue(attentive{ctx, a.stdin}, h.open)
	if ctx.Err() != nil {
		return because(ctx, ctx.Err())
	}
	if err != nil && len(found) == 0 {
		return &codedError{code: exitOther, err: fmt.Errorf("reading the rescue block: %w", err)}
	}
	if len(found) == 0 {
		return &codedError{code: exitOther, err: errors.New("there is no rescue block in the text"),
			hint: "it begins with a BEGIN line; feed the whole log: evergrant rescue <LOG"}
	}
	failed := err
	for _, c := range found {
		t, err := h.of(c.Grant)
		if err == nil {
			err = a.putBack(ctx, t.place, c)
		}
		failed = errors.Join(failed, err)
	}
	return because(ctx, failed)
}

// attentive reads a stream that may never end, until the context does: a person
// who forgot to feed a log can stop the command.
type attentive struct {
	ctx context.Context
	r   io.Reader
}

// Read gives up a read that blocks; its goroutine ends with the process.
func (a attentive) Read(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b := make([]byte, len(p)) // p is the caller's again once Read returns
		n, err := a.r.Read(b)
		done <- result{b[:n], err}
	}()
	select {
	case <-a.ctx.Done():
		return 0, a.ctx.Err()
	case got := <-done:
		return copy(p, got.b), got.err
	}
}

// putBack offers one record to the store and says what became of it.
func (a *app) putBack(ctx context.Context, p place, c grant.Credential) error {
	if _, set := a.env(p.location.Variable()); p.location.Variable() != "" && !set {
		return a.putBackBlind(ctx, p, c)
	}
	if err := p.missing(); err != nil && p.named {
		return &codedError{code: exitStore, err: fmt.Errorf("grant %s: %w", c.Grant, err), hint: "check the path, and whether its volume is mounted; if the whole store was lost, make its folder first: mkdir -m 700 " + shellWord(strings.TrimPrefix(p.location.Place(), "file:"))}
	}
	s, err := a.connect(c.Grant, p, target{name: c.Provider, bind: c.Bind}, true)
	if err != nil {
		return err
	}
	resolution, err := s.engine.Offer(ctx, c)
	if err != nil {
		return fmt.Errorf("grant %s: %w", c.Grant, err)
	}
	switch resolution {
	case engine.Write:
		a.console.notef("%s: generation %d is back in %s", c.Grant, c.Generation, p.whereabouts())
	case engine.Saved:
		a.console.notef("%s: generation %d was in the store already; nothing was changed", c.Grant, c.Generation)
	case engine.Stale:
		a.console.notef("%s: the store holds something newer than generation %d of the block; nothing was changed", c.Grant, c.Generation)
	case engine.Foreign:
		return &codedError{code: exitPerson,
			err:  fmt.Errorf("grant %s: the block belongs to another sign-in than the record in the store; nothing was changed", c.Grant),
			hint: "the newer sign-in goes on; throw the block away if that is the wanted account"}
	}
	return nil
}

// putBackBlind is for a store that nobody but a job can read: it is not asked what
// is there, but whether anybody has written since.
func (a *app) putBackBlind(ctx context.Context, p place, c grant.Credential) error {
	st, err := p.open()
	if err != nil {
		return err
	}
	unread, ok := st.(interface {
		PutBack(ctx context.Context, c grant.Credential) error
	})
	if !ok {
		return usagef("this store cannot be written without being read; fill the variable %s", p.location.Variable())
	}
	if err := unread.PutBack(ctx, c); err != nil {
		return &codedError{code: exitStore, err: fmt.Errorf("grant %s: %w", c.Grant, err)}
	}
	a.console.notef("%s: generation %d is back in %s", c.Grant, c.Generation, p.whereabouts())
	return nil
}

func (a *app) rescueRaw(ctx context.Context, h *homes, o rescueOptions) error {
	id, err := grantName(a.env, []string{o.raw}, "")
	if err != nil {
		return err
	}
	t, err := h.of(id)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(o.out); !errors.Is(err, fs.ErrNotExist) {
		return usagef("--out: %s is there already; name a new file", o.out)
	}
	s, err := a.connect(id, t.place, target{}, true)
	if err != nil {
		return err
	}
	keep := func(raw grant.Secret) error { return atomicfile.Write(o.out, []byte(raw.Reveal()), 0o600) }
	if err := s.engine.TakeRaw(ctx, id, keep); err != nil {
		return because(ctx, fmt.Errorf("grant %s: %w", id, err))
	}
	a.console.notef("%s: the answer that could not be read is in %s; it may hold tokens", id, o.out)
	return nil
}
