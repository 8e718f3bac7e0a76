package ghworkflow

import (
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// rights are the permissions of a job's token, its own or else the workflow's,
// and the key that they have. Nil: the repository's setting decides.
func (c *checker) rights(j *job) (p, key *node) {
	for _, n := range []*node{j.node, c.root} {
		if p := n.get("permissions"); p != nil {
			return p, n.key("permissions")
		}
	}
	return nil, nil
}

// permissions: what a job's token may do.
func (c *checker) permissions(j *job) {
	p, _ := c.rights(j)
	if len(c.secrets(j)) > 0 && p == nil {
		c.add(j.key, advice{Warning, "permissions",
			"the repository's setting decides what the job's token may do, and that may be everything",
			"give the job permissions: with what it needs"}, "job %s has secrets and says nothing of permissions", named(j.id))
	}
	if p.str() == "write-all" {
		c.add(p, advice{Error, "permissions",
			"whatever runs in the job can change the whole repository", "name what the job needs; the git store needs contents: write"}, "the job's token may write everything")
	}
	if p == nil || p.kind != isMap {
		return
	}
	for _, name := range []string{"secrets", "variables"} {
		if p.get(name) != nil {
			c.add(p.key(name), advice{Error, "no-such-permission",
				"GitHub knows no such permission and refuses the file; the job's token can never write secrets or variables",
				"keep the login in the git store, which needs contents: write"}, "%s is no permission of a job's token", name)
		}
	}
}

// tokenOutput matches a step's output that is a token by its name.
var tokenOutput = pattern.Of(`(?i)\bsteps\s*\.\s*[\w-]+\s*\.\s*outputs\s*\.\s*[\w-]*(?:access|oauth|bearer|refresh)[\w-]*|\bsteps\s*\.\s*[\w-]+\s*\.\s*outputs\s*\.\s*token\b`)

// tokenLikeOutput reports that a job's output would hold a token.
func tokenLikeOutput(text string) bool {
	return len(secretsIn(text)) > 0 || slices.ContainsFunc(inserted.FindAllString(text, -1), tokenOutput.MatchString)
}

// jobOutputs: a masked value does not leave its job.
func (c *checker) jobOutputs(j *job) {
	out := j.node.get("outputs")
	if out == nil || out.kind != isMap {
		return
	}
	for i, v := range out.list {
		if tokenLikeOutput(v.str()) {
			c.add(v, advice{Error, "token-output",
				"GitHub drops a job's output that holds a masked value, and one that is not masked stands in the log",
				"use the token in the job that has it, or ask for it again in the other job: the store has it"}, "output %s of job %s holds a token", named(out.keys[i].text), named(j.id))
		}
	}
}

// inherited: a called workflow that gets every secret there is.
func (c *checker) inherited(j *job) {
	s := j.node.get("secrets")
	if s.str() != "inherit" {
		return
	}
	a := advice{Warning, "inherit", "the called workflow gets every secret of this repository", "name the secrets that it needs"}
	if !strings.HasPrefix(j.node.get("uses").str(), "./") {
		a.level, a.why = Error, "a workflow of another repository gets every secret of this one"
	}
	c.add(s, a, "job %s hands on all secrets", named(j.id))
}

// queue is the concurrency group of a job, its own or else the workflow's, and
// the key that it has.
func (c *checker) queue(j *job) (q, key *node) {
	for _, n := range []*node{j.node, c.root} {
		if q := n.get("concurrency"); q != nil {
			return q, n.key("concurrency")
		}
	}
	return nil, nil
}

// oneAtATime: a step that refreshes without a lease must be alone, to its end.
func (c *checker) oneAtATime(j *job, s *step, place *node) {
	q, key := c.queue(j)
	if q == nil {
		c.add(place, advice{Error, "no-lease",
			"two runs at a time spend one refresh token, and many providers end a login for that",
			"use a store with a lease (git:), or give the job a concurrency group that cancels nothing"}, "nothing keeps two runs apart while %s refreshes", s.name())
		return
	}
	cancel := cancels(q)
	switch {
	case cancel != nil:
		c.add(cancel, advice{Error, "cancel",
			"a run that is cancelled between the provider's answer and the save loses the login",
			"set cancel-in-progress: false, or use a store with a lease (git:) and no group"}, "a newer run cancels the one that refreshes")
	case q.get("queue").str() != "max" && slices.ContainsFunc(c.openEvents(), isComment):
		c.add(key, advice{Note, "dropped",
			"a group keeps one waiting run and drops the one before it, whatever cancel-in-progress says: a comment may stay without an answer",
			"use a store with a lease (git:) and no group, or queue: max where GitHub has it"}, "of several waiting runs only the newest is kept")
	}
}

// cancels returns what lets a newer run of a group cancel one that works; nil:
// nothing does.
func cancels(q *node) *node {
	cancel := q.get("cancel-in-progress")
	if cancel == nil || cancel.str() == "false" || cancel.kind == isNull {
		return nil
	}
	return cancel
}

// ofOneRun matches what makes a group of a run for itself, in which none waits.
var ofOneRun = pattern.Of(`(?i)\$\{\{[^}]*\bgithub\s*\.\s*(?:run_id\b|run_number\b|event\s*\.\s*comment\s*\.\s*id\b)`)

// notNeeded: a concurrency group beside a store with a lease, which keeps runs
// apart without one.
func (c *checker) notNeeded(j *job) {
	q, key := c.queue(j)
	if q == nil {
		return
	}
	group := q.get("group")
	if q.kind == isText {
		group = q
	}
	switch cancel := cancels(q); {
	case cancel != nil:
		c.add(cancel, advice{Warning, "cancel",
			"a run that is cancelled between the provider's answer and the save has seconds to bring the login to safety, and the lease needs no group",
			"set cancel-in-progress: false, or leave the group out"}, "a newer run cancels the one that refreshes")
	case q.get("queue").str() != "max" && !ofOneRun.MatchString(group.str()) && c.startsWork():
		c.add(key, advice{Note, "dropped",
			"a group keeps one waiting run and drops the one before it, whatever cancel-in-progress says; a git store has a lease, so runs may start together",
			"leave the group out, if each run has work of its own"}, "of several waiting runs only the newest is kept")
	}
}

// startsWork reports that a run may have work which the next one would not do:
// that it starts for more than a clock and a button.
func (c *checker) startsWork() bool {
	for event := range c.events {
		if event != "schedule" && event != "workflow_dispatch" {
			return true
		}
	}
	return false
}
