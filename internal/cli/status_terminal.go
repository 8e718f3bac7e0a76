package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"evergrant/internal/grant"
	"evergrant/internal/holder"
)

// A table for a terminal. Each grant has a line; one that needs something has what
// it needs below it. Times are relative: who wants the moment asks for --json.

// stateColours are the colours of what a grant is; what is missing has none.
func stateColour(state string) string {
	switch state {
	case grant.Live.String():
		return green
	case grant.NeedsConsent.String(), unreadable, goneMissing:
		return red
	case inDoubt:
		return yellow
	}
	return faint
}

// tableForm is the widths of a table's columns, which share what a terminal has.
type tableForm struct {
	grant, state, bar, consent, generation, provider, last int
}

// Widths of columns, and from which width on there is room for the provider and for
// who did what lately.
const (
	gap        = 2 // between two columns
	barWidth   = 8
	leftWidth  = 7 // "23h 59m"
	agoWidth   = 8 // "12m ago"
	lastWidth  = 34
	roomForAll = 100
)

func (a *app) formOf(all []grantStatus, p paper) tableForm {
	f := tableForm{grant: len("GRANT"), state: len("STATE"), bar: barWidth, consent: len("CONSENT"), generation: len("GEN"), last: agoWidth}
	longest, last := f.grant, f.last
	if p.width >= roomForAll {
		f.provider, f.last = len("PROVIDER"), lastWidth
	}
	for _, s := range all {
		longest = max(longest, utf8.RuneCountInString(string(s.Grant)))
		f.state = max(f.state, len(s.shown())+2)
		f.generation = max(f.generation, len(fmt.Sprint(s.Generation)))
		if f.provider > 0 {
			f.provider = max(f.provider, min(len(s.Provider), 16))
		}
		last = max(last, len(a.lastly(s, f)))
	}
	f.last = last
	used := f.state + f.bar + 1 + leftWidth + f.consent + f.generation + f.last + 5*gap
	if f.provider > 0 {
		used += f.provider + gap
	}
	f.grant = max(min(longest, p.width-used), f.grant)
	f.last += max(p.width-used-f.grant, 0)
	return f
}

func (a *app) terminalTable(all []grantStatus, p paper) string {
	f := a.formOf(all, p)
	var b strings.Builder
	row := func(cells ...string) {
		line := strings.Join(cells, strings.Repeat(" ", gap))
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	head := []string{p.fit("GRANT", f.grant), p.fit("STATE", f.state), p.fit("TOKEN", f.bar+1+leftWidth), p.fit("CONSENT", f.consent), p.fit("GEN", f.generation)}
	if f.provider > 0 {
		head = append(head, p.fit("PROVIDER", f.provider))
	}
	head = append(head, "CHANGED")
	for i := range head {
		head[i] = p.paint(faint, head[i])
	}
	row(head...)
	for _, s := range all {
		generation := fmt.Sprintf("%*d", f.generation, s.Generation)
		if s.Generation == 0 {
			generation = p.fit("", f.generation)
		}
		cells := []string{
			p.paint(bold, p.fit(string(s.Grant), f.grant)),
			p.paint(stateColour(s.shown()), p.fit(p.pick("●", "*")+" "+s.shown(), f.state)),
			a.lifeLeft(s, f, p), a.consentLeft(s, f, p), generation,
		}
		if f.provider > 0 {
			cells = append(cells, p.fit(s.Provider, f.provider))
		}
		row(append(cells, p.paint(faint, strings.TrimRight(p.fit(a.lastly(s, f), f.last), " ")))...)
		for _, need := range needs(s) {
			b.WriteString(p.entry("  "+p.pick("└ ", "- "), stateColour(s.State), need, ""))
		}
	}
	return b.String()
}

// lifeLeft is the access token's life: a bar of what is left of the whole, and the time.
func (a *app) lifeLeft(s grantStatus, f tableForm, p paper) string {
	left := s.tokenEnds.Sub(a.now())
	switch {
	case s.State == unreadable, s.State == goneMissing:
		return p.fit("", f.bar+1+leftWidth)
	case s.tokenEnds.IsZero():
		return p.paint(faint, p.fit("none", f.bar+1+leftWidth))
	case left <= 0:
		return p.bar(0, f.bar, "") + " " + p.paint(faint, p.fit("ended", leftWidth))
	}
	part := 1.0
	if s.life > 0 {
		part = float64(left) / float64(s.life)
	}
	code := green
	if part < 0.1 {
		code = yellow
	}
	return p.bar(part, f.bar, code) + " " + p.fit(shortly(left), leftWidth)
}

func (a *app) consentLeft(s grantStatus, f tableForm, p paper) string {
	left := s.consentEnds.Sub(a.now())
	switch {
	case s.State == unreadable, s.State == goneMissing:
		return p.fit("", f.consent)
	case s.consentEnds.IsZero():
		return p.paint(faint, p.fit("unknown", f.consent))
	case left <= 0:
		return p.paint(red, p.fit("ended", f.consent))
	case left < soon:
		return p.paint(yellow, p.fit(shortly(left), f.consent))
	}
	return p.fit(shortly(left), f.consent)
}

// lastly is when the record was changed, and, where there is room, how and by whom.
func (a *app) lastly(s grantStatus, f tableForm) string {
	if s.lastWhat == "" {
		return ""
	}
	text := "in " + shortly(s.lastAt.Sub(a.now())) // another machine's clock
	if ago := a.now().Sub(s.lastAt); ago >= 0 {
		text = shortly(ago) + " ago"
	}
	if f.provider == 0 {
		return text
	}
	text = s.lastWhat + " " + text
	if by := text + " by " + s.lastBy; s.lastBy != "" && len(by) <= f.last {
		return by
	}
	return text
}

// shortly is a duration in one unit, or in two where the second one counts.
func shortly(d time.Duration) string {
	if d >= 10*24*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return span(d)
}

// needs are what a person should know of a grant at once.
func needs(s grantStatus) []string {
	var all []string
	switch {
	case s.State == notStarted:
		all = append(all, "it has no record yet")
	case s.Reason != "" && s.State != grant.Retired.String():
		_, cause, unread := strings.Cut(s.Reason, grant.ErrUnreadable.Error()+": ")
		if !unread {
			cause = s.Reason
		}
		all = append(all, cause)
	}
	if s.Doubt != nil && s.State == inDoubt {
		all = append(all, fmt.Sprintf("the token was presented %s and no answer is known; the next refresh settles it", times(int(s.Doubt.Sends))))
	}
	if s.Lease != nil {
		all = append(all, "being refreshed now, by "+cmp.Or(holder.Label(s.Lease.Holder), s.Lease.Holder))
	}
	if s.KeptReply {
		all = append(all, "an answer that could not be read is kept: evergrant rescue --raw "+string(s.Grant)+" takes it out")
	}
	if s.Unsaved > 0 {
		all = append(all, fmt.Sprintf("%s on this machine, not in the store: the next refresh here puts back what is newer", counted(s.Unsaved, "record")))
	}
	return all
}

// times words how often something was done.
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// census is the line below a table: how many there are of each state.
func census(all []grantStatus, p paper) string {
	count, order := map[string]int{}, []string{}
	for _, s := range all {
		if count[s.shown()] == 0 {
			order = append(order, s.shown())
		}
		count[s.shown()]++
	}
	parts := make([]string, len(order))
	for i, state := range order {
		parts[i] = p.paint(stateColour(state), fmt.Sprintf("%d %s", count[state], state))
	}
	return strings.Join(parts, p.paint(faint, ", ")) + "\n"
}
