package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Place names where the records are, whatever way the URL is written: by which
// link, with which options, absolute or not. What a machine keeps beside a store
// is filed under it. It is the same while the folder is not there, be it not made
// yet or moved away, because the marks of a store are needed most then; an id
// kept in the folder itself was rejected for that. Places that differ in the case
// of letters only are different, also where the file system does not mind.
func (l Location) Place() string {
	switch {
	case l.scheme == "file":
		return "file:" + resolve(l.path)
	case l.scheme == "git" && l.ref != "":
		return "git:" + l.remote.Place() + "#" + l.ref
	case l.scheme == "git":
		return "git:" + l.remote.Place()
	case l.scheme == "ghsecret":
		return "ghsecret:" + l.secret.of.Place(l.secret.api)
	}
	return l.String()
}

// Present reports whether the place is there already. A place that is no folder
// of this machine counts as there: only asking it can tell.
func (l Location) Present() bool {
	if l.scheme != "file" {
		return true
	}
	_, err := os.Stat(l.path)
	return !errors.Is(err, fs.ErrNotExist)
}

// maxLinks is how many symbolic links one path may go through; Linux has the
// same limit.
const maxLinks = 40

// resolve follows the symbolic links of an absolute path as far as they lead.
// Unlike [filepath.EvalSymlinks], it goes on where nothing exists: a link to a
// folder that is not there stands for that folder.
func resolve(path string) string {
	volume := filepath.VolumeName(path)
	done, left := volume+string(filepath.Separator), path[len(volume):]
	for links := 0; left != ""; {
		var name string
		name, left, _ = strings.Cut(strings.TrimLeft(left, string(filepath.Separator)), string(filepath.Separator))
		switch name {
		case "", ".":
			continue
		case "..":
			done = filepath.Dir(done)
			continue
		}
		next := filepath.Join(done, name)
		target, err := os.Readlink(next)
		if err != nil {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return filepath.Join(next, left) // a loop: nothing can be kept there
		}
		if filepath.IsAbs(target) {
			volume = filepath.VolumeName(target)
			done, target = volume+string(filepath.Separator), target[len(volume):]
		}
		left = target + string(filepath.Separator) + left
	}
	return done
}
