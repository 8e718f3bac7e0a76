//go:build e2e

package e2e

import (
	"os"
	"sync"
	"syscall"
	"testing"
)

// TestSignals stops the process while the provider's answer is on its way, as
// a cancelled job does. The token is spent by then: the process has to finish
// the save first.
func TestSignals(t *testing.T) {
	s := newStrict(t)
	b := s.box(t)
	family := s.consent(t, b)
	first := b.deliver(t, "--force", "g")
	b.unset("EVERGRANT_REFRESH_TOKEN")

	for i, stop := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		asked, answer := make(chan struct{}), make(chan struct{})
		var once sync.Once
		s.between.hold(func() { once.Do(func() { close(asked) }); <-answer })
		cmd := b.command(t.Context(), "refresh", "--force", "g")
		must(t, cmd.Start())
		<-asked
		must(t, cmd.Process.Signal(stop))
		must(t, cmd.Process.Signal(stop)) // the impatient press it twice
		close(answer)
		_ = cmd.Wait() // what counts is what the store and the ledger say
		if !cmd.ProcessState.Exited() {
			t.Fatalf("%v ended the process between the provider's answer and the save", stop)
		}
		s.between.hold(nil)
		s.goesOn(t, b, family, first.Generation+uint64(2*i)+2)
	}
	part("%-19s SIGTERM, SIGINT, SIGHUP while the answer is under way: saved each time, family alive", "signals")
}
