package packaging_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"evergrant/packaging"
)

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// recipe is what is looked at of .goreleaser.yaml.
type recipe struct {
	Builds []struct {
		Main, Binary             string
		Flags, Env, Goos, Goarch []string
		Ldflags                  []string
		ModTimestamp             string `yaml:"mod_timestamp"`
	}
	Archives []struct {
		ID           string
		Formats      []string
		NameTemplate string `yaml:"name_template"`
		Files        []struct{ Src string }
	}
	SBOMs    []struct{ Cmd string } `yaml:"sboms"`
	Checksum struct {
		NameTemplate string `yaml:"name_template"`
	}
	Nfpms     []struct{ Contents []struct{ Src string } }
	DockersV2 []struct {
		Dockerfile string
		IDs        []string `yaml:"ids"`
		ExtraFiles []string `yaml:"extra_files"`
		Hooks      struct{ Pre []struct{ Cmd string } }
	} `yaml:"dockers_v2"`
	Signs   []any
	Release struct{ Disable bool }
}

func read(t *testing.T) recipe {
	t.Helper()
	var r recipe
	if err := yaml.Unmarshal([]byte(text(t, ".goreleaser.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBuild: a release is built as the Makefile builds, for six systems, and the
// programs have the names by which the table of digests, and so the Action, knows
// them.
func TestBuild(t *testing.T) {
	t.Parallel()
	r := read(t)
	if len(r.Builds) != 1 {
		t.Fatalf("%d builds, want one", len(r.Builds))
	}
	b := r.Builds[0]
	made := regexp.MustCompile(`(?m)^\t\$\(FETCHED\) \$\(RELEASED\) go build (-tags .*) -ldflags='(.*)' -o \$\(BIN\) \./(\S+)$`).FindStringSubmatch(text(t, "Makefile"))
	if made == nil {
		t.Fatal("the Makefile builds in another way")
	}
	if strings.Join(b.Flags, " ") != made[1] || !slices.Equal(b.Ldflags, made[2:3]) || b.Main != "./"+made[3] || b.Binary != "evergrant" {
		t.Errorf("a release is built by %q and %q of %s, the Makefile builds by %q and %q", b.Flags, b.Ldflags, b.Main, made[1], made[2])
	}
	settings := regexp.MustCompile(`(?m)^RELEASED := (.*)$`).FindStringSubmatch(text(t, "Makefile"))
	if settings == nil || !slices.Equal(append(strings.Fields(settings[1]), "GOTOOLCHAIN=local"), b.Env) {
		t.Errorf("a release is built with %q, the Makefile builds with %q", b.Env, settings)
	}
	if !slices.Contains(b.Env, "CGO_ENABLED=0") || !slices.Contains(b.Env, "GOENV=off") || b.ModTimestamp != "{{ .CommitTimestamp }}" {
		t.Errorf("the environment is %q, the time %q", b.Env, b.ModTimestamp)
	}
	names := text(t, "packaging/digests/main.go")
	for _, list := range [][]string{b.Goos, b.Goarch} {
		if quoted := `{"` + strings.Join(list, `", "`) + `"}`; !strings.Contains(names, quoted) {
			t.Errorf("packaging/digests does not know the targets %s", quoted)
		}
	}
	if a := r.Archives[0]; a.ID != "program" || !slices.Equal(a.Formats, []string{"binary"}) || a.NameTemplate != "evergrant-{{ .Os }}-{{ .Arch }}" {
		t.Errorf("the programs alone are %+v", a)
	}
	if r.Checksum.NameTemplate != "SHA256SUMS" || !strings.Contains(names, `"SHA256SUMS"`) {
		t.Errorf("the list of digests is %s", r.Checksum.NameTemplate)
	}
	if !r.Release.Disable || len(r.Signs) > 0 {
		t.Error("goreleaser signs or uploads what nobody has compared yet")
	}
}

// TestImage: what the image's recipe copies is in the context that goreleaser makes:
// each program in the folder of its platform, extra files under their whole paths,
// and what a hook puts there.
func TestImage(t *testing.T) {
	t.Parallel()
	images := read(t).DockersV2
	if len(images) != 1 || !slices.Equal(images[0].IDs, []string{"evergrant"}) {
		t.Fatalf("the images are %+v", images)
	}
	context := append([]string{"$TARGETPLATFORM/evergrant"}, images[0].ExtraFiles...)
	for _, h := range images[0].Hooks.Pre {
		put := regexp.MustCompile(`^cp (\S+) \{\{ \.ContextDir \}\}/$`).FindStringSubmatch(h.Cmd)
		if put == nil {
			t.Fatalf("what does %q leave in the context?", h.Cmd)
		}
		context = append(context, filepath.Base(put[1]))
	}
	copied := regexp.MustCompile(`(?m)^COPY (\S+) /\S+$`).FindAllStringSubmatch(text(t, images[0].Dockerfile), -1)
	if len(copied) != 2 {
		t.Fatalf("%s copies %q", images[0].Dockerfile, copied)
	}
	for _, c := range copied {
		if !slices.Contains(context, c[1]) {
			t.Errorf("%s copies %s, and the context has %q", images[0].Dockerfile, c[1], context)
		}
	}
}

// TestTable: a table that names programs names those of this source. At the first
// change after a release it does not any more, and the Action would go on running
// the old ones.
func TestTable(t *testing.T) {
	t.Parallel()
	var table struct {
		Version, Sources string
		Assets           map[string]any
	}
	if err := json.Unmarshal([]byte(text(t, "action/release.json")), &table); err != nil {
		t.Fatal(err)
	}
	now, err := packaging.Sources("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Assets) > 0 && table.Sources != now {
		t.Errorf("action/release.json names the programs of %s, and the source has changed since. What to do: make it "+
			`{"version": "THE ONE IN internal/cli/version.go", "assets": {}}; a filled table is for the tag of its release`, table.Version)
	}
}

// TestSources: each file that the program is built from changes their digest, and
// no test does.
func TestSources(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{if and .Module .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}`, "../cmd/evergrant")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"go.mod", "go.sum"}
	for path := range strings.FieldsSeq(string(out)) {
		relative, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, relative)
	}
	if len(paths) < 150 {
		t.Fatalf("go lists %d files", len(paths))
	}
	top := t.TempDir()
	for _, path := range paths {
		write(t, filepath.Join(top, path), "1")
	}
	digest := func() string {
		t.Helper()
		d, err := packaging.Sources(top)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := digest()
	for _, path := range paths {
		write(t, filepath.Join(top, path), "2")
		if digest() == before {
			t.Errorf("%s is not among the sources", path)
		}
		write(t, filepath.Join(top, path), "1")
	}
	for _, path := range []string{"internal/cli/x_test.go", "internal/cli/testdata/x.go", "docs/x.md", "cmd/.x.go.swp"} {
		write(t, filepath.Join(top, path), "x")
		if digest() != before {
			t.Errorf("%s is among the sources", path)
		}
	}
	if _, err := packaging.Sources(filepath.Join(top, "internal")); err == nil || !strings.Contains(err.Error(), "is not the root of the source") {
		t.Errorf("elsewhere: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestFiles: whatever the recipes name is there, or is made before.
func TestFiles(t *testing.T) {
	t.Parallel()
	r := read(t)
	var named []string
	for _, a := range r.Archives {
		for _, f := range a.Files {
			named = append(named, f.Src)
		}
	}
	for _, n := range r.Nfpms {
		for _, c := range n.Contents {
			named = append(named, c.Src)
		}
	}
	for _, d := range r.DockersV2 {
		named = append(named, d.Dockerfile)
		named = append(named, d.ExtraFiles...)
	}
	for _, s := range r.SBOMs {
		named = append(named, strings.TrimPrefix(s.Cmd, "../"))
	}
	if len(named) < 12 {
		t.Fatalf("only %d files are named: %q", len(named), named)
	}
	for _, path := range named {
		if strings.HasPrefix(path, "packaging/made/") {
			continue // by packaging/pages, of which the snapshot is the test
		}
		if _, err := os.Stat(filepath.Join("..", path)); err != nil {
			t.Errorf("%s is named and not there", path)
		}
	}
}

// TestPins: whatever fetches a tool names its version, and the workflow builds with
// the same tools, by actions that are named by their commit.
func TestPins(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(text(t, "packaging/programs")) {
		if !regexp.MustCompile(`^\S+@v\d+\.\d+\.\d+\n$`).MatchString(line) {
			t.Errorf("packaging/programs: %q has no version", line)
		}
	}
	workflow := text(t, "packaging/release.yml")
	// It builds by the snapshot, whose tools these are, and uploads what was compared.
	at := -1
	for _, step := range []string{"make test", "packaging/snapshot ", "packaging/digests -check action/release.json -tag ", " sign-blob ", "attest-build-provenance@", `gh release create "$GITHUB_REF_NAME" --draft `} {
		next := strings.Index(workflow, step)
		if next <= at || strings.Count(workflow, step) != 1 {
			t.Errorf("the workflow does %q not once, or too early", step)
		}
		at = next
	}
	if strings.Contains(workflow, "goreleaser") {
		t.Error("the workflow builds in another way than the snapshot")
	}
	uses := regexp.MustCompile(`(?m)uses: (.*)$`).FindAllStringSubmatch(workflow, -1)
	for _, u := range uses {
		if !regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(u[1]) {
			t.Errorf("the workflow uses %s, which may be another tomorrow", u[1])
		}
	}
	if len(uses) < 3 || !strings.Contains(workflow, "\npermissions: {}\n") {
		t.Errorf("the workflow uses %d actions, or has more permissions than its job needs", len(uses))
	}
}
