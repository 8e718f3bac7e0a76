package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// goneMissing is the state of a grant that this machine has seen in a store which has it
// no more.
const goneMissing = "missing"

// absent is a grant without a record: it was never there, or it is lost.
func (a *app) absent(ctx context.Context, p place, id grant.ID) grantStatus {
	s := grantStatus{Grant: id, State: notStarted}
	if p.marks == nil { // a store that keeps nothing
		return s
	}
	m, err := p.marks.Mark(ctx, id)
	switch {
	case err != nil:
		s.State, s.Reason, s.why = unreadable, oneLine(err.Error()), err
	case m.Generation > 0:
		s.State, s.Reason = goneMissing, fmt.Sprintf("generation %d was seen here, and the store has no record", m.Generation)
	}
	s.Unsaved = a.unsaved(ctx, p, id)
	return s
}

// unsaved counts the records of a grant that are on this machine only.
func (a *app) unsaved(ctx context.Context, p place, id grant.ID) int {
	spilled, err := p.spill.List(ctx, id)
	if err != nil {
		a.console.warnf("grant %s: %v", id, err)
	}
	return len(spilled)
}

// addVanished adds the grants that have a mark here and no record in the store.
// marked was listed before the store was: a mark follows its record.
func (a *app) addVanished(ctx context.Context, p place, marked []grant.ID, all []grantStatus) []grantStatus {
	for _, id := range marked {
		if slices.ContainsFunc(all, func(s grantStatus) bool { return s.Grant == id }) {
			continue
		}
		if s := a.absent(ctx, p, id); s.State != notStarted {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y grantStatus) int { return strings.Compare(string(x.Grant), string(y.Grant)) })
	return all
}

// alarm is the outcome of a look: a record that cannot be read is a failure of
// the store. With --warn, so is one that is lost, and each grant that needs a person
// now or within the time given is a failure as well.
func (a *app) alarm(all []grantStatus, within time.Duration) error {
	var lost, worries []string
	var unread []grantStatus
	hint := ""
	for _, s := range all {
		switch {
		case s.State == unreadable:
			unread = append(unread, s)
		case within == 0:
		case s.State == goneMissing:
			lost = append(lost, fmt.Sprintf("grant %s: %s", s.Grant, s.Reason))
			hint = or(hint, "check that this is the store, and that its volume is mounted; evergrant doctor "+string(s.Grant)+" says what to do")
		default:
			if w := a.worry(s, within); w != "" {
				worries = append(worries, w)
			}
		}
	}
	if len(unread) > 0 {
		hint = unreadHint(unread)
	}
	lost = append(unreadWords(unread), lost...)
	text := strings.Join(append(lost, worries...), "; ")
	switch {
	case len(lost) > 0:
		return &codedError{code: exitStore, err: errors.New(text), hint: hint}
	case len(worries) > 0:
		return &codedError{code: exitPerson, err: errors.New(text),
			hint: "a grant in doubt: run refresh at the time it prints, or sign in again; one that is saved on this machine only: run refresh here; any other: sign in again: evergrant login GRANT, or at the provider, then evergrant repair GRANT --adopt --from-env VAR"}
	}
	return nil
}

// worry is what a person should see to; "": nothing.
func (a *app) worry(s grantStatus, within time.Duration) string {
	switch {
	case s.State == grant.NeedsConsent.String():
		return fmt.Sprintf("%s needs a person: %s", s.Grant, s.Reason)
	case s.Unsaved > 0:
		return fmt.Sprintf("%s has %s on this machine that the store has not", s.Grant, counted(s.Unsaved, "record"))
	case s.State == inDoubt:
		return fmt.Sprintf("%s is in doubt since %s", s.Grant, s.Doubt.First)
	case s.State == notStarted:
		return fmt.Sprintf("%s has no record yet", s.Grant)
	case !s.consentEnds.IsZero() && s.consentEnds.Sub(a.now()) < within:
		return fmt.Sprintf("the consent of %s ends at %s", s.Grant, stamp(s.consentEnds))
	}
	return ""
}
