//go:build linux && (amd64 || arm64)

package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"evergrant/e2e/forge"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
)

// Store is a kind of store that the harness knows.
type Store struct {
	Name string // as rows name it
	// SpeedUp divides the protocol's durations where a trial says so: quiet times
	// are waited for, and do not last two minutes. What is left of half a
	// request's time, 10 s, bounds one call of the store.
	SpeedUp  int
	DiskSize int  // bytes: room for a handful of records
	Git      bool // its work is done by processes of git

	// keep makes a store of the kind in a folder that is not there yet.
	keep func(dir string, c *Canary) (*Place, error)
}

// Stores are all kinds, the usual one first. A new one is an entry here.
func Stores() []Store {
	return []Store{
		{Name: "file", SpeedUp: 20, DiskSize: 64 << 10, keep: keepFolder},
		{Name: "git path", SpeedUp: 5, DiskSize: 512 << 10, Git: true, keep: keepRepository},
		{Name: "git http", SpeedUp: 5, DiskSize: 512 << 10, Git: true, keep: keepForge},
	}
}

// StoreNamed returns a kind of store by its name.
func StoreNamed(name string) (Store, error) {
	var names []string
	for _, s := range Stores() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Store{}, fmt.Errorf("there is no store %q; there are %s", name, strings.Join(names, ", "))
}

// Quiet is the protocol's quiet time in trials on the store.
func (s Store) Quiet() time.Duration { return 2 * time.Minute / time.Duration(s.SpeedUp) }

// Place is one store, as a machine reaches it and as the judge looks into it.
type Place struct {
	URL   string // for the program
	Dir   string // holds everything that it keeps
	Forge *forge.Server

	path string   // PATH of the machine
	env  []string // besides
	// recorded reports whether there is a record of a grant, without the
	// program's help.
	recorded func(id grant.ID) (bool, error)
	// contents returns what a look at the files does not show; nil: nothing.
	contents func() ([]byte, error)
}

// close ends what serves the store.
func (p *Place) close() {
	if p.Forge != nil {
		p.Forge.Close()
	}
}

func keepFolder(dir string, _ *Canary) (*Place, error) {
	return &Place{URL: "file:" + dir, Dir: dir, path: "/nonexistent", recorded: func(id grant.ID) (bool, error) {
		name, err := id.Filename()
		if err == nil {
			_, err = os.Lstat(filepath.Join(dir, name+".json"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}}, nil
}

// RefOf is where a git store keeps a grant's record.
func RefOf(id string) (string, error) {
	name, err := grant.ID(id).Filename()
	return "refs/evergrant/" + name, err
}

func keepRepository(dir string, _ *Canary) (*Place, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("the git store needs git: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	if err := forge.Init(dir); err != nil {
		return nil, err
	}
	return &Place{
		URL: "git:" + dir, Dir: dir, path: filepath.Dir(git),
		recorded: func(id grant.ID) (bool, error) {
			ref, err := RefOf(string(id))
			if err != nil {
				return false, err
			}
			out, err := forge.Run(dir, "for-each-ref", ref)
			return out != "", err
		},
		contents: func() ([]byte, error) { return forge.Contents(dir) },
	}, nil
}

func keepForge(dir string, c *Canary) (*Place, error) {
	p, err := keepRepository(dir, c)
	if err != nil {
		return nil, err
	}
	token := c.NewToken(simulator.KindRefresh) // it may be seen nowhere, like those
	if p.Forge, err = forge.Serve(filepath.Dir(dir), token); err != nil {
		return nil, err
	}
	p.URL = "git:" + p.Forge.URL + "/" + filepath.Base(dir)
	p.env = []string{"EVERGRANT_GIT_TOKEN=" + token}
	return p, nil
}

// lockAge is what [Place.AgeLock] makes of a lock's age: more than the store
// needs to know that nobody holds it any more.
const lockAge = 11 * time.Minute

// AgeLock lets the lock of a grant's ref that git has left behind look as if that
// much time had passed, and reports whether there was one. The git processes of
// the run that made it must be gone.
func (p *Place) AgeLock(id string) (there bool, err error) {
	ref, err := RefOf(id)
	if err != nil {
		return false, err
	}
	old := time.Now().Add(-lockAge)
	err = os.Chtimes(filepath.Join(p.Dir, ref+".lock"), old, old)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
