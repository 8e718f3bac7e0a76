package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"evergrant/internal/ghaction"
	"evergrant/internal/tokensocket"
)

// background is the process that keeps a job's token alive. It ends when the
// post step says so, by a signal, when its time is over, or when its folder is
// gone, because a runner empties RUNNER_TEMP at a job's end.
type background struct {
	*app
	keepPlace
	made    os.FileInfo // the folder
	teller  *teller
	keeper  *keeper
	tokens  net.Listener
	control net.Listener
}

// lookAtFolder is how often the process looks whether its job is over.
const lookAtFolder = time.Second

// actionKeep is that process. Its standard output answers the main step, and is
// closed when there is a token.
func (a *app) actionKeep(ctx context.Context) error {
	var orders keepOrders
	if err := json.NewDecoder(io.LimitReader(attentive{ctx, a.stdin}, maxOrders)).Decode(&orders); err != nil || orders.Folder == "" {
		return usagef("action keep is what action main starts, with its orders on standard input").
			hint("elsewhere the same is: evergrant run --token-file PATH --token-socket PATH -- COMMAND")
	}
	b := &background{app: a, keepPlace: keepPlace{orders.Folder, orders.Sockets}}
	b.teller = &teller{path: b.words(), told: lastWords{Process: os.Getpid()}}
	a.console.redirect(b.teller)
	a.inBackground = true
	if err := b.begin(ctx, orders); err != nil {
		v := verdictOf(err)
		return errors.Join(&commandError{v.Code}, b.closeListeners(), json.NewEncoder(a.stdout).Encode(keepReply{Verdict: &v}))
	}
	if err := json.NewEncoder(a.stdout).Encode(keepReply{Ready: true}); err != nil {
		// The main step is gone. Its post step comes.
		a.console.warnf("the step that began this has not heard of it: %v", err)
	}
	if out, ok := a.stdout.(io.Closer); ok {
		_ = out.Close()
	}
	b.serve(ctx, orders.Life)
	return nil
}

// begin makes the sockets and the first token.
func (b *background) begin(ctx context.Context, orders keepOrders) (err error) {
	if b.made, err = os.Lstat(b.folder); err != nil {
		return usagef("the folder for the token is gone: %v", err)
	}
	given := environment(func(name string) (string, bool) { v, ok := orders.Settings[name]; return v, ok })
	step, err := ghaction.Read(given)
	if err != nil {
		return usagef("%v", err)
	}
	b.step = &actionStep{Step: step, app: b.app, raw: given}
	b.env = step.Lookup
	o, args, err := b.step.options()
	if err != nil {
		return err
	}
	// What the runner reads when a step ends, it does not read later.
	o.sinks = slices.DeleteFunc(o.sinks, func(u string) bool {
		return strings.HasPrefix(u, "github-env:") || strings.HasPrefix(u, "github-output:")
	})
	run := runOptions{refreshOptions: o, tokenFile: b.token(), tokenSocket: b.socket()}
	if b.control, err = tokensocket.Listen(b.keepPlace.control()); err == nil {
		b.tokens, err = run.listen()
	}
	if err != nil {
		return err
	}
	p, err := b.planRun(args, &run)
	if err != nil {
		return err
	}
	p.warned = nil // the main step has said it
	b.keeper, err = b.app.keeper(ctx, p, run)
	return err
}

func (b *background) closeListeners() error {
	var failed []error
	for _, l := range []net.Listener{b.control, b.tokens} {
		if l != nil {
			failed = append(failed, l.Close())
		}
	}
	return errors.Join(failed...)
}

// serve keeps the token alive until there is a reason to end. A token in flight
// is saved first, and only then the file is removed: nothing makes it anew.
func (b *background) serve(ctx context.Context, life time.Duration) {
	beside := context.WithoutCancel(ctx)
	running, end := context.WithCancel(beside)
	defer end()
	b.keeper.tasks.Go(func() { b.keeper.answer(running, b.tokens) })
	b.keeper.tasks.Go(func() { b.keeper.keep(running) })
	asked := make(chan net.Conn, mostAskers)
	listening, deaf := context.WithCancel(beside)
	var control sync.WaitGroup
	control.Go(func() { b.listen(listening, asked) })

	reason, asker := b.wait(ctx, asked, life)
	if reason == folderGone {
		if err := b.keeper.session.carried.secure(ctx); err != nil {
			b.console.warnf("what is unsaved cannot be written again: %v", err)
		}
	}
	end()
	b.keeper.tasks.Wait()
	trouble := b.keeper.ailing()
	b.keeper.mu.Lock()
	generation, delivered := b.keeper.last.Access.Generation, b.keeper.delivered
	b.keeper.mu.Unlock()
	b.teller.change(func(s *lastWords) {
		s.Reason, s.Generation, s.Delivered, s.Trouble, s.Writers = reason, generation, delivered, trouble, b.step.writers
	})
	_ = os.Remove(b.token())
	deaf()
	_ = b.control.Close() // somebody may have removed it
	control.Wait()
	close(asked)
	if b.sockets != b.folder {
		_ = os.Remove(b.sockets)
	}
	// The connections are left to the end of this process: that is how a post step
	// knows that it has ended. The words are on the disk as well.
	for ; asker != nil; asker = <-asked {
		_ = asker.SetWriteDeadline(time.Now().Add(controlWait))
		_ = json.NewEncoder(asker).Encode(b.teller.now())
	}
}

// wait returns when there is a reason to end, and the connection of whom to tell.
func (b *background) wait(ctx context.Context, asked <-chan net.Conn, life time.Duration) (reason string, asker net.Conn) {
	over := time.NewTimer(life)
	defer over.Stop()
	look := time.NewTicker(max(lookAtFolder/time.Duration(b.speedUp), time.Millisecond))
	defer look.Stop()
	for {
		select {
		case asker = <-asked:
			return endedByPost, asker
		case <-ctx.Done():
			return "a signal", nil
		case <-over.C:
			return fmt.Sprintf("its time of %v is over", life), nil
		case <-look.C:
			if b.removed() {
				return folderGone, nil
			}
		}
	}
}

// removed reports whether the folder is gone, or is another by now. One that is
// being emptied counts too, because a file that this process makes meanwhile keeps
// it there: without its control socket nobody could end the process.
func (b *background) removed() bool {
	folder, err := os.Lstat(b.folder)
	_, cerr := os.Lstat(b.keepPlace.control())
	return err != nil || cerr != nil || !os.SameFile(folder, b.made)
}

// controlWait bounds how long either side of the control socket waits for a word
// of the other that needs no work.
const controlWait = 10 * time.Second

// How long a client of the control socket may say nothing, and how many who have
// said their word are answered.
const (
	controlRead = 3 * time.Second
	mostAskers  = 16
)

// listen takes the word of the post step. A client that says nothing keeps nobody.
func (b *background) listen(ctx context.Context, asked chan<- net.Conn) {
	hear := func(err error) {
		if err != nil {
			b.console.warnf("the post step's socket: %v", err)
		}
	}
	hear(tokensocket.Each(ctx, b.control, hear, func(c net.Conn) {
		done := tokensocket.Hurry(ctx, c, controlRead)
		line, err := bufio.NewReader(io.LimitReader(c, 16)).ReadString('\n')
		done()
		if err == nil && line == endKeeping {
			select {
			case asked <- c:
				return
			default: // so many need no answer
			}
		}
		_ = c.Close()
	}))
}

// endKeeping is what the post step says.
const endKeeping = "end\n"

// Reasons to end that the post step looks at.
const (
	endedByPost = "the post step"
	folderGone  = "its folder is gone"
)
