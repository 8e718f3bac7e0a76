package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

// doctor looks at what a refresh depends on, and spends nothing: no request of it
// has a token. What it writes is a probe beside the record, which it takes away.
type doctor struct {
	*app
	cmd    *cobra.Command
	grant  grant.ID // that is looked at now; "": the machine
	at     string   // where the configuration speaks of it; "": nowhere
	inFile []string // the settings that come from there

	right   string            // a token endpoint that is right, by the preset or by a token that came from there
	over    func() error      // not nil once no time is left, or nobody waits any more
	answers map[string]asking // by address
	proven  map[string]error  // by store

	checked  []checkedThing
	findings []finding
}

// checkedThing is something that is as it should be.
type checkedThing struct {
	Check string    `json:"check"`
	Grant *grant.ID `json:"grant"` // null: of the machine
	What  string    `json:"what"`
}

// finding is something that is not. Its texts are one line each, but Fix, which is
// what a person pastes into a shell.
type finding struct {
	Check string    `json:"check"` // a name that never changes its meaning
	Grant *grant.ID `json:"grant"` // null: of the machine
	Class string    `json:"class"` // of the exit code that it leads to; "note": to none
	What  string    `json:"what"`
	Why   string    `json:"why"`
	Fix   string    `json:"fix"`

	code int
}

// noteOnly is the code of a finding that is worth knowing and fails nothing.
const noteOnly = exitOK

// gravest are the exit codes of findings, the gravest first: a store that is not what
// it should be loses logins, a person is slower than a setting, and a network mends
// by itself.
func gravest() []int { return []int{exitStore, exitPerson, exitUsage, exitUnreachable} }

// configuresItself marks a command that reads the configuration by itself.
const configuresItself = "configures-itself"

func (a *app) doctorCommand() *cobra.Command {
	var o refreshOptions
	cmd := &cobra.Command{
		Use:   "doctor [GRANT]",
		Short: "check what a refresh depends on, and say how to mend it",
		Long: "Checks the store, the key, the record, the provider, the clocks, the settings and the workflows, of one grant or of\n" +
			"all, and says of each finding why it matters and which command mends it. It presents no token and changes no\n" +
			"record; that the store can be written is proven beside it.\n\n" +
			"It takes the flags of refresh, so put doctor in the place of refresh. It ends with the code of its gravest finding: 6\n" +
			"the store, 3 a person is needed, 2 the settings, 5 the provider is away. Notes leave it at 0.",
		Args:        cobra.MaximumNArgs(1),
		Annotations: map[string]string{configuresItself: ""},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.minTTLSet = cmd.Flags().Changed("min-ttl")
			return a.doctor(cmd.Context(), cmd, args, o)
		},
	}
	o.register(cmd.Flags())
	o.registerReport(cmd.Flags())
	return cmd
}

func (a *app) doctor(parent context.Context, cmd *cobra.Command, args []string, o refreshOptions) error {
	ctx, cancel := within(parent, o.timeout)
	defer cancel()
	if err := o.check(); err != nil {
		return err
	}
	d := &doctor{app: a, cmd: cmd, answers: map[string]asking{}, proven: map[string]error{}}
	if err := d.machine(); err != nil {
		return err
	}
	patients, err := d.patients(ctx, args, o)
	if err != nil {
		return because(ctx, err)
	}
	d.over = ctx.Err
	for _, p := range patients {
		d.grant, d.at, d.inFile, a.grant = p.id, p.at, p.inFile, p.id
		err := d.examine(ctx, p.options)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
	}
	if len(patients) != 1 {
		a.grant = ""
	}
	return d.conclude(o.json, because(ctx, ctx.Err()))
}

// patient is a grant with the settings that a refresh of it would have.
type patient struct {
	id      grant.ID
	options refreshOptions
	at      string
	inFile  []string
}

// patients are the one grant that is named, else those of the configuration, else
// those of the store.
func (d *doctor) patients(ctx context.Context, args []string, o refreshOptions) ([]patient, error) {
	storeNamed := o.store.url != "" || d.env.get("EVERGRANT_STORE") != ""
	if len(args) == 0 && len(d.config.Grants) > 0 && !storeNamed {
		var all []patient
		for _, g := range d.config.Grants {
			p, err := d.configured(g.Name, o)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		return all, nil
	}
	preset := or(o.client.provider, d.env.get("EVERGRANT_PROVIDER"))
	id, err := grantName(d.env, args, preset)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 && d.env.get("EVERGRANT_GRANT") == "" {
		if ids := d.listed(ctx, o); len(ids) > 0 {
			all := make([]patient, len(ids))
			for i, id := range ids {
				all[i] = patient{id: id, options: o}
			}
			return all, nil
		}
	}
	p, err := d.configured(string(id), o)
	return []patient{p}, err
}

// configured is a grant by its name, with what the configuration says of it.
func (d *doctor) configured(name string, o refreshOptions) (patient, error) {
	id, err := grantName(d.env, []string{name}, "")
	if err != nil {
		return patient{}, err
	}
	p := patient{id: id, options: o}
	g, ok := d.config.Grant(name)
	if !ok {
		return p, nil
	}
	p.at = g.At
	for _, s := range g.Settings {
		p.inFile = append(p.inFile, s.Name)
	}
	if p.options, err = d.configuredOptions(d.cmd.Flags(), g); err != nil {
		return p, err
	}
	p.options.namedSeed = false
	return p, nil
}

// listed are the grants of the store; none where it does not tell, which examining
// one grant will.
func (d *doctor) listed(ctx context.Context, o refreshOptions) []grant.ID {
	p, err := o.store.resolve(d.app)
	if err != nil || !p.location.Keeps() || !p.location.Present() {
		return nil
	}
	st, err := p.open()
	if err != nil {
		return nil
	}
	lister, ok := st.(grant.Lister)
	if !ok {
		return nil
	}
	var ids []grant.ID
	for id, err := range lister.List(ctx) {
		if err != nil {
			return nil
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// fine notes something that is as it should be.
func (d *doctor) fine(check, format string, args ...any) {
	d.checked = append(d.checked, checkedThing{check, d.about(), oneLine(fmt.Sprintf(format, args...))})
}

// find notes something that is not. What is known already is not said twice: grants
// share stores and providers. What comes when the time is over is not said either, but
// for who did not answer till then.
func (d *doctor) find(code int, check, what, why, fix string) {
	f := finding{Check: check, Grant: d.about(), Class: "note", What: oneLine(inWords(what)), Why: why, Fix: fix, code: code}
	if code != noteOnly {
		f.Class = classes()[code]
	}
	known := slices.ContainsFunc(d.findings, func(g finding) bool { return g.Check == f.Check && g.What == f.What && g.Fix == f.Fix })
	if late := d.over != nil && d.over() != nil && code != exitUnreachable; known || late {
		return
	}
	d.findings = append(d.findings, f)
}

func (d *doctor) about() *grant.ID {
	if d.grant == "" {
		return nil
	}
	id := d.grant
	return &id
}

// examine looks at one grant: from the store outwards, because nothing can be said
// of a record that cannot be read.
func (d *doctor) examine(ctx context.Context, o refreshOptions) error {
	if err := o.client.fill(d.env); err != nil {
		return d.unset(err)
	}
	d.secretFiles(o)
	p, err := o.store.resolve(d.app)
	if err != nil {
		return d.unset(err)
	}
	record, known := d.store(ctx, p, o)
	if d.right = ""; known {
		if !record.Tokens.Access.Value.IsZero() {
			d.right = record.Bind.TokenURL
		}
		if o, err = d.completed(o, record); err != nil {
			return err
		}
	}
	var t target
	if o.client.tokenURL != "" || o.client.issuer != "" || o.client.provider != "" {
		if t, err = d.target(o.client, d.timing(p)); err != nil {
			return d.unset(err)
		}
		if _, err := d.checkPlace(p, t); err != nil {
			d.place(err, p)
		} else if !p.location.Keeps() {
			d.fine("store", "none is needed: the refresh token does not rotate")
		}
		if p, err := provider.Lookup(t.preset); err == nil && p.TokenURL == t.bind.TokenURL {
			d.right = p.TokenURL
		}
		if d.provider(ctx, t, o); ctx.Err() != nil {
			return nil
		}
		d.shadows(t)
	}
	d.sinks(ctx, p, t, o)
	if err := d.receivers(ctx, o); err != nil {
		return d.unset(err)
	}
	if known {
		d.record(ctx, record, p, t, o)
	}
	return nil
}

// unset is a setting that cannot be used. Of one grant of many it is a finding; else
// it is told as by every other command.
func (d *doctor) unset(err error) error {
	u := (*usageError)(nil)
	if d.at == "" || !errors.As(err, &u) {
		return err
	}
	d.find(exitUsage, "settings", err.Error(), "nothing can be sent for this grant", d.editor(d.at))
	return nil
}

// completed fills in from the record where the grant belongs, if nobody said it: to
// look, that is enough.
func (d *doctor) completed(o refreshOptions, c grant.Credential) (refreshOptions, error) {
	if o.client.tokenURL != "" || o.client.issuer != "" || o.client.provider != "" {
		return o, nil
	}
	if p, err := provider.Lookup(c.Provider); err == nil { // a name: a record must not name a file
		o.client.provider = p.Name
	}
	o.client.tokenURL, o.client.clientID = c.Bind.TokenURL, or(o.client.clientID, c.Bind.ClientID)
	if _, err := d.target(o.client, d.timing(place{})); err != nil {
		// What the record does not say, such as a client's secret, is not needed here.
		o.client = clientOptions{tokenURL: c.Bind.TokenURL, clientID: c.Bind.ClientID}
	}
	return o, nil
}
