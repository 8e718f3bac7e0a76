package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// MessageVersion is the member version of a message. It changes only if a member
// changes its meaning, which is not planned.
const MessageVersion = 1

// message is what a hook gets. Members are added freely and never change their
// meaning.
type message struct {
	Version       int      `json:"version"`
	Event         Kind     `json:"event"`
	Grant         grant.ID `json:"grant"`
	Provider      string   `json:"provider"`
	At            string   `json:"at"`   // RFC 3339
	Text          string   `json:"text"` // for people, one line
	WhatToDo      *string  `json:"what_to_do"`
	ConsentEndsAt *string  `json:"consent_ends_at"` // RFC 3339; null: unknown
	DaysLeft      *int     `json:"days_left"`       // the threshold: 14, 7, 3 or 1; null: another event
	NextTry       *string  `json:"next_try"`        // RFC 3339; of in_doubt
	RecoveredFrom *Kind    `json:"recovered_from"`  // the event that is over; of recovered
	By            string   `json:"by"`              // who noticed, as in a grant's story
	RunURL        *string  `json:"run_url"`
}

func (n *Notice) json() ([]byte, error) {
	m := message{Version: MessageVersion, Event: n.Kind, Grant: n.Grant, Provider: n.Provider, At: stamp(n.Now), Text: n.Text(), By: n.By,
		WhatToDo: set(n.ToDo()), ConsentEndsAt: moment(n.Ends), NextTry: moment(n.NextTry), RunURL: set(n.RunURL)}
	if n.Days > 0 {
		m.DaysLeft = &n.Days
	}
	if n.From != "" {
		m.RecoveredFrom = &n.From
	}
	return json.Marshal(m)
}

// slack is the message in the form of Slack's incoming webhooks, which others
// understand as well (Slack's documentation, "Sending messages using incoming
// webhooks", and "Formatting text": &, < and > are escaped).
func (n *Notice) slack() ([]byte, error) {
	text := n.Text()
	if do := n.ToDo(); do != "" {
		text += "\nWhat to do: " + do
	}
	if n.RunURL != "" {
		text += "\n" + n.RunURL
	}
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	return json.Marshal(map[string]string{"text": escape.Replace(text)})
}

// Text is the notice in one line.
func (n *Notice) Text() string {
	switch n.Kind {
	case ConsentEnds:
		if !n.Ends.After(n.Now) {
			return fmt.Sprintf("%s: the consent has ended, at %s; its access token may live a little longer", n.Grant, date(n.Ends))
		}
		return fmt.Sprintf("%s: the consent ends in %s, at %s", n.Grant, left(n.Ends.Sub(n.Now)), date(n.Ends))
	case PersonKind:
		return fmt.Sprintf("%s needs a person: %s", n.Grant, n.Reason)
	case DoubtKind:
		return fmt.Sprintf("%s is in doubt, and tries again by itself: %s", n.Grant, n.Reason)
	case UnsavedKind:
		return fmt.Sprintf("%s was refreshed, and the store did not take the record: %s", n.Grant, n.Reason)
	}
	text := fmt.Sprintf("%s is well again", n.Grant)
	if !n.Ends.IsZero() && n.From != UnsavedKind && n.From != DoubtKind {
		text += ": the consent ends at " + date(n.Ends)
	}
	return text
}

// ToDo is what a person does about it; "": nothing.
func (n *Notice) ToDo() string {
	switch n.Kind {
	case ConsentEnds:
		return fmt.Sprintf("sign in again before: evergrant login %s with the same settings, or give a new refresh token where the first one was", n.Grant)
	case Recovered:
		return ""
	}
	return n.Hint
}

// title is the headline of an issue.
func (n *Notice) title() string {
	switch n.Kind {
	case ConsentEnds:
		if !n.Ends.After(n.Now) {
			return fmt.Sprintf("The login of %s has ended", n.Grant)
		}
		return fmt.Sprintf("The login of %s ends in %s", n.Grant, left(n.Ends.Sub(n.Now)))
	case PersonKind:
		return fmt.Sprintf("%s needs a person", n.Grant)
	case DoubtKind:
		return fmt.Sprintf("%s is in doubt", n.Grant)
	case UnsavedKind:
		return fmt.Sprintf("%s could not be saved", n.Grant)
	}
	return fmt.Sprintf("%s is well again", n.Grant)
}

// left words what remains as people count it.
func left(d time.Duration) string {
	count, unit := int((d+day/2)/day), "day"
	if d < 36*time.Hour {
		count, unit = int((d+time.Hour/2)/time.Hour), "hour"
	}
	if d < time.Hour {
		count, unit = max(int(d/time.Minute), 1), "minute"
	}
	if count != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", count, unit)
}

func date(t time.Time) string  { return t.UTC().Format("2006-01-02 15:04 UTC") }
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return set(stamp(t))
}

func set(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
