package git

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // git's object names
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"
)

// format is a repository's object format. A remote's is told by the length of
// its object ids; an empty one is taken for SHA-1, git's default.
type format string

const (
	formatSHA1   format = "sha1"
	formatSHA256 format = "sha256"
)

func formatOf(oid string) format {
	if len(oid) == 2*sha256.Size {
		return formatSHA256
	}
	return formatSHA1
}

func (f format) hash() hash.Hash {
	if f == formatSHA256 {
		return sha256.New()
	}
	return sha1.New() //nolint:gosec // git's object names
}

// isObjectID reports whether s is a whole object id of either format.
func isObjectID(s string) bool {
	if len(s) != 2*sha1.Size && len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// repository is a bare repository in a folder of its own, for one call: no
// configuration but ours, no hooks, no alternates, and nothing that a parallel
// call could lock. Its files are those of gitrepository-layout(5).
type repository struct {
	dir    string // the folder, which is also HOME and TMPDIR of git
	format format
}

// gitDir is the repository in the folder.
func (r *repository) gitDir() string { return filepath.Join(r.dir, "repository") }

// globalConfig stands where git looks for the user's configuration. It is all
// that a receiving git of a path remote gets from us: the objects and the ref
// of a push are on the disk before the push is reported.
func (r *repository) globalConfig() string { return filepath.Join(r.dir, "config") }

const durable = "[core]\n\tfsync = all\n\tfsyncMethod = fsync\n"

func newRepository(f format) (*repository, error) {
	dir, err := os.MkdirTemp("", "evergrant-git-")
	if err != nil {
		return nil, fmt.Errorf("a temporary folder: %w", err)
	}
	r := &repository{dir, f}
	config := "[core]\n\trepositoryFormatVersion = 0\n\tbare = true\n"
	if f == formatSHA256 {
		config = "[core]\n\trepositoryFormatVersion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n"
	}
	for _, d := range []string{"objects", "refs"} {
		if err = os.MkdirAll(filepath.Join(r.gitDir(), d), 0o700); err != nil {
			break
		}
	}
	for name, text := range map[string]string{
		filepath.Join(r.gitDir(), "HEAD"): "ref: refs/heads/none\n", filepath.Join(r.gitDir(), "config"): config, r.globalConfig(): durable,
	} {
		if err == nil {
			err = os.WriteFile(name, []byte(text), 0o600)
		}
	}
	if err != nil {
		r.remove()
		return nil, fmt.Errorf("a temporary repository: %w", err)
	}
	return r, nil
}

// remove deletes the folder. What cannot be deleted holds sealed records only.
func (r *repository) remove() { _ = os.RemoveAll(r.dir) }

// recordName is the one file in a record's tree.
const recordName = "record.json"

// message is read by people who find the commit. [skip ci] keeps a record that
// had to go to a branch from starting pipelines (GitHub and GitLab honour it).
const message = "A grant's record, sealed by evergrant [skip ci]\n\nDo not edit, merge or delete it.\n"

// commit writes a record as blob, tree and parentless commit and returns the
// commit's id. It writes loose objects itself, as gitformat-loose(5) and
// git-cat-file(1) describe them: three processes less in the protocol's
// shortest and most pressing step.
func (r *repository) commit(record []byte, now time.Time) (string, error) {
	blob, err := r.write("blob", record)
	if err != nil {
		return "", err
	}
	raw, err := hex.DecodeString(blob)
	if err != nil {
		return "", err
	}
	tree, err := r.write("tree", append([]byte("100644 "+recordName+"\x00"), raw...))
	if err != nil {
		return "", err
	}
	who := fmt.Sprintf("evergrant <evergrant@localhost> %d +0000", now.Unix())
	return r.write("commit", fmt.Appendf(nil, "tree %s\nauthor %s\ncommitter %s\n\n%s", tree, who, who, message))
}

func (r *repository) write(kind string, content []byte) (string, error) {
	object := append(fmt.Appendf(nil, "%s %d\x00", kind, len(content)), content...)
	h := r.format.hash()
	_, _ = h.Write(object) // a hash never fails
	id := hex.EncodeToString(h.Sum(nil))
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, err := z.Write(object)
	if err == nil {
		err = z.Close()
	}
	dir := filepath.Join(r.gitDir(), "objects", id[:2])
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, id[2:]), packed.Bytes(), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("a temporary object: %w", err)
	}
	return id, nil
}
