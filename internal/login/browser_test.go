package login_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"evergrant/internal/login"
)

func TestSeat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		goos string
		env  []string
		want login.Seat
	}{
		{"linux", nil, login.Seat{}},
		{"linux", []string{"DISPLAY"}, login.Seat{Display: true}},
		{"linux", []string{"WAYLAND_DISPLAY"}, login.Seat{Display: true}},
		{"freebsd", []string{"DISPLAY"}, login.Seat{Display: true}},
		{"linux", []string{"DISPLAY", "SSH_CONNECTION"}, login.Seat{Remote: true}},
		{"linux", []string{"SSH_TTY"}, login.Seat{Remote: true}},
		{"darwin", nil, login.Seat{Display: true}},
		{"darwin", []string{"SSH_CLIENT"}, login.Seat{Remote: true}},
		{"windows", nil, login.Seat{Display: true}},
	} {
		getenv := func(name string) string {
			for _, set := range c.env {
				if set == name {
					return "x"
				}
			}
			return ""
		}
		if got := login.SeatOf(getenv, c.goos); got != c.want {
			t.Errorf("%s %v: %+v, want %+v", c.goos, c.env, got, c.want)
		}
	}
}

// TestOpen puts a program of its own where the system's opener is looked for.
func TestOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // the opener has another name there
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	opener, seen := filepath.Join(dir, "xdg-open"), filepath.Join(dir, "seen")
	write := func(script string) {
		t.Helper()
		if err := os.WriteFile(opener, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(`{ echo "$1"; env; } >"$SEEN.part" && mv "$SEEN.part" "$SEEN"`)
	t.Setenv("EVERGRANT_KEY", "canary-of-the-environment")
	if err, open := <-login.Open("https://id.example/?a=b&c", []string{"SEEN=" + seen, "PATH=/bin:/usr/bin"}); open || err != nil {
		t.Errorf("Open: %v", err)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "https://id.example/?a=b&c\n") || strings.Contains(string(text), "canary") {
		t.Errorf("the opener saw %q", text)
	}
	write("exit 3")
	if err := first(t, login.Open("https://id.example/", nil)); err == nil || err.Error() != "xdg-open ended with code 3" {
		t.Errorf("an opener that fails: %v", err)
	}
	if err := os.Remove(opener); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if err := first(t, login.Open("https://id.example/", nil)); err == nil || !strings.HasPrefix(err.Error(), "xdg-open: ") {
		t.Errorf("no opener: %v", err)
	}
}

func first(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the opener does not end")
		return nil
	}
}
