package ghworkflow

import (
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// occasion is how people start a run: an event, one of its types, and what the
// event is about. The zero type is of an event that has none.
type occasion struct {
	event, action string
	// author says that the author of what the event is about counts, although
	// this type may be somebody else's doing.
	author bool
}

// about is what an event is about, and brings the author of in its payload; ""
// of an event whose payload tells the actor only.
func about(event string) string {
	switch event {
	case "issue_comment", "pull_request_review_comment", "discussion_comment", "commit_comment":
		return "comment"
	case "pull_request_review":
		return "review"
	case "issues":
		return "issue"
	case "pull_request_target":
		return "pull_request"
	case "discussion":
		return "discussion"
	}
	return ""
}

// types are those of an event that a stranger can cause, those that only people
// with rights can, and whether an event without types: starts for all of them.
type types struct {
	open, closed []string
	all          bool
}

// open are the events that a stranger can cause
// (https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows):
// one that lists none but closed types is not open.
func open() map[string]types {
	comment := types{open: []string{"created", "edited", "deleted"}, all: true}
	return map[string]types{
		"issue_comment": comment, "pull_request_review_comment": comment, "discussion_comment": comment,
		"commit_comment":      {open: []string{"created"}, all: true},
		"pull_request_review": {open: []string{"submitted", "edited", "dismissed"}, all: true},
		"issues": {[]string{"opened", "edited", "closed", "reopened"},
			[]string{"labeled", "unlabeled", "assigned", "unassigned", "milestoned", "demilestoned", "pinned", "unpinned", "locked", "unlocked", "transferred", "deleted"}, true},
		"discussion": {[]string{"created", "edited", "closed", "reopened", "answered", "unanswered"},
			[]string{"labeled", "unlabeled", "pinned", "unpinned", "locked", "unlocked", "transferred", "deleted", "category_changed"}, true},
		"pull_request_target": {[]string{"opened", "synchronize", "reopened"},
			[]string{"labeled", "unlabeled", "assigned", "unassigned", "milestoned", "demilestoned", "locked", "unlocked"}, false},
		"watch":        {open: []string{"started"}, all: true},
		"fork":         {open: []string{""}, all: true},
		"gollum":       {open: []string{""}, all: true},
		"workflow_run": {open: []string{"requested", "in_progress", "completed"}, all: true},
	}
}

// isComment reports the events that bring a stranger's words as a command.
func isComment(event string) bool {
	return strings.HasSuffix(event, "_comment") || event == "pull_request_review"
}

// occasions are the types of an event for which the workflow starts: those that
// strangers can cause, and the rest.
func (w *workflow) occasions(event string) (strangers, rest []occasion) {
	settings, ok := w.events[event]
	known := open()[event]
	if !ok {
		return nil, nil
	}
	named := texts(settings.get("types"))
	if len(named) == 0 {
		named = known.open
		if known.all {
			named = slices.Concat(named, known.closed)
		}
	}
	for _, t := range named {
		o := occasion{event: event, action: strings.ToLower(t), author: true}
		if slices.Contains(known.closed, o.action) {
			rest = append(rest, o)
		} else {
			strangers = append(strangers, o)
		}
	}
	return strangers, rest
}

// openEvents are the events of a workflow that a stranger can cause, in order.
func (w *workflow) openEvents() []string {
	var found []string
	for event := range open() {
		if strangers, _ := w.occasions(event); len(strangers) > 0 {
			found = append(found, event)
		}
	}
	slices.Sort(found)
	return found
}

// gatedFor reports that a job is gated for an event, whichever of its types it is.
func (w *workflow) gatedFor(j *job, event string) bool {
	strangers, _ := w.occasions(event)
	return !slices.ContainsFunc(strangers, func(o occasion) bool { return !w.gated(j, o) })
}

// byAuthorOnly returns the types of an event that somebody else than the author
// of what it is about can cause, while nothing but that author is asked for.
func (w *workflow) byAuthorOnly(j *job, event string) []string {
	var found []string
	strangers, rest := w.occasions(event)
	for _, o := range slices.Concat(strangers, rest) {
		if !slices.Contains(rest, o) && o.action != "edited" {
			continue
		}
		strict := o
		strict.author = false
		if w.gated(j, o) && !w.gated(j, strict) {
			found = append(found, o.action)
		}
	}
	return found
}

// question is what has been asked of a job: whether it, or its condition, or
// its success, keeps strangers out for an event.
type question struct {
	job  *job
	node *node // of a condition
	occasion
	of string
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
func (w *workflow) gated(j *job, o occasion) bool {
	return w.once(question{j, nil, o, "job"}, func() bool {
		if w.conditioned(j, o) {
			return true
		}
		if len(w.root.get("env").secrets()) > 0 || len(j.secretsBeside()) > 0 {
			return false
		}
		asked := false
		for _, s := range j.steps {
			if len(s.node.secrets()) > 0 && !asked && !w.conditionGates(s.node.get("if"), o) {
				return false
			}
			asked = asked || asks(s)
		}
		return len(j.steps) > 0
	})
}

// conditioned reports that the job's own condition, or a job that it waits for,
// keeps strangers out.
func (w *workflow) conditioned(j *job, o occasion) bool {
	return w.once(question{j, nil, o, "condition"}, func() bool {
		if w.conditionGates(j.node.get("if"), o) {
			return true
		}
		if e, always := condition(j.node.get("if")); always || e.calls("always", "cancelled", "failure") {
			return false // it runs although the job that it waits for was skipped
		}
		return slices.ContainsFunc(j.needs, func(id string) bool { return w.keepsOut(id, o) })
	})
}

// keepsOut reports that a job succeeds for people with rights only.
func (w *workflow) keepsOut(id string, o occasion) bool {
	need := w.job(id)
	return need != nil && w.once(question{need, nil, o, "success"}, func() bool {
		return w.conditioned(need, o) || slices.ContainsFunc(need.steps, asks)
	})
}

// needed matches what a job says of one that it waits for.
var needed = pattern.Of(`^needs\.([\w-]+)\.(?:outputs\.[\w-]+|result)$`)

func (w *workflow) conditionGates(n *node, o occasion) bool {
	if n == nil {
		return false
	}
	return w.once(question{nil, n, o, "text"}, func() bool {
		e, always := condition(n)
		return !always && e.implies(o, func(e expression) bool {
			if o.names(e) || o.inside(e) {
				return true
			}
			for _, a := range append([]expression{e}, e.args...) {
				if m := needed.FindStringSubmatch(a.text); a.op == "path" && m != nil && e.op != "!=" && e.op != "!" {
					return w.keepsOut(m[1], o)
				}
			}
			return false
		})
	})
}

// association reports the path at which the payload tells how the author of what
// the event is about belongs to the repository. An issue_comment tells it of the
// issue, too, and whoever opened that is not who comments.
func (o occasion) association(path string) bool {
	object := about(o.event)
	return object != "" && o.author && path == "github.event."+object+".author_association"
}

// person reports a path at which a run tells who has caused it, by name.
func (o occasion) person(path string) bool {
	switch path {
	case "github.actor", "github.triggering_actor", "github.event.sender.login":
		return true
	case "github.event.workflow_run.actor.login", "github.event.workflow_run.triggering_actor.login":
		return o.event == "workflow_run"
	}
	object := about(o.event)
	return object != "" && o.author && path == "github.event."+object+".user.login"
}

// number is person by the number of an account.
func (o occasion) number(path string) bool {
	if path == "github.actor_id" || path == "github.event.sender.id" {
		return true
	}
	object := about(o.event)
	return object != "" && o.author && path == "github.event."+object+".user.id"
}

// owner reports that a comparison demands the owner of the repository.
func (o occasion) owner(a, b string) bool {
	switch b {
	case "github.repository_owner", "github.event.repository.owner.login":
		return o.person(a)
	case "github.repository_owner_id", "github.event.repository.owner.id":
		return o.number(a)
	}
	return false
}

// wanted are the texts that a part of a condition lets pass, and the path that
// it compares with them.
func wanted(e expression) (values []string, path string) {
	switch {
	case e.op == "==" && e.args[0].op == "text":
		return e.args[0].strings(), e.args[1].text
	case e.op == "==":
		return e.args[1].strings(), e.args[0].text
	case e.op == "call" && e.text == "contains" && len(e.args) == 2 && e.args[1].op == "path":
		return e.args[0].strings(), e.args[1].text
	}
	return nil, ""
}

// names reports that a part of a condition names who may pass: certain people,
// or those who belong to the repository. A contains over one text is no list of
// people, because a part of a name would pass it.
func (o occasion) names(e expression) bool {
	if e.op == "==" && e.args[0].op == "path" && e.args[1].op == "path" {
		return o.owner(e.args[0].text, e.args[1].text) || o.owner(e.args[1].text, e.args[0].text)
	}
	values, path := wanted(e)
	if len(values) == 0 || slices.Contains(values, "") {
		return false
	}
	if e.op == "call" && e.args[0].op == "text" {
		if !o.association(path) {
			return false
		}
		values = strings.FieldsFunc(values[0], func(r rune) bool { return !(r >= 'A' && r <= 'Z' || r == '_') })
	}
	if o.association(path) {
		return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains([]string{"OWNER", "MEMBER", "COLLABORATOR"}, v) })
	}
	return o.person(path) || o.number(path)
}

// sources are the paths of the repository that a run's commits come from; a fork
// has the name, but not the owner or the number of what it was made from.
var (
	sources   = pattern.Of(`^github\.event\.(workflow_run\.head_repository|pull_request\.head\.repo)\.(full_name|id|node_id|owner\.login|owner\.id)$`)
	ownPaths  = pattern.Of(`^github\.(?:event\.(?:workflow_run\.)?repository\.(?:full_name|id|node_id|owner\.login|owner\.id)|repository|repository_id|repository_owner|repository_owner_id)$`)
	forkPaths = pattern.Of(`^github\.event\.(workflow_run\.head_repository|pull_request\.head\.repo)\.fork$`)
)

// brings reports that a path that a pattern has matched is of the event's payload.
func (o occasion) brings(m []string) bool {
	return m != nil && (o.event == "workflow_run" && strings.HasPrefix(m[1], o.event) || o.event == "pull_request_target" && strings.HasPrefix(m[1], "pull_request"))
}

// inside reports that a part of a condition demands that commits are of the
// repository itself and of no fork, or that the run before a workflow_run was
// started by an event that is no stranger's.
func (o occasion) inside(e expression) bool {
	switch e.op {
	case "!":
		return e.args[0].op == "path" && o.brings(forkPaths.FindStringSubmatch(e.args[0].text))
	case "==", "!=":
		for i, a := range e.args {
			b := e.args[1-i]
			switch {
			case a.op != "path" || b.op != "path" && b.op != "text":
			case o.brings(forkPaths.FindStringSubmatch(a.text)):
				return b.op == "path" && (b.text == "false" && e.op == "==" || b.text == "true" && e.op == "!=")
			case o.brings(sources.FindStringSubmatch(a.text)):
				return e.op == "==" && (b.op == "text" && b.text != "" || ownPaths.MatchString(b.text))
			case o.event == "workflow_run" && a.text == before && e.op == "!=":
				return b.op == "text" && strings.EqualFold(b.text, "pull_request")
			}
		}
	}
	values, path := wanted(e)
	if o.event != "workflow_run" || path != before || len(values) == 0 || e.op == "call" && e.args[0].op != "call" {
		return false
	}
	return !slices.ContainsFunc(values, func(v string) bool {
		_, strangers := open()[strings.ToLower(v)]
		return strangers || v == "" || strings.EqualFold(v, "pull_request")
	})
}

// before is the path at which a workflow_run tells what started the run before it.
const before = "github.event.workflow_run.event"

// asking matches how scripts ask GitHub what somebody may do.
var asking = pattern.Of(`(?i)collaborators/[^\s"']+/permission|getCollaboratorPermissionLevel|repository\.collaborators\(`)

// asks reports that a step asks GitHub for somebody's permission.
func asks(s *step) bool {
	return s.run.asks() || s.with("script").asks()
}

func (n *node) asks() bool {
	if n.str() == "" {
		return false
	}
	if n.asking == nil {
		found := asking.MatchString(n.text)
		n.asking = &found
	}
	return *n.asking
}

// asksItself lists the actions that refuse by themselves to work for people
// without write access.
func asksItself(action string) bool {
	return slices.Contains([]string{"anthropics/claude-code-action", "grll/claude-code-action", "nimishchaudhari/claude-code-action-max-sub"}, action)
}
