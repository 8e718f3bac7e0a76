package notify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"evergrant/internal/atomicfile"
	"evergrant/internal/grant"
)

// member is the JSON pointer of the record's member in which the receivers are:
//
//	"notices": {"<digest of the receiver>": {"consent": "…", "days": 7, "trouble": "in_doubt", "n": 3}}
//
// It is none of the protocol's: the engine carries it along, as it carries what a
// later version adds (package record).
const member = "/notices"

// maxReceivers is how many receivers a record remembers. More are those of
// settings that have changed.
const maxReceivers = 8

// Book keeps what receivers without a memory were told of one grant.
//
// A record is written only while nobody has the lease, nor had it a moment ago. So
// a claim can make the taker of a lease look again, and stands in nobody's save.
// A store that hands out a snapshot of its record is written only by a process that
// has just written it, and once: jobs that wait would find their snapshot outdated.
type Book struct {
	watch *Watch // nil: there is no record
	path  string // of the file on this machine; "": none
	now   func() time.Time
	mu    sync.Mutex
}

// NewBook is the book of one grant. The record is that of the watch, if it is not
// nil; dir is the folder for what no record can take, made when it is needed.
func NewBook(w *Watch, dir string, id grant.ID, now func() time.Time) (*Book, error) {
	b := &Book{watch: w, now: now}
	if dir != "" {
		name, err := id.Filename()
		if err != nil {
			return nil, fmt.Errorf("notices: %w", err)
		}
		b.path = filepath.Join(dir, name+".notices")
	}
	return b, nil
}

// entry is what is noted of one receiver, in the record or in the file.
type entry struct {
	Told
	// Writes counts them, so that the file and the record can be told apart in time:
	// what the file has counts for as long as the record is the one it was written over.
	Writes uint64 `json:"n,omitempty"`
	// Claimed is since when somebody is telling it; what has been told is from before.
	Claimed time.Time `json:"claimed,omitzero"`
	// A receiver that did not take a notice rests, for notices of that kind.
	Rests time.Time `json:"rests,omitzero"` // until then
	Tries int       `json:"tries,omitempty"`
	Kind  Kind      `json:"kind,omitempty"`
}

const (
	// claimLife is how long a claim holds that nobody confirms: who made it has died.
	// A call's notices take [Limit].
	claimLife = time.Minute
	// longestRest is the longest pause between two tries of a receiver that takes
	// nothing. They begin with again, and double.
	longestRest = 4 * time.Hour
)

// held reports that somebody is telling the receiver now. A claim from a clock
// that is far ahead holds nothing.
func (e entry) held(now time.Time) bool {
	return !e.Claimed.IsZero() && now.Sub(e.Claimed).Abs() < claimLife
}

// receivers is what each receiver was told, by the digest of its address.
type receivers map[string]entry

// Told is what a receiver has been told, as far as was seen.
func (b *Book) Told(receiver string) Told {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known(receiver).Told
}

// known is the newer of what the record and this machine have.
func (b *Book) known(receiver string) entry {
	here, ok := b.readFile()[receiver]
	if b.watch == nil {
		return here
	}
	c, ver, _ := b.watch.latest()
	if ver == "" {
		return here
	}
	if there := inRecord(c)[receiver]; !ok || there.Writes != here.Writes {
		return there
	}
	return here
}

func inRecord(c grant.Credential) receivers {
	all := receivers{}
	if json.Unmarshal([]byte(c.Extra[member]), &all) != nil {
		return receivers{} // of another version, or absent: nobody was told
	}
	return all
}

// errTaken: somebody else tells the receiver, or is changing the grant, or the
// receiver rests.
var errTaken = errors.New("somebody else is at it")

// Claim notes that a receiver is being told, in the record if that can be written
// now, else on this machine. was is what it had been told when that was found due.
// errTaken says that it is not ours to tell, or not now. Whoever has a claim sends,
// and then calls Settle or Owe.
func (b *Book) Claim(ctx context.Context, receiver string, kind Kind, was Told) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now().UTC().Truncate(time.Second)
	e := b.known(receiver)
	if e.Told != was || e.held(now) || e.Kind == kind && now.Before(e.Rests) {
		return errTaken
	}
	e.Claimed = now
	return b.note(ctx, receiver, e, func(begun, c grant.Credential) bool {
		// Who moves a grant out of trouble tells of that. An end comes near whoever
		// refreshes meanwhile.
		moved := c.Generation != begun.Generation && (kind != ConsentEnds || c.Generation < begun.Generation)
		return moved || c.Consent != begun.Consent || c.State != begun.State
	})
}

// Settle notes what a receiver has been told by the holder of its claim.
func (b *Book) Settle(ctx context.Context, receiver string, told Told) error {
	return b.close(ctx, receiver, func(entry) entry { return entry{Told: told} })
}

// Owe gives a claim back after a notice of that kind could not be sent: told is as
// before. The receiver rests, the longer the more often it has failed.
func (b *Book) Owe(ctx context.Context, receiver string, kind Kind, told Told) error {
	return b.close(ctx, receiver, func(e entry) entry {
		if e.Kind != kind {
			e.Tries = 0
		}
		rest := min(again<<min(e.Tries, 8), longestRest)
		return entry{Told: told, Kind: kind, Tries: e.Tries + 1, Rests: b.now().UTC().Truncate(time.Second).Add(rest)}
	})
}

// close writes what became of a claim. It waits for a lease that runs, until ctx
// ends: a claim that stays open is told again.
func (b *Book) close(ctx context.Context, receiver string, next func(entry) entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.known(receiver)
	if b.snapshot() { // nothing was claimed there
		e.Claimed = time.Time{}
	} else if e.Claimed.IsZero() {
		return errTaken
	}
	return b.note(ctx, receiver, next(e), nil)
}

// errNoRecord: the record cannot be written now.
var errNoRecord = errors.New("the record cannot be written")

// note writes an entry to the record, or to this machine's file. moved says whether
// a record that has changed meanwhile is the affair of who changed it; nil: the
// entry closes a claim.
func (b *Book) note(ctx context.Context, receiver string, next entry, moved func(begun, c grant.Credential) bool) error {
	err := b.write(ctx, receiver, next, moved)
	switch {
	case err == nil:
		b.forget(receiver)
		return nil
	case errors.Is(err, errTaken):
		return err
	}
	// A machine that cannot note it tells twice rather than never.
	_ = b.keep(receiver, next)
	return nil
}

func (b *Book) snapshot() bool { return b.watch != nil && b.watch.Properties().Snapshot }

const (
	// conflicts is how often a write is tried again that met another writer.
	conflicts = 3
	// leasePause is the first wait for a lease to end; each is twice the one before.
	leasePause = 100 * time.Millisecond
)

func (b *Book) write(ctx context.Context, receiver string, next entry, moved func(begun, c grant.Credential) bool) error {
	if b.watch == nil {
		return errNoRecord
	}
	begun, ver, _ := b.watch.latest()
	before := inRecord(begun)[receiver].Writes
	claimed := ver != "" && moved == nil && !inRecord(begun)[receiver].Claimed.IsZero() // in the record, not in the file
	next.Writes = before + 1
	most := conflicts
	if moved == nil { // what is told has to be noted
		most *= 4
	}
	for met, pause := 0, leasePause; met < most; {
		c, ver, wrote := b.watch.latest()
		switch {
		case ver != "" && b.snapshot() && !wrote: // who wrote it last has told
			return errTaken
		case ver != "" && b.snapshot() && moved != nil: // one write, after the message, outdates it once
			return nil
		case ver != "" && (moved != nil && moved(begun, c) || inRecord(c)[receiver].Writes != before):
			return errTaken
		case ver != "" && b.leased(c) && claimed && pass(ctx, pause):
			pause *= 2
			if _, _, err := b.watch.Load(ctx, b.watch.id); err != nil {
				return err
			}
			continue
		case ver == "" || b.leased(c): // not now
			return errNoRecord
		}
		noted, err := with(c, receiver, next)
		if err != nil {
			return err
		}
		_, err = b.watch.Swap(ctx, b.watch.id, ver, noted)
		if !errors.Is(err, grant.ErrConflict) {
			return err
		}
		if met++; met < most {
			if _, _, err := b.watch.Load(ctx, b.watch.id); err != nil {
				return err
			}
		}
	}
	return errTaken
}

// pass waits; false: the context ended first.
func pass(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// leased reports that somebody may be at the record: with a lease that runs, or
// one that ended a short while ago, whose holder may be slow.
func (b *Book) leased(c grant.Credential) bool {
	return c.Lease != nil && b.now().Before(c.Lease.Until.Add(max(c.Lease.TTL, time.Minute)))
}

// with is the record with what a receiver was told.
func with(c grant.Credential, receiver string, next entry) (grant.Credential, error) {
	all := inRecord(c)
	all[receiver] = next
	if len(all) > maxReceivers {
		maps.DeleteFunc(all, func(of string, t entry) bool {
			return of != receiver && (t.Consent != c.Consent || len(all) > maxReceivers)
		})
	}
	text, err := json.Marshal(all)
	if err != nil {
		return grant.Credential{}, fmt.Errorf("notices: %w", err)
	}
	c = c.Clone()
	if c.Extra == nil {
		c.Extra = map[string]string{}
	}
	c.Extra[member], c.Writer = string(text), rand.Text()
	return c, nil
}

// maxFile bounds the file on this machine, in bytes.
const maxFile = 64 * 1024

// readFile reads what this machine knows. A file that is damaged is none.
func (b *Book) readFile() receivers {
	all := receivers{}
	if b.path == "" {
		return all
	}
	text, _, err := atomicfile.ReadRegular(b.path, maxFile)
	if err != nil || json.Unmarshal(text, &all) != nil {
		return receivers{}
	}
	return all
}

// keep notes an entry in the file, as one that was written over what the record has.
func (b *Book) keep(receiver string, e entry) error {
	if b.path == "" {
		return errNoRecord
	}
	e.Writes = 0
	if b.watch != nil {
		c, _, _ := b.watch.latest()
		e.Writes = inRecord(c)[receiver].Writes
	}
	all := b.readFile()
	all[receiver] = e
	return b.writeFile(all)
}

func (b *Book) forget(receiver string) {
	if all := b.readFile(); len(all) > 0 {
		if _, there := all[receiver]; there {
			delete(all, receiver)
			_ = b.writeFile(all) // then it tells of a trouble that is over
		}
	}
}

func (b *Book) writeFile(all receivers) error {
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("notices: %w", err)
	}
	if err := atomicfile.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		return fmt.Errorf("notices: %w", err)
	}
	if err := atomicfile.Update(b.path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("notices: %w", err)
	}
	return nil
}
