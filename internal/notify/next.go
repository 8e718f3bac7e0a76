package notify

import (
	"time"

	"evergrant/internal/grant"
)

// Condition is how a call found a grant. The zero value tells nothing, and nothing
// is told of it: the provider or the store is away, or another holder is at it.
type Condition uint8

// Conditions.
const (
	Unknown Condition = iota
	Fine
	NeedsPerson
	InDoubt
	Unsaved
	Retired // a person wanted it so: nothing is told, and an issue is closed
)

// Kind is what a notice is about. Receivers branch on it: a kind never changes its
// meaning.
type Kind string

// Kinds.
const (
	ConsentEnds Kind = "consent_ends" // within 14, 7, 3 or 1 days
	PersonKind  Kind = "needs_person"
	DoubtKind   Kind = "in_doubt"
	UnsavedKind Kind = "unsaved" // refreshed, and saved as a spill or a rescue block only
	Recovered   Kind = "recovered"
)

func (c Condition) kind() Kind {
	return [...]Kind{"", "", PersonKind, DoubtKind, UnsavedKind}[min(c, Unsaved)]
}

// Trouble reports that a person should know of it.
func (c Condition) Trouble() bool { return c == NeedsPerson || c == InDoubt || c == Unsaved }

// Facts are what a call knows when it ends.
type Facts struct {
	Grant     grant.ID
	Provider  string
	Condition Condition
	Reason    string    // of trouble, one line for a person, never a token
	Hint      string    // what to do about it
	NextTry   time.Time // of a token in doubt; zero: unknown
	// Generation tells one unsaved record from the next.
	Generation uint64

	Consent string    // id of the consent
	Ends    time.Time // of the consent; zero: unknown
	// Since is when the oldest token set that this call saw of the consent was
	// obtained: a threshold that was passed before is the affair of an earlier call.
	Since time.Time
	// Slides: the end moves on with each refresh, so it is no end as long as jobs run.
	Slides bool
	// Fixed: it does not, as the provider's preset says, or as this call has seen. Where
	// neither tells, a short life at the beginning may be one that slides.
	Fixed bool

	Now    time.Time
	By     string // label of the run, as in a grant's story
	RunURL string // page of the run; "": it has none
}

// Told is what one receiver has been told of a grant. It is kept as JSON; members
// are added freely.
type Told struct {
	Consent string    `json:"consent,omitempty"` // that Days is about
	Ends    time.Time `json:"ends,omitzero"`     // of it, when it was told
	Days    int       `json:"days,omitempty"`    // the lowest threshold told; 0: none
	Slides  bool      `json:"slides,omitempty"`  // its end has moved on: never told again
	Owed    bool      `json:"owed,omitempty"`    // a threshold was due, and could not be told

	Trouble    Kind   `json:"trouble,omitempty"`
	Generation uint64 `json:"generation,omitempty"` // of an unsaved record
}

// Notice is one thing to be told.
type Notice struct {
	Kind Kind
	Facts
	Days int  // threshold of ConsentEnds, in days
	From Kind // what Recovered is about
}

// thresholds are, in days, when the end of a consent is told.
func thresholds() [4]int { return [4]int{14, 7, 3, 1} }

const day = 24 * time.Hour

const (
	// settled is by how much a threshold must lie inside the life that was seen: a
	// consent that begins with seven days does not pass that of seven.
	settled = time.Minute
	// moved is how much later an end must be to count as another one; ends are
	// counted in seconds from requests, and so never twice the same.
	moved = time.Hour
)

// Next is the notice that is due, or nil, and what has been told once it is. Ask
// again until it is nil: a grant may have recovered and end soon.
func Next(t Told, f Facts) (*Notice, Told) {
	f.Ends = f.Ends.UTC().Truncate(time.Second) // as it is kept
	if f.Condition == Unknown || f.Condition == Retired {
		return nil, t
	}
	if trouble := f.Condition.kind(); trouble != "" {
		if t.Trouble == trouble && (trouble != UnsavedKind || t.Generation == f.Generation) {
			return nil, t
		}
		t.Trouble, t.Generation = trouble, 0
		if trouble == UnsavedKind {
			t.Generation = f.Generation
		}
		return &Notice{Kind: trouble, Facts: f}, t
	}
	same := t.Consent == f.Consent
	later := same && t.Days > 0 && f.Ends.Sub(t.Ends) > moved
	if from := t.Trouble; from != "" || t.Days > 0 && (!same || later && f.Ends.Sub(f.Now) > time.Duration(t.Days)*day) {
		if from == "" {
			from = ConsentEnds
		}
		t.Trouble, t.Generation = "", 0
		if !same || later {
			t = Told{Consent: f.Consent, Ends: f.Ends, Slides: later}
		}
		return &Notice{Kind: Recovered, Facts: f, From: from}, t
	}
	if !same {
		t = Told{Consent: f.Consent, Ends: f.Ends}
	}
	return ending(t, f)
}

// ending is the notice of an end that comes near.
func ending(t Told, f Facts) (*Notice, Told) {
	left := f.Ends.Sub(f.Now)
	if f.Ends.IsZero() || f.Slides || t.Slides {
		return nil, t
	}
	days := 0
	for _, d := range thresholds() {
		if left <= time.Duration(d)*day {
			days = d
		}
	}
	switch passed := f.Ends.Add(-time.Duration(days) * day); {
	case days == 0, t.Days > 0 && days >= t.Days:
		return nil, t
	case t.Days == 0 && !t.Owed && passed.Before(f.Since.Add(settled)) && !f.Fixed:
		return nil, t
	case t.Days > 0 && f.Ends.Sub(t.Ends) > moved:
		return nil, t // it slides, and has been told as an end once
	}
	t = Told{Consent: f.Consent, Ends: f.Ends, Days: days}
	return &Notice{Kind: ConsentEnds, Facts: f, Days: days}, t
}

// owing is what has been told when a notice could not be sent: as before, but a
// threshold stays due.
func owing(before Told, n *Notice) Told {
	if n.Kind == ConsentEnds && before.Days == 0 {
		before.Consent, before.Ends, before.Owed = n.Consent, n.Ends, true
	}
	return before
}
