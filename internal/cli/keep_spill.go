package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"evergrant/internal/grant"
	"evergrant/internal/spill"
)

// carried is the spill of a process in the background. Its folder is below
// RUNNER_TEMP, which a step may empty while the record in it is the only copy: so the
// process has what it spilled in mind until it is saved, and can write it again where
// this machine keeps its state.
type carried struct {
	*spill.Folder
	mu      sync.Mutex
	unsaved map[string]grant.Credential // by Writer
	gone    bool                        // the folder may not be relied on any more
}

// Put implements [grant.Spill].
func (c *carried) Put(ctx context.Context, cred grant.Credential) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsaved == nil {
		c.unsaved = map[string]grant.Credential{}
	}
	c.unsaved[cred.Writer] = cred
	if c.gone {
		return c.PutSecond(ctx, cred)
	}
	return c.Folder.Put(ctx, cred)
}

// Remove implements [grant.Spill].
func (c *carried) Remove(ctx context.Context, id grant.ID, writer string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unsaved, writer)
	return c.Folder.Remove(ctx, id, writer)
}

// secure writes what is unsaved again, and from here on everything, where a runner
// empties nothing.
func (c *carried) secure(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	var failed []error
	for _, writer := range slices.Sorted(maps.Keys(c.unsaved)) {
		failed = append(failed, c.PutSecond(ctx, c.unsaved[writer]))
	}
	return errors.Join(failed...)
}
