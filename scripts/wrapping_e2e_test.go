//go:build e2e

package scripts_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"evergrant/internal/simulator"
)

// wrapping is one odd form in which an answer with a whole refresh token comes.
type wrapping struct {
	name   string
	answer string        // as it goes over the wire
	pause  time.Duration // before it
	code   int           // of the scripts; the refresh token is saved where it is 0 or 1
	says   string
	binary int // the program's code
}

const (
	okHead    = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
	tokenPair = `{"access_token":"canary-access-w","refresh_token":"canary-next-w","token_type":"Bearer","expires_in":3600}`
)

// sized completes a head with a body and its length.
func sized(top, body string) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", top, len(body), body)
}

// member puts one more member before the tokens.
func member(text string) string { return "{" + text + "," + tokenPair[1:] }

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text)) // a buffer takes everything
	_ = z.Close()
	return b.String()
}

// wrappings is the table: what a provider, a proxy before it or a bad line may
// make of an answer that holds a whole refresh token. None of it may lose it.
func wrappings() []wrapping {
	body := func(name, body string) wrapping { return wrapping{name: name, answer: sized(okHead, body)} }
	raw := func(name, answer string) wrapping { return wrapping{name: name, answer: answer} }
	early := "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
	all := []wrapping{
		body("plainly", tokenPair),
		body("beside an error that is none", member(`"error":"warning"`)),
		body("beside an error of zero", member(`"error":0`)),
		body("beside an empty error", member(`"error":{}`)),
		body("beside a list of no errors", member(`"error":[]`)),
		body("beside a known error", member(`"error":"invalid_grant"`)),
		body("beside a byte of Latin-1", member("\"name\":\"Andr\xe9\"")),
		body("beside a number of 5,000 digits", member(`"id":`+strings.Repeat("9", 5000))),
		body("beside NaN", member(`"score":NaN`)),
		body("beside a deep list", member(`"deep":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000))),
		body("a line break in a text", member("\"note\":\"a\nb\"")),
		body("after a mark of byte order", "\xef\xbb\xbf"+tokenPair),
		body("with a comma too many", tokenPair[:len(tokenPair)-1]+",}"),
		body("before a comment", tokenPair+"\n<!-- cached -->"),
		body("before another object", tokenPair+`{"a":1}`),
		body("after a guard", ")]}',\n"+tokenPair),
		body("one level down", `{"result":`+tokenPair+`}`),
		body("in escapes", strings.NewReplacer("canary-next-w", `canary\u002dnext\u002Dw`, "canary-access-w", `canary\u002daccess-w`).Replace(member(`"score":NaN`))),
		raw("in gzip that nobody asked for", sized(okHead+"Content-Encoding: gzip\r\n", zipped(tokenPair))),
		raw("in gzip without a word", sized(okHead, zipped(tokenPair))),
		raw("not in gzip although it says so", sized(okHead+"Content-Encoding: gzip\r\n", tokenPair)),
		raw("under a header of 20 KB", sized(okHead+"X-Policy: "+strings.Repeat("x", 20<<10)+"\r\n", tokenPair)),
		raw("under a header of 70 KB", sized(okHead+"X-Policy: "+strings.Repeat("x", 70<<10)+"\r\n", tokenPair)),
		raw("under 120 headers", sized(okHead+strings.Repeat("X-Hop: a\r\n", 120), tokenPair)),
		raw("with its length twice", sized(okHead+fmt.Sprintf("Content-Length: %d\r\n", len(tokenPair)), tokenPair)),
		raw("with a space in a header's name", sized(okHead+"X Trace: 1\r\n", tokenPair)),
		raw("with bare line feeds", strings.ReplaceAll(sized(okHead, tokenPair), "\r\n", "\n")),
		raw("in chunks", okHead+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(tokenPair), tokenPair)),
		raw("in chunks without an end", okHead+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(tokenPair), tokenPair)),
		raw("without a length", okHead+"\r\n"+tokenPair),
		raw("after an early hint", early+sized(okHead, tokenPair)),
		raw("after two notices", "HTTP/1.1 102 Processing\r\n\r\n"+early+sized(okHead, tokenPair)),
		raw("created", strings.Replace(sized(okHead, tokenPair), "200 OK", "201 Created", 1)),
		raw("without its last three bytes", strings.TrimSuffix(sized(okHead, tokenPair), tokenPair[len(tokenPair)-3:])),
		raw("without all behind the refresh token", sized(okHead, tokenPair)[:len(sized(okHead, tokenPair))-len(`,"token_type":"Bearer","expires_in":3600}`)]),
		{name: "after twelve seconds", answer: sized(okHead, tokenPair), pause: 12 * time.Second},
	}
	poor := func(name, body, says string, binary int) {
		all = append(all, wrapping{name: name, answer: sized(okHead, body), code: 1, says: says, binary: binary})
	}
	const saved = "its refresh token is saved"
	poor("with half a character in the access token", `{"access_token":"a\ud800","refresh_token":"canary-next-w"}`, saved, 1)
	poor("with a type that is an object", strings.Replace(tokenPair, `"Bearer"`, `{"toString":1}`, 1), saved, 0)
	poor("beside invalid_grant alone", `{"error":"invalid_grant","refresh_token":"canary-next-w"}`, saved, 1)
	return all
}

// TestWrappings: a whole refresh token is never thrown away because of what
// is around it.
func TestWrappings(t *testing.T) {
	started, runs := time.Now(), 0
	t.Run("table", func(t *testing.T) {
		for _, row := range wrappings() {
			for _, p := range programs(t) {
				runs++
				t.Run(row.name+"/"+p.name, func(t *testing.T) {
					t.Parallel()
					row.meet(t, p)
				})
			}
		}
	})
	if !t.Failed() {
		part("%d odd wrappings of an answer, three scripts and the program: %d runs, the refresh token saved in each (%.0f s)", len(wrappings()), runs, time.Since(started).Seconds())
	}
}

func (row wrapping) meet(t *testing.T, p program) {
	t.Helper()
	b := newBox(t, simulator.Config{})
	asked := b.answerRaw(t, row.pause, row.answer)
	r := b.run(t, p)
	want := row.code
	if p.other {
		want = row.binary
	}
	if r.code != want || asked.Load() != 1 {
		t.Fatalf("want exit %d after one request, not %d\n%v", want, asked.Load(), r)
	}
	if token := strings.TrimSpace(r.stdout); (want == 0) != (token == "canary-access-w") || want != 0 && token != "" {
		t.Errorf("exit %d and this on standard output: %q", want, token)
	}
	if !p.other && (b.saved(t) != "canary-next-w" || !strings.Contains(r.stderr, row.says)) {
		t.Errorf("saved: %q, want the refresh token and %q on standard error\n%v", b.saved(t), row.says, r)
	}
}

// TestSamples: what is no answer to the request is not taken for one, although
// there is a refresh token in its text.
func TestSamples(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(first string) string
		code   int
	}{
		"a page with a sample": {func(string) string {
			return sized(strings.Replace(okHead, "application/json", "text/html", 1), "<!DOCTYPE html><pre>"+tokenPair+"</pre>")
		}, 4},
		"an echo beside an error": {func(first string) string {
			return sized(okHead, `{"error":"invalid_request","request":{"refresh_token":"`+first+`"}}`)
		}, 10},
		"an error that shows a token, masked": {func(string) string {
			return sized(okHead, `{"error":"invalid_request","request":{"refresh_token":"can****xt"}}`)
		}, 10},
		"an echo in the error itself": {func(first string) string {
			return sized(okHead, `{"error":"invalid_grant","refresh_token":"`+first+`"}`)
		}, 3},
		"a text that quotes an answer": {func(string) string {
			return sized(okHead, `{"message":"such as {\"refresh_token\":\"canary-next-w\"}"}`)
		}, 4},
		"a token that is cut": {func(string) string { return sized(okHead, tokenPair)[:len(sized(okHead, tokenPair))-50] }, 4},
		"an access token that is cut off before the refresh token": {func(string) string {
			return fmt.Sprintf("%sContent-Length: 99\r\n\r\n%s", okHead, `{"access_token":"canary-access-w","token_type":"Bearer",`)
		}, 4},
	} {
		for _, p := range programs(t) {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				b := newBox(t, simulator.Config{})
				asked := b.answerRaw(t, 0, c.answer(b.first))
				if r := b.run(t, p); r.code != c.code || asked.Load() != 1 || r.stdout != "" || !p.other && b.saved(t) != "" {
					t.Errorf("want exit %d after one request, and nothing saved\n%v", c.code, r)
				}
			})
		}
	}
}

// answerRaw points the box at a bare socket that answers each request with these
// bytes, and counts the requests.
func (b *box) answerRaw(t *testing.T, pause time.Duration, answer string) *atomic.Int32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	b.env["EVERGRANT_TOKEN_URL"] = "http://" + l.Addr().String() + "/token"
	b.mu.Lock()
	b.secrets = append(b.secrets, "canary-next-w")
	b.mu.Unlock()
	asked := &atomic.Int32{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var got strings.Builder
				for buffer := make([]byte, 4096); !strings.Contains(got.String(), "client_id="); {
					n, err := conn.Read(buffer)
					got.Write(buffer[:n])
					if err != nil {
						return // it connected and sent nothing
					}
				}
				asked.Add(1)
				<-time.After(pause)
				_, _ = conn.Write([]byte(answer))
			}()
		}
	}()
	return asked
}
