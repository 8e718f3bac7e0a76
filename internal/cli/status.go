package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"evergrant/internal/grant"
)

type statusOptions struct {
	store storeOptions
	json  bool
	warn  time.Duration
}

func (a *app) statusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [GRANT]",
		Short: "show the grants of a store, or the story of one grant",
		Long: "Shows the grants of a store, or the story of one grant. It asks no provider and changes nothing.\n" +
			"It ends with code 6 when a record cannot be read. With --warn it ends with code 3 when a consent ends within\n" +
			"that time, a person is needed already, or a token is in doubt.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.status(cmd.Context(), args, o) },
	}
	o.store.register(cmd.Flags())
	registerConfig(cmd.Flags())
	cmd.Flags().BoolVar(&o.json, "json", false, "a report on standard output; never a token")
	cmd.Flags().DurationVar(&o.warn, "warn", 0, "end with code 3 when a consent ends within this time, as in 72h")
	return cmd
}

// grantStatus is what status says of one grant. It never holds a token.
type grantStatus struct {
	Grant         grant.ID      `json:"grant"`
	Provider      string        `json:"provider"`
	State         string        `json:"state"` // also "in doubt" and "unreadable"
	Reason        string        `json:"reason,omitempty"`
	Generation    uint64        `json:"generation"`
	TokenEndsAt   *string       `json:"token_ends_at"`   // null: there is none yet
	ConsentEndsAt *string       `json:"consent_ends_at"` // null: unknown
	TokenURL      string        `json:"token_url,omitempty"`
	ClientID      string        `json:"client_id,omitempty"`
	Account       string        `json:"account,omitempty"` // as the provider told at the sign-in
	Lease         *statusLease  `json:"lease,omitempty"`
	Doubt         *statusDoubt  `json:"doubt,omitempty"`
	KeptReply     bool          `json:"kept_reply,omitempty"` // see rescue --raw
	Unsaved       int           `json:"unsaved,omitempty"`    // spilled records on this machine
	LastCause     string        `json:"last_cause,omitempty"`
	Events        []statusEvent `json:"events,omitempty"`

	tokenEnds, consentEnds time.Time
	why                    error // why it is unreadable
}

// States of a grant that are none of its record.
const (
	inDoubt    = "in doubt"
	unreadable = "unreadable"
)

type statusLease struct {
	Holder string `json:"holder"`
	Until  string `json:"until"`
}

type statusDoubt struct {
	Sends uint   `json:"sends"`
	First string `json:"first"`
	Last  string `json:"last"`
}

type statusEvent struct {
	At   string `json:"at"`
	By   string `json:"by"`
	What string `json:"what"`
	Note string `json:"note,omitempty"`
}

func (a *app) status(ctx context.Context, args []string, o statusOptions) error {
	if o.warn < 0 {
		return usagef("--warn cannot be negative")
	}
	var all []grantStatus
	var err error
	if len(args) == 0 && len(a.config.Grants) > 0 && o.store.url == "" && a.env.get("EVERGRANT_STORE") == "" {
		all, err = a.lookConfigured(ctx)
	} else {
		all, err = a.lookInStore(ctx, args, o)
	}
	if err != nil {
		return because(ctx, err)
	}
	if err := a.show(all, len(args) > 0, o.json); err != nil {
		return err
	}
	return a.alarm(all, o.warn)
}

// lookInStore looks at one grant of a store, or at all.
func (a *app) lookInStore(ctx context.Context, args []string, o statusOptions) ([]grantStatus, error) {
	p, err := o.store.resolve(a)
	if err != nil {
		return nil, err
	}
	if !p.location.Keeps() {
		return nil, usagef("store none: keeps nothing, so there is nothing to show")
	}
	if p.named {
		if err := p.missing(); err != nil {
			return nil, err
		}
	}
	st, err := p.open()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return a.lookAll(ctx, st, p)
	}
	if a.grant, err = grantName(a.env, args, ""); err != nil {
		return nil, err
	}
	one, err := a.look(ctx, st, p, a.grant)
	if err != nil {
		return nil, fmt.Errorf("grant %s: %w", a.grant, err)
	}
	return []grantStatus{one}, nil
}

func (a *app) lookAll(ctx context.Context, st grant.Store, p place) ([]grantStatus, error) {
	lister, ok := st.(grant.Lister)
	if !ok {
		return nil, usagef("this store cannot list its grants; name one")
	}
	ids := []grant.ID{}
	for id, err := range lister.List(ctx) {
		if err != nil {
			return nil, &codedError{code: exitStore, err: fmt.Errorf("listing the store: %w", err)}
		}
		ids = append(ids, id)
	}
	// Opening a sealed record is work for the processor, two curve
	// multiplications for each: all cores share it.
	found, errs := make([]grantStatus, len(ids)), make([]error, len(ids))
	var next atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(ids)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(ids) && !failed.Load(); i = int(next.Add(1)) - 1 {
				found[i], errs[i] = a.look(ctx, st, p, ids[i])
				if errs[i] != nil && !errors.Is(errs[i], grant.ErrNotFound) {
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	all := []grantStatus{}
	for i, id := range ids {
		if errors.Is(errs[i], grant.ErrNotFound) { // removed since the store was listed
			continue
		}
		if errs[i] != nil {
			return nil, fmt.Errorf("grant %s: %w", id, errs[i])
		}
		found[i].Events = nil
		all = append(all, found[i])
	}
	slices.SortFunc(all, func(x, y grantStatus) int { return strings.Compare(string(x.Grant), string(y.Grant)) })
	return all, nil
}

func (a *app) look(ctx context.Context, st grant.Store, p place, id grant.ID) (grantStatus, error) {
	c, _, err := st.Load(ctx, id)
	switch {
	case errors.Is(err, grant.ErrUnreadable):
		return grantStatus{Grant: id, State: unreadable, Reason: oneLine(err.Error()), why: err}, nil
	case errors.Is(err, grant.ErrNotFound):
		return grantStatus{}, err
	case err != nil:
		return grantStatus{}, &codedError{code: exitStore, err: err}
	}
	s := describe(c, a.now())
	spilled, err := p.spill.List(ctx, id)
	if err != nil {
		a.console.warnf("grant %s: %v", id, err)
	}
	s.Unsaved = len(spilled)
	return s, nil
}

func describe(c grant.Credential, now time.Time) grantStatus {
	s := grantStatus{
		Grant: c.Grant, Provider: c.Provider, State: c.State.String(), Reason: c.Reason, Generation: c.Generation,
		TokenURL: c.Bind.TokenURL, ClientID: c.Bind.ClientID, Account: c.Account.String(), KeptReply: !c.Raw.IsZero(),
		consentEnds: c.Tokens.RefreshExpiry,
	}
	if !c.Tokens.Access.Value.IsZero() {
		s.tokenEnds = c.Tokens.Access.Expiry
	}
	s.TokenEndsAt, s.ConsentEndsAt = optional(s.tokenEnds), optional(s.consentEnds)
	if l := c.Lease; l != nil && l.Until.After(now) {
		s.Lease = &statusLease{l.Holder, stamp(l.Until)}
	}
	if c.InDoubt() {
		s.Doubt = &statusDoubt{c.Doubt.Sends, stamp(c.Doubt.First), stamp(c.Doubt.Last)}
		if c.State == grant.Live && s.Lease == nil {
			s.State = inDoubt
		}
	}
	for _, e := range c.Events {
		s.Events = append(s.Events, statusEvent{stamp(e.At), e.By, e.What, inWords(e.Note)})
	}
	if n := len(c.Events); n > 0 {
		last := c.Events[n-1]
		note := inWords(last.Note)
		s.LastCause = strings.TrimSuffix(last.What+": "+note, ": ")
		if last.What == s.State && note != "" {
			s.LastCause = note
		}
	}
	return s
}

func optional(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

func (a *app) show(all []grantStatus, story, asJSON bool) error {
	switch {
	case asJSON && story:
		a.reported = true
		return printJSON(a.stdout, all[0])
	case asJSON:
		a.reported = true
		return printJSON(a.stdout, all)
	case story:
		return a.tellStory(all[0])
	case len(all) == 0:
		a.console.notef("the store holds no grant yet")
		return nil
	}
	return a.table(all)
}

func (a *app) table(all []grantStatus) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GRANT\tPROVIDER\tGEN\tTOKEN ENDS\tCONSENT ENDS\tSTATE\tLAST")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", s.Grant, dash(s.Provider), s.Generation,
			a.until(s.tokenEnds, "none yet"), a.until(s.consentEnds, "unknown"), s.State, dash(s.LastCause))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

func (a *app) tellStory(s grantStatus) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, value) }
	row("grant", string(s.Grant))
	row("provider", dash(s.Provider))
	row("token url", dash(s.TokenURL))
	row("client id", dash(s.ClientID))
	if s.Account != "" {
		row("account", s.Account)
	}
	row("state", strings.TrimSuffix(s.State+": "+s.Reason, ": "))
	row("generation", fmt.Sprint(s.Generation))
	row("token ends", a.until(s.tokenEnds, "none yet"))
	row("consent ends", a.until(s.consentEnds, "unknown: the provider does not say"))
	if s.Lease != nil {
		row("lease", "until "+s.Lease.Until+" by "+s.Lease.Holder)
	}
	if s.Doubt != nil {
		row("in doubt", fmt.Sprintf("since %s, sent %d times, last at %s", s.Doubt.First, s.Doubt.Sends, s.Doubt.Last))
	}
	if s.KeptReply {
		row("kept reply", "an answer that could not be read; evergrant rescue --raw takes it out")
	}
	if s.Unsaved > 0 {
		row("unsaved", fmt.Sprintf("%d on this machine; the next refresh puts them into the store", s.Unsaved))
	}
	fmt.Fprintln(w)
	printEvents(w, s.Events)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the story: %w", err)
	}
	return nil
}

func printEvents(w io.Writer, events []statusEvent) {
	for _, e := range events {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.At, e.What, e.By, e.Note)
	}
}

// until words a moment for a person: the date and how far it is.
func (a *app) until(t time.Time, unknown string) string {
	if t.IsZero() {
		return unknown
	}
	return t.UTC().Format("2006-01-02 15:04Z") + " (" + span(t.Sub(a.now())) + ")"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// alarm is the outcome of a look: a record that cannot be read is a failure of
// the store. With --warn, each grant that needs a person now or within the time
// given is one as well.
func (a *app) alarm(all []grantStatus, within time.Duration) error {
	var unread, worries []string
	var why error
	for _, s := range all {
		switch {
		case s.State == unreadable:
			unread = append(unread, fmt.Sprintf("grant %s: %s", s.Grant, s.Reason))
			why = s.why
		case within == 0:
		case s.State == grant.NeedsConsent.String():
			worries = append(worries, fmt.Sprintf("%s needs a person: %s", s.Grant, s.Reason))
		case s.State == inDoubt:
			worries = append(worries, fmt.Sprintf("%s is in doubt since %s", s.Grant, s.Doubt.First))
		case !s.consentEnds.IsZero() && s.consentEnds.Sub(a.now()) < within:
			worries = append(worries, fmt.Sprintf("the consent of %s ends at %s", s.Grant, stamp(s.consentEnds)))
		}
	}
	text := strings.Join(append(unread, worries...), "; ")
	switch {
	case why != nil:
		_, hints := classify(why)
		return &codedError{code: exitStore, err: errors.New(text), hint: strings.Join(hints, "; ")}
	case len(worries) > 0:
		return &codedError{code: exitPerson, err: errors.New(text),
			hint: "a grant in doubt: run refresh at the time it prints, or sign in again; any other: sign in again: evergrant login GRANT, or at the provider, then evergrant repair GRANT --adopt --from-env VAR"}
	}
	return nil
}
