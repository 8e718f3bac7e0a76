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
	"github.com/spf13/pflag"

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
			"that time, a person is needed already, a token is in doubt, or a grant has no record yet or one that is not in\n" +
			"the store; with 6 when a record that was seen here is gone.",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{configuresItself: ""},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) > 0 {
				err = a.configure(cmd, args)
			} else { // of all grants, no one's settings are the command's
				a.config, _, err = a.readConfig(cmd.Flag("config").Value.String())
			}
			if err != nil {
				return err
			}
			return a.status(cmd.Context(), cmd.Flags(), args, o)
		},
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
	life                   time.Duration // of the access token as it was issued
	events                 []grant.Event
	lastWhat, lastBy       string
	lastAt                 time.Time
	why                    error // why it is unreadable
	unproven               bool  // no access token was ever had
}

// States of a grant that are none of its record.
const (
	inDoubt    = "in doubt"
	unreadable = "unreadable"
)

// shown is the state in words: a grant that never had an access token is not shown as
// one that lives. The report's "state" stays what the record says.
func (s grantStatus) shown() string {
	if s.unproven && s.State == grant.Live.String() {
		return "not proven yet"
	}
	return s.State
}

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

func (a *app) status(ctx context.Context, given *pflag.FlagSet, args []string, o statusOptions) error {
	if o.warn < 0 {
		return usagef("--warn cannot be negative")
	}
	var all []grantStatus
	var err error
	if len(args) == 0 && len(a.config.Grants) > 0 && o.store.url == "" && a.env.get("EVERGRANT_STORE") == "" {
		all, err = a.lookConfigured(ctx, given)
	} else {
		all, err = a.lookInStore(ctx, args, o)
	}
	if err != nil {
		return because(ctx, err)
	}
	if len(all) == 0 && !o.json {
		a.sayEmpty(o.store)
		return nil
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
		err = fmt.Errorf("grant %s: %w", a.grant, err)
		if errors.Is(err, grant.ErrNotFound) {
			err = &codedError{code: exitStore, err: err, hint: others(ctx, st, p, a.grant)}
		}
		return nil, err
	}
	return []grantStatus{one}, nil
}

func (a *app) lookAll(ctx context.Context, st grant.Store, p place) ([]grantStatus, error) {
	lister, ok := st.(grant.Lister)
	if !ok {
		return nil, usagef("this store cannot list its grants; name one")
	}
	marked, err := p.marks.List()
	if err != nil {
		return nil, &codedError{code: exitStore, err: err}
	}
	ids := []grant.ID{}
	for id, err := range lister.List(ctx) {
		if err != nil {
			return nil, &codedError{code: exitStore, err: fmt.Errorf("listing the store: %w", err)}
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
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
	return a.addVanished(ctx, p, marked, all), nil
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
	s.Unsaved = a.unsaved(ctx, p, id)
	return s, nil
}

func describe(c grant.Credential, now time.Time) grantStatus {
	c = printable(c)
	s := grantStatus{
		Grant: c.Grant, Provider: c.Provider, State: c.State.String(), Reason: c.Reason, Generation: c.Generation,
		TokenURL: c.Bind.TokenURL, ClientID: c.Bind.ClientID, Account: c.Account.String(), KeptReply: !c.Raw.IsZero(),
		consentEnds: c.Tokens.RefreshExpiry,
	}
	if !c.Tokens.Access.Value.IsZero() {
		s.tokenEnds, s.life = c.Tokens.Access.Expiry, c.Tokens.Life()
	}
	s.events = c.Events
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
	s.unproven = c.State == grant.Live && c.Tokens.Access.Value.IsZero()
	if n := len(c.Events); n > 0 {
		last := c.Events[n-1]
		s.lastWhat, s.lastBy, s.lastAt = last.What, last.By, last.At
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
	}
	return a.table(all)
}

// sayEmpty says which store it is that holds nothing: it may be another than the one
// that is meant.
func (a *app) sayEmpty(o storeOptions) {
	loc, named, err := o.locate(a.env)
	if err == nil {
		a.console.notef("%s holds no grant yet", place{location: loc, named: named}.whereabouts())
	}
}

// table is for people on a terminal, and plain and stable for everybody else.
func (a *app) table(all []grantStatus) error {
	if p := a.paper(a.stdout); p.terminal {
		_, err := io.WriteString(a.stdout, a.terminalTable(all, p)+census(all, p))
		return written("the table", err)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GRANT\tPROVIDER\tGEN\tTOKEN ENDS\tCONSENT ENDS\tSTATE\tLAST")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", s.Grant, dash(s.Provider), s.Generation,
			a.until(s.tokenEnds, "none yet"), a.until(s.consentEnds, "unknown"), s.shown(), dash(s.LastCause))
	}
	err := w.Flush()
	return written("the table", err)
}

// tellStory is what there is to know of one grant, and how it came to be so: in
// words, and, where no person reads along, as the events before them.
func (a *app) tellStory(s grantStatus) error {
	p := a.paper(a.stdout)
	var b strings.Builder
	rows := a.storyRows(s)
	if p.terminal {
		for _, r := range rows {
			code := ""
			if r[0] == "state" {
				code = stateColour(s.shown())
			}
			b.WriteString(p.entry(p.fit(r[0], storyMargin), faint, r[1], code))
		}
	} else {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\n", r[0], r[1])
		}
		fmt.Fprintln(w)
		printEvents(w, s.Events)
		if err := w.Flush(); err != nil {
			return fmt.Errorf("writing the story: %w", err)
		}
	}
	if lines := story(s, a.now()); len(lines) > 0 {
		fmt.Fprintln(&b)
		b.WriteString(storyText(lines, a.now(), p))
	}
	_, err := io.WriteString(a.stdout, b.String())
	return written("the story", err)
}

// storyMargin is the width of the names of a story's rows, in columns.
const storyMargin = 14

func (a *app) storyRows(s grantStatus) [][2]string {
	rows := [][2]string{{"grant", string(s.Grant)}, {"provider", dash(s.Provider)}, {"token url", dash(s.TokenURL)}, {"client id", dash(s.ClientID)}}
	row := func(name, value string) { rows = append(rows, [2]string{name, value}) }
	if s.Account != "" {
		row("account", s.Account)
	}
	row("state", strings.TrimSuffix(s.shown()+": "+s.Reason, ": "))
	if s.State == unreadable { // what is in it, nobody knows
		return [][2]string{rows[0], rows[len(rows)-1]}
	}
	row("generation", fmt.Sprint(s.Generation))
	row("token ends", a.until(s.tokenEnds, "none yet"))
	row("consent ends", a.until(s.consentEnds, "unknown: the provider does not say"))
	if s.Lease != nil {
		row("lease", "until "+s.Lease.Until+" by "+s.Lease.Holder)
	}
	if s.Doubt != nil {
		row("in doubt", fmt.Sprintf("since %s, sent %s, last at %s", s.Doubt.First, times(int(s.Doubt.Sends)), s.Doubt.Last))
	}
	if s.KeptReply {
		row("kept reply", "an answer that could not be read; evergrant rescue --raw takes it out")
	}
	if s.Unsaved > 0 {
		row("unsaved", fmt.Sprintf("%d on this machine; the next refresh puts them into the store", s.Unsaved))
	}
	return rows
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
