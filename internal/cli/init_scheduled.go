package cli

import (
	"fmt"
	"strings"
	"time"
)

// tokenEnvironment is the environment of the one secret that template scheduled
// publishes. Its readers' jobs run there, so that no line that is added to them can
// reach the refresh token, the key, or the token that writes secrets.
const tokenEnvironment = "evergrant-token"

// schedule is how often a workflow runs, and the life that a token has left when
// one of its runs refreshes it.
type schedule struct {
	every       time.Duration
	cron, words string
	minTTL      time.Duration
}

// least is the shortest life of a token that a schedule can keep in a secret: a run
// that finds it young lets it be.
func (s schedule) least() time.Duration { return s.minTTL + s.every }

// schedules are tried in order. In each min-ttl two runs fit and half a one, so that
// one run that fails, or that GitHub leaves out, is made good, and a late one is early
// enough. The minutes are some at which few others start.
func schedules() []schedule {
	return []schedule{
		{time.Hour, "37 * * * *", "Every hour", 150 * time.Minute},
		{15 * time.Minute, "7,22,37,52 * * * *", "Every quarter of an hour", 38 * time.Minute},
	}
}

// cronWord is a word of templates that start by the clock.
const cronWord = "CRON"

// fillSchedule fits the clock to the life of the provider's access tokens. A
// provider whose tokens end before any schedule can follow is refused.
func (w *workflowDraft) fillSchedule(initOptions) error {
	if !w.takes(cronWord) {
		return nil
	}
	all, b := schedules(), w.preset.Behaviour()
	chosen := all[0]
	w.words["LIFE"] = "How long a token lives is not known here. This fits one that lives for " + span(chosen.least()) + " and longer; for a shorter one, run more often and lower min-ttl."
	if b.Life > 0 {
		fits := false
		for _, s := range all {
			if fits = b.Life >= s.least(); fits {
				chosen = s
				break
			}
		}
		if !fits {
			return usagef("template %s cannot keep a token of %s in a secret: it lives for %s, and GitHub starts schedules late or not at all", w.template, w.preset.Name, span(b.Life)).
				hint("--template generic gets a token inside the job that needs it",
					"where your tokens live for "+span(all[len(all)-1].least())+" and longer, name the provider by --token-url and --client-id in place of --provider, and see to the times in the file")
		}
		w.words["LIFE"] = "This fits a token that lives for " + span(b.Life) + ", as those of this provider usually do."
	} else {
		w.warned = append(w.warned, "how long a token of this provider lives is not known here: a run "+strings.ToLower(chosen.words)+" fits one that lives for "+span(chosen.least())+" and longer")
	}
	if chosen.every < time.Hour {
		w.words["COST"] = fmt.Sprintf("In a private repository GitHub counts each run as a whole minute: %d a day.", 24*time.Hour/chosen.every)
		w.warned = append(w.warned, fmt.Sprintf("a token of %s lives for %s, so the workflow runs %s: %d runs a day, which GitHub counts as a whole minute each in a private repository",
			w.preset.Name, span(b.Life), strings.ToLower(chosen.words), 24*time.Hour/chosen.every))
	}
	w.words[cronWord], w.words["EVERY"], w.words["MIN_TTL"] = "'"+chosen.cron+"'", chosen.words, fmt.Sprintf("%dm", chosen.minTTL/time.Minute)
	if b.RevokesAccess {
		w.fillRevoking(b.Life, chosen)
	}
	return nil
}

// fillRevoking says how often a refresh ends the token that readers have.
func (w *workflowDraft) fillRevoking(life time.Duration, s schedule) {
	often := "each time"
	if runs := (life - s.minTTL + s.every - 1) / s.every; runs > 0 {
		often = "every " + span(runs*s.every) + " or so"
	}
	w.words["REVOKES"] = "A refresh ends the token before it, " + often + ", also for jobs that have read it: they run again, or are short."
	w.warned = append(w.warned, fmt.Sprintf("a refresh of %s ends the token before it, here %s: a job that has read the secret loses it then, and has to run again", w.preset.Name, often))
}

// publishes reports a workflow that writes the access token into a secret.
func publishes(text string) bool { return strings.Contains(text, "?environment="+tokenEnvironment) }
