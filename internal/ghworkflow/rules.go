package ghworkflow

import (
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// judge applies every rule.
func (c *checker) judge() {
	c.eventTypes()
	c.retiredHosts(c.root, map[*node]bool{})
	for _, j := range c.jobs {
		c.strangers(j)
		c.permissions(j)
		c.jobOutputs(j)
		c.inherited(j)
		c.conditionThatHolds(j.node.get("if"))
		secrets := c.secrets(j)
		if u := j.node.get("uses"); u != nil && len(secrets) > 0 {
			c.pin(u, true, false)
		}
		for _, s := range j.steps {
			c.conditionThatHolds(s.node.get("if"))
			c.foreignCode(j, s)
			c.foreignText(s)
			if s.uses != nil && len(secrets) > 0 {
				c.pin(s.uses, handed(s), s.ours())
			}
			c.secondSpender(s)
			c.literal(s)
			c.ourStep(j, s)
			c.scriptThatSpends(j, s)
		}
	}
}

// eventTypes: a comment that is edited starts a job of today with words of long
// ago, by whoever may edit it.
func (c *checker) eventTypes() {
	for _, event := range []string{"issue_comment", "pull_request_review_comment", "discussion_comment", "pull_request_review"} {
		settings, ok := c.events[event]
		if !ok || !slices.ContainsFunc(c.jobs, func(j *job) bool { return len(c.secrets(j)) > 0 }) {
			continue
		}
		types, place := texts(settings.get("types")), settings
		if c.on.kind == isMap {
			place = c.on.key(event)
		}
		if len(types) == 0 || slices.Contains(types, "edited") {
			c.add(place, advice{Warning, "edited",
				"old words that somebody edits start a job with the secrets of today",
				"give it types: [" + open()[event].open[0] + "]"}, "%s starts a job for what was edited", event)
		}
	}
}

// strangers: who may start a job that has secrets.
func (c *checker) strangers(j *job) {
	if len(c.secrets(j)) == 0 {
		return
	}
	comments, others := []string{}, []string{}
	for _, event := range c.openEvents() {
		switch {
		case c.gatedFor(j, event):
			c.somebodyElse(j, event)
		case event == "workflow_run":
			c.runBefore(j)
		case isComment(event):
			comments = append(comments, event)
		default:
			others = append(others, event)
		}
	}
	a := advice{Error, "author-gate",
		"everybody who can comment decides what a job with your secrets is told to do, and when it spends your login",
		`let the job's if: demand contains(fromJSON('["OWNER", "MEMBER", "COLLABORATOR"]'), github.event.comment.author_association), and let its first step ask GitHub for the person's permission`}
	if about(strings.Join(comments, "")) == "review" {
		a.do = strings.ReplaceAll(a.do, ".comment.", ".review.")
	}
	if c.onlyAskers(j) {
		a.level = Warning
		a.why = "the action that gets the secrets refuses people without write access, but nothing else in the job does"
	}
	if len(comments) > 0 {
		c.add(j.key, a, "job %s has secrets and starts for everybody's %s", named(j.id), strings.Join(comments, " and "))
	}
	if len(others) > 0 {
		if a.level == Error {
			a.level, a.why = Warning, "everybody who can do that decides when a job with your secrets runs and spends your login"
		}
		a.do = "let the job's if: demand who may start it, such as github.actor == github.repository_owner, or let its first step ask GitHub for the person's permission"
		c.add(j.key, a, "job %s has secrets and starts for everybody's %s", named(j.id), strings.Join(others, " and "))
	}
}

// runBefore: a run after another one has the secrets that a pull request from a
// fork does not get, and may have been started by one.
func (c *checker) runBefore(j *job) {
	c.add(j.key, advice{Warning, "author-gate",
		"a pull request from a fork starts the workflow before it, if that one runs for pull requests, and then this job has your secrets; a filter by branch does not help, because a stranger can name a branch so",
		"let the job's if: demand github.event.workflow_run.event == 'push', or github.event.workflow_run.head_repository.full_name == github.repository"},
		"job %s has secrets and starts after everybody's run, by workflow_run", named(j.id))
}

// somebodyElse: a condition that asks for the author of a thread, although the
// run is of who labels or edits it.
func (c *checker) somebodyElse(j *job, event string) {
	if isComment(event) {
		return // rule edited has it
	}
	if types := c.byAuthorOnly(j, event); len(types) > 0 {
		c.add(j.key, advice{Warning, "author-gate",
			"the run is of whoever does that, and people with fewer rights than the one who is named may do it to what that one has opened",
			"demand github.actor or github.event.sender.login, or leave these out of types:"},
			"job %s has secrets and asks who opened the %s, although others can start it: %s", named(j.id), strings.ReplaceAll(about(event), "_", " "), strings.Join(types, ", "))
	}
}

// onlyAskers reports that nothing but actions with a gate of their own gets a
// secret.
func (c *checker) onlyAskers(j *job) bool {
	if len(c.root.get("env").secrets()) > 0 || len(j.secretsBeside()) > 0 {
		return false
	}
	return !slices.ContainsFunc(j.steps, func(s *step) bool {
		return len(s.node.secrets()) > 0 && (!asksItself(s.action()) || s.with("allowed_non_write_users").str() != "")
	})
}

// head matches a reference to what a pull request brings.
var (
	head     = pattern.Of(`(?i)github\.event\.pull_request\.head\.|github\.head_ref|refs/pull/|github\.event\.workflow_run\.head_|pull/\$\{\{`)
	checkout = pattern.Of(`\bgh pr checkout\b|git (?:fetch|pull)[^\n]*\bpull/`)
)

// foreignCode: code of a pull request in a job that has the rights of the
// repository.
func (c *checker) foreignCode(j *job, s *step) {
	trusted := ""
	for _, event := range []string{"pull_request_target", "workflow_run", "issue_comment"} {
		if _, ok := c.events[event]; ok && (event != "issue_comment" || len(c.secrets(j)) > 0) {
			trusted = event
			break
		}
	}
	ref := s.with("ref")
	byAction := s.action() == "actions/checkout" && head.MatchString(ref.str())
	if trusted == "" || !byAction && !checkout.MatchString(s.run.str()) {
		return
	}
	at := s.run
	if byAction {
		at = ref
	}
	a := advice{Error, "foreign-code",
		"whoever opens a pull request runs code with this job's token and secrets",
		"check out the default branch here; build the pull request in a job of pull_request, which has no secrets"}
	if trusted == "issue_comment" && c.gatedFor(j, trusted) {
		a.level = Warning
		a.why = "a person with rights starts the job, but the code is of whoever opened the pull request, and can change after it was read"
	}
	c.add(at, a, "%s checks out a pull request in a job of %s", s.name(), trusted)
}

// foreign matches what strangers write, as a context of an expression.
var foreign = pattern.Of(`(?i)\bgithub\s*\.\s*(?:head_ref\b|event\s*\.\s*(?:` +
	`(?:issue|pull_request|discussion)\s*\.\s*(?:title|body)\b|(?:comment|review|review_comment)\s*\.\s*body\b|` +
	`pull_request\s*\.\s*head\s*\.\s*(?:ref|label|repo\s*\.\s*(?:default_branch|description|homepage))\b|` +
	`(?:head_commit|commits[\w.*\[\]]*)\s*\.\s*(?:message|author\s*\.\s*(?:name|email))|pages[\w.*\[\]]*\s*\.\s*page_name|` +
	`workflow_run\s*\.\s*(?:head_branch|head_commit\s*\.\s*message)))|\btojson\(\s*github(?:\.event(?:\.\w+)?)?\s*\)`)

// foreignText: a stranger's words as part of a script.
func (c *checker) foreignText(s *step) {
	script := s.script()
	for _, m := range inserted.FindAllString(script.str(), -1) {
		if what := foreign.FindString(m); what != "" {
			c.addIn(script, m, advice{Error, "foreign-text",
				"it is pasted into the script before the shell reads it, so whoever writes the text runs commands in your job",
				"hand it over as a variable: env: {TEXT: ${{ … }}}, and \"$TEXT\" in the script"}, "%s has %s in its script", s.name(), named(what))
		}
	}
}

// commit matches a version that cannot be moved, and release one that people
// move with care, by its looks.
var (
	commit  = pattern.Of(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	release = pattern.Of(`^v?\d+(?:\.\d+)*(?:[-+][\w.-]+)?$`)
)

// tokenVariable matches a variable of the job that is a token by its name.
var tokenVariable = pattern.Of(`(?i)\$\{\{\s*env\.\w*(?:token|secret|api_key)\w*\s*\}\}`)

// handed reports that an action gets a secret or a token.
func handed(s *step) bool {
	if len(s.node.secrets()) > 0 {
		return true
	}
	for _, n := range []*node{s.node.get("with"), s.node.get("env")} {
		if n != nil && slices.ContainsFunc(n.list, func(v *node) bool { return tokenOutput.MatchString(v.str()) || tokenVariable.MatchString(v.str()) }) {
			return true
		}
	}
	return false
}

// pin: an action by tag or branch is whatever its owner, or a thief, makes of
// it. That is an error where it is handed a secret, and the name is a branch's
// or the action our own, which gets the refresh token.
func (c *checker) pin(uses *node, handed, ours bool) {
	name, version, versioned := strings.Cut(uses.str(), "@")
	switch {
	case strings.HasPrefix(name, "./"), strings.HasPrefix(name, "$/"), commit.MatchString(version):
		return
	case strings.HasPrefix(name, "docker://"):
		if strings.HasPrefix(version, "sha256:") {
			return
		}
	case !versioned:
		return // GitHub refuses it
	}
	a := advice{Warning, "unpinned",
		"a tag or branch can be moved to other code, which would run beside this job's secrets",
		"name the full id of a commit that you have read, and the version in a comment"}
	if handed {
		a.why = "a tag or branch can be moved to other code, and this one is handed a secret or a token"
	}
	if handed && (ours || !release.MatchString(version)) {
		a.level = Error
	}
	c.add(uses, a, "%s is not pinned to a commit", named(uses.str()))
}

// conditionThatHolds: text outside ${{ }} makes a condition a string, and every
// string that is not empty holds.
func (c *checker) conditionThatHolds(n *node) {
	if _, always := condition(n); always {
		c.add(n, advice{Error, "always-true",
			"text outside ${{ }}, also a newline at the end, makes a string of it, and that holds whatever the expression says",
			"leave ${{ and }} out of if:"}, "this condition always holds")
	}
}

// retiredHosts: addresses that answer no more.
func (c *checker) retiredHosts(n *node, seen map[*node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	for host, use := range c.known.Retired {
		if strings.Contains(strings.ToLower(n.str()), host) {
			c.addIn(n, host, advice{Error, "old-host", "it is no longer the token endpoint: a refresh there fails", "use " + use}, "%s is named", host)
		}
	}
	for _, v := range n.list {
		c.retiredHosts(v, seen)
	}
}

// Marks of actions and scripts that can put a folder into the workspace.
var (
	bringsFiles = pattern.Of(`(?i)checkout|download`)
	makesFiles  = pattern.Of(`\b(?:git|gh|cp|mv|ln|mkdir|tar|unzip|curl|wget|rsync)\b`)
)

// onDisk: an action that is named by a path is looked for in the workspace, which
// is empty on a hosted runner until a step fills it (GitHub Docs, "Workflow syntax",
// jobs.<job_id>.steps[*].uses).
func (c *checker) onDisk(j *job, s *step) {
	if !strings.HasPrefix(s.uses.str(), "./") {
		return
	}
	for _, before := range j.steps {
		if before == s {
			break
		}
		if bringsFiles.MatchString(before.action()) || makesFiles.MatchString(before.run.str()) {
			return
		}
	}
	a := advice{Error, "no-checkout",
		"the runner looks for it in the job's folder, which is empty until a step checks the repository out, so the step fails",
		"put actions/checkout with persist-credentials: false before it"}
	if !hosted.MatchString(j.node.get("runs-on").str()) {
		a.level, a.why = Warning, "the runner looks for it in the job's folder, and finds there at most what an earlier job has left"
	}
	c.add(s.uses, a, "nothing checks out the repository in which %s is", named(s.uses.str()))
}
