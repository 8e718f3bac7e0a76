package scripts_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the scripts, or their digests, into the templates")

// inlined is where a script stands in a workflow.
const inlined = "        run: |\n          #!/usr/bin/env python3\n"

// TestTemplates: the workflow with a script inside has it word for word, and the
// workflows that run a script of their repository name the digest of ours.
// After a change of a script: go test ./scripts -run TestTemplates -update.
func TestTemplates(t *testing.T) {
	const inline = "../templates/inline-python.yml"
	text := source(t, inline)
	start, end := strings.Index(text, inlined), strings.LastIndex(text, "\n\n      - ")
	if start < 0 || end < start {
		t.Fatalf("%s has no script", inline)
	}
	start += len("        run: |\n")
	var b strings.Builder
	for line := range strings.Lines(source(t, "refresh.py")) {
		if line != "\n" {
			b.WriteString("          ")
		}
		b.WriteString(line)
	}
	hold(t, inline, text[:start]+strings.TrimSuffix(b.String(), "\n")+text[end:])

	digest := regexp.MustCompile(`SCRIPT_SHA256: ([0-9a-f]{64})`)
	for template, script := range map[string]string{"../templates/bash.yml": "refresh.sh", "../templates/node.yml": "refresh.mjs"} {
		text := source(t, template)
		if len(digest.FindAllString(text, -1)) != 1 || strings.Count(text, "\n          exec ") != 1 || strings.Count(text, ".github/evergrant/"+script) != 2 {
			t.Fatalf("%s does not check %s and run it", template, script)
		}
		hold(t, template, digest.ReplaceAllString(text, fmt.Sprintf("SCRIPT_SHA256: %x", sha256.Sum256([]byte(source(t, script))))))
	}
}

// hold compares a file with what it should be, or makes it so.
func hold(t *testing.T, path, want string) {
	t.Helper()
	if source(t, path) == want {
		return
	}
	if !*update {
		t.Errorf("%s has another script than this folder; go test ./scripts -run TestTemplates -update", path)
		return
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
