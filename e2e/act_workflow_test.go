//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"
)

// plainWorkflow is a workflow of a few lines for what no template has: it takes
// more inputs for the Action, and other steps before it, as text.
func plainWorkflow(before []string, inputs map[string]string) string {
	var b strings.Builder
	b.WriteString("name: plain\non: workflow_dispatch\npermissions: {contents: write}\njobs:\n  work:\n    runs-on: ubuntu-latest\n    steps:\n")
	for _, step := range before {
		b.WriteString("      - " + strings.ReplaceAll(step, "\n", "\n        ") + "\n")
	}
	b.WriteString("      - uses: " + evergrantAction + "\n        id: evergrant\n        with:\n")
	all := map[string]string{
		"token-url": "${{ vars.TOKEN_URL }}", "client-id": publicClient.id, "after": "${{ vars.AFTER }}",
		"refresh-token": "${{ secrets.REFRESH_TOKEN }}", "key": "${{ secrets.EVERGRANT_KEY }}",
	}
	maps.Copy(all, inputs)
	for name, value := range all {
		b.WriteString("          " + name + ": " + value + "\n")
	}
	b.WriteString("      - uses: " + officialAction + "\n        with:\n          claude_code_oauth_token: ${{ steps.evergrant.outputs.access-token }}\n")
	return b.String()
}

// checkedOut is the step that fetches the repository, as most workflows begin.
const checkedOut = "uses: " + checkoutAction + "\nwith: {persist-credentials: false}"

const plainPath = ".github/workflows/plain.yml"

// dispatched is a run of the plain workflow that wants a token above a
// generation; 0: any living one.
func (s *stage) dispatched(after uint64) *run {
	r := &run{
		event: "workflow_dispatch", workflow: plainPath, actor: writer,
		payload: map[string]any{"inputs": map[string]any{}, "repository": map[string]any{"full_name": repository, "private": true}},
		secrets: map[string]string{"REFRESH_TOKEN": s.seed, "EVERGRANT_KEY": s.key},
		vars:    map[string]string{"TOKEN_URL": s.url + "/token"},
	}
	if after > 0 {
		r.vars["AFTER"] = strconv.FormatUint(after, 10)
	}
	return r
}

// begun makes the grant's record by the binary itself, without a workflow, and
// returns its generation.
func (s *stage) begun(t *testing.T, args ...string) uint64 {
	t.Helper()
	return s.box(t).deliver(t, args...).Generation
}

// generation is what is in the store now.
func (s *stage) generation(t *testing.T) uint64 {
	t.Helper()
	r := s.box(t).run(t, "status", "--json", "default")
	var status struct{ Generation uint64 }
	if err := json.Unmarshal([]byte(r.stdout), &status); err != nil || r.code != 0 {
		t.Fatalf("the record cannot be read: %v\n%v", err, r)
	}
	return status.Generation
}

// failed is how act tells the exit code of a step.
func failed(code int) string { return "exit status " + strconv.Itoa(code) + "\n" }
