package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/ghworkflow"
	"evergrant/internal/grant"
	"evergrant/internal/provider"
)

// checkReport is the JSON report of init github --check. Members are added
// freely and never change their meaning.
type checkReport struct {
	Files    []string             `json:"files"`
	Findings []ghworkflow.Finding `json:"findings"`
	Grant    *grant.ID            `json:"grant"` // always null
	Warnings []string             `json:"warnings"`

	*Verdict // if there is an error among the findings
}

// initCheck judges workflows and prints what it finds.
func (a *app) initCheck(o initOptions, files []string) error {
	if o.print || o.out != "" || o.action != "" || o.provider != "" || o.consumer != "" || o.tokenURL != "" || o.clientID != "" {
		return usagef("--check judges workflows and writes none: leave the flags that describe one out")
	}
	if len(files) == 0 {
		var err error
		if files, err = workflowFiles(); err != nil {
			return err
		}
	}
	known, err := knownProviders()
	if err != nil {
		return err
	}
	r := checkReport{Files: files, Findings: []ghworkflow.Finding{}, Warnings: []string{}}
	for _, path := range files {
		b, _, err := atomicfile.ReadRegular(path, ghworkflow.MaxFile)
		if err != nil {
			return usagef("--check: %s: %v", shownPath(path), err)
		}
		r.Findings = append(r.Findings, ghworkflow.Check(filepath.ToSlash(path), b, known)...)
	}
	return a.reportFindings(r, o.json)
}

// workflowFiles are the workflows of the repository around this folder.
func workflowFiles() ([]string, error) {
	root := repositoryRoot(".")
	if root == "" {
		return nil, usagef("--check: this folder is in no git repository").hint("name the files: evergrant init github --check FILE")
	}
	folder := filepath.Join(root, ".github", "workflows")
	entries, err := os.ReadDir(folder)
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yml" || ext == ".yaml") {
			files = append(files, filepath.Join(folder, e.Name()))
		}
	}
	if len(files) == 0 {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("--check: %s: %v", shownPath(folder), atomicfile.Bare(err))
		}
		return nil, usagef("--check: there are no workflows yet in %s", shownPath(folder)).hint("evergrant init github writes one")
	}
	return files, nil
}

// knownProviders is what the presets say of rotation and of hosts.
func knownProviders() (ghworkflow.Known, error) {
	stays, retired := map[string]bool{}, map[string]string{}
	for _, name := range provider.Names() {
		p, err := provider.Lookup(name)
		if err != nil {
			return ghworkflow.Known{}, err
		}
		stays[name] = !p.Behaviour().Rotates
		for _, h := range p.RetiredHosts {
			retired[h.Host] = h.Use
		}
	}
	return ghworkflow.Known{Rotates: func(preset string) bool { return !stays[preset] }, Retired: retired}, nil
}

// reportFindings prints the findings and returns an error of code 2 if one of
// them is of that level.
func (a *app) reportFindings(r checkReport, asJSON bool) error {
	counts := map[ghworkflow.Level]int{}
	var bad []string
	for _, f := range r.Findings {
		counts[f.Level]++
		if f.Level == ghworkflow.Error {
			bad = append(bad, f.File)
		}
	}
	var failed error
	if n := counts[ghworkflow.Error]; n > 0 {
		slices.Sort(bad)
		failed = usagef("%s in %d of %s", counted(n, "error"), len(slices.Compact(bad)), counted(len(r.Files), "workflow"))
		v := verdictOf(failed)
		r.Verdict = &v
	}
	if asJSON {
		a.reported = true
		if err := printJSON(a.stdout, r); err != nil {
			return err
		}
		return failed
	}
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintln(&b, oneLine(f.String()))
		for _, part := range [][2]string{{"why", f.Why}, {"do", f.Do}} {
			if part[1] != "" {
				fmt.Fprintf(&b, "    %s: %s\n", part[0], oneLine(part[1]))
			}
		}
	}
	if _, err := fmt.Fprint(a.stdout, b.String()); err != nil {
		return fmt.Errorf("writing the findings: %w", err)
	}
	if failed == nil {
		a.console.notef("%s: %s, %s", counted(len(r.Files), "workflow"), counted(counts[ghworkflow.Warning], "warning"), counted(counts[ghworkflow.Note], "note"))
	}
	return failed
}

// counted is a number of things in words.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
