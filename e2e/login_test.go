//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

var person = client{id: "person", auth: "none"}

// terminal is a program at a terminal of its own, with a person before it.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	line *os.File
	mu   sync.Mutex
	seen bytes.Buffer
	read chan struct{} // closed when the program has let go of the terminal
}

// atTerminal starts the binary there.
func (b *box) atTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	cmd := b.command(t.Context(), args...)
	line, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 60, Cols: 100})
	must(t, err)
	k := &terminal{t: t, cmd: cmd, line: line, read: make(chan struct{})}
	go func() {
		defer close(k.read)
		part := make([]byte, 4096)
		for {
			n, err := line.Read(part)
			k.mu.Lock()
			k.seen.Write(part[:n])
			k.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = line.Close()
	})
	return k
}

func (k *terminal) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen.String()
}

// until waits for something on the screen, and returns its last group.
func (k *terminal) until(pattern string) string {
	k.t.Helper()
	what := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := what.FindStringSubmatch(k.text()); m != nil {
			return m[len(m)-1]
		}
	}
	k.t.Fatalf("no %s on the screen:\n%s", pattern, k.text())
	return ""
}

// ends waits for the program, and wants that code.
func (k *terminal) ends(b *box, code int) string {
	k.t.Helper()
	err := k.cmd.Wait()
	<-k.read
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		k.t.Fatal(err)
	}
	text := k.text()
	if got := k.cmd.ProcessState.ExitCode(); got != code {
		k.t.Fatalf("want exit %d, got %d:\n%s", code, got, text)
	}
	if regexp.MustCompile(`[?&]code=`).MatchString(text) && !strings.Contains(text, "typed by a person") {
		k.t.Errorf("an authorization code on the screen:\n%s", text)
	}
	return text
}

// signedIn is what status says of the grant, and holds that no token shows.
func (b *box) signedIn(t *testing.T, id, account string) {
	t.Helper()
	r := b.run(t, "status", id, "--json")
	var s struct {
		State, Account string
		Generation     uint64
	}
	must(t, json.Unmarshal([]byte(r.stdout), &s))
	if r.code != 0 || s.State != "live" || s.Account != account {
		t.Fatalf("status says %+v, want the account %q\n%v", s, account, r)
	}
}

// person's box: a store, an issuer, and xdg-open, which notes what it is given.
func (s *authServer) desk(t *testing.T) (b *box, opened string) {
	t.Helper()
	b = newBox(t)
	opened = filepath.Join(b.home, "opened")
	bin := filepath.Join(b.home, "bin")
	must(t, os.MkdirAll(bin, 0o700))
	must(t, os.WriteFile(filepath.Join(bin, "xdg-open"), []byte("#!/bin/sh\nprintf %s \"$1\" >"+opened+".part && /bin/mv "+opened+".part "+opened+"\n"), 0o700))
	b.set("PATH", bin)
	b.set("TERM", "xterm-256color")
	return b, opened
}

func (s *authServer) issue(more ...string) []string {
	return append([]string{"--issuer", s.issuer, "--client-id", person.id, "--scope", "openid offline_access email"}, more...)
}

// TestLoginInBrowser: the system's browser, a real one, comes back to a port of
// this machine, and keeps no code.
func TestLoginInBrowser(t *testing.T) {
	s := startServer(t, nil)
	b, opened := s.desk(t)
	b.set("DISPLAY", ":99")
	began := time.Now()
	k := b.atTerminal(t, append([]string{"login", "acme/op"}, s.issue()...)...)
	k.until(`sign in in the browser`)
	address := waitFile(t, opened)
	web := startBrowser(t)
	web.open(address)
	web.signIn("ada")
	web.until("page of evergrant", `document.title.startsWith("evergrant")`)
	screen := k.ends(b, 0)
	if !strings.Contains(screen, "signed in as ada@example.test (sub:ada); generation 1 is saved") || !strings.Contains(web.text(), "Signed in") {
		t.Errorf("the screen says\n%s\nand the page\n%s", screen, web.text())
	}
	for _, at := range web.history() {
		if u, err := url.Parse(at); err != nil || u.Query().Has("code") {
			t.Errorf("the browser's history keeps %s", at)
		}
	}
	s.expect(t, "a sign-in", counts{requests: 1, granted: 1, saved: 1})
	b.signedIn(t, "acme/op", "ada@example.test (sub:ada)")

	// The grant is kept alive from now on.
	b.flags = []string{"--issuer", s.issuer, "--client-id", person.id}
	d := b.deliver(t, "acme/op", "--force")
	if !s.alive(t, d.token) || d.Generation != 2 {
		t.Errorf("the refresh after it: generation %d", d.Generation)
	}
	s.expect(t, "a refresh", refreshes(1))

	// The same account may sign in again; another may not, unless it is meant.
	k = b.atTerminal(t, append([]string{"login", "acme/op", "--no-browser"}, s.issue()...)...)
	web.open(k.until(`(http://127\.0\.0\.1:\d+/auth\?\S+)`))
	web.until("consent form", `document.querySelector("input[name=prompt][value=consent]")`)
	web.submit("0")
	if screen := k.ends(b, 0); !strings.Contains(screen, "generation 3 is saved") {
		t.Errorf("again:\n%s", screen)
	}
	other := startBrowser(t)
	k = b.atTerminal(t, append([]string{"login", "acme/op", "--no-browser"}, s.issue()...)...)
	other.open(k.until(`(http://127\.0\.0\.1:\d+/auth\?\S+)`))
	other.signIn("bob")
	other.until("page of evergrant", `document.title.startsWith("evergrant")`)
	if screen := k.ends(b, 3); !strings.Contains(screen, "it is ada@example.test (sub:ada)'s, and the sign-in was bob@example.test (sub:bob)'s") || !strings.Contains(other.text(), "Not signed in") {
		t.Errorf("another account:\n%s\n%s", screen, other.text())
	}
	b.signedIn(t, "acme/op", "ada@example.test (sub:ada)")
	s.expect(t, "two sign-ins", counts{requests: 2, granted: 2, saved: 2})

	// The person declines, by oidc-provider's own link.
	k = b.atTerminal(t, append([]string{"login", "other/op", "--no-browser"}, s.issue()...)...)
	third := startBrowser(t)
	third.open(k.until(`(http://127\.0\.0\.1:\d+/auth\?\S+)`))
	third.until("sign-in form", `document.querySelector("input[name=login]")`)
	third.evaluate(`[...document.querySelectorAll("a")].find(a => a.href.endsWith("/abort")).click()`)
	third.until("page of evergrant", `document.title.startsWith("evergrant")`)
	if screen := k.ends(b, 3); !strings.Contains(screen, "the consent was declined") || !strings.Contains(third.text(), "Declined") {
		t.Errorf("declined:\n%s\n%s", screen, third.text())
	}

	// A logout revokes at the server, and ends the grant here.
	r := b.run(t, append([]string{"logout", "acme/op"}, b.flags...)...)
	if r.code != 0 || !strings.Contains(r.stderr, "revoked at the provider: yes") {
		t.Errorf("%v", r)
	}
	if a := s.account(t); a.revoked != 1 || a.granted+a.failed+a.consumed != 0 {
		t.Errorf("the server counts %v", a.counts)
	}
	if r := b.fails(t, 3, "acme/op"); !strings.Contains(r.stderr, "grant is retired") {
		t.Errorf("%v", r)
	}
	part("login: by the system's browser (Chromium) and a loopback port: signed in, refreshed, again as the same account, refused as another, declined, logged out; %.1f s", time.Since(began).Seconds())
}

func waitFile(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
	}
	t.Fatal("xdg-open was not called")
	return ""
}

// TestLoginInDeviceFlow: by SSH a code is shown, for a person and for a camera.
func TestLoginInDeviceFlow(t *testing.T) {
	s := startServer(t, nil)
	b, opened := s.desk(t)
	b.set("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
	b.set("DISPLAY", ":99")
	k := b.atTerminal(t, append([]string{"login", "acme/op", "--speed-up", "10"}, s.issue()...)...)
	k.until(`this is a session by SSH, so: a code for another device`)
	userCode := k.until(`enter the code (\S+), within`)
	full := k.until(`or open (\S+), which has the code in it`)
	k.until(`waiting for the sign-in there`)
	if got := photograph(t, k.text()); got != full || !strings.Contains(full, userCode) {
		t.Errorf("a camera reads %q, the screen says %q", got, full)
	}
	web := startBrowser(t)
	web.open(full)
	web.until("confirmation", `document.body.innerText.includes("`+userCode+`")`)
	web.submit("0")
	web.signIn("ada")
	web.until("end", `/success/i.test(document.body.innerText)`)
	if screen := k.ends(b, 0); !strings.Contains(screen, "signed in as ada@example.test (sub:ada); generation 1 is saved") {
		t.Errorf("the screen says\n%s", screen)
	}
	if _, err := os.Stat(opened); err == nil {
		t.Error("a browser was opened at the far end")
	}
	b.signedIn(t, "acme/op", "ada@example.test (sub:ada)")
	b.flags = []string{"--issuer", s.issuer, "--client-id", person.id}
	if d := b.deliver(t, "acme/op", "--force"); !s.alive(t, d.token) {
		t.Error("the refreshed token is no good")
	}
	a := s.account(t)
	part("login: by a code on another device, whose QR code a reader took off the terminal; oidc-provider was asked %d times, and granted %d", a.requests, a.granted)
}

// photograph finds the QR code on the screen, and reads it as a camera would.
func photograph(t *testing.T, screen string) string {
	t.Helper()
	var rows [][]rune
	for line := range strings.Lines(screen) {
		body, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "\x1b[38;5;16;48;5;231m")
		if ok {
			rows = append(rows, []rune(strings.TrimSuffix(body, "\x1b[0m")))
		}
	}
	if len(rows) < 10 {
		t.Fatalf("no picture on the screen:\n%s", screen)
	}
	const scale = 4
	photo := image.NewGray(image.Rect(0, 0, (len(rows[0])+8)*scale, (2*len(rows)+8)*scale))
	for i := range photo.Pix {
		photo.Pix[i] = 0xff
	}
	for y, row := range rows {
		for x, c := range row {
			for half, ink := range []bool{c == '▀' || c == '█', c == '▄' || c == '█'} {
				for i := range scale * scale {
					if ink {
						photo.SetGray((x+4)*scale+i%scale, (2*y+half+4)*scale+i/scale, color.Gray{})
					}
				}
			}
		}
	}
	bits, err := gozxing.NewBinaryBitmapFromImage(photo)
	must(t, err)
	found, err := qrcode.NewQRCodeReader().Decode(bits, nil)
	must(t, err)
	return found.GetText()
}

// TestLoginInPaste: a browser that cannot come back, and a person who copies the
// address that it ends at.
func TestLoginInPaste(t *testing.T) {
	s := startServer(t, nil)
	for name, redirect := range map[string][]string{
		"a page that cannot be reached": nil,
		"a hosted page":                 {"--redirect-uri", "https://app.example.test/done"},
	} {
		b, _ := s.desk(t)
		k := b.atTerminal(t, append([]string{"login", "acme/op", "--paste"}, s.issue(redirect...)...)...)
		address := k.until(`(http://127\.0\.0\.1:\d+/auth\?\S+)`)
		k.until(`press Enter`)
		web := startBrowser(t)
		web.open(address)
		web.signIn("ada")
		ended := ""
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(ended, "code="); ended = web.address() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the browser is at %s", name, ended)
			}
			time.Sleep(20 * time.Millisecond)
		}
		// What is no answer is told, and asked for again.
		_, err := k.line.WriteString("I signed in\n")
		must(t, err)
		k.until(`no code that could be one; paste it again`)
		_, err = k.line.WriteString(ended + "\n")
		must(t, err)
		k.mu.Lock()
		k.seen.WriteString("typed by a person\n") // the terminal itself shows what is pasted
		k.mu.Unlock()
		if screen := k.ends(b, 0); !strings.Contains(screen, "signed in as ada@example.test (sub:ada)") {
			t.Errorf("%s: the screen says\n%s", name, screen)
		}
		b.signedIn(t, "acme/op", "ada@example.test (sub:ada)")
		s.expect(t, name, counts{requests: 1, granted: 1, saved: 1})
	}
	part("login: pasted into a terminal, of a page that cannot be reached and of a hosted one")
}

// TestLoginIsLeft: Ctrl-C gives the port and the terminal back, and leaves nothing.
func TestLoginIsLeft(t *testing.T) {
	s := startServer(t, nil)
	for _, how := range [][]string{{"--no-browser"}, {"--paste"}, {"--device"}} {
		b, _ := s.desk(t)
		k := b.atTerminal(t, append([]string{"login", "acme/op"}, s.issue(how...)...)...)
		k.until(`waiting for the|press Enter`)
		uri := regexp.MustCompile(`waiting for the answer at http://(127\.0\.0\.1:\d+)/`).FindStringSubmatch(k.text())
		began := time.Now()
		_, err := k.line.WriteString("\x03")
		must(t, err)
		if screen := k.ends(b, 1); !strings.Contains(screen, "stopped by a signal") {
			t.Errorf("%v: the screen says\n%s", how, screen)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%v: it took %v to leave", how, took)
		}
		if uri != nil {
			if c, err := net.Dial("tcp", uri[1]); err == nil {
				_ = c.Close()
				t.Errorf("the port %s is still open", uri[1])
			}
		}
		if r := b.run(t, "status", "acme/op"); r.code != 6 {
			t.Errorf("%v: something is left: %v", how, r)
		}
	}
	s.expect(t, "three that were left", counts{})
	part("login: left by Ctrl-C at each of its three ways, with nothing left behind")
}
