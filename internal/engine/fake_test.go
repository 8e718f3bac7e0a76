package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/store/mem"
)

const (
	acme   = grant.ID("acme/claude")
	canary = "canary-" // begins every token, and nothing else
)

var (
	errLost = errors.New("the store did not answer")
	errDisk = errors.New("the disk is full")
	errHang = errors.New("") // from onLoad: the store hangs
)

// scenario runs one story in virtual time, on a world of its own.
func scenario(t *testing.T, name string, b grant.Behaviour, story func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		real := time.Now() // times inside the bubble have no monotonic part
		synctest.Test(t, func(t *testing.T) {
			w := &world{
				t: t, b: b, records: mem.New(), spills: map[string]grant.Credential{}, start: time.Now(), monotonic: real,
				swaps: map[string]int{}, kinds: map[string]string{}, names: map[string]string{}, unknown: map[string]uint{},
				bind: grant.Binding{TokenURL: "https://issuer.example/token", ClientID: "client-1"},
			}
			story(t, w)
			w.finish()
		})
	})
}

// world is everything around the engine: a store, a provider, a disk, a person
// who sees the rescue block, and a clock. What happens is kept in order.
type world struct {
	t        *testing.T
	mu       sync.Mutex
	b        grant.Behaviour
	bind     grant.Binding
	sameHost bool
	weak     bool // the store is not atomic
	start    time.Time
	// monotonic is a real time, for clocks that need a monotonic part.
	monotonic time.Time

	records *mem.Store
	loads   int
	swaps   map[string]int    // calls by kind
	kinds   map[string]string // kind by Writer
	onLoad  func(n int) error
	onSwap  func(kind string, n int) fault

	replies  []reply // of the next requests; after them, every request succeeds
	connects []dial  // of the next connections; after them, every one succeeds
	issued   int     // token sets issued
	sent     []presentation
	names    map[string]string // name of a refresh token by digest
	unknown  map[string]uint   // presentations without a definite answer, by digest
	open     int               // connections

	spills   map[string]grant.Credential
	spillPut error
	listErr  error
	mark     grant.Mark
	markErr  error
	setErr   error
	rescued  []printed
	blockErr error

	io   []string
	ids  int
	jobs int
	gone func(string) bool
	now  func() time.Time
	log  bytes.Buffer
}

// fault is what the store does to one Swap; the zero value serves it.
type fault struct {
	before func()        // runs first
	err    error         // a definite error
	lose   bool          // never arrives; outcome unknown
	drop   bool          // is carried out, and the answer is lost
	late   time.Duration // is carried out that much later; outcome unknown at once
	hang   bool          // never answers, and is not carried out
}

// reply is what the provider and the network do to one request.
type reply struct {
	early  func()                // before the first byte
	during func()                // after the first byte, before the answer
	takes  time.Duration         // from the first byte to the answer; 0: 100 ms
	err    error                 // instead of a token set
	set    func(*grant.TokenSet) // changes the token set
}

type dial struct {
	takes time.Duration
	err   error
}

type presentation struct {
	token string // name
	at    time.Duration
}

type printed struct {
	cred grant.Credential
	at   time.Duration
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.io = append(w.io, fmt.Sprintf(format, args...))
}

func (w *world) since() time.Duration { return time.Since(w.start) }

// token makes a token that the world can name without revealing it.
func (w *world) token(name string) grant.Secret {
	s := grant.NewSecret(canary + name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[s.Digest()] = name
	return s
}

func (w *world) name(s grant.Secret) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[s.Digest()]
}

// keep puts a record of generation 7 into the store: rt7, and at7, which has
// 40 of its 60 minutes left.
func (w *world) keep(edits ...func(*grant.Credential)) grant.Credential {
	w.t.Helper()
	now := time.Now()
	c := grant.Credential{
		Grant: acme, Provider: "preset", Consent: "consent-1", Bind: w.bind, Generation: 7, Writer: "writer-7",
		Tokens: grant.TokenSet{
			Access: grant.AccessToken{
				Grant: acme, Generation: 7, Value: w.token("at7"), Type: "Bearer", Scope: []string{"read"}, Expiry: now.Add(40 * time.Minute),
			},
			Refresh: w.token("rt7"), RefreshExpiry: now.Add(720 * time.Hour), ObtainedAt: now.Add(-20 * time.Minute),
		},
		Seeds: []string{w.token("seed").Digest()}, Spent: []string{w.token("rt6").Digest()},
		Events: []grant.Event{{At: now.Add(-20 * time.Minute), By: "earlier", What: grant.EventRefreshed}},
		Extra:  map[string]string{"/future": "1"},
	}
	for _, e := range edits {
		e(&c)
	}
	w.issued = 7
	if _, err := w.records.Swap(context.Background(), acme, "", c); err != nil {
		w.t.Fatalf("the first record: %v", err)
	}
	return c
}

// Edits for keep, relative to the moment of the call.
func accessEnded(c *grant.Credential) { c.Tokens.Access.Expiry = time.Now().Add(-time.Minute) }

func accessLeft(d time.Duration) func(*grant.Credential) {
	return func(c *grant.Credential) { c.Tokens.Access.Expiry = time.Now().Add(d) }
}

func doubted(sends uint, ago time.Duration) func(*grant.Credential) {
	return func(c *grant.Credential) {
		at := time.Now().Add(-ago)
		c.Doubt = &grant.Doubt{Spends: c.Tokens.Refresh.Digest(), Sends: sends, First: at, Last: at}
	}
}

func leased(until time.Duration) func(*grant.Credential) {
	return func(c *grant.Credential) {
		c.Lease = &grant.Lease{Holder: "stranger", Until: time.Now().Add(until), TTL: 90 * time.Second, Spends: c.Tokens.Refresh.Digest()}
	}
}

func ended(c *grant.Credential) { c.State, c.Reason = grant.NeedsConsent, "the provider said no" }

// stored is the record in the store at this moment.
func (w *world) stored() grant.Credential {
	c, _, err := w.records.Load(context.Background(), acme)
	if err != nil && !errors.Is(err, grant.ErrNotFound) {
		w.t.Errorf("the store of the test: %v", err)
	}
	return c
}

// stranger changes the record as somebody else would.
func (w *world) stranger(change func(*grant.Credential)) {
	c, v, err := w.records.Load(context.Background(), acme)
	if err == nil {
		w.mu.Lock()
		w.ids++
		c.Writer = fmt.Sprintf("stranger-%d", w.ids)
		w.mu.Unlock()
		change(&c)
		_, err = w.records.Swap(context.Background(), acme, v, c)
	}
	if err != nil {
		w.t.Errorf("a stranger's write: %v", err)
	}
}

// advance is a stranger's refresh: its result is gen, rtName and atName.
func (w *world) advance(gen uint64, name string) func(*grant.Credential) {
	return func(c *grant.Credential) {
		c.AddSpent(c.Tokens.Refresh.Digest())
		c.Generation, c.Lease, c.Doubt = gen, nil, nil
		c.Tokens = grant.TokenSet{
			Access:  grant.AccessToken{Grant: acme, Generation: gen, Value: w.token("at" + name), Type: "Bearer", Expiry: time.Now().Add(time.Hour)},
			Refresh: w.token("rt" + name), ObtainedAt: time.Now(),
		}
	}
}

// config wires one process.
func (w *world) config() engine.Config {
	cfg := engine.Config{
		Store: &scriptedStore{w}, Refresher: &scriptedRefresher{w}, Behaviour: w.b, Provider: "preset", Bind: w.bind,
		Spill: &scriptedSpill{w}, Marks: &scriptedMarks{w}, By: "this run",
		Rescue: func(c grant.Credential) error {
			w.note("rescue")
			w.mu.Lock()
			defer w.mu.Unlock()
			w.rescued = append(w.rescued, printed{c.Clone(), time.Since(w.start)})
			return w.blockErr
		},
		Holder: func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.jobs++
			return fmt.Sprintf("job-%d", w.jobs)
		},
		HolderGone: w.gone,
		NewID: func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ids++
			return fmt.Sprintf("id-%d", w.ids)
		},
		Now: w.now, Jitter: func() float64 { return 0 },
		Logger: slog.New(slog.NewTextHandler(&lockedLog{w}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return cfg
}

type lockedLog struct{ w *world }

func (l *lockedLog) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}

func (w *world) engine() *engine.Engine {
	w.t.Helper()
	e, err := engine.New(w.config())
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	return e
}

// access is one call of the program.
func (w *world) access(r engine.Request) (engine.Outcome, error) {
	w.t.Helper()
	return w.accessCtx(context.Background(), r)
}

func (w *world) accessCtx(ctx context.Context, r engine.Request) (engine.Outcome, error) {
	w.t.Helper()
	out, err := w.engine().Access(ctx, acme, r)
	for _, text := range append([]string{fmt.Sprint(err), fmt.Sprintf("%+v", err)}, out.Warnings...) {
		w.clean("what the caller is told", text)
	}
	return out, err
}

func (w *world) clean(where, text string) {
	w.t.Helper()
	if strings.Contains(text, canary) {
		w.t.Errorf("P5: %s holds a token", where)
	}
}

// finish checks what holds for every scenario.
func (w *world) finish() {
	w.t.Helper()
	w.mu.Lock()
	open, log := w.open, w.log.String()
	w.mu.Unlock()
	if open != 0 {
		w.t.Errorf("step 4: %d connections are still open", open)
	}
	w.clean("the log", log)
	c := w.stored()
	if len(c.Events) > grant.MaxEvents || len(c.Spent) > grant.MaxSpent {
		w.t.Errorf("the record has %d events and %d spent digests, more than it may", len(c.Events), len(c.Spent))
	}
	for _, e := range c.Events {
		w.clean("an event", e.Note)
	}
	w.clean("the reason", c.Reason)
}

// tokens lists the presentations by name.
func (w *world) tokens() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, p := range w.sent {
		names = append(names, p.token)
	}
	return names
}

func (w *world) wantSent(rule string, want ...string) {
	w.t.Helper()
	if got := w.tokens(); !slices.Equal(got, want) {
		w.t.Errorf("%s: presented %v, want %v", rule, got, want)
	}
}

// wantIO compares the whole story since the last call of wantIO.
func (w *world) wantIO(rule, want string) {
	w.t.Helper()
	w.mu.Lock()
	got := strings.Join(w.io, ", ")
	w.io = nil
	w.mu.Unlock()
	if got != want {
		w.t.Errorf("%s:\n got %s\nwant %s", rule, got, want)
	}
}

func (w *world) count(entry string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.io {
		if e == entry {
			n++
		}
	}
	return n
}

// wantServed checks which token the caller got.
func (w *world) wantServed(rule string, out engine.Outcome, err error, access string, refreshed bool) {
	w.t.Helper()
	if err != nil {
		w.t.Errorf("%s: %v", rule, err)
		return
	}
	if got := w.name(out.Access.Value); got != access || out.Refreshed != refreshed {
		w.t.Errorf("%s: served %q (refreshed %v), want %q (refreshed %v)", rule, got, out.Refreshed, access, refreshed)
	}
}

func wantErr(t *testing.T, rule string, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("%s: error %v, want %v", rule, err, w)
		}
	}
}

// wantNext checks that the caller is told when to come again.
func wantNext(t *testing.T, rule string, err error, want time.Time) {
	t.Helper()
	var wait *engine.WaitError
	if !errors.As(err, &wait) {
		t.Errorf("%s: error %v is no WaitError", rule, err)
	} else if !wait.Next.Equal(want) {
		t.Errorf("%s: next try at %v, want %v", rule, wait.Next, want)
	}
}

// wantWarning checks that exactly one warning holds the words; with "" that
// there is none.
func wantWarning(t *testing.T, rule string, out engine.Outcome, words string) {
	t.Helper()
	n := 0
	for _, s := range out.Warnings {
		if words != "" && strings.Contains(s, words) {
			n++
		}
	}
	if words != "" && n != 1 || words == "" && len(out.Warnings) > 0 {
		t.Errorf("%s: warnings %q, want one with %q", rule, out.Warnings, words)
	}
}

// wantStored compares the store's record with want, but for the Writer.
func (w *world) wantStored(rule string, want grant.Credential) {
	w.t.Helper()
	got := w.stored()
	got.Writer = want.Writer
	if d := granttest.Diff(got, want); d != "" {
		w.t.Errorf("%s: the stored record differs at %s", rule, d)
	}
}
