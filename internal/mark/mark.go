// Package mark keeps high-water marks on this machine's disk, so that a store
// that was rolled back is noticed.
//
//	acme+main.mark   {"evergrant_mark":1,"grant":"acme/main","consent":"…","generation":17}
//
// A folder belongs to one store: the caller gives each store its own. Two
// processes that set a mark at once leave that of the later; a mark that is too
// low protects less and harms nothing.
//
// So a mark is replaced whole, as a garbled one would stop its grant, but need
// not last: a power failure may bring back the one before it, or none for a new
// grant, until the file system writes the folder by itself. Cheaper ways were
// rejected: without the sync of the file, a power failure can leave it empty;
// writing in place can show half a mark to another process.
package mark

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// Folder is a [grant.Marks] in a folder. It is safe for concurrent use.
type Folder struct{ dir string }

// Open names the folder of the marks. It does no I/O: the folder is made, mode
// 0700, by the first SetMark.
func Open(dir string) *Folder { return &Folder{dir} }

const format = 1

type stored struct {
	Format     int      `json:"evergrant_mark"`
	Grant      grant.ID `json:"grant"`
	Consent    string   `json:"consent"`
	Generation *uint64  `json:"generation"`
}

// Mark implements [grant.Marks]. A file that cannot be read is an error: taking
// it for no mark would let a rolled-back store pass.
func (f *Folder) Mark(_ context.Context, id grant.ID) (grant.Mark, error) {
	path, err := f.path(id)
	if err != nil {
		return grant.Mark{}, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return grant.Mark{}, nil
	}
	if err != nil {
		return grant.Mark{}, fmt.Errorf("high-water mark of grant %q: %w", id, err)
	}
	m, err := parse(b, id)
	if err != nil {
		return grant.Mark{}, fmt.Errorf("high-water mark of grant %q: %s %w; look at the store with `evergrant status`, and if it is right, remove the file", id, path, err)
	}
	return m, nil
}

// List names the grants that have a mark, in the order of their files. What is no
// mark is left out.
func (f *Folder) List() ([]grant.ID, error) {
	files, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("high-water marks: %w", err)
	}
	var ids []grant.ID
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), ".mark")
		if id, known := grant.ParseFilename(name); ok && known {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func parse(b []byte, id grant.ID) (grant.Mark, error) {
	var s stored
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(&s)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("more than one value")
		}
	}
	switch {
	case s.Format > format:
		return grant.Mark{}, fmt.Errorf("was written by a newer evergrant (format %d)", s.Format)
	case err != nil || s.Format != format || s.Generation == nil:
		return grant.Mark{}, errors.New("is damaged")
	case s.Grant != id:
		return grant.Mark{}, errors.New("belongs to another grant")
	}
	return grant.Mark{Consent: s.Consent, Generation: *s.Generation}, nil
}

// SetMark implements [grant.Marks]. It writes whatever it is given, a lower
// mark too: that is what accepting a rollback means. A mark that is the same
// already is not written again, and a damaged file is replaced.
func (f *Folder) SetMark(_ context.Context, id grant.ID, m grant.Mark) error {
	path, err := f.path(id)
	if err != nil {
		return err
	}
	b, err := json.Marshal(stored{format, id, m.Consent, &m.Generation})
	if err != nil {
		return fmt.Errorf("high-water mark of grant %q: %w", id, err)
	}
	b = append(b, '\n')
	old, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(old, b):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		err = atomicfile.MkdirAll(f.dir, 0o700)
	}
	if err == nil {
		err = atomicfile.Update(path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("high-water mark of grant %q: %w", id, err)
	}
	return nil
}

func (f *Folder) path(id grant.ID) (string, error) {
	name, err := id.Filename()
	if err != nil {
		return "", fmt.Errorf("high-water mark: %w", err)
	}
	return filepath.Join(f.dir, name+".mark"), nil
}
