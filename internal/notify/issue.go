package notify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"evergrant/internal/githubapi"
	"evergrant/internal/grant"
	"evergrant/internal/pattern"
	"evergrant/internal/workflow"
)

// Label is the label of the issues, by which they are found again.
const Label = "evergrant"

// Issue is the receiver that is one issue for each grant in a repository. It is
// opened by the first notice, gets another title and a comment with each later one,
// and is closed when all is well again. The same issue is opened again the next
// time. Whoever closes it by hand hears nothing until the next notice.
//
// It is found by its label and a comment in its body that no reader sees:
//
//	<!-- evergrant-notice {"grant":"acme/api","told":{"consent":"…","days":7}} -->
//
// GitHub has no conditional write. Two runs can open one issue each: each looks again
// after it has opened its own; the one with the lowest number stays, and the others
// are closed, also by any later run. Of runs that change it at one moment, the last
// one's text stays: each looks again a while after, and only that one comments.
// A change without its comment is a claim, which the next run takes up after a minute.
type Issue struct {
	Client     *githubapi.Client
	Repository githubapi.Repository
}

// String names the receiver for people.
func (i *Issue) String() string { return IssueURL }

// mark is what the hidden comment holds.
type mark struct {
	Grant grant.ID `json:"grant"`
	Told  Told     `json:"told"`
	Claim *claim   `json:"claim,omitempty"`
}

// claim is what the text says already, and no comment yet.
type claim struct {
	By   string    `json:"by"` // chance, of one change
	At   time.Time `json:"at,omitzero"`
	Next Told      `json:"next"`
}

// before is what has been told, for a run that finds the mark; false: another run is
// telling. A claim that nobody has followed up is over, but what is in the text for
// everybody to read is over only once it says so.
func (m mark) before(f Facts) (Told, bool) {
	if m.Claim == nil {
		return m.Told, true
	}
	if f.Now.Sub(m.Claim.At).Abs() < claimLife {
		return m.Told, false
	}
	if n, _ := Next(m.Claim.Next, f); n != nil && n.Kind == Recovered {
		return m.Claim.Next, true
	}
	return m.Told, true
}

const (
	markBegin = "<!-- evergrant-notice "
	markEnd   = " -->"
)

// tell brings the issue to what the facts say. pause is how long it waits for other
// runs that change the issue at this moment.
func (i *Issue) tell(ctx context.Context, f Facts, pause time.Duration) error {
	err := i.settle(ctx, f, pause)
	if err == nil || errors.Is(err, errTaken) {
		return err
	}
	return fmt.Errorf("the issue for %s was not written: %w", f.Grant, err)
}

func (i *Issue) settle(ctx context.Context, f Facts, pause time.Duration) error {
	ours, err := i.find(ctx, f.Grant, Label)
	if err != nil {
		return err
	}
	if err := i.closeOthers(ctx, ours); err != nil {
		return err
	}
	if f.Condition == Retired {
		return i.retire(ctx, ours, f)
	}
	if len(ours) == 0 {
		notice, next := Next(Told{}, f)
		if notice == nil {
			return nil
		}
		return i.open(ctx, notice, next, pause)
	}
	at := ours[0]
	m, _ := markOf(at.Body)
	told, free := m.before(f)
	for range most {
		notice, next := Next(told, f)
		switch {
		case notice == nil:
			return nil
		case !free:
			return errTaken
		}
		if at, err = i.change(ctx, at, notice, told, next, pause); err != nil {
			return err
		}
		told = next
	}
	return nil
}

// retire closes the issue of a grant that a person has logged out, without a word.
func (i *Issue) retire(ctx context.Context, ours []githubapi.Issue, f Facts) error {
	if len(ours) == 0 || !ours[0].Open {
		return nil
	}
	at := ours[0]
	at.Title, at.Open = fmt.Sprintf("%s was logged out", f.Grant), false
	at.Body = bodyOf("**"+at.Title+"**", mark{Grant: f.Grant})
	_, err := i.Client.EditIssue(ctx, i.Repository, at, githubapi.Completed)
	return err
}

// find returns the grant's issues, the one that counts first. A label that GitHub
// left out hides an issue, so before there is none, the newest ones are read.
func (i *Issue) find(ctx context.Context, id grant.ID, label string) ([]githubapi.Issue, error) {
	all, err := i.Client.Issues(ctx, i.Repository, label)
	if err != nil {
		return nil, err
	}
	var ours []githubapi.Issue
	for _, one := range all {
		if m, ok := markOf(one.Body); ok && m.Grant == id && one.Ours {
			ours = append(ours, one)
			if last := len(ours) - 1; one.Number < ours[0].Number {
				ours[0], ours[last] = ours[last], ours[0]
			}
		}
	}
	return ours, nil
}

func markOf(body string) (m mark, ok bool) {
	_, rest, ok := strings.Cut(body, markBegin)
	text, _, closed := strings.Cut(rest, markEnd)
	return m, ok && closed && json.Unmarshal([]byte(text), &m) == nil
}

// closeOthers closes what is open beside the issue that counts.
func (i *Issue) closeOthers(ctx context.Context, ours []githubapi.Issue) error {
	for n, one := range ours {
		if n == 0 || !one.Open {
			continue
		}
		one.Open = false
		if _, err := i.Client.EditIssue(ctx, i.Repository, one, githubapi.NotPlanned); err != nil {
			return err
		}
	}
	return nil
}

// open makes the issue, unless there is one without its label or somebody else is
// faster.
func (i *Issue) open(ctx context.Context, n *Notice, next Told, pause time.Duration) error {
	hidden, err := i.find(ctx, n.Grant, "")
	if err != nil {
		return err
	}
	if len(hidden) > 0 {
		m, _ := markOf(hidden[0].Body)
		told, free := m.before(n.Facts)
		again, next := Next(told, n.Facts)
		switch {
		case again == nil:
			return nil
		case !free:
			return errTaken
		}
		_, err = i.change(ctx, hidden[0], again, told, next, pause)
		return err
	}
	made, err := i.Client.OpenIssue(ctx, i.Repository, n.title(), bodyOf(paragraph(n), mark{Grant: n.Grant, Told: next}), Label)
	if err != nil {
		return err
	}
	if !slices.Contains(made.Labels, Label) {
		if err := i.Client.Label(ctx, i.Repository, made.Number, Label); err != nil {
			return fmt.Errorf("it was opened, as #%d, but not labelled: %w", made.Number, err)
		}
	}
	all, err := i.find(ctx, n.Grant, Label)
	if err != nil || len(all) == 0 || all[0].Number == made.Number {
		return err // one that another run opens later is closed by that run
	}
	made.Open = false
	_, err = i.Client.EditIssue(ctx, i.Repository, made, githubapi.NotPlanned)
	return err
}

// change brings the issue to what a notice says, and adds a comment, of which
// GitHub tells those who watch. errTaken: another run does.
func (i *Issue) change(ctx context.Context, at githubapi.Issue, n *Notice, told, next Told, pause time.Duration) (githubapi.Issue, error) {
	done := bodyOf(paragraph(n), mark{Grant: n.Grant, Told: next})
	silent := n.Kind == Recovered && !at.Open
	at.Title, at.Body, at.Open = n.title(), done, n.Kind != Recovered
	if silent {
		return i.Client.EditIssue(ctx, i.Repository, at, githubapi.Completed)
	}
	mine := &claim{By: rand.Text(), At: n.Now.UTC().Truncate(time.Second), Next: next}
	at.Body = bodyOf(paragraph(n), mark{Grant: n.Grant, Told: told, Claim: mine})
	if _, err := i.Client.EditIssue(ctx, i.Repository, at, githubapi.Completed); err != nil {
		return at, err
	}
	switch still, err := i.holds(ctx, at, n.Grant, mine.By, pause); {
	case err != nil:
		return at, err
	case !still:
		return at, errTaken
	}
	if err := i.Client.Comment(ctx, i.Repository, at.Number, paragraph(n)); err != nil {
		at.Body = bodyOf(paragraph(n), mark{Grant: n.Grant, Told: told, Claim: &claim{By: mine.By, Next: next}}) // over at once
		_, _ = i.Client.EditIssue(ctx, i.Repository, at, githubapi.Completed)
		return at, err
	}
	at.Body = done
	return i.Client.EditIssue(ctx, i.Repository, at, githubapi.Completed)
}

// holds reports, after a pause, that the text of the issue is still that of a claim.
func (i *Issue) holds(ctx context.Context, at githubapi.Issue, id grant.ID, by string, pause time.Duration) (bool, error) {
	if !pass(ctx, pause) {
		return false, ctx.Err()
	}
	label := ""
	if slices.Contains(at.Labels, Label) {
		label = Label
	}
	all, err := i.find(ctx, id, label)
	if err != nil {
		return false, err
	}
	for _, one := range all {
		if m, _ := markOf(one.Body); one.Number == at.Number {
			return m.Claim != nil && m.Claim.By == by, nil
		}
	}
	return false, nil
}

func bodyOf(text string, m mark) string {
	hidden, err := json.Marshal(m) // escapes what could end the comment
	if err != nil {
		hidden = []byte("{}")
	}
	return text + "\n\n" +
		"This issue is kept by evergrant, by the jobs that use the grant. It gets a comment when there is news, and closes itself when all is well again. " +
		"If you close it, it stays closed until there is news.\n\n" + markBegin + string(hidden) + markEnd + "\n"
}

// paragraph is a notice as Markdown.
func paragraph(n *Notice) string {
	s := "**" + workflow.Plain(n.Text()) + "**"
	if do := n.ToDo(); do != "" {
		s += "\n\nWhat to do: " + workflow.Plain(do)
	}
	if runPage.MatchString(n.RunURL) {
		s += "\n\nNoticed by [this run](" + n.RunURL + ")."
	}
	return s
}

// runPage is the address of a run of GitHub Actions.
var runPage = pattern.Of(`^https?://[\w.:-]+/[\w.-]+/[\w.-]+/actions/runs/\d+$`)
