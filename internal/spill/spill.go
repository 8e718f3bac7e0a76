// Package spill keeps records that could not be saved yet on this machine's
// disk, sealed where there is a key, until they are in the store.
//
//	acme+main.<32 hex digits of a digest of the Writer>.spill
//
// Each file, mode 0600, holds one record in the form of package record.
//
// A login is lost when the process ends between the reply and the spill, so a
// record is written straight under its final name: from the end of that one
// write on it outlives the process, and [Folder.List] takes it, synced or not. A
// rename would add its own time to that gap. The price is that a process killed
// inside the write leaves a torn file. A part of a JSON object is never a JSON
// object, so a torn file is known as such: it is passed over, for it may still
// grow, and taken away when it is older than ten minutes, for it may hold half a
// secret. The same befalls the temporary file of a record that was being put
// again; its earlier form is still there.
package spill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// Folder is a [grant.Spill] in a folder. It is safe for concurrent use, by
// goroutines and by processes: each file has one writer.
type Folder struct {
	dir    string
	codec  *record.Codec
	second *Folder // nil: there is none
}

// Open names the folder of the spill. It does no I/O: the folder is made, mode
// 0700, by the first Ready or Put.
func Open(dir string, codec *record.Codec) *Folder { return &Folder{dir: dir, codec: codec} }

// With has a second folder with records of the same grants, for one whose disk may be
// emptied: List, Kept and Remove look there too. Put and Ready do not write there;
// [Folder.PutSecond] does.
func (f *Folder) With(dir string) *Folder {
	return &Folder{dir: f.dir, codec: f.codec, second: Open(dir, f.codec)}
}

// PutSecond is Put into the second folder. Without one it is Put.
func (f *Folder) PutSecond(ctx context.Context, c grant.Credential) error {
	if f.second == nil {
		return f.Put(ctx, c)
	}
	return f.second.Put(ctx, c)
}

const (
	suffix    = ".spill"
	digestLen = 32
	// abandoned is the age from which on a file that is not whole has no writer
	// any more: writing one takes milliseconds.
	abandoned = 10 * time.Minute
)

// Path is where the record of that writer is kept, for people; "" if id is not
// a valid grant name.
func (f *Folder) Path(id grant.ID, writer string) string {
	name, err := id.Filename()
	if err != nil {
		return ""
	}
	return filepath.Join(f.dir, name+"."+digest(writer)+suffix)
}

func digest(writer string) string {
	sum := sha256.Sum256([]byte("evergrant/spill/1\x00" + writer))
	return hex.EncodeToString(sum[:digestLen/2])
}

// Put implements [grant.Spill]. It pays no attention to ctx: writing a file of
// this machine is over in milliseconds, and giving it up may lose a login.
func (f *Folder) Put(_ context.Context, c grant.Credential) error {
	path := f.Path(c.Grant, c.Writer)
	if path == "" {
		_, err := c.Grant.Filename()
		return fmt.Errorf("spill: %w", err)
	}
	b, err := f.codec.Encode(c)
	if err != nil {
		return fmt.Errorf("spill of grant %q: %w", c.Grant, err)
	}
	if err := f.private(); err != nil {
		return fmt.Errorf("spill of grant %q: %w", c.Grant, err)
	}
	err = atomicfile.Create(path, b, 0o600)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, atomicfile.ErrTaken) {
		err = atomicfile.Write(path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("spill of grant %q: %w", c.Grant, err)
	}
	return nil
}

// probe is the file that Ready writes; a crash leaves at most one. Its name is
// that of no record.
const probe = ".ready"

// probeSize is more than a record has, so that a disk that is full is noticed.
const probeSize = 16 << 10

// Ready implements [grant.Readier]: it makes the folder and writes a file there,
// which it takes away again. It does not sync, so it costs next to nothing.
func (f *Folder) Ready(_ context.Context, id grant.ID) error {
	if _, err := id.Filename(); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	err := f.private()
	if err == nil {
		err = f.try()
	}
	if err != nil {
		return fmt.Errorf("spill folder %s: %w", f.dir, err)
	}
	return nil
}

func (f *Folder) try() error {
	path := filepath.Join(f.dir, probe)
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return unwritable(err)
	}
	_, err = w.Write(make([]byte, probeSize))
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	// Another process may be trying at the same time, and take it away first.
	if rerr := os.Remove(path); err == nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = rerr
	}
	return unwritable(err)
}

func unwritable(err error) error {
	if err == nil {
		return nil
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("nothing can be written there: %w", err)
}

// Kept proves that the record of that writer is here and whole, and returns its
// path.
func (f *Folder) Kept(id grant.ID, writer string) (string, error) {
	path := f.Path(id, writer)
	if path == "" {
		return "", fmt.Errorf("spill: %q is not the name of a grant", id)
	}
	if _, err := f.read(path, id); err != nil && f.second != nil {
		return f.second.Kept(id, writer)
	} else if err != nil {
		return "", fmt.Errorf("spill of grant %q: %w", id, err)
	}
	return path, nil
}

// private makes the folder, or takes from others what they may do in it.
func (f *Folder) private() error {
	st, err := os.Lstat(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.MkdirAll(f.dir, 0o700)
	}
	switch {
	case err != nil:
		return err
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link; remove it, or choose another folder", f.dir)
	case !st.IsDir():
		return fmt.Errorf("%s is not a folder; remove it, or choose another folder", f.dir)
	case st.Mode().Perm()&0o077 != 0:
		// It fails where the folder is somebody else's. Windows has no such bits
		// and ignores the call.
		return os.Chmod(f.dir, 0o700)
	}
	return nil
}

// List implements [grant.Spill]. A whole file that cannot be read stays where it
// is: it may hold the only copy of a token, and another key may open it. What a
// crash left of a file is no error.
func (f *Folder) List(ctx context.Context, id grant.ID) ([]grant.Credential, error) {
	name, err := id.Filename()
	if err != nil {
		return nil, fmt.Errorf("spill: %w", err)
	}
	var errs []error
	var creds []grant.Credential
	if f.second != nil {
		if creds, err = f.second.List(ctx, id); err != nil {
			errs = append(errs, err)
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // what was read before it failed is listed all the same
		errs = append(errs, fmt.Errorf("spill: %w", err))
	}
	for _, e := range entries {
		of, temp := atomicfile.Base(e.Name())
		if !temp {
			of = e.Name()
		}
		if !spillOf(of, name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("spill of grant %q: %w", id, err))
			break
		}
		path := filepath.Join(f.dir, e.Name())
		var c grant.Credential
		err := errTorn
		if !temp {
			c, err = f.read(path, id)
		}
		switch {
		case err == nil:
			creds = append(creds, c)
			continue
		case errors.Is(err, fs.ErrNotExist): // removed since the folder was read
			continue
		case errors.Is(err, errTorn):
			err = sweep(path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("spill of grant %q: %w", id, err))
		}
	}
	return creds, errors.Join(errs...)
}

func (f *Folder) read(path string, id grant.ID) (grant.Credential, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return grant.Credential{}, err
	}
	c, err := f.codec.Decode(id, b)
	if err != nil && torn(b) {
		return grant.Credential{}, errTorn
	}
	if err == nil && f.Path(c.Grant, c.Writer) != path {
		err = fmt.Errorf("%w: it is named after another writer", grant.ErrUnreadable)
	}
	if err != nil {
		return grant.Credential{}, fmt.Errorf("%s is kept: %w", path, err)
	}
	return c, nil
}

// errTorn marks a file whose writing did not come to its end.
var errTorn = errors.New("torn")

// torn reports whether b is what a write left that did not come to its end: the
// beginning of a JSON object, or nothing, and behind it the zeros of blocks that
// a power failure kept from being filled.
func torn(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	var v json.RawMessage
	err := json.NewDecoder(bytes.NewReader(b)).Decode(&v)
	return err == io.EOF || err == io.ErrUnexpectedEOF
}

// sweep takes a file that is not whole away once nobody can be writing it. It
// looks at the age after the content was read: whoever had gone on writing
// since would have made it young.
func sweep(path string) error {
	st, err := os.Lstat(path)
	if err == nil && time.Since(st.ModTime()) > abandoned {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what a crash left is in the way, remove it: %w", err)
	}
	return nil
}

// spillOf reports whether file is a spill of the grant with that file name. The
// grant's name may hold dots, so only the length of the rest tells them apart.
func spillOf(file, name string) bool {
	rest := len(file) - len(name)
	return rest == 1+digestLen+len(suffix) && file[:len(name)] == name && file[len(name)] == '.' &&
		file[len(file)-len(suffix):] == suffix
}

// Remove implements [grant.Spill]. A file that a power failure brings back does
// no harm: its record is in the store.
func (f *Folder) Remove(ctx context.Context, id grant.ID, writer string) error {
	path := f.Path(id, writer)
	if path == "" {
		return nil // it cannot have been put
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spill of grant %q: %w", id, err)
	}
	if f.second != nil {
		return f.second.Remove(ctx, id, writer)
	}
	return nil
}
