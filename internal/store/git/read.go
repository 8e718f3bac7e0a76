package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"evergrant/internal/grant"
)

// tips asks the remote for refs by name or pattern, or, without any, for all that
// it shows: one ls-remote. With an error come those that were read before it.
func (s *Store) tips(ctx context.Context, patterns ...string) (map[string]string, error) {
	r, err := newRepository(formatSHA1)
	if err != nil {
		return nil, err
	}
	defer r.remove()
	a := s.program.run(ctx, r, "", append([]string{"ls-remote", "--", s.remote.url}, patterns...)...)
	tips := make(map[string]string)
	for line := range strings.Lines(string(a.stdout)) {
		oid, ref, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "\t")
		if ok && isObjectID(oid) {
			tips[ref] = oid
		}
	}
	if a.err != nil {
		return tips, fmt.Errorf("%s cannot be asked: %w", s.remote, a.err)
	}
	return tips, nil
}

// format is the remote's object format, told by any ref: one of tips, or else of
// all, since HEAD may name a branch that does not exist. A remote without refs
// is taken for SHA-1, git's default.
func (s *Store) format(ctx context.Context, tips map[string]string) (format, error) {
	if len(tips) == 0 {
		var err error
		// One that lists more than is read has shown enough.
		if tips, err = s.tips(ctx); err != nil && !errors.Is(err, errLong) {
			return "", err
		}
	}
	for _, oid := range tips {
		return formatOf(oid), nil
	}
	return formatSHA1, nil
}

// fetched is the local name of what was fetched.
const fetched = "refs/fetched"

// fetch gets a ref's commit and the record in it. The ref may have moved since
// the caller saw oid; what is fetched counts.
func (s *Store) fetch(ctx context.Context, ref, oid string) (string, []byte, error) {
	r, err := newRepository(formatOf(oid))
	if err != nil {
		return "", nil, err
	}
	defer r.remove()
	a := s.program.run(ctx, r, "", "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", s.remote.url, "+"+ref+":"+fetched)
	switch {
	case a.err != nil && strings.Contains(a.stderr, "couldn't find remote ref"):
		return "", nil, fmt.Errorf("%w: %s was deleted a moment ago", grant.ErrNotFound, ref)
	case a.err != nil:
		return "", nil, fmt.Errorf("%s cannot be asked: %w", s.remote, a.err)
	}
	a = s.program.run(ctx, r, fetched+"\n"+fetched+":"+recordName+"\n", "cat-file", "--batch")
	foreign := fmt.Errorf("%w: %s of %s holds something that evergrant did not write; use another ref, or clear this one", grant.ErrUnreadable, ref, s.remote)
	switch {
	case errors.Is(a.err, errLong):
		return "", nil, foreign
	case a.err != nil:
		return "", nil, a.err
	}
	commit, rest, ok := nextObject(a.stdout, "commit")
	if !ok {
		return "", nil, foreign
	}
	text, _, ok := nextObject(rest, "blob")
	if !ok || len(text.content) > MaxRecord {
		return "", nil, foreign
	}
	return commit.id, text.content, nil
}

// object is one entry of git cat-file --batch:
//
//	<id> SP <kind> SP <size> LF <content> LF
type object struct {
	id      string
	content []byte
}

func nextObject(b []byte, kind string) (o object, rest []byte, ok bool) {
	head, b, ok := bytes.Cut(b, []byte("\n"))
	fields := strings.Split(string(head), " ")
	if !ok || len(fields) != 3 || fields[1] != kind || !isObjectID(fields[0]) {
		return object{}, nil, false
	}
	size, err := strconv.Atoi(fields[2])
	if err != nil || size < 0 || size >= len(b) || b[size] != '\n' {
		return object{}, nil, false
	}
	return object{fields[0], b[:size]}, b[size+1:], true
}

// unique sorts the names and takes out those that come twice.
func unique(ids []grant.ID) []grant.ID {
	slices.Sort(ids)
	return slices.Compact(ids)
}
