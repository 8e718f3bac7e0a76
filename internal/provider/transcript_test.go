package provider_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/oauth"
	"evergrant/internal/provider"
)

// transcript is one exchange as a source documents it: what is sent, what is
// answered, and what follows. It is written from the source and knows nothing
// of the preset. A file has a head (free text, then "source:", "confidence:"
// and "shows:", which is success, spent, error or odd) and four parts:
// settings, request, reply and expect.
type transcript struct {
	name     string // preset/file
	head     map[string]string
	settings map[string]string
	params   map[string]string
	request  *http.Request
	body     string // of the request
	reply    string // raw, as it goes on the wire
	expect   map[string]string
}

func (x transcript) preset() string { return filepath.Dir(x.name) }

func transcripts(t testing.TB) []transcript {
	t.Helper()
	files, err := filepath.Glob("testdata/transcripts/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts (%v)", err)
	}
	var all []transcript
	for _, f := range files {
		all = append(all, readTranscript(t, f))
	}
	return all
}

func readTranscript(t testing.TB, file string) transcript {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(filepath.Dir(file)) + "/" + strings.TrimSuffix(filepath.Base(file), ".txtar")
	comment, parts := archive(string(b))
	if got := slices.Sorted(maps.Keys(parts)); !slices.Equal(got, []string{"expect", "reply", "request", "settings"}) {
		t.Fatalf("%s: parts are %v", name, got)
	}
	_, head, _ := strings.Cut(comment, "\n\n")
	x := transcript{name: name, params: make(map[string]string)}
	x.head, _ = keys(t, name, head)
	x.expect, _ = keys(t, name, parts["expect"])
	var params []string
	x.settings, params = keys(t, name, parts["settings"])
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		x.params[k] = v
	}
	lines, body, _ := strings.Cut(parts["request"], "\n\n")
	x.request, err = http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatalf("%s: request: %v", name, err)
	}
	x.body = body
	lines, body, _ = strings.Cut(parts["reply"], "\n\n")
	x.reply = strings.ReplaceAll(lines, "\n", "\r\n") +
		fmt.Sprintf("\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	return x
}

// archive splits a txtar file: a comment, and parts under lines "-- name --".
func archive(text string) (comment string, parts map[string]string) {
	parts = make(map[string]string)
	name := ""
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(n, " --\n") {
			name = strings.TrimSuffix(n, " --\n")
			parts[name] = ""
		} else if name == "" {
			comment += line
		} else {
			parts[name] += line
		}
	}
	for n, part := range parts {
		parts[n] = strings.TrimSuffix(part, "\n")
	}
	return comment, parts
}

// keys reads lines of "key: value"; the values of "param" are collected.
func keys(t testing.TB, name, text string) (map[string]string, []string) {
	t.Helper()
	m, params := make(map[string]string), []string(nil)
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		k, v, ok := strings.Cut(line, ": ")
		switch {
		case !ok:
			t.Fatalf("%s: %q is no key and value", name, line)
		case k == "param":
			params = append(params, v)
		case m[k] != "":
			t.Fatalf("%s: %s is given twice", name, k)
		default:
			m[k] = v
		}
	}
	return m, params
}

// play resolves the preset with the transcript's settings, makes one real
// request over TCP to a listener that plays the reply, and returns every
// difference between what the source documents and what happened.
func play(t testing.TB, p provider.Preset, x transcript) (diffs []string) {
	t.Helper()
	secret := grant.NewSecret(x.settings["client-secret"])
	e, err := p.Resolve(provider.Settings{
		ClientID: x.settings["client-id"], HasSecret: !secret.IsZero(),
		Scope: x.settings["scope"], Params: x.params,
	})
	if err != nil {
		return []string{"resolve: " + err.Error()}
	}
	if want := "https://" + x.request.Host + x.request.URL.Path; e.TokenURL != want {
		diffs = append(diffs, fmt.Sprintf("token URL is %s, documented is %s", e.TokenURL, want))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	seen := make(chan []string, 1)
	go func() { seen <- serve(l, x) }()

	obtained := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	client, err := client(e, secret, "http://"+l.Addr().String()+x.request.URL.Path, obtained)
	if err != nil {
		return append(diffs, "client: "+err.Error())
	}
	conn, err := client.Connect(t.Context())
	if err != nil {
		return append(diffs, "connect: "+err.Error())
	}
	defer func() { _ = conn.Close() }()
	var c grant.Credential
	c.Tokens.Refresh = grant.NewSecret(x.settings["refresh-token"])
	set, err := conn.Refresh(t.Context(), c, func() error { return nil })
	diffs = append(diffs, <-seen...)
	if _, fails := x.expect["fate"]; fails {
		return append(diffs, x.compareFailure(err)...)
	}
	if err != nil {
		return append(diffs, "refresh: "+err.Error())
	}
	return append(diffs, x.compareSuccess(set, obtained)...)
}

// client is the wiring from an Endpoint to a token client.
func client(e provider.Endpoint, secret grant.Secret, target string, now time.Time) (*oauth.Client, error) {
	auth, err := oauth.ParseAuthMethod(e.Auth)
	if err != nil {
		return nil, err
	}
	body, err := oauth.ParseBody(e.Body)
	if err != nil {
		return nil, err
	}
	return oauth.New(oauth.Config{
		TokenURL: target, ClientID: e.ClientID, Auth: auth, Secret: secret, Body: body,
		Scope: e.Scope, ScopeSeparator: e.ScopeSeparator, Params: e.Params, Headers: e.Headers,
		Codes: e.Codes, Statuses: e.Statuses, UserAgent: "evergrant/0.0.0-test",
		Now: func() time.Time { return now },
	})
}

// serve takes one request, plays the reply, and returns the differences.
func serve(l net.Listener, x transcript) []string {
	conn, err := l.Accept()
	if err != nil {
		return []string{"no request came"}
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return []string{err.Error()}
	}
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return []string{"the request cannot be read: " + err.Error()}
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return []string{"the request's body cannot be read: " + err.Error()}
	}
	diffs := x.compareRequest(req, string(body))
	if _, err := io.WriteString(conn, x.reply); err != nil {
		return append(diffs, "the reply cannot be written: "+err.Error())
	}
	return diffs
}

// compareRequest compares method, path, headers and each field of the body.
func (x transcript) compareRequest(got *http.Request, body string) (diffs []string) {
	add := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	if got.Method != x.request.Method || got.RequestURI != x.request.RequestURI {
		add("request is %s %s, documented is %s %s", got.Method, got.RequestURI, x.request.Method, x.request.RequestURI)
	}
	for name, values := range x.request.Header {
		if sent := got.Header.Get(name); sent != values[0] {
			add("header %s is %q, documented is %q", name, sent, values[0])
		}
	}
	if agent := got.UserAgent(); !strings.HasPrefix(agent, "evergrant/") {
		add("User-Agent is %q", agent)
	}
	if got.Header.Get("Authorization") != x.request.Header.Get("Authorization") {
		add("authorization is sent in another way than documented")
	}
	want, err := fields(x.request.Header.Get("Content-Type"), x.body)
	if err != nil {
		add("transcript: %v", err)
	}
	sent, err := fields(got.Header.Get("Content-Type"), body)
	if err != nil {
		add("body: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(union(want, sent))) {
		w, documented := want[name]
		g, given := sent[name]
		if documented != given || w != g {
			add("field %s is %q (%v), documented is %q (%v)", name, g, given, w, documented)
		}
	}
	return diffs
}

// fields reads the body of a request; every field must occur once.
func fields(contentType, body string) (map[string]string, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string)
	if kind == "application/json" {
		d := json.NewDecoder(strings.NewReader(body))
		if err := d.Decode(&m); err != nil {
			return nil, err
		}
		return m, nil
	}
	v, err := url.ParseQuery(body)
	for name, values := range v {
		if len(values) != 1 {
			return nil, fmt.Errorf("field %s occurs %d times", name, len(values))
		}
		m[name] = values[0]
	}
	return m, err
}

func union(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	if m == nil {
		m = make(map[string]string)
	}
	maps.Copy(m, b)
	return m
}

func (x transcript) compareFailure(err error) (diffs []string) {
	var e *grant.RefreshError
	if !errors.As(err, &e) {
		return []string{fmt.Sprintf("outcome is %v, expected a failure", err)}
	}
	got := map[string]string{"fate": e.Fate.String(), "code": e.Code, "status": fmt.Sprint(e.Status)}
	if e.RetryAfter != 0 {
		got["retry-after"] = fmt.Sprintf("%ds", int(e.RetryAfter.Seconds()))
	}
	return x.compareExpect(got)
}

func (x transcript) compareSuccess(set grant.TokenSet, obtained time.Time) []string {
	got := map[string]string{
		"access": set.Access.Value.Reveal(), "refresh": "unchanged", "type": set.Access.Type,
		"scope": strings.Join(set.Access.Scope, " "), "life": "", "refresh-life": "",
	}
	if !set.Refresh.IsZero() {
		got["refresh"] = set.Refresh.Reveal()
	}
	if !set.Access.Expiry.IsZero() {
		got["life"] = fmt.Sprintf("%ds", int(set.Access.Expiry.Sub(obtained).Seconds()))
	}
	if !set.RefreshExpiry.IsZero() {
		got["refresh-life"] = fmt.Sprintf("%ds", int(set.RefreshExpiry.Sub(obtained).Seconds()))
	}
	return x.compareExpect(got)
}

func (x transcript) compareExpect(got map[string]string) (diffs []string) {
	for _, name := range slices.Sorted(maps.Keys(union(x.expect, got))) {
		want := x.expect[name]
		switch want {
		case "any":
			continue
		case "none":
			want = ""
		}
		if got[name] != want {
			diffs = append(diffs, fmt.Sprintf("%s is %q, expected is %q", name, got[name], want))
		}
	}
	return diffs
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	for _, x := range transcripts(t) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			p, err := provider.Lookup(x.preset())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range play(t, p, x) {
				t.Error(d)
			}
		})
	}
}

// TestTranscriptsAreFounded holds the transcripts to their form: each names a
// source of its preset, and says how well it is founded.
func TestTranscriptsAreFounded(t *testing.T) {
	t.Parallel()
	for _, x := range transcripts(t) {
		p, err := provider.Lookup(x.preset())
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if !slices.ContainsFunc(p.Sources, func(s provider.Source) bool { return s.URL == x.head["source"] }) {
			t.Errorf("%s: source %q is none of the preset's", x.name, x.head["source"])
		}
		if !slices.Contains([]string{provider.Confirmed, provider.Single, provider.Disputed, provider.Unverified}, x.head["confidence"]) {
			t.Errorf("%s: confidence is %q", x.name, x.head["confidence"])
		}
		if !slices.Contains([]string{"success", "spent", "error", "odd"}, x.head["shows"]) {
			t.Errorf("%s: shows %q", x.name, x.head["shows"])
		}
		if agent := x.request.Header.Get("User-Agent"); agent != "" {
			t.Errorf("%s: documents a User-Agent; ours is our own", x.name)
		}
		if bytes.Contains([]byte(x.reply), []byte(x.settings["refresh-token"])) && x.expect["refresh"] != x.settings["refresh-token"] {
			t.Errorf("%s: the reply repeats the presented token and does not expect it", x.name)
		}
	}
}
