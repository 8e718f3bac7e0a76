package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"evergrant/internal/grant"
)

// The story of a grant in words, from the events of its record. An attempt and what
// became of it are one line: what was lost, and who found it again.

// line of the story; at is when it happened, or began.
type storyLine struct {
	at   time.Time
	text string
	code string // its colour
}

// story words the events, oldest first. now tells an attempt that runs from one
// that nobody heard of again.
func story(s grantStatus, now time.Time) []storyLine {
	var lines []storyLine
	generations := generationsOf(s)
	for i := 0; i < len(s.events); i++ {
		e := s.events[i]
		if n := steady(s.events[i:]); n > 1 {
			last := i + 2*n - 1
			lines = append(lines, storyLine{e.At, fmt.Sprintf("refreshed %d times by %s, lastly at %s: generations %d to %d",
				n, e.By, clock(s.events[last].At, e.At), generations[i+1], generations[last]), ""})
			i = last
			continue
		}
		if e.What != grant.EventAttempt {
			lines = append(lines, told(e, generations[i]))
			continue
		}
		end := outcomeOf(s.events[i:])
		if end == 0 {
			lines = append(lines, unheard(s, i, generations[i], now))
			continue
		}
		lines = append(lines, attempted(e, s.events[i+end], generations[i+end]))
		i += end
	}
	return lines
}

// generationsOf is the generation of the record after each event. A token that comes
// from outside and one that the provider gave make a new one each.
func generationsOf(s grantStatus) []uint64 {
	at, all := s.Generation, make([]uint64, len(s.events))
	for i, e := range slices.Backward(s.events) {
		all[i] = at
		if (e.What == grant.EventRefreshed || e.What == grant.EventAdopted) && at > 0 {
			at--
		}
	}
	return all
}

// steady counts the plain refreshes, one after the other by the same hand on one
// day, that the events begin with.
func steady(events []grant.Event) int {
	n := 0
	for i := 0; i+1 < len(events); i += 2 {
		first, a, b := events[0], events[i], events[i+1]
		if a.What != grant.EventAttempt || b.What != grant.EventRefreshed || a.Note+b.Note != "" || a.By != first.By || b.By != first.By || !sameDay(a.At, first.At) || !sameDay(b.At, first.At) {
			break
		}
		n++
	}
	return n
}

// outcomeOf is where the end of the attempt that the events begin with is told; 0:
// nowhere. What somebody else did in between ends it too.
func outcomeOf(events []grant.Event) int {
	if len(events) < 2 || events[1].By != events[0].By {
		return 0
	}
	switch events[1].What {
	case grant.EventRefreshed, grant.EventInDoubt, grant.EventUnreadable, grant.EventNeedsConsent:
		return 1
	}
	return 0
}

// attempted is one attempt with its end.
func attempted(a, end grant.Event, generation uint64) storyLine {
	note := inWords(end.Note)
	switch end.What {
	case grant.EventRefreshed:
		if end.Note != "" || a.Note != "" {
			return storyLine{end.At, fmt.Sprintf("recovered by %s: generation %d", end.By, generation), green}
		}
		return storyLine{end.At, fmt.Sprintf("refreshed by %s: generation %d", end.By, generation), ""}
	case grant.EventUnreadable:
		return storyLine{end.At, tail(fmt.Sprintf("attempt %d by %s got an answer that could not be read, which is kept", generation+1, end.By), note), yellow}
	case grant.EventNeedsConsent:
		return storyLine{end.At, tail(fmt.Sprintf("attempt %d by %s was refused, and the consent is over", generation+1, end.By), note), red}
	}
	verb := "lost its reply"
	if a.Note != "" {
		verb = "tried the token in doubt again, and lost the reply again"
	}
	return storyLine{end.At, tail(fmt.Sprintf("attempt %d by %s %s", generation+1, end.By, verb), note), yellow}
}

// unheard is an attempt without an end: it runs, or its process was ended, or its
// end was undone.
func unheard(s grantStatus, i int, generation uint64, now time.Time) storyLine {
	e, last := s.events[i], i == len(s.events)-1
	switch {
	case last && s.Lease != nil:
		return storyLine{e.At, fmt.Sprintf("attempt %d by %s is under way, for %s", generation+1, e.By, span(now.Sub(e.At))), yellow}
	case !last && s.events[i+1].What == grant.EventRefreshed:
		return storyLine{e.At, fmt.Sprintf("attempt %d by %s began, and somebody else saved the next token", generation+1, e.By), yellow}
	}
	return storyLine{e.At, fmt.Sprintf("attempt %d by %s was never heard of again", generation+1, e.By), yellow}
}

// told is an event that stands alone.
func told(e grant.Event, generation uint64) storyLine {
	note := inWords(e.Note)
	switch e.What {
	case grant.EventAdopted:
		if note != "" {
			return storyLine{e.At, fmt.Sprintf("%s, by %s: generation %d", note, e.By, generation), ""}
		}
		return storyLine{e.At, fmt.Sprintf("a refresh token was handed in by %s: generation %d", e.By, generation), ""}
	case grant.EventRefreshed:
		return storyLine{e.At, tail(fmt.Sprintf("refreshed by %s: generation %d", e.By, generation), note), ""}
	case grant.EventInDoubt:
		return storyLine{e.At, tail("a reply to "+e.By+" was lost", note), yellow}
	case grant.EventUnreadable:
		return storyLine{e.At, tail("an answer to "+e.By+" could not be read, and is kept", note), yellow}
	case grant.EventNeedsConsent:
		return storyLine{e.At, tail("the provider refused the token to "+e.By+", and the consent is over", note), red}
	case grant.EventRepaired:
		return storyLine{e.At, tail("a person decided, on "+e.By, note), yellow}
	case grant.EventRetired:
		return storyLine{e.At, tail("logged out by "+e.By, note), faint}
	}
	return storyLine{e.At, tail(e.What+" by "+e.By, note), ""}
}

// tail adds a cause where there is one.
func tail(text, cause string) string {
	if cause == "" {
		return text
	}
	return text + ": " + cause
}

func sameDay(a, b time.Time) bool {
	return a.UTC().Format(time.DateOnly) == b.UTC().Format(time.DateOnly)
}

// clock is a time of day, with the day where it is not that of the other.
func clock(t, other time.Time) string {
	if sameDay(t, other) {
		return t.UTC().Format("15:04")
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// day words a date for a person who knows today's.
func day(t, now time.Time) string {
	date := t.UTC().Format(time.DateOnly)
	switch {
	case sameDay(t, now):
		return date + ", today"
	case sameDay(t.Add(24*time.Hour), now):
		return date + ", yesterday"
	}
	return date
}

// storyText is the story below its days.
func storyText(lines []storyLine, now time.Time, p paper) string {
	var b strings.Builder
	var before time.Time
	for i, l := range lines {
		if i == 0 || !sameDay(before, l.at) {
			title := day(l.at, now)
			if i == 0 {
				title += " (UTC)"
			}
			fmt.Fprintln(&b, p.paint(faint, title))
		}
		before = l.at
		b.WriteString(p.entry("  "+l.at.UTC().Format("15:04")+"  ", faint, l.text, l.code))
	}
	return b.String()
}
