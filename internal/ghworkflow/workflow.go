package ghworkflow

import (
	"fmt"
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// maxSteps bounds the steps of a file, which aliases can multiply.
const maxSteps = 2000

// workflow is a file as the rules see it.
type workflow struct {
	root   *node
	events map[string]*node // what starts it, with its settings
	on     *node
	jobs   []*job
	byID   map[string]*job

	answers map[question]bool
}

// job is one job of a workflow.
type job struct {
	id    string
	key   *node // of its id, for the place
	node  *node
	needs []string
	steps []*step
}

// step is one step of a job.
type step struct {
	node *node
	uses *node // nil: it runs a script
	run  *node // nil: it uses an action
}

// read finds events, jobs and steps. It refuses what GitHub would refuse too.
func read(root *node) (*workflow, *fault) {
	w := &workflow{root: root, events: map[string]*node{}, byID: map[string]*job{}, answers: map[question]bool{}}
	w.on = root.get("on")
	jobs := root.get("jobs")
	if root.kind != isMap || w.on == nil || jobs == nil || jobs.kind != isMap {
		return nil, &fault{root.line, root.column, "it is no workflow: one has the keys on and jobs"}
	}
	switch w.on.kind {
	case isText:
		w.events[w.on.text] = w.on
	case isList:
		for _, e := range w.on.list {
			w.events[e.str()] = e
		}
	case isMap:
		for i, k := range w.on.keys {
			w.events[k.text] = w.on.list[i]
		}
	}
	total := 0
	for i, key := range jobs.keys {
		j := &job{id: key.text, key: key, node: jobs.list[i], needs: texts(jobs.list[i].get("needs"))}
		if j.node.kind != isMap {
			return nil, &fault{key.line, key.column, fmt.Sprintf("job %s has nothing in it", named(j.id))}
		}
		if steps := j.node.get("steps"); steps != nil {
			for _, n := range steps.list {
				j.steps = append(j.steps, &step{node: n, uses: n.get("uses"), run: n.get("run")})
			}
		}
		if total += len(j.steps); total > maxSteps {
			return nil, &fault{key.line, key.column, fmt.Sprintf("it has more than %d steps", maxSteps)}
		}
		w.jobs = append(w.jobs, j)
		w.byID[j.id] = j
	}
	return w, nil
}

// texts are the scalars of a list, or a single one.
func texts(n *node) []string {
	switch {
	case n == nil:
		return nil
	case n.kind == isList:
		var all []string
		for _, v := range n.list {
			all = append(all, v.str())
		}
		return all
	}
	return []string{n.str()}
}

// job returns the job of that id, or nil.
func (w *workflow) job(id string) *job { return w.byID[id] }

// name is how a finding speaks of a step.
func (s *step) name() string {
	for _, n := range []*node{s.node.get("name"), s.node.get("id"), s.uses} {
		if n.str() != "" {
			return "step " + named(n.str())
		}
	}
	return "a step"
}

// action is the action that a step uses, without its version.
func (s *step) action() string {
	name, _, _ := strings.Cut(s.uses.str(), "@")
	return name
}

// with returns an input of the action that a step uses, or nil. The names of
// inputs know no case.
func (s *step) with(name string) *node {
	with := s.node.get("with")
	if with == nil || with.kind != isMap {
		return nil
	}
	for i, k := range with.keys {
		if strings.EqualFold(k.text, name) {
			return with.list[i]
		}
	}
	return nil
}

// script is what a step runs: a shell's text, or that of actions/github-script;
// nil of another action.
func (s *step) script() *node {
	if s.run == nil && s.action() == "actions/github-script" {
		return s.with("script")
	}
	return s.run
}

// ours reports that a step uses evergrant's Action: by its name, or, for a copy
// with another, by inputs that only it has.
func (s *step) ours() bool {
	if s.uses == nil {
		return false
	}
	name := s.action()
	return name[strings.LastIndexByte(name, '/')+1:] == "evergrant" || s.with("key") != nil && s.with("refresh-token") != nil
}

// secretName matches a secret in an expression; whole matches all of them at once.
var (
	secretName = pattern.Of(`(?i)\bsecrets\s*(?:\.\s*([a-z_][\w-]*)|\[\s*'([^']*)'\s*\])`)
	whole      = pattern.Of(`(?i)\btojson\(\s*secrets\s*\)`)
)

// secretsIn returns the names of the secrets that are put into a text, the
// job's own token left out. All of them are "*".
func secretsIn(text string) []string {
	var names []string
	for _, m := range inserted.FindAllStringSubmatch(text, -1) {
		for _, s := range secretName.FindAllStringSubmatch(m[1], -1) {
			if name := s[1] + s[2]; !strings.EqualFold(name, "GITHUB_TOKEN") {
				names = append(names, name)
			}
		}
		if whole.MatchString(m[1]) {
			names = append(names, "*")
		}
	}
	return names
}

// secrets returns the names of the secrets that are put in anywhere below a
// node, each once.
func (n *node) secrets() []string {
	if n == nil {
		return nil
	}
	if n.inside == nil {
		names := secretsIn(n.str())
		for _, v := range n.list {
			names = append(names, v.secrets()...)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		n.inside = &names
	}
	return *n.inside
}

// secretsBeside are the secrets of a job outside its steps.
func (j *job) secretsBeside() []string {
	var names []string
	for i, v := range j.node.list {
		if j.node.keys[i].text != "steps" {
			names = append(names, v.secrets()...)
		}
	}
	if j.node.get("secrets").str() == "inherit" {
		names = append(names, "*")
	}
	return names
}

// secrets of a job are its own and those that the workflow gives to all.
func (w *workflow) secrets(j *job) []string {
	return slices.Concat(w.root.get("env").secrets(), j.secretsBeside(), j.node.get("steps").secrets())
}

// env finds a variable of a step, of its job, or of the workflow, in this order.
func (w *workflow) env(j *job, s *step, name string) *node {
	for _, n := range []*node{s.node, j.node, w.root} {
		if v := n.get("env").get(name); v != nil {
			return v
		}
	}
	return nil
}

// hasRefresh matches the names that people give to refresh tokens.
var hasRefresh = pattern.Of(`(?i)refresh`)

// holding is a text that puts in a secret with the name of a refresh token.
type holding struct {
	at   *node // nil: there is none
	name string
}

// refreshIn finds one in a text, or in the values of a map.
func (n *node) refreshIn() holding {
	if n == nil {
		return holding{}
	}
	if n.refresh == nil {
		var h holding
		for _, name := range secretsIn(n.str()) {
			if hasRefresh.MatchString(name) {
				h = holding{n, name}
			}
		}
		if n.kind == isMap {
			for _, v := range n.list {
				if inner := v; inner.kind == isText && h.at == nil {
					h = inner.refreshIn()
				}
			}
		}
		n.refresh = &h
	}
	return *n.refresh
}

// refreshSecret finds the secret with the name of a refresh token that is handed
// to a script: by the script's own text, by its variables, or by those of the
// job or the workflow.
func (w *workflow) refreshSecret(j *job, s *step) (h holding, near bool) {
	for i, n := range []*node{s.script(), s.node.get("env"), j.node.get("env"), w.root.get("env")} {
		if h := n.refreshIn(); h.at != nil {
			return h, i < 2
		}
	}
	return holding{}, false
}

// beside matches the names of secrets that go with a refresh, and are not what is
// spent: those of the client, and tokens for GitHub.
var beside = pattern.Of(`(?i)client[_-]?(?:id|secret)|^(?:gh|github)_|(?:^|_)(?:gh|github)_(?:token|pat)$|(?:^|_)pat$`)

// anySecret finds the secret that a script which refreshes may spend, whatever it
// is called: the one in a variable with the name of a refresh token, else the first.
func (w *workflow) anySecret(j *job, s *step) (h holding) {
	for _, n := range []*node{s.script(), s.node.get("env"), j.node.get("env"), w.root.get("env")} {
		if n == nil {
			continue
		}
		keys, values := []*node{{}}, []*node{n}
		if n.kind == isMap {
			keys, values = n.keys, n.list
		}
		for i, v := range values {
			for _, name := range secretsIn(v.str()) {
				switch as := keys[i].text; {
				case hasRefresh.MatchString(as):
					return holding{v, name}
				case h.at == nil && !beside.MatchString(as) && !beside.MatchString(name):
					h = holding{v, name}
				}
			}
		}
	}
	return h
}
