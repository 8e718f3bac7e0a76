package ghworkflow

import (
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// open are the events that a stranger can cause, and the types of each that
// only people with rights can: an event with none but those is not open.
func open() map[string][]string {
	return map[string][]string{
		"issue_comment": nil, "pull_request_review_comment": nil, "discussion_comment": nil, "pull_request_review": nil,
		"issues":              {"labeled", "unlabeled", "assigned", "unassigned", "milestoned", "demilestoned", "pinned", "unpinned", "locked", "unlocked", "transferred", "deleted"},
		"discussion":          {"labeled", "unlabeled", "pinned", "unpinned", "locked", "unlocked", "transferred", "deleted", "category_changed"},
		"pull_request_target": {"labeled", "unlabeled", "assigned", "unassigned", "milestoned", "demilestoned", "locked", "unlocked"},
	}
}

// isComment reports the events that bring a stranger's words as a command.
func isComment(event string) bool {
	return strings.HasSuffix(event, "_comment") || event == "pull_request_review"
}

// openEvents are the events of a workflow that a stranger can cause, in order.
func (w *workflow) openEvents() []string {
	var found []string
	for event, closed := range open() {
		settings, ok := w.events[event]
		if !ok {
			continue
		}
		types := texts(settings.get("types"))
		if len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return !slices.Contains(closed, t) }) {
			found = append(found, event)
		}
	}
	slices.Sort(found)
	return found
}

// question is what has been asked of a job: whether it, or its condition, or
// its success, keeps strangers out for an event.
type question struct {
	job   *job
	event string
	of    string
}

// once answers a question that was asked before, and for one that is being
// asked, of jobs that wait for each other, that nothing keeps strangers out.
func (w *workflow) once(q question, answer func() bool) bool {
	if known, asked := w.answers[q]; asked {
		return known
	}
	w.answers[q] = false
	w.answers[q] = answer()
	return w.answers[q]
}

// gated reports whether a job, or every step of it that has a secret, runs for
// an event only if somebody with rights has caused it.
func (w *workflow) gated(j *job, event string) bool {
	return w.once(question{j, event, "job"}, func() bool {
		if w.conditioned(j, event) {
			return true
		}
		if len(w.root.get("env").secrets()) > 0 || len(j.secretsBeside()) > 0 {
			return false
		}
		asked := false
		for _, s := range j.steps {
			if len(s.node.secrets()) > 0 && !asked && !w.conditionGates(s.node.get("if"), event) {
				return false
			}
			asked = asked || asks(s)
		}
		return len(j.steps) > 0
	})
}

// conditioned reports that the job's own condition, or a job that it waits for,
// keeps strangers out.
func (w *workflow) conditioned(j *job, event string) bool {
	return w.once(question{j, event, "condition"}, func() bool {
		if w.conditionGates(j.node.get("if"), event) {
			return true
		}
		if e, always := condition(j.node.get("if")); always || e.calls("always", "cancelled", "failure") {
			return false // it runs although the job that it waits for was skipped
		}
		return slices.ContainsFunc(j.needs, func(id string) bool { return w.keepsOut(id, event) })
	})
}

// keepsOut reports that a job succeeds for people with rights only.
func (w *workflow) keepsOut(id, event string) bool {
	need := w.job(id)
	return need != nil && w.once(question{need, event, "success"}, func() bool {
		return w.conditioned(need, event) || slices.ContainsFunc(need.steps, asks)
	})
}

// needed matches what a job says of one that it waits for.
var needed = pattern.Of(`^needs\.([\w-]+)\.(?:outputs\.[\w-]+|result)$`)

func (w *workflow) conditionGates(n *node, event string) bool {
	if n == nil {
		return false
	}
	e, always := condition(n)
	return !always && e.implies(event, func(e expression) bool {
		if names(e) {
			return true
		}
		for _, a := range append([]expression{e}, e.args...) {
			if m := needed.FindStringSubmatch(a.text); a.op == "path" && m != nil && e.op != "!=" && e.op != "!" {
				return w.keepsOut(m[1], event)
			}
		}
		return false
	})
}

// association matches where an event tells how its author belongs to the
// repository, and person where it tells who it is.
var (
	association = pattern.Of(`^github\.event\.(?:comment|issue|review|pull_request|discussion)\.author_association$`)
	person      = pattern.Of(`^github\.(?:actor|triggering_actor|actor_id|event\.sender\.login|event\.(?:comment|issue|review|pull_request|discussion)\.user\.login)$`)
)

// names reports that a part of a condition names who may pass: certain people,
// or those who belong to the repository. A contains over one text is no list of
// people, because a part of a name would pass it.
func names(e expression) bool {
	var values []string
	var path string
	switch {
	case e.op == "==" && e.args[0].op == "text":
		values, path = e.args[0].strings(), e.args[1].text
	case e.op == "==":
		values, path = e.args[1].strings(), e.args[0].text
	case e.op == "call" && e.text == "contains" && len(e.args) == 2 && e.args[1].op == "path":
		values, path = e.args[0].strings(), e.args[1].text
	}
	if len(values) == 0 || slices.Contains(values, "") {
		return false
	}
	if e.op == "call" && e.args[0].op == "text" {
		if !association.MatchString(path) {
			return false
		}
		values = strings.FieldsFunc(values[0], func(r rune) bool { return !(r >= 'A' && r <= 'Z' || r == '_') })
	}
	if association.MatchString(path) {
		return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains([]string{"OWNER", "MEMBER", "COLLABORATOR"}, v) })
	}
	return person.MatchString(path)
}

// asking matches how scripts ask GitHub what somebody may do.
var asking = pattern.Of(`(?i)collaborators/[^\s"']+/permission|getCollaboratorPermissionLevel|repository\.collaborators\(`)

// asks reports that a step asks GitHub for somebody's permission.
func asks(s *step) bool {
	return asking.MatchString(s.run.str()) || asking.MatchString(s.with("script").str())
}

// asksItself lists the actions that refuse by themselves to work for people
// without write access.
func asksItself(action string) bool {
	return slices.Contains([]string{"anthropics/claude-code-action", "grll/claude-code-action", "nimishchaudhari/claude-code-action-max-sub"}, action)
}
