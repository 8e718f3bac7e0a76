package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/ghworkflow"
)

// machine examines what is of no grant: the configuration, and the workflows of the
// repository around this folder.
func (d *doctor) machine() error {
	d.configuration()
	return d.workflows()
}

func (d *doctor) configuration() {
	f, found, err := d.readConfig(d.cmd.Flag("config").Value.String())
	if found {
		d.config = f
		d.fine("configuration", "%s: %s", f.Path, counted(len(f.Grants), "grant"))
	}
	u := (*usageError)(nil)
	if !errors.As(err, &u) {
		return
	}
	const why = "no grant of it can be refreshed by its name"
	if len(u.hints) > 0 && strings.HasPrefix(u.hints[0], "chmod ") {
		path, _ := d.configPath(d.cmd.Flag("config").Value.String())
		d.find(exitUsage, "configuration-mode", u.msg, "whoever can write it can have your tokens sent elsewhere", "chmod go-w "+shellWord(absolute(path)))
		return
	}
	d.find(exitUsage, "configuration", u.msg, why, d.editor(locationIn(u.msg, d)))
}

// locationIn is the place that an error of the configuration begins with, or its
// path.
func locationIn(msg string, d *doctor) string {
	path, _ := d.configPath(d.cmd.Flag("config").Value.String())
	rest, ok := strings.CutPrefix(msg, path+":")
	if !ok {
		return absolute(path)
	}
	line, _, _ := strings.Cut(rest, ":")
	if line == "" || strings.Trim(line, "0123456789") != "" {
		return absolute(path)
	}
	return absolute(path) + ":" + line
}

// workflows judges those of the repository as init github --check does.
func (d *doctor) workflows() error {
	root := repositoryRoot(".")
	if root == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(root, ".github", "workflows")); err != nil {
		return nil
	}
	files, err := workflowFiles()
	if err != nil {
		return nil // there is none
	}
	known, err := knownProviders()
	if err != nil {
		return err
	}
	sound := 0
	for _, path := range files {
		b, _, err := atomicfile.ReadRegular(path, ghworkflow.MaxFile)
		if err != nil {
			d.find(exitUsage, "workflow", fmt.Sprintf("%s: %v", shownPath(path), err), "what it does with a login cannot be judged; set it aside, or make it a file that you can read", setAside(path, "set-aside"))
			continue
		}
		found := ghworkflow.Check(filepath.ToSlash(path), b, known)
		for _, f := range found {
			code := noteOnly
			if f.Level == ghworkflow.Error {
				code = exitUsage
			}
			d.find(code, "workflow", f.String(), strings.TrimPrefix(f.Why+"; ", "; ")+f.Do, d.editor(fmt.Sprintf("%s:%d:%d", path, max(f.Line, 1), max(f.Column, 1))))
		}
		if len(found) == 0 {
			sound++
		}
	}
	if sound > 0 {
		d.fine("workflows", "nothing to say of %s", counted(sound, "workflow"))
	}
	return nil
}

// secretFiles looks at who else can read the files that hold secrets.
func (d *doctor) secretFiles(o refreshOptions) {
	if runtime.GOOS == "windows" {
		return
	}
	for _, path := range []string{o.store.keyFile, o.client.secretFile, o.client.keyFile} {
		if path == "" {
			continue
		}
		st, err := os.Stat(path)
		if err != nil || st.Mode()&fs.ModeType != 0 || st.Mode().Perm()&0o077 == 0 {
			continue
		}
		d.find(exitUsage, "secret-mode", fmt.Sprintf("others can read %s (mode %04o)", shownPath(path), st.Mode().Perm()), "it opens every record, or speaks for your client", "chmod 600 "+shellWord(absolute(path)))
	}
}
