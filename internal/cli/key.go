package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
	"evergrant/internal/holder"
	"evergrant/internal/record"
	"evergrant/internal/spill"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "make a sealing key, show its recipient, or re-seal a store",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("key needs one of new, show-recipient, rotate").hint("evergrant key --help tells what they do")
		},
	}
	cmd.AddCommand(a.keyNewCommand(), a.keyShowCommand(), a.keyRotateCommand())
	return cmd
}

func (a *app) keyNewCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "make a sealing key (an age X25519 identity)",
		Long: "Makes a sealing key and prints it, or writes it to --out, where only you can read it; a shell's > would make a\n" +
			"file that others can read. Whoever has the key can read the records.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.keyNew(out) },
	}
	cmd.Flags().StringVar(&out, "out", "", "file `PATH` for the key; created with mode 0600, never overwritten")
	return cmd
}

func (a *app) keyNew(out string) error {
	if out != "" {
		if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
			return usagef("--out: %s is there already, and a key is never overwritten", out)
		}
		if folder := filepath.Dir(out); !isFolder(folder) {
			return usagef("--out: there is no folder %s", shownPath(folder)).hint("make it first: mkdir -p " + shownPath(folder))
		}
	}
	identity, recipient, err := record.NewKey()
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	if out == "" {
		if _, err := fmt.Fprintln(a.stdout, identity.Reveal()); err != nil {
			return fmt.Errorf("writing the key: %w", err)
		}
	} else {
		text := fmt.Sprintf("# made by evergrant %s at %s\n# public key: %s\n%s\n", version, stamp(a.now()), recipient, identity.Reveal())
		if err := atomicfile.Write(out, []byte(text), 0o600); err != nil {
			return err
		}
	}
	a.console.notef("recipient: %s", recipient)
	a.console.notef("keep a copy of the key where the store is not: without it the records cannot be read")
	return nil
}

func (a *app) keyShowCommand() *cobra.Command {
	var o storeOptions
	cmd := &cobra.Command{
		Use:   "show-recipient",
		Short: "print the recipient (the public half) of a sealing key",
		Long: "Prints the recipient (the public half) of a sealing key: of the one that is given, else of the one that the\n" +
			"configuration has for its grants.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{configuresItself: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.readOwn(cmd.Flags()); err != nil {
				return err
			}
			identity, err := a.keyToShow(o, cmd.Flags())
			if err != nil {
				return err
			}
			if identity.IsZero() {
				return usagef("no sealing key was given").hint("give EVERGRANT_KEY, --key-env or --key-file")
			}
			recipient, err := record.Recipient(identity)
			if err != nil {
				return usagef("sealing key: %v", err)
			}
			_, err = fmt.Fprintln(a.stdout, recipient)
			return err
		},
	}
	o.registerKey(cmd.Flags())
	registerConfig(cmd.Flags())
	return cmd
}

type rotateOptions struct {
	store           storeOptions
	newEnv, newFile string
	newRecipients   []string
	keyOf           string // what the configuration names as the key, for a person; "": nothing
}

func (a *app) keyRotateCommand() *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "re-seal every record of a store with another key",
		Long: "Re-seals every record of a store that can list them (file:, git:), and what this machine has spilled for it, with another key. Change the\n" +
			"key of all jobs at once: one with the old key can read nothing. A store that is not sealed becomes sealed; no\n" +
			"other command reads plain records once there is a key, because whoever can write the store could plant them.\n\n" +
			"Without --store it is the store of the configuration's grants, if that is one.",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{configuresItself: ""},
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err = a.readOwn(cmd.Flags()); err != nil {
				return err
			}
			if o.store, o.keyOf, err = a.storeToSeal(o.store, cmd.Flags()); err != nil {
				return err
			}
			return a.keyRotate(cmd.Context(), o)
		},
	}
	o.store.register(cmd.Flags())
	registerConfig(cmd.Flags())
	cmd.Flags().StringVar(&o.newEnv, "new-key-env", "", "environment variable `VAR` that holds the new key")
	cmd.Flags().StringVar(&o.newFile, "new-key-file", "", "file `PATH` that holds the new key")
	cmd.Flags().StringArrayVar(&o.newRecipients, "new-recipient", nil, "further age `RECIPIENT` of the re-sealed records; repeatable")
	cmd.MarkFlagsOneRequired("new-key-env", "new-key-file")
	cmd.MarkFlagsMutuallyExclusive("new-key-env", "new-key-file")
	return cmd
}

func (a *app) keyRotate(ctx context.Context, o rotateOptions) error {
	o.store.acceptPlain = true
	p, err := o.store.resolve(a)
	if err != nil {
		return err
	}
	if !p.location.Keeps() {
		return usagef("store none: keeps nothing, so there is nothing to re-seal")
	}
	if err := p.missing(); err != nil {
		return err
	}
	r := rotation{from: p}
	if r.next, err = o.newCodec(a); err != nil {
		return err
	}
	if r.old, err = p.open(); err != nil {
		return err
	}
	sealed := p
	sealed.codec = r.next
	if r.to, err = sealed.open(); err != nil {
		return err
	}
	lister, ok := r.old.(grant.Lister)
	if !ok {
		return usagef("this store cannot list its grants, so it cannot be re-sealed as a whole")
	}
	n, err := 0, error(nil)
	for id, lerr := range lister.List(ctx) {
		if lerr != nil {
			err = errors.Join(err, &codedError{code: exitStore, err: lerr})
			break
		}
		if rerr := a.reseal(ctx, id, r); rerr != nil {
			err = errors.Join(err, fmt.Errorf("grant %s: %w", id, rerr))
			continue
		}
		n++
	}
	a.console.notef("%s re-sealed", counted(n, "grant"))
	switch {
	case err == nil && o.keyOf != "":
		a.console.notef("put the new key in place of %s, which %s names; every other job needs the new key from now on, too", o.keyOf, shownPath(a.config.Path))
	case err == nil && o.newEnv != "EVERGRANT_KEY":
		a.console.notef("every job needs the new key from now on; in this shell: export EVERGRANT_KEY=\"%s\"", o.newKey())
	}
	return because(ctx, err)
}

// newKey is the new key as a shell reads it.
func (o *rotateOptions) newKey() string {
	if o.newEnv != "" {
		return "$" + showName(o.newEnv)
	}
	return "$(cat " + shownPath(o.newFile) + ")"
}

// isFolder reports a folder, also behind a link.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// rotation is what one run of key rotate works with.
type rotation struct {
	from    place       // reads the old seal and plain records
	old, to grant.Store // the store by the old seal and by the new one
	next    *record.Codec
}

func (o *rotateOptions) newCodec(a *app) (*record.Codec, error) {
	s, err := a.secretOf("--new-key", o.newEnv, o.newFile)
	if err != nil {
		return nil, err
	}
	identity, err := parsedKey("--new-key", o.newEnv, o.newFile, s)
	if err != nil {
		return nil, err
	}
	codec, err := record.NewCodec(identity, o.newRecipients...)
	if err != nil {
		return nil, usagef("new sealing key: %v", err)
	}
	return codec.RequireSealed(), nil
}

// reseal writes one record again as it is, sealed by the new codec. It keeps
// its Writer, since the content is the same. A grant that somebody is
// refreshing is left alone: the new seal would come between their request and
// their save. A record that has the new seal already is done.
func (a *app) reseal(ctx context.Context, id grant.ID, r rotation) error {
	c, version, err := r.old.Load(ctx, id)
	if errors.Is(err, grant.ErrUnreadable) {
		if _, _, nerr := r.to.Load(ctx, id); nerr == nil {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if l := c.Lease; l != nil && a.now().Before(l.Until) && !holder.Gone(l.Holder) {
		return &codedError{code: exitLeased, err: fmt.Errorf("somebody is refreshing it until %s", l.Until.UTC().Format(time.RFC3339)), hint: "run the same command again then"}
	}
	if _, _, err := r.to.Load(ctx, id); errors.Is(err, record.ErrPlain) {
		a.console.notef("%s was not sealed before", id)
	}
	if _, err := r.to.Swap(ctx, id, version, c); err != nil {
		return err
	}
	spilled, err := r.from.spill.List(ctx, id)
	if err != nil {
		return err
	}
	again := spill.Open(r.from.spillDir, r.next)
	for _, k := range spilled {
		if err := again.Put(ctx, k); err != nil {
			return err
		}
	}
	return nil
}
