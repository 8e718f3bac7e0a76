package notify_test

import (
	"fmt"
	"testing"
	"time"

	"evergrant/internal/notify"
)

const day = 24 * time.Hour

func at(d time.Duration) time.Time {
	return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Add(d)
}

// TestNext is the table of what is due.
func TestNext(t *testing.T) {
	t.Parallel()
	// A consent that began on day 0 and ends on day 30; its tokens were obtained a day
	// before the call.
	fine := func(now time.Duration) notify.Facts {
		return notify.Facts{Condition: notify.Fine, Consent: "a", Ends: at(30 * day), Since: at(now - day), Now: at(now)}
	}
	with := func(f notify.Facts, change func(*notify.Facts)) notify.Facts {
		change(&f)
		return f
	}
	told := func(days int) notify.Told { return notify.Told{Consent: "a", Ends: at(30 * day), Days: days} }
	trouble := func(c notify.Condition) notify.Facts {
		return notify.Facts{Condition: c, Consent: "a", Ends: at(30 * day), Now: at(20 * day), Generation: 5}
	}
	for name, tt := range map[string]struct {
		told notify.Told
		f    notify.Facts
		want string // events, in order
	}{
		"far away":                       {f: fine(15 * day), want: ""},
		"14 days":                        {f: fine(16 * day), want: "consent_ends 14"},
		"14 days, told":                  {told: told(14), f: fine(20 * day), want: ""},
		"7 days":                         {told: told(14), f: fine(23 * day), want: "consent_ends 7"},
		"3 days, nothing told":           {f: fine(27 * day), want: "consent_ends 3"},
		"1 day, after 14":                {told: told(14), f: fine(29*day + time.Hour), want: "consent_ends 1"},
		"ended":                          {told: told(3), f: fine(31 * day), want: "consent_ends 1"},
		"ended, told":                    {told: told(1), f: fine(31 * day), want: ""},
		"the end is unknown":             {f: with(fine(20*day), func(f *notify.Facts) { f.Ends = time.Time{} }), want: ""},
		"passed before this call's time": {f: with(fine(20*day), func(f *notify.Facts) { f.Since, f.Fixed = at(17*day), true }), want: "consent_ends 14"},
		"the same, and it may slide":     {f: with(fine(20*day), func(f *notify.Facts) { f.Since = at(17 * day) }), want: ""},
		"begins with 20 hours":           {f: with(fine(29*day+4*time.Hour), func(f *notify.Facts) { f.Since, f.Fixed = f.Now, true }), want: "consent_ends 1"},
		"begins with 50 hours":           {f: with(fine(27*day+22*time.Hour), func(f *notify.Facts) { f.Since, f.Fixed = f.Now, true }), want: "consent_ends 3"},
		"50 hours, a day later":          {told: told(3), f: with(fine(29*day), func(f *notify.Facts) { f.Since = at(27 * day) }), want: "consent_ends 1"},
		"a session of half an hour":      {f: with(fine(30*day-30*time.Minute), func(f *notify.Facts) { f.Since = f.Now }), want: ""},
		"but owed":                       {told: notify.Told{Consent: "a", Owed: true}, f: with(fine(20*day), func(f *notify.Facts) { f.Since = at(17 * day) }), want: "consent_ends 14"},
		"begins with seven days":         {f: with(fine(23*day), func(f *notify.Facts) { f.Since = at(23 * day) }), want: ""},
		"begins with seven, for certain": {f: with(fine(23*day), func(f *notify.Facts) { f.Since, f.Fixed = at(23*day), true }), want: "consent_ends 7"},
		"slides":                         {f: with(fine(20*day), func(f *notify.Facts) { f.Slides = true }), want: ""},
		"slid on since it was told":      {told: notify.Told{Consent: "a", Ends: at(29 * day), Days: 3}, f: fine(29 * day), want: ""},
		"slid on, and far away":          {told: notify.Told{Consent: "a", Ends: at(10 * day), Days: 3}, f: fine(9 * day), want: "recovered consent_ends"},
		"another consent":                {told: notify.Told{Consent: "b", Ends: at(2 * day), Days: 1}, f: fine(2 * day), want: "recovered consent_ends"},
		"another, near its end":          {told: notify.Told{Consent: "b", Ends: at(2 * day), Days: 1}, f: fine(16 * day), want: "recovered consent_ends, consent_ends 14"},
		"person":                         {told: told(1), f: trouble(notify.NeedsPerson), want: "needs_person"},
		"person, told":                   {told: notify.Told{Trouble: notify.PersonKind}, f: trouble(notify.NeedsPerson), want: ""},
		"doubt that became a person":     {told: notify.Told{Trouble: notify.DoubtKind}, f: trouble(notify.NeedsPerson), want: "needs_person"},
		"doubt":                          {f: trouble(notify.InDoubt), want: "in_doubt"},
		"unsaved":                        {f: trouble(notify.Unsaved), want: "unsaved"},
		"unsaved, told":                  {told: notify.Told{Trouble: notify.UnsavedKind, Generation: 5}, f: trouble(notify.Unsaved), want: ""},
		"another unsaved":                {told: notify.Told{Trouble: notify.UnsavedKind, Generation: 4}, f: trouble(notify.Unsaved), want: "unsaved"},
		"well again":                     {told: notify.Told{Trouble: notify.DoubtKind}, f: fine(2 * day), want: "recovered in_doubt"},
		"well again, and told of 14":     {told: notify.Told{Trouble: notify.DoubtKind, Consent: "a", Ends: at(30 * day), Days: 14}, f: fine(20 * day), want: "recovered in_doubt"},
		"well again, by a new consent":   {told: notify.Told{Trouble: notify.PersonKind, Consent: "b", Ends: at(day), Days: 1}, f: fine(2 * day), want: "recovered needs_person"},
		"away":                           {told: notify.Told{Trouble: notify.DoubtKind}, f: with(fine(29*day), func(f *notify.Facts) { f.Condition = notify.Unknown }), want: ""},
	} {
		got, state := "", tt.told
		for range 4 {
			n, next := notify.Next(state, tt.f)
			if n == nil {
				if next != state {
					if again, _ := notify.Next(next, tt.f); again != nil {
						t.Errorf("%s: not the end: %+v", name, again)
					}
				}
				break
			}
			if got != "" {
				got += ", "
			}
			got += string(n.Kind)
			if n.Days != 0 {
				got += fmt.Sprint(" ", n.Days)
			}
			if n.From != "" {
				got += " " + string(n.From)
			}
			state = next
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if again, _ := notify.Next(state, tt.f); again != nil {
			t.Errorf("%s: told twice: %+v", name, again)
		}
	}
}
