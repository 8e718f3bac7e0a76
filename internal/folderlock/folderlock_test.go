package folderlock_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/folderlock"
)

func make2(t *testing.T) []string {
	dir := t.TempDir()
	return []string{filepath.Join(dir, "first.lock"), filepath.Join(dir, "second.lock")}
}

func hold(t *testing.T, path string, age time.Duration) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestTake(t *testing.T) {
	t.Parallel()
	locks := make2(t)
	release, err := folderlock.Take(t.Context(), locks, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !there(locks[0]) || !there(locks[1]) {
		t.Error("a lock that was taken is not there")
	}
	release()
	if there(locks[0]) || there(locks[1]) {
		t.Error("a lock that was released is there")
	}
}

// The bubble's clock is in the past, so a folder is made in it with a time of the
// bubble's.
func TestHeldIsWaitedForAndReported(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		call func(ctx context.Context, locks []string, most time.Duration) error
	}{
		{"wait", folderlock.Wait},
		{"take", func(ctx context.Context, locks []string, most time.Duration) error {
			_, err := folderlock.Take(ctx, locks, most)
			return err
		}},
	} {
		for i := range 2 {
			locks := make2(t)
			synctest.Test(t, func(t *testing.T) {
				hold(t, locks[i], time.Second)
				start := time.Now()
				err := tt.call(t.Context(), locks, 10*time.Second)
				if !errors.Is(err, folderlock.ErrHeld) || !strings.Contains(err.Error(), locks[i]) {
					t.Errorf("%s: error %v does not name the lock", tt.name, err)
				}
				if waited := time.Since(start); waited < 10*time.Second || waited > 11*time.Second {
					t.Errorf("%s: waited %v", tt.name, waited)
				}
				if there(locks[1-i]) || !there(locks[i]) {
					t.Errorf("%s: a lock was left, or another's was removed", tt.name)
				}
			})
		}
	}
}

func TestReleasedWhileWaiting(t *testing.T) {
	t.Parallel()
	locks := make2(t)
	synctest.Test(t, func(t *testing.T) {
		hold(t, locks[1], 0)
		start := time.Now()
		time.AfterFunc(3*time.Second, func() {
			// Nobody who waits for the second keeps the first.
			if there(locks[0]) {
				t.Error("the first lock is kept while the second is waited for")
			}
			_ = os.Remove(locks[1])
		})
		release, err := folderlock.Take(t.Context(), locks, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		release()
		if waited := time.Since(start); waited < 3*time.Second || waited > 4*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestStale(t *testing.T) {
	t.Parallel()
	locks := make2(t)
	hold(t, locks[0], folderlock.Stale+time.Second)
	hold(t, locks[1], folderlock.Stale+time.Hour)
	if err := folderlock.Wait(t.Context(), locks, 0); err != nil {
		t.Errorf("locks that are left over: %v", err)
	}
	if !there(locks[0]) {
		t.Error("Wait removed a lock")
	}
	release, err := folderlock.Take(t.Context(), locks, 0)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if there(locks[0]) || there(locks[1]) {
		t.Error("a lock that was left over, taken and released is there")
	}
}

// TestTakeOver: between the look at a lock that was left over and the act, another
// process may have taken it over. Who comes second finds that it is held.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		meanwhile func(path string) error
		held      bool // by another
	}{
		"nothing":             {func(string) error { return nil }, false},
		"removed":             {os.Remove, false},
		"taken over by us":    {folderlock.TakeOver, true},
		"made anew by others": {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, true},
		"not empty": {func(path string) error { // no lock folder, and not ours to remove
			then := time.Now().Add(-time.Hour)
			return errors.Join(os.Mkdir(filepath.Join(path, "x"), 0o700), os.Chtimes(path, then, then))
		}, true},
		"touched": {func(path string) error { return os.Chtimes(path, time.Now(), time.Now()) }, true},
	} {
		path := make2(t)[0]
		hold(t, path, folderlock.Stale+time.Second)
		if err := tt.meanwhile(path); err != nil {
			t.Fatal(err)
		}
		before, berr := os.Lstat(path)
		err := folderlock.TakeOver(path)
		if held := errors.Is(err, fs.ErrExist); held != tt.held || !held && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if same := berr == nil && os.SameFile(before, after) && before.ModTime().Equal(after.ModTime()); same != tt.held {
			t.Errorf("%s: the lock is the one that was there: %v", name, same)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
			t.Errorf("%s: left behind: %v, %v", name, left, err)
		}
	}
}

// A successor's folder often gets the number of the one that was removed.
func TestReleaseOfALockThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	locks := make2(t)[:1]
	release, err := folderlock.Take(t.Context(), locks, 0)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(locks[0], later, later); err != nil {
		t.Fatal(err)
	}
	release()
	if !there(locks[0]) {
		t.Error("another's lock was removed")
	}
}

// A process that was stopped for too long does not remove its successor's lock.
func TestReleaseOfALockThatWasTakenOver(t *testing.T) {
	t.Parallel()
	locks := make2(t)[:1]
	release, err := folderlock.Take(t.Context(), locks, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A folder that is made before the old one goes has another identity.
	successor := locks[0] + ".new"
	hold(t, successor, 0)
	if err := os.Remove(locks[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(successor, locks[0]); err != nil {
		t.Fatal(err)
	}
	release()
	if !there(locks[0]) {
		t.Error("another's lock was removed")
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	locks := make2(t)
	hold(t, locks[0], 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := folderlock.Take(ctx, locks, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Where nobody here may make the lock, nobody can hold it.
func TestAFolderThatIsNotThere(t *testing.T) {
	t.Parallel()
	locks := make2(t)
	absent := filepath.Join(filepath.Dir(locks[0]), "none", "x.lock")
	release, err := folderlock.Take(t.Context(), []string{locks[0], absent}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if !there(locks[0]) || there(absent) {
		t.Error("the lock that can be made is not there, or the other is")
	}
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	locks := make2(t)
	synctest.Test(t, func(t *testing.T) {
		var inside, most atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				release, err := folderlock.Take(t.Context(), locks, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				time.Sleep(time.Second) // of the bubble, in which nobody else may be inside
				inside.Add(-1)
				release()
			})
		}
		wg.Wait()
		if most.Load() != 1 {
			t.Errorf("%d held the lock at once", most.Load())
		}
	})
}
