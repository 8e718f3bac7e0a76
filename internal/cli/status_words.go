package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"evergrant/internal/grant"
	"evergrant/internal/spelling"
)

// What status says below its table, in few words: the table has the others.

// mostNamed is how many grants a line names.
const mostNamed = 6

// inARow is names in a row, the first ones of many.
func inARow(names []string) string {
	if n := len(names) - mostNamed; n > 1 {
		names = append(slices.Clone(names[:mostNamed]), fmt.Sprintf("and %d more", n))
	}
	return strings.Join(names, ", ")
}

// unreadWords says which records cannot be read, each cause once.
func unreadWords(unread []grantStatus) []string {
	if len(unread) == 1 {
		return []string{fmt.Sprintf("grant %s: %s", unread[0].Grant, unread[0].Reason)}
	}
	var causes []string
	of := map[string][]string{}
	for _, s := range unread {
		cause := causeOf(s.Reason)
		if of[cause] == nil {
			causes = append(causes, cause)
		}
		of[cause] = append(of[cause], string(s.Grant))
	}
	words := make([]string, len(causes))
	for i, cause := range causes {
		words[i] = fmt.Sprintf("%s cannot be read: %s: %s", counted(len(of[cause]), "record"), inARow(of[cause]), cause)
	}
	return words
}

// causeOf is why a record cannot be read, without its name, which store, and the place.
func causeOf(reason string) string {
	_, cause, found := strings.Cut(reason, grant.ErrUnreadable.Error()+": ")
	if !found {
		return reason
	}
	if i := strings.LastIndex(cause, " ("); i > 0 && strings.HasSuffix(cause, ")") {
		cause = cause[:i]
	}
	return cause
}

// unreadHint has what helps, once.
func unreadHint(unread []grantStatus) string {
	var all []string
	for _, s := range unread {
		_, hints := classify(s.why)
		all = append(all, hints...)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

// others tells what grants there are beside one that there is not; "" where the store
// cannot say.
func others(ctx context.Context, st grant.Store, p place, not grant.ID) string {
	lister, ok := st.(grant.Lister)
	if !ok {
		return ""
	}
	var names []string
	for id, err := range lister.List(ctx) {
		if err != nil {
			return ""
		}
		names = append(names, string(id))
	}
	slices.Sort(names)
	if near := spelling.Near(string(not), names); len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	if len(names) == 0 {
		return fmt.Sprintf("there is no grant in %s", p.location)
	}
	return fmt.Sprintf("%s has %s", p.location, inARow(names))
}

// printable is a record whose texts are safe to print: whoever can write the store
// chooses them.
func printable(c grant.Credential) grant.Credential {
	c = c.Clone()
	for _, text := range []*string{&c.Provider, &c.Reason, &c.Bind.TokenURL, &c.Bind.ClientID, &c.Account.Name, &c.Account.ID} {
		*text = oneLine(*text)
	}
	if c.Lease != nil {
		c.Lease.Holder = oneLine(c.Lease.Holder)
	}
	for i := range c.Events {
		e := &c.Events[i]
		e.By, e.What, e.Note = oneLine(e.By), oneLine(e.What), oneLine(e.Note)
	}
	return c
}
