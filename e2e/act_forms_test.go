//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/e2e/forge"
	"evergrant/templates"
)

// work is what the workflows do with their token: they ask the provider whose
// it is, and leave its digest for the test.
const work = `printf 'Authorization: Bearer %s\n' "$` + accessVariable + `" | curl --fail --silent --show-error --header @- --output /dev/null "$E2E_USERINFO" && ` +
	`printf %s "$` + accessVariable + `" | sha256sum >"$E2E_REPORTS/work.sum" && echo "the token is $` + accessVariable + `"`

// accessVariable is what the templates call the token without a preset.
const accessVariable = "ACCESS_TOKEN"

// worked expects that a job's own step had a good token, masked, and returns it.
func (s *stage) worked(t *testing.T, r *run) (token string) {
	t.Helper()
	sum, err := os.ReadFile(filepath.Join(r.dir, "reports", "work.sum"))
	if r.code() != 0 || err != nil || !strings.Contains(r.log.String(), "the token is ***") {
		t.Fatalf("exit %d, %v; want a green run\n%s", r.code(), err, r.told())
	}
	access, _ := s.tokens()
	for _, token := range access {
		if strings.HasPrefix(string(sum), digest(token)) {
			return token
		}
	}
	t.Fatal("the job's token never came through the door")
	return ""
}

// TestActGeneric runs the generic template by a push and by hand, with the Node
// of this machine and with the newest.
func TestActGeneric(t *testing.T) {
	server := startServerWith(t, nil, 61*time.Second)
	s := newStage(t, server)
	path := s.workflow(t, "generic")
	text, err := os.ReadFile(filepath.Join(s.clone, path))
	must(t, err)
	written := strings.Replace(string(text), "# Put your work here.", work, 1)
	if written == string(text) {
		t.Fatalf("the template has no place for work\n%s", text)
	}
	s.commit(t, map[string]string{path: written})

	versions := []string{}
	for _, node := range []string{"", newestNode(t)} {
		for _, event := range []string{"push", "workflow_dispatch"} {
			r := &run{
				event: event, workflow: path, actor: writer, secrets: map[string]string{"EVERGRANT_REFRESH_TOKEN": s.seed, "REFRESH_TOKEN": s.seed, "EVERGRANT_KEY": s.key},
				payload: map[string]any{"ref": "refs/heads/main", "inputs": map[string]any{}, "repository": map[string]any{"full_name": repository, "private": true, "default_branch": "main"}},
			}
			if node != "" {
				r.path = node + string(filepath.ListSeparator) + os.Getenv("PATH")
			}
			if token := s.worked(t, s.run(t, r)); !server.alive(t, token) {
				t.Fatal("the family is dead")
			}
		}
		program := "node"
		if node != "" {
			program = filepath.Join(node, "node")
		}
		version, err := exec.Command(program, "--version").Output()
		must(t, err)
		versions = append(versions, strings.TrimSpace(string(version)))
	}
	a := server.account(t)
	if a.failed > 0 || a.revoked > 0 || a.granted < 1 || s.twice() != 0 {
		t.Errorf("the server counts %v", a.counts)
	}
	found := s.clean(t)
	if !t.Failed() {
		part("%-19s template generic by push and by hand, Node %s: token good each time, %d token requests; no secret in %d texts",
			"act, generic", strings.Join(versions, " and "), a.requests, found.texts)
	}
}

// TestActLocal runs the Action as a folder of the repository, which the workflow
// has to fetch first.
func TestActLocal(t *testing.T) {
	server := startServerWith(t, nil, 61*time.Second)
	s := newStage(t, server)
	must(t, os.CopyFS(filepath.Join(s.clone, "tools", "evergrant"), os.DirFS(s.actions[evergrantAction])))
	path := s.workflow(t, "generic", "--action", "./tools/evergrant")
	text, err := os.ReadFile(filepath.Join(s.clone, path))
	must(t, err)
	s.commit(t, map[string]string{path: strings.Replace(string(text), "# Put your work here.", work, 1)})
	r := s.run(t, &run{
		event: "push", workflow: path, actor: writer, secrets: map[string]string{"EVERGRANT_REFRESH_TOKEN": s.seed, "REFRESH_TOKEN": s.seed, "EVERGRANT_KEY": s.key},
		payload: map[string]any{"ref": "refs/heads/main", "repository": map[string]any{"full_name": repository, "private": true, "default_branch": "main"}},
	})
	if token := s.worked(t, r); !server.alive(t, token) {
		t.Fatal("the family is dead")
	}
	found := s.clean(t)
	if !t.Failed() {
		part("%-19s the Action as a folder of the repository: token good; no secret in %d texts", "act, local", found.texts)
	}
}

// TestActReusable calls the reusable template from another workflow.
func TestActReusable(t *testing.T) {
	server := startServer(t, nil)
	s := newStage(t, server)
	path := s.workflow(t, "reusable")
	const caller = ".github/workflows/caller.yml"
	s.commit(t, map[string]string{caller: "name: caller\non: workflow_dispatch\npermissions: {}\njobs:\n  call:\n    uses: ./" + path + `
    permissions: {contents: write}
    with:
      command: ` + strings.ReplaceAll("|\n"+work, "\n", "\n        ") + `
      grant: default
    secrets:
      refresh-token: ${{ secrets.REFRESH_TOKEN }}
      key: ${{ secrets.EVERGRANT_KEY }}
`})
	for range 2 {
		r := s.dispatched(0)
		r.workflow = caller
		if token := s.worked(t, s.run(t, r)); !server.alive(t, token) {
			t.Fatal("the family is dead")
		}
	}
	server.expect(t, "two calls, the second with life left", refreshes(1))
	found := s.clean(t)
	part("%-19s template reusable, called twice: one token request, token good both times; no secret in %d texts", "act, reusable", found.texts)
}

// TestActNewestNode runs the Action and its post step by the newest Node, with
// a cancellation between answer and save.
func TestActNewestNode(t *testing.T) {
	server := startServer(t, nil)
	s := newStage(t, server)
	s.commit(t, map[string]string{plainPath: plainWorkflow([]string{checkedOut}, nil)})
	before := s.begun(t)
	path := newestNode(t) + string(filepath.ListSeparator) + os.Getenv("PATH")
	h := s.holdSave(false)
	r := s.dispatched(before)
	r.path = path
	s.start(t, r)
	<-h.reached
	killTree(r.step(t))
	close(h.over)
	r.wait(t)
	if got := s.generation(t); got != before+1 {
		t.Fatalf("the store has generation %d, want %d\n%s", got, before+1, r.told())
	}
	next := s.dispatched(before + 1)
	next.path = path
	token := s.green(t, s.run(t, next))
	server.expect(t, "three refreshes", refreshes(3))
	if !server.alive(t, token) || s.twice() != 0 {
		t.Fatal("the family is dead")
	}
	s.clean(t)
	part("%-19s the Action and its post step under Node %s: refreshed, healed after SIGKILL, family alive", "act, newest Node", next.reports[0].Node)
}

// takes returns flags if a template has one of the words that they fill in.
func takes(t *testing.T, template string, of []string, flags ...string) []string {
	t.Helper()
	words, err := templates.Words(template)
	must(t, err)
	if slices.ContainsFunc(of, func(word string) bool { return slices.Contains(words, word) }) {
		return flags
	}
	return nil
}

// TestActJudges gives action.yml, and every workflow that init writes, to two
// judges that this project did not write.
func TestActJudges(t *testing.T) {
	clone := t.TempDir()
	forge.Git(t, "/", "init", "--quiet", clone)
	folder := filepath.Join(clone, ".github", "workflows")
	must(t, os.MkdirAll(folder, 0o755))
	variants := [][]string{
		{"comment", "--provider", "claude"},
		{"comment", "--provider", "claude", "--consumer", "nimishchaudhari/claude-code-action-max-sub"},
		{"generic", "--provider", "claude"}, {"generic", "--provider", "gitlab", "--client-id", "x"},
		{"generic", "--token-url", "https://provider.example/token", "--client-id", "x"},
		{"reusable", "--provider", "claude"}, {"reusable", "--provider", "gitlab", "--client-id", "x"},
		{"reusable", "--token-url", "https://provider.example/token", "--client-id", "x"},
	}
	for _, name := range templates.Names() {
		if !slices.ContainsFunc(variants, func(v []string) bool { return v[0] == name }) {
			variants = append(variants, append([]string{name}, takes(t, name, []string{"PROVIDER", "TOKEN_URL"}, "--provider", "claude")...))
		}
	}
	for i, v := range variants {
		name := filepath.Join(folder, v[0]+string(rune('a'+i))+".yml")
		b := newBox(t)
		cmd := b.command(t.Context(), slices.Concat([]string{"init", "github", "--template", v[0], "--out", name}, takes(t, v[0], []string{templates.Action}, "--action", evergrantAction), v[1:])...)
		cmd.Dir = clone
		if r := b.finish(t, cmd); r.code != 0 {
			t.Fatalf("no workflow\n%v", r)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.yml"))
	must(t, err)
	if len(files) != len(variants) {
		t.Fatalf("%d workflows of %d variants", len(files), len(variants))
	}
	judge := func(path string, args ...string) {
		t.Helper()
		cmd := exec.Command(path, args...)
		cmd.Dir = clone
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(path), err, out)
		}
	}
	actionlint := filepath.Join(actDir(t), "bin", "actionlint")
	judge(actionlint, append([]string{"-color=false"}, files...)...)
	validator := filepath.Join(actDir(t), "node_modules", ".bin", "action-validator")
	for _, f := range files {
		judge(validator, f)
	}
	root, err := filepath.Abs("..")
	must(t, err)
	text, err := os.ReadFile(filepath.Join(root, "action.yml"))
	must(t, err)
	// This judge's schema ends before node24, so it is given a copy that says node20.
	older := filepath.Join(t.TempDir(), "action.yml")
	must(t, os.WriteFile(older, []byte(strings.Replace(string(text), "using: node24", "using: node20", 1)), 0o644))
	judge(validator, older)
	// The Action as a local one: its inputs and outputs are checked against their use.
	must(t, os.CopyFS(filepath.Join(clone, "evergrant", "action"), os.DirFS(filepath.Join(root, "action"))))
	must(t, os.WriteFile(filepath.Join(clone, "evergrant", "action.yml"), text, 0o644))
	for _, f := range files {
		workflow, err := os.ReadFile(f)
		must(t, err)
		must(t, os.WriteFile(f, []byte(strings.ReplaceAll(string(workflow), evergrantAction, "./evergrant")), 0o644))
	}
	judge(actionlint, append([]string{"-color=false"}, files...)...)
	// Both find what is wrong.
	bad := filepath.Join(folder, "bad.yml")
	must(t, os.WriteFile(bad, []byte(strings.ReplaceAll(plainWorkflow([]string{"uses: ./evergrant\nwith: {no-such-input: 1}"}, nil), "contents: write", "secrets: write")), 0o644))
	for _, j := range []string{actionlint, validator} {
		if out, err := exec.Command(j, bad).CombinedOutput(); err == nil {
			t.Errorf("%s finds nothing in a bad workflow\n%s", filepath.Base(j), out)
		}
	}
	if !t.Failed() {
		part("%-19s actionlint and action-validator: nothing on action.yml and on %d workflows that init writes; both find a planted mistake", "judges", len(variants))
	}
}
