package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"evergrant/internal/atomicfile"
	"evergrant/internal/engine"
	"evergrant/internal/ghaction"
	"evergrant/internal/record"
)

// ending is how a process in the background ended.
type ending uint8

const (
	vanished ending = iota // nobody is there
	settled                // nobody is there, because another post step was
	unending               // somebody is there, and did not end in time
	ended                  // it has ended, and told its last words
)

// endKeeper ends the process that the main step has started, and relays what it
// has to say. Its error is what a person must know of beside the job's result; what
// the process has left unsaved is looked for afterwards. lost says that its folder is
// gone, and what it had to say too.
func (a *app) endKeeper() (lost bool, err error) {
	id := a.env.get("STATE_" + ghaction.Keeper)
	if id == "" {
		return false, nil
	}
	p, found := keepPlaceOf(a.env.get("RUNNER_TEMP"), id)
	if _, err := a.beginStep(); err != nil {
		return false, err
	}
	if !found {
		a.console.warnf("the token was not kept fresh until the job's end: the folder of the process in the background was removed before")
		return true, nil
	}
	t := engine.DefaultTiming(false).Scale(a.speedUp)
	w, how := p.end(t.Lease + t.Settle)
	a.relay(w)
	if how != unending {
		if err := p.remove(); err != nil {
			a.console.warnf("what the process in the background has left cannot be removed: %v", err)
		}
	}
	return false, a.judge(w, how)
}

// end asks the process to end, and waits until it has. It is the process's own
// end that closes the connection. What one that was killed has written is on the
// disk.
func (p keepPlace) end(most time.Duration) (lastWords, ending) {
	w, how := p.ask(most)
	if how == ended {
		return w, how
	}
	if b, _, err := atomicfile.ReadRegular(p.words(), maxOrders); err == nil {
		_ = json.Unmarshal(b, &w)
	}
	_, err := os.Lstat(p.folder)
	switch {
	case how == vanished && w.Reason == endedByPost:
		how = ended
	case how == vanished && errors.Is(err, fs.ErrNotExist):
		how = settled
	}
	return w, how
}

func (p keepPlace) ask(most time.Duration) (w lastWords, how ending) {
	c, err := net.DialTimeout("unix", p.control(), controlWait)
	if err != nil {
		return w, vanished
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(most))
	if _, err := io.WriteString(c, endKeeping); err != nil {
		return w, vanished
	}
	answer, err := io.ReadAll(io.LimitReader(c, maxOrders))
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return w, unending
	}
	if json.Unmarshal(answer, &w) != nil {
		return lastWords{}, vanished
	}
	return w, ended
}

// relay writes them into the step's log.
func (a *app) relay(w lastWords) {
	if w.Omitted > 0 {
		a.console.notef("in the background: %d earlier lines are left out", w.Omitted)
	}
	for _, line := range w.Notes {
		a.console.notef("in the background: %s", line)
	}
	for _, block := range w.Blocks {
		text, ok := record.RescueText(block)
		if !ok { // it may be anybody's who can write there, and a log is read by the runner
			a.console.warnf("what the process in the background has left as a rescue block is none, and is not repeated here")
			continue
		}
		a.console.notef("in the background: the store does not take the record; this sealed block is it, keep it:")
		// A log that nobody reads changes nothing.
		_, _ = io.WriteString(a.console, text)
	}
	a.step.writers = append(a.step.writers, w.Writers...)
}

// judge says how it went. A job that had its token until the end is well. What
// passes by itself, or what the next run says anyway, is a warning; that a person has
// to sign in again makes this step fail, because nobody else may say it for days.
func (a *app) judge(w lastWords, how ending) error {
	switch {
	case how == unending:
		a.console.warnf("the process in the background (%d) does not end; the runner ends it after the job", w.Process)
	case how == settled:
		a.console.notef("the process in the background was ended by another post step, which has told how it went")
	case how == vanished && w.Reason == "":
		a.console.warnf("the token was not kept fresh until the job's end: the process in the background was killed before")
	case how == vanished:
		a.console.warnf("the token was not kept fresh until the job's end: the process in the background ended before, because of this: %s", w.Reason)
	case w.Trouble == nil:
		a.console.notef("the token was kept fresh until now: generation %d, the last of %d", w.Generation, w.Delivered)
	}
	if w.Trouble == nil {
		return nil
	}
	text := fmt.Sprintf("the token could not be kept fresh any more: %s", w.Trouble.Error)
	if w.Trouble.Code == exitUndelivered {
		text = fmt.Sprintf("generation %d of the token did not get everywhere: %s", w.Generation, w.Trouble.Error)
	}
	if w.Trouble.Code != exitPerson {
		a.console.warnf("%s", text)
		return nil
	}
	failed := &codedError{code: exitPerson, err: errors.New(text)}
	if w.Trouble.Hint != nil {
		failed.hint = *w.Trouble.Hint
	}
	return failed
}
