// Package git keeps records in refs of a git repository, so that machines that
// share nothing but a forge share a grant: the forge compares and swaps.
//
// # In the repository
//
//	refs/evergrant/acme+claude → commit without parent → tree → record.json
//
// The ref's last part is that of [grant.ID.Filename]: refs that are each
// other's prefix cannot exist side by side. Where the remote refuses
// to create a ref there, it is the branch evergrant/acme+claude instead. A
// record in both places is unreadable: nobody can tell which counts.
//
// record.json is a sealed record with a proof; see package record. The place
// that the proof binds it to is [Remote.Place]. The version is the commit's id,
// with "/branch" behind it on a branch; it never repeats, since no two seals are equal.
//
// # Promises and limits
//
// A Swap pushes a new commit on the condition that the ref is at the old one
// (--force-with-lease, and again by the receiving side, which locks the ref and
// compares: gitprotocol-pack(5), "Reference Update Request"). Commits have no
// parents, so the history does not grow; what was replaced is garbage, which a
// forge keeps for a while. It holds nothing in clear.
//
// Whoever may write the repository can delete a ref (git push --mirror does, by
// accident) or put an older record back. A deleted one is absent: only a caller
// who may create starts anew. An older one is proven; the caller's high-water
// mark notices it, or this process, if it has seen the newer one.
//
// A Load is one ls-remote, for which the remote lists all of its refs, and one
// fetch if the commit is not the one last seen. Durability is the remote's
// affair; for a path we ask git to sync everything. A git that was killed there
// can leave the lock of a ref behind, which git never removes: the first write
// that finds it ten minutes old does.
//
// Each call runs the system's git in a bare repository of its own, in a
// temporary folder, with an environment made from nothing: the configuration
// and the hooks of a checkout are written by whoever wrote the commit. A git
// library in the binary was rejected: it doubles its size, and git itself is
// where its protocol's corner cases are known.
package git

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"sync"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/record"
)

// MaxRecord is the largest encoded record in bytes: it travels at each change.
const MaxRecord = 256 << 10

// Config says where the store is. Remote and Codec are required.
type Config struct {
	Remote Remote
	// Ref is a ref for one grant, or a folder of refs that ends in a slash; see
	// [ParseRef]. Empty: refs/evergrant/, or branches where those are refused.
	Ref string
	// Former are earlier addresses of a repository that has moved: records that
	// were proven for them are accepted.
	Former []Remote
	// Codec must have a sealing key.
	Codec      *record.Codec
	Credential Credential               // for https; zero: none
	Getenv     func(name string) string // nil: os.Getenv
	Timeout    time.Duration            // of one call of git; 0: 30 s
	Now        func() time.Time         // nil: time.Now
}

// Store is a [grant.Store] in a git repository. It is safe for concurrent use.
type Store struct {
	program *program
	remote  Remote
	ref     string
	codec   *record.Codec
	now     func() time.Time

	mu   sync.Mutex
	seen map[grant.ID]sighting
}

// sighting is what this process last knew of a grant.
type sighting struct {
	oid        string
	text       []byte // of the record
	generation uint64
	at         time.Time
	lost       grant.Version // the version on which a Swap lost a race; "": none, or a create
}

// Open prepares the store; it asks nothing of the remote.
func Open(c Config) (*Store, error) {
	if c.Remote.IsZero() {
		return nil, errors.New("git store: it names no remote, and this is no job whose environment does")
	}
	places := make([]string, len(c.Former))
	for i, r := range c.Former {
		places[i] = r.Place()
	}
	codec, err := c.Codec.Authenticated(c.Remote.Place(), places...)
	if err != nil {
		return nil, fmt.Errorf("git store: %w", err)
	}
	if c.Ref != "" {
		if _, err := ParseRef(c.Ref); err != nil {
			return nil, fmt.Errorf("git store: %w", err)
		}
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p, err := newProgram(c)
	if err != nil {
		return nil, fmt.Errorf("git store: %w", err)
	}
	return &Store{program: p, remote: c.Remote, ref: c.Ref, codec: codec, now: c.Now, seen: make(map[grant.ID]sighting)}, nil
}

// Properties implements [grant.Store].
func (s *Store) Properties() grant.Properties {
	return grant.Properties{Atomic: true, Durable: true, MaxRecord: MaxRecord}
}

// Refs are those in which the record of a grant may be, the preferred one first.
func (s *Store) Refs(id grant.ID) ([]string, error) { return s.refsOf(id) }

// refsOf returns the refs in which the grant's record may be, the preferred one first.
func (s *Store) refsOf(id grant.ID) ([]string, error) {
	name, err := refName(id)
	switch {
	case err != nil:
		return nil, err
	case s.ref == "":
		return []string{ownSpace + name, branchSpace + name}, nil
	case strings.HasSuffix(s.ref, "/"):
		return []string{s.ref + name}, nil
	}
	return []string{s.ref}, nil
}

// Load implements [grant.Store]. Whatever is in the ref and is no record that
// somebody with the key wrote for this repository is [grant.ErrUnreadable]; a
// remote that lets nobody in with this token or key is [grant.ErrDenied].
func (s *Store) Load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	c, v, err := s.load(ctx, id)
	if err != nil {
		return grant.Credential{}, "", fmt.Errorf("git store: grant %q: %w", id, err)
	}
	return c, v, nil
}

func (s *Store) load(ctx context.Context, id grant.ID) (grant.Credential, grant.Version, error) {
	refs, err := s.refsOf(id)
	if err != nil {
		return grant.Credential{}, "", err
	}
	before := s.sighting(id)
	tips, err := s.tips(ctx, refs...)
	if err != nil {
		return grant.Credential{}, "", err
	}
	ref, oid, err := one(refs, tips)
	if err != nil {
		return grant.Credential{}, "", err
	}
	text := before.text
	if oid != before.oid {
		if oid, text, err = s.fetch(ctx, ref, oid); err != nil {
			return grant.Credential{}, "", err
		}
	}
	c, err := s.codec.Decode(id, text)
	if err != nil {
		return grant.Credential{}, "", fmt.Errorf("%w (%s of %s)%s", err, ref, s.remote, s.moved(err))
	}
	if err := s.older(before, c.Generation); err != nil {
		return grant.Credential{}, "", err
	}
	s.see(id, sighting{oid: oid, text: text, generation: c.Generation, at: s.now(), lost: before.lost})
	return c, s.version(ref, oid), nil
}

func (s *Store) moved(err error) string {
	if errors.Is(err, record.ErrUnproven) {
		return "; if the repository was renamed, give its old address with ?was="
	}
	return ""
}

// lag is how long the copies of a forge's repository may differ.
const lag = 30 * time.Second

// older refuses a record below the one that this process has seen. Generations
// only grow, so the ref was put back, or, for a moment, a copy of the
// repository answered that does not have the newest push yet.
func (s *Store) older(before sighting, generation uint64) error {
	switch {
	case generation >= before.generation:
		return nil
	case s.now().Sub(before.at) < lag:
		return fmt.Errorf("the remote gives generation %d, but generation %d was there a moment ago: it lags behind, or was rolled back", generation, before.generation)
	}
	return fmt.Errorf("%w: it has generation %d, but generation %d was there: somebody rolled it back", grant.ErrUnreadable, generation, before.generation)
}

func (s *Store) sighting(id grant.ID) sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id]
}

func (s *Store) see(id grant.ID, now sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[id] = now
}

// one tells which of a grant's refs exists.
func one(refs []string, tips map[string]string) (ref, oid string, err error) {
	for _, r := range refs {
		if tips[r] == "" {
			continue
		}
		if ref != "" {
			return "", "", fmt.Errorf("%w: %w, %s and %s; look at both with git log, and delete the one that is not used", grant.ErrUnreadable, errBothRefs, ref, r)
		}
		ref, oid = r, tips[r]
	}
	if ref == "" {
		return "", "", grant.ErrNotFound
	}
	return ref, oid, nil
}

const branchMark = "/branch"

func (s *Store) version(ref, oid string) grant.Version {
	if s.ref == "" && strings.HasPrefix(ref, branchSpace) {
		return grant.Version(oid + branchMark)
	}
	return grant.Version(oid)
}

// refOf returns ref and object id of a version that this store gave; false for
// one that it cannot have given, which is never current.
func (s *Store) refOf(refs []string, v grant.Version) (ref, oid string, ok bool) {
	oid, branch := strings.CutSuffix(string(v), branchMark)
	if branch && len(refs) < 2 || !isObjectID(oid) {
		return "", "", false
	}
	if branch {
		return refs[1], oid, true
	}
	return refs[0], oid, true
}

// List implements [grant.Lister]. With a ref for one grant it has to read the record.
func (s *Store) List(ctx context.Context) iter.Seq2[grant.ID, error] {
	return func(yield func(grant.ID, error) bool) {
		ids, err := s.list(ctx)
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
		if err != nil {
			yield("", fmt.Errorf("git store: list %s: %w", s.remote, err))
		}
	}
}

func (s *Store) list(ctx context.Context) ([]grant.ID, error) {
	if s.ref != "" && !strings.HasSuffix(s.ref, "/") {
		return s.single(ctx)
	}
	spaces := []string{s.ref}
	if s.ref == "" {
		spaces = []string{ownSpace, branchSpace}
	}
	patterns := make([]string, len(spaces))
	for i, space := range spaces {
		patterns[i] = space + "*"
	}
	tips, err := s.tips(ctx, patterns...)
	if err != nil {
		return nil, err
	}
	var ids []grant.ID
	for ref := range tips {
		for _, space := range spaces {
			name, ok := strings.CutPrefix(ref, space)
			if !ok {
				continue
			}
			if id, ok := parseRefName(name); ok {
				ids = append(ids, id)
			}
		}
	}
	return unique(ids), nil
}

// single reads whose record the store's one ref holds.
func (s *Store) single(ctx context.Context) ([]grant.ID, error) {
	tips, err := s.tips(ctx, s.ref)
	if err != nil || tips[s.ref] == "" {
		return nil, err
	}
	_, text, err := s.fetch(ctx, s.ref, tips[s.ref])
	if err != nil {
		return nil, err
	}
	c, err := s.codec.Decode("", text)
	if err != nil {
		return nil, err
	}
	return []grant.ID{c.Grant}, nil
}
