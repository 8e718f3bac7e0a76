package ghworkflow

import (
	"slices"
	"strings"

	"evergrant/internal/pattern"
)

// secondSpender: an action that gets a refresh token may spend it, and whatever
// it gets for it ends with the job.
func (c *checker) secondSpender(s *step) {
	with := s.node.get("with")
	if s.uses == nil || s.ours() || with == nil || with.kind != isMap {
		return
	}
	for i, k := range with.keys {
		value := with.list[i]
		if strings.Contains(strings.ToLower(k.text), "refresh") && len(secretsIn(value.str())) > 0 {
			c.add(value, advice{Error, "second-spender",
				"it can spend the token by itself; the secret then holds a dead one, and the next run, or evergrant, presents that",
				"hand it an access token only, from a step that keeps the refresh token in a store"}, "%s is handed the refresh token as %s", s.name(), named(k.text))
		}
	}
	c.forgottenInputs(s)
}

// forgottenInputs: two actions say that two of their three inputs may be left
// out, and stop when one is empty.
func (c *checker) forgottenInputs(s *step) {
	name := s.action()
	if name != "nimishchaudhari/claude-code-action-max-sub" && !strings.HasPrefix(name, "grll/claude-code-") || s.with("use_oauth").str() != "true" {
		return
	}
	var missing []string
	for _, input := range []string{"claude_access_token", "claude_expires_at", "claude_refresh_token"} {
		if s.with(input).str() == "" {
			missing = append(missing, input)
		}
	}
	if len(missing) > 0 {
		c.add(s.uses, advice{Error, "missing-input",
			"this action stops before it starts Claude when one of claude_access_token, claude_expires_at and claude_refresh_token is empty",
			"give the end of the token in milliseconds as claude_expires_at, and a word that is no token as claude_refresh_token"},
			"%s lacks %s", s.name(), strings.Join(missing, " and "))
	}
}

// shortestLiteral is, in bytes, how long a value must be to count as a secret
// that was written into the file.
const shortestLiteral = 24

// secretInput matches inputs that take secrets.
var secretInput = pattern.Of(`(?i)^(?:key|client-secret|[\w-]*refresh[_-]token|[\w-]*access[_-]token|[\w-]*oauth[_-]token|[\w-]*api[_-]key)$`)

// literal: a secret in the file itself.
func (c *checker) literal(s *step) {
	with := s.node.get("with")
	if with == nil || with.kind != isMap {
		return
	}
	for i, k := range with.keys {
		if v := with.list[i].str(); secretInput.MatchString(k.text) && len(v) >= shortestLiteral && !strings.Contains(v, "${{") && !strings.ContainsAny(v, " \n") {
			c.add(with.list[i], advice{Error, "literal",
				"everybody who can read the repository, now or later, has it", "replace it at the provider, and put the new one into a secret"}, "input %s of %s holds its value in the file", named(k.text), s.name())
		}
	}
}

// ourProgram matches the commands that refresh by themselves, ourFlag the
// flags that decide where the login is kept.
var (
	ourProgram = pattern.Of(`(?m)(?:^|[\s;&|(])(?:\S*/)?evergrant\s+(?:refresh|token|run|helper)\b`)
	storeFlag  = pattern.Of(`--store[= ]+["']?([^\s"':]+)`)
	issueFlag  = pattern.Of(`--notify[= ]+["']?github-issue`)
	presetFlag = pattern.Of(`--provider[= ]+["']?([\w-]+)`)
	hosted     = pattern.Of(`^(?:ubuntu|windows|macos)-`)
)

// ourStep: what evergrant itself is told to do.
func (c *checker) ourStep(j *job, s *step) {
	switch {
	case s.ours():
		c.onDisk(j, s)
		store, _, _ := strings.Cut(s.with("store").str(), ":")
		place := s.with("store")
		if place == nil {
			place, store = s.uses, "git"
		}
		if s.with("key").str() == "" && store != "none" {
			c.add(s.uses, advice{Error, "no-key", "in CI the record must be sealed, so the step stops", "make one with evergrant key new, and give key: ${{ secrets.EVERGRANT_KEY }}"}, "%s has no key", s.name())
		}
		if s.with("no-create") == nil && store != "none" && store != "ghsecret" {
			c.add(s.uses, advice{Note, "no-create",
				"if the record ever disappears, the job presents a refresh token that was spent long ago, which some providers take for theft",
				"set no-create: true once a run was green"}, "%s starts anew when the record is missing", s.name())
		}
		c.kept(j, s, place, store, s.with("provider").str())
		if len(s.with("github-token").secrets()) == 0 { // by the job's own token
			c.mayTell(j, s, s.with("notify").str())
		}
	case ourProgram.MatchString(s.run.str()):
		c.ourCommand(j, s)
	}
}

// mayTell: notices that are to become an issue.
func (c *checker) mayTell(j *job, s *step, receivers string) {
	p, key := c.rights(j)
	if !strings.Contains(receivers, "github-issue") || p == nil || p.str() == "write-all" || p.kind == isMap && p.get("issues").str() == "write" {
		return
	}
	c.add(key, advice{Warning, "issues",
		"GitHub refuses the issue, so nobody is told before the login ends", "add issues: write to the job's permissions"}, "the job may not write the issue of %s", s.name())
}

// ourCommand is ourStep for a script that calls the program.
func (c *checker) ourCommand(j *job, s *step) {
	run, place, store := s.run.str(), s.run, ""
	c.mayTell(j, s, issueFlag.FindString(run)+c.env(j, s, "EVERGRANT_NOTIFY").str())
	if v := c.env(j, s, "EVERGRANT_STORE"); v != nil {
		place, store = v, v.str()
	}
	if m := storeFlag.FindStringSubmatch(run); m != nil {
		place, store = s.run, m[1]
	}
	preset := c.env(j, s, "EVERGRANT_PROVIDER").str()
	if m := presetFlag.FindStringSubmatch(run); m != nil {
		preset = m[1]
	}
	unknown := strings.Contains(store, "$") || strings.Contains(run, "--config") ||
		slices.ContainsFunc(j.steps, func(s *step) bool { return strings.Contains(s.run.str(), "EVERGRANT_STORE=") })
	if store, _, _ = strings.Cut(store, ":"); !unknown {
		c.kept(j, s, place, store, preset)
	}
}

// kept judges where our program keeps a login.
func (c *checker) kept(j *job, s *step, place *node, store, preset string) {
	if store == "git" {
		c.notNeeded(j)
	}
	switch {
	case (store == "none" || store == "") && c.known.rotates(preset):
		c.add(place, advice{Error, "no-store",
			"the next refresh token is thrown away with the runner, so the second run presents a dead one",
			"use store git:, which needs contents: write and a key"}, "%s keeps the login nowhere", s.name())
	case store == "file" && hosted.MatchString(j.node.get("runs-on").str()):
		c.add(place, advice{Error, "no-store",
			"GitHub's runners vanish with their disk, and the login with them", "use store git:"}, "%s keeps the login on a runner that vanishes", s.name())
	case store == "ghsecret":
		c.oneAtATime(j, s, place)
	case store == "git" && s.ours() && s.with("store").str() == "" && len(s.with("github-token").secrets()) == 0: // with a token of its own
		p, key := c.rights(j)
		if p != nil && (p.str() == "read-all" || p.kind == isMap && p.get("contents").str() != "write") {
			c.add(key, advice{Error, "contents",
				"the record is a ref of the repository, so the step stops before it spends anything", "add contents: write to the job's permissions"}, "the job may not write the git store of %s", s.name())
		}
	}
}

// Marks of scripts that refresh before everybody's eyes, of those that ask a token
// endpoint for something else, of those that call a file which seems to refresh,
// and of those that save what they get.
var (
	refreshing = pattern.Of(`(?i)grant_type\W+refresh_token|/oauth2?/(?:v\d+/)?token|/v1/oauth/token`)
	otherGrant = pattern.Of(`(?i)grant_type\W+(?:client_credentials|authorization_code|password|urn[:%])|client_credentials`)
	spelled    = pattern.Of(`(?i)grant_type\W+refresh_token`)
	elsewhere  = pattern.Of(`(?i)refresh[\w-]*\.(?:js|mjs|ts|py|sh|rb)\b`)
	writing    = pattern.Of(`(?i)\bgh\s+secret\s+set\b|actions/secrets/|EVERGRANT_WRITE_BACK=["']?(?:ghsecret|file):`)
)

// scriptThatSpends: a script that refreshes by itself.
func (c *checker) scriptThatSpends(j *job, s *step) {
	script := s.script()
	run := script.str()
	if run == "" || len(c.secrets(j)) == 0 || ourProgram.MatchString(run) {
		return
	}
	shown := refreshing.FindString(run)
	if otherGrant.MatchString(run) && !spelled.MatchString(run) {
		shown = ""
	}
	secret, near := c.refreshSecret(j, s)
	what := "the refresh token in the repository secret"
	if secret.at == nil && shown != "" {
		secret, what = c.anySecret(j, s), "what is in the repository secret"
	}
	if secret.at == nil || !near && shown == "" && !elsewhere.MatchString(run) {
		return
	}
	back := c.env(j, s, "EVERGRANT_WRITE_BACK").str()
	saves := writing.MatchString(run) || strings.HasPrefix(back, "ghsecret:") || strings.HasPrefix(back, "file:")
	if !saves {
		a := advice{Error, "thrown-away",
			"a provider that rotates sends a new one with each answer and the old one is dead: the second run fails",
			"save it before anything else; evergrant does, in a git ref: evergrant init github"}
		if shown == "" {
			a.level = Warning
		}
		c.addIn(script, shown, a, "%s shows nothing that saves the new refresh token", s.name())
	}
	if j.node.get("environment") == nil {
		c.add(secret.at, advice{Error, "snapshot",
			"a run has the secrets of the moment at which it was queued, so one that waited presents a token that is spent, and that may end the login",
			"keep the login in a store that is read when it is needed, such as git:; or make it a secret of an environment, which is read when the job starts"},
			"%s spends %s %s", s.name(), what, named(secret.name))
	}
	c.oneAtATime(j, s, script)
}
