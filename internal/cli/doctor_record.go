package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/importer"
)

// record examines what the record says, for signs that the grant is about to end, or
// that somebody else spends its tokens.
func (d *doctor) record(ctx context.Context, c grant.Credential, p place, t target, o refreshOptions) {
	before := len(d.findings)
	back := d.rolledBack(ctx, p, o, c)
	kept := d.unsaved(ctx, p)
	d.bound(c, t, o)
	d.state(ctx, c, p, o)
	if c.State == grant.Live {
		d.consent(c, o)
		if !kept { // what was kept ends the doubt
			d.doubt(c)
		}
		d.shared(ctx, c)
	}
	if !back {
		d.jump(c)
	}
	if !p.codec.Sealed() {
		fix, path := d.newKey()
		d.find(noteOnly, "unsealed", "the record is not sealed", "a copy of the store, such as a backup, is the login; and without a key there is no rescue block when the store fails; once it is sealed, every shell, job and program that uses this store needs the key, as EVERGRANT_KEY or by --key-file, and a copy of it belongs where you keep passwords",
			fix+" && "+d.command("key rotate", "--store", p.location.String())+" --new-key-file "+path)
	}
	if len(d.findings) == before {
		d.fine("consent", "%s", d.consentLine(c))
	}
}

func (d *doctor) consentLine(c grant.Credential) string {
	if c.Tokens.Access.Value.IsZero() {
		return "not proven yet: no access token was ever had with it"
	}
	if c.Tokens.RefreshExpiry.IsZero() {
		return "alive, and the provider does not say when it ends"
	}
	return "alive for " + span(c.Tokens.RefreshExpiry.Sub(d.now()))
}

// rolledBack compares the store with what this machine knows to have been in it.
func (d *doctor) rolledBack(ctx context.Context, p place, o refreshOptions, c grant.Credential) bool {
	m, err := p.marks.Mark(ctx, d.grant)
	if err != nil {
		d.find(exitStore, "mark", err.Error(), "without it nobody notices that the store was rolled back; nothing is sent until it can be read", d.markFix(p, err))
		return true
	}
	if c.Generation >= max(m.Generation, o.minGeneration) {
		return false
	}
	has := fmt.Sprintf("the store has generation %d", c.Generation)
	if c.Generation == 0 {
		has = "the store has no record"
	}
	if c.Generation >= m.Generation {
		d.find(exitStore, "rolled-back", fmt.Sprintf("%s, and --min-generation says %d", has, o.minGeneration), "an older refresh token is spent, and presenting it ends the login: put the newest copy of the store back, or give the generation that is meant",
			d.putBack(p, c))
		return true
	}
	d.find(exitStore, "rolled-back", fmt.Sprintf("%s, and this machine has seen generation %d in it", has, m.Generation),
		"an older refresh token is spent, and presenting it ends the login: put the newest copy of the store back, or mount its volume; if every copy is lost, sign in anew; only if you know that this store is right, say so: "+d.acceptRollback(c),
		d.putBack(p, c))
	return true
}

func (d *doctor) markFile(p place) string {
	name, err := d.grant.Filename()
	state, serr := d.env.stateFolder()
	if err != nil || serr != nil {
		return ""
	}
	return filepath.Join(state, "marks", grant.NewSecret(p.location.Place()).Digest(), name+".mark")
}

// unsaved looks for records on this machine that are not in the store.
func (d *doctor) unsaved(ctx context.Context, p place) bool {
	spilled, err := p.spill.List(ctx, d.grant)
	if err != nil {
		d.console.warnf("grant %s: %v", d.grant, err)
	}
	if len(spilled) == 0 {
		return false
	}
	d.find(exitStore, "unsaved", fmt.Sprintf("%s of this grant on this machine, not in the store", counted(len(spilled), "record")),
		"it holds the newest refresh token, as long as this disk lives; the store has a spent one", d.command("refresh"))
	return true
}

// bound compares where the tokens belong with where this call would send them.
func (d *doctor) bound(c grant.Credential, t target, o refreshOptions) {
	why := "nothing is sent; if the move is meant: evergrant repair " + string(d.grant) + " --rebind"
	switch {
	case t.bind.TokenURL == "" || c.Bind == t.bind:
	case ofTrial(c.Bind) && !ofTrial(t.bind):
		d.find(exitUsage, "bound", fmt.Sprintf("the tokens belong to %s, on this machine, and the settings name %s", c.Bind.TokenURL, t.bind.TokenURL),
			"the record may be of a trial, such as with evergrant simulate: give the real grant another name, or put its login in the place of the trial's", d.signIn(grant.Credential{Provider: t.name}, o, true))
	case c.Bind.TokenURL != t.bind.TokenURL:
		d.find(exitUsage, "bound", fmt.Sprintf("the tokens belong to %s, and the settings name %s", c.Bind.TokenURL, t.bind.TokenURL),
			"a token that is sent elsewhere is given away, so "+why, d.say("token-url", c.Bind.TokenURL))
	default:
		d.find(exitUsage, "bound", fmt.Sprintf("the tokens belong to client %s, and the settings name %s", c.Bind.ClientID, t.bind.ClientID),
			"the provider refuses them to another client, so "+why, d.say("client-id", c.Bind.ClientID))
	}
}

// state examines a consent that is over.
func (d *doctor) state(ctx context.Context, c grant.Credential, p place, o refreshOptions) {
	switch other := d.twin(ctx, c, p, o); {
	case c.State == grant.Retired:
		d.find(noteOnly, "retired", "the grant was logged out", "it gets no token any more, as somebody wished", d.signIn(c, o, false))
	case c.State != grant.NeedsConsent:
	case other != "":
		d.find(exitPerson, "second-spender", c.Reason,
			fmt.Sprintf("grant %s of the same store has the same refresh token, and whichever of the two presents it second ends the login: use one of them from now on", other), d.signIn(c, o, false))
	case d.spentByOthers(c):
		d.find(exitPerson, "second-spender", c.Reason,
			"it is the newest one of the store, and nobody who keeps to the store had presented it: look for another machine, program or secret with this login, such as a copy of the store, and stop it before you sign in again", d.signIn(c, o, false))
	default:
		d.find(exitPerson, "needs-consent", c.Reason, "nobody gets a token before a person has signed in again", d.signIn(c, o, false))
	}
}

// twin is another grant of the same store that has seen the newest refresh token of
// one that waits for a person; "": none is known.
func (d *doctor) twin(ctx context.Context, c grant.Credential, p place, o refreshOptions) grant.ID {
	if c.State != grant.NeedsConsent {
		return ""
	}
	st, err := p.open()
	if err != nil {
		return ""
	}
	for _, id := range d.listed(ctx, o) {
		if k, _, err := st.Load(ctx, id); err == nil && id != c.Grant && k.Knows(c.Tokens.Refresh.Digest()) {
			return id
		}
	}
	return ""
}

// spentByOthers reports that a token was refused which the record had as its newest,
// at its first presentation and before its time: whoever keeps to the store cannot
// have spent it.
func (d *doctor) spentByOthers(c grant.Credential) bool {
	n := len(c.Events)
	if n < 2 || c.Events[n-1].What != grant.EventNeedsConsent {
		return false
	}
	refused, attempt := c.Events[n-1], c.Events[n-2]
	ended := !c.Tokens.RefreshExpiry.IsZero() && refused.At.After(c.Tokens.RefreshExpiry)
	return attempt.What == grant.EventAttempt && attempt.Note == "" && !ended && !c.Tokens.Access.Value.IsZero()
}

// consent examines when a living consent ends.
func (d *doctor) consent(c grant.Credential, o refreshOptions) {
	ends := c.Tokens.RefreshExpiry
	switch left := ends.Sub(d.now()); {
	case ends.IsZero() || left >= soon:
	case left <= 0:
		d.find(exitPerson, "consent-ends", "the consent ended at "+stamp(ends), "nobody gets a token before a person has signed in again", d.signIn(c, o, true))
	default:
		d.find(exitPerson, "consent-ends", fmt.Sprintf("the consent ends at %s (in %s)", stamp(ends), span(left)), "from then on nobody gets a token before a person has signed in again; now it costs nobody anything", d.signIn(c, o, true))
	}
}

// doubt examines a token whose fate is unknown.
func (d *doctor) doubt(c grant.Credential) {
	if !c.Raw.IsZero() {
		out := strings.ReplaceAll(string(d.grant), "/", "-") + ".reply"
		d.find(exitPerson, "kept-reply", "an answer of the provider that could not be read is kept in the record", "it may hold the newest refresh token; take it out and look at it before the token is presented again",
			d.command("rescue", "--raw", string(d.grant), "--out", out))
	}
	running := c.Lease != nil && c.Lease.Until.After(d.now())
	if c.InDoubt() && !running {
		d.find(exitPerson, "in-doubt", fmt.Sprintf("the newest refresh token was presented %s, lastly at %s, and no answer came", times(int(c.Doubt.Sends)), stamp(c.Doubt.Last)),
			"nobody knows whether it is spent; a refresh waits out the time after which presenting it again is as safe as can be, and settles it",
			d.command("refresh", "--force", "--wait", "1h", "--timeout", "2h"))
	}
}

// shared looks whether a program on this machine has a refresh token of this grant,
// in its own folder or the one that import advises to sign in to: whichever of the
// two renews next ends the login of the other.
func (d *doctor) shared(ctx context.Context, c grant.Credential) {
	if c.Provider != "claude" && c.Provider != "codex" {
		return
	}
	source, err := importer.Parse(c.Provider)
	if err != nil {
		return
	}
	variable, own := "CLAUDE_CONFIG_DIR", ".claude-evergrant"
	if c.Provider == "codex" {
		variable, own = "CODEX_HOME", ".codex-evergrant"
	}
	separate := func(name string) string {
		if name == variable {
			return filepath.Join(d.env.get("HOME"), own)
		}
		return d.env.get(name)
	}
	for _, getenv := range []func(string) string{d.env.get, separate} {
		f, err := source.Read(ctx, "", importer.Machine{OS: runtime.GOOS, Getenv: getenv})
		if err != nil || f.Tokens.Refresh.IsZero() || f.Away == "" || !c.Knows(f.Tokens.Refresh.Digest()) {
			continue
		}
		d.find(exitPerson, "shared-login", fmt.Sprintf("%s has a refresh token of this grant in %s", f.Tool, f.From),
			"it would spend it, and the provider may end the login for both; take it away, and sign in there anew if you use it", f.Away)
		return
	}
}

// jump compares the generation with the story: each token set is told there, as long
// as nothing of it is forgotten.
func (d *doctor) jump(c grant.Credential) {
	var told uint64
	for _, e := range c.Events {
		switch e.What {
		case grant.EventAdopted, grant.EventRefreshed:
			told++
		case grant.EventRepaired:
			return // a person has looked since
		}
	}
	if len(c.Events) >= grant.MaxEvents || c.Generation <= told {
		return
	}
	d.find(noteOnly, "jump", fmt.Sprintf("the record is of generation %d, and its story tells of %d", c.Generation, told),
		"somebody wrote it who does not keep to the protocol, or the grant was begun anew after its record was lost; if it is right, say so", d.acceptRollback(c))
}
