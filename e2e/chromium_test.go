//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a real Chromium without a screen, driven by its own protocol over
// two pipes (--remote-debugging-pipe: JSON, each message ended by a zero byte).
type browser struct {
	t       *testing.T
	to      io.Writer
	mu      sync.Mutex
	n       int
	answers map[int]chan json.RawMessage
	session string
	stderr  bytes.Buffer
}

// startBrowser starts one with an empty profile, until the test ends.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	read, theirs, err := os.Pipe()
	must(t, err)
	mine, write, err := os.Pipe()
	must(t, err)
	profile := t.TempDir()
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-component-update",
		"--disable-background-networking", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	b := &browser{t: t, to: write, answers: map[int]chan json.RawMessage{}}
	cmd.ExtraFiles = []*os.File{mine, theirs} // descriptors 3 and 4 there
	cmd.Env = append(os.Environ(), "HOME="+profile)
	cmd.Stderr = &b.stderr
	must(t, cmd.Start())
	must(t, errors.Join(mine.Close(), theirs.Close()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.listen(read)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = write.Close()
		<-ended
		_ = read.Close()
		if t.Failed() {
			for line := range strings.Lines(b.stderr.String()) {
				if !strings.Contains(line, "dbus") { // there is none here
					t.Log("chromium: ", strings.TrimSpace(line))
				}
			}
		}
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	return b
}

func (b *browser) listen(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		message, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if json.Unmarshal(bytes.TrimRight(message, "\x00"), &m) != nil || m.ID == 0 {
			continue // an event
		}
		if m.Error != nil {
			m.Result, _ = json.Marshal(map[string]string{"failed": m.Error.Message})
		}
		b.mu.Lock()
		c := b.answers[m.ID]
		b.mu.Unlock()
		c <- m.Result
	}
}

// call asks the browser for something, and reads its answer into result.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	if failed := b.try(method, params, result); failed != "" {
		b.t.Fatalf("chromium: %s: %s", method, failed)
	}
}

// try is call, and returns what the browser says if it cannot.
func (b *browser) try(method string, params map[string]any, result any) (failed string) {
	b.t.Helper()
	b.mu.Lock()
	b.n++
	id, c := b.n, make(chan json.RawMessage, 1)
	b.answers[id] = c
	b.mu.Unlock()
	ask := map[string]any{"id": id, "method": method, "params": params}
	if b.session != "" {
		ask["sessionId"] = b.session
	}
	message, err := json.Marshal(ask)
	must(b.t, err)
	_, err = b.to.Write(append(message, 0))
	must(b.t, err)
	select {
	case answer := <-c:
		var f struct{ Failed string }
		must(b.t, json.Unmarshal(answer, &f))
		if f.Failed == "" && result != nil {
			must(b.t, json.Unmarshal(answer, result))
		}
		return f.Failed
	case <-time.After(30 * time.Second):
		b.t.Fatalf("chromium does not answer %s", method)
	}
	return ""
}

// open goes to an address, as a person who follows a link.
func (b *browser) open(address string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": address}, nil)
}

// evaluate runs an expression in the page; "" if it cannot, as between two pages.
func (b *browser) evaluate(expression string) string {
	b.t.Helper()
	var r struct{ Result struct{ Value any } }
	if b.try("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r) != "" || r.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(r.Result.Value)
}

// until waits for an expression to be true in the page that is loaded.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(30 * time.Millisecond) {
		if b.evaluate(`document.readyState === "complete" && !!(`+expression+`)`) == "true" {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("chromium: no %s, but at %s:\n%s", what, b.address(), b.evaluate("document.body.innerText"))
		}
	}
}

// history is what the browser keeps of where it was, oldest first.
func (b *browser) history() []string {
	b.t.Helper()
	var h struct {
		CurrentIndex int
		Entries      []struct{ URL, UserTypedURL, Title string }
	}
	for deadline := time.Now().Add(20 * time.Second); b.try("Page.getNavigationHistory", nil, &h) != "" && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // between two pages there is none
	}
	var all []string
	for _, e := range h.Entries {
		all = append(all, e.URL)
	}
	return all
}

// address is what a person reads in the address bar, also of a page that cannot
// be reached.
func (b *browser) address() string {
	all := b.history()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// submit sends the page's form.
func (b *browser) submit(fill string) {
	b.t.Helper()
	before := b.address()
	b.evaluate(fill + `; document.querySelector("form").requestSubmit()`)
	for deadline := time.Now().Add(20 * time.Second); b.address() == before && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
	}
}

// signIn fills in oidc-provider's forms: who, and the consent.
func (b *browser) signIn(who string) {
	b.t.Helper()
	b.until("sign-in form", `document.querySelector("input[name=login]")`)
	b.submit(`document.querySelector("input[name=login]").value = "` + who + `"; document.querySelector("input[name=password]").value = "any"`)
	b.until("consent form", `document.querySelector("input[name=prompt][value=consent]")`)
	b.submit("0")
}

// text is what the page shows.
func (b *browser) text() string { return strings.TrimSpace(b.evaluate("document.body.innerText")) }
