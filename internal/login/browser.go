package login

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

// Seat is what the machine's environment says of the person before it.
type Seat struct {
	Remote  bool // by SSH: a browser that opens here, opens nowhere in sight
	Display bool // a browser that opens here is seen
}

// SeatOf reads the variables of a session on the system goos.
func SeatOf(getenv func(string) string, goos string) Seat {
	s := Seat{Remote: getenv("SSH_CONNECTION") != "" || getenv("SSH_TTY") != "" || getenv("SSH_CLIENT") != ""}
	switch goos {
	case "windows", "darwin":
		s.Display = !s.Remote
	default:
		s.Display = !s.Remote && (getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "")
	}
	return s
}

// Open shows an address in the system's browser, which gets env and no secret of
// ours. It does not wait for it; the channel yields an error if no browser could
// be started, and is closed otherwise, maybe much later.
func Open(address string, env []string) <-chan error {
	failed := make(chan error, 1)
	name, args := opener(runtime.GOOS, address)
	cmd := exec.Command(name, args...)
	cmd.Env = env
	apart(cmd)
	if err := cmd.Start(); err != nil {
		var missing *exec.Error
		if errors.As(err, &missing) {
			err = missing.Err
		}
		failed <- fmt.Errorf("%s: %w", name, err)
		close(failed)
		return failed
	}
	go func() { // ends with the program that opens the browser, or with this one
		defer close(failed)
		if err := cmd.Wait(); err != nil {
			failed <- fmt.Errorf("%s ended with code %d", name, cmd.ProcessState.ExitCode())
		}
	}()
	return failed
}

// opener is the system's program that opens an address.
func opener(goos, address string) (string, []string) {
	switch goos {
	case "darwin":
		return "open", []string{address}
	case "windows":
		return "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	return "xdg-open", []string{address}
}
