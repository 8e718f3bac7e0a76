package sim_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/simulator"
	"evergrant/internal/store/mem"
)

const (
	grantID = grant.ID("acme/claude")
	client  = "client"
	jobs    = 6 // per runner
	runners = 4
)

// faults are probabilities: of each simulated I/O for crash and pause, of each
// request or call for the others, of each job for cancel.
type faults struct {
	crash, pause, latePause, cancel                            float64
	connect, lostRequest, lostReply, slow, garbled, busy, nope float64
	storeLost, storeUnknown, storeLate, storeDown              float64
	spillFails                                                 float64
	outage                                                     float64 // of each hour: provider or store is down for minutes
}

// profile is one configuration of the world.
type profile struct {
	name     string
	b        grant.Behaviour
	f        faults
	machines int
	sameHost bool
	clockOff bool // the last machine's clock is a day ahead
	logins   bool // people sign in anew over a living grant
	retires  bool // the grant is logged out at the end of the faults
	crowd    bool // all runners start their jobs at once
	foreign  bool // somebody else spends the chain once
}

// world is one run. Its mutex exists for the race detector: by construction
// one goroutine runs at a time.
type world struct {
	mu       sync.Mutex
	p        profile
	rng      *rand.Rand
	ids      int
	taken    map[int64]bool
	calm     bool // no faults any more
	trace    uint64
	start    time.Time
	stats    *stats
	model    *simulator.Model
	family   string
	store    *mem.Store
	spills   []map[string]grant.Credential // by machine, by Writer
	marks    []grant.Mark
	rescue   []grant.Credential
	skew     []time.Duration
	procs    map[string]*process // by holder
	sends    []*send
	raws     map[string]bool // digests of refresh tokens inside kept raw replies
	down     map[string]time.Time
	gens     map[uint64]string    // digest of the refresh token of each generation
	gen      uint64               // highest generation ever in the store
	touched  map[string]bool      // families that a foreign writer spent
	killers  map[string]string    // by family: why it was revoked
	durable  map[string]bool      // digests that reached a spill or the store
	saved    map[string]bool      // digests that reached the store
	rejected map[string]time.Time // digests for which NeedsConsent was written
	bad      []string
}

// send is one presentation as the client's side knows it.
type send struct {
	at      time.Time // first byte
	counted time.Time // the Swap that counted it, in true time
	token   string    // digest
	proc    *process
	fate    string // "success", a grant.Fate, or "" while or because the process died
	acted   bool   // the provider rotated because of it
	replied bool   // the whole reply reached the process
	access  string // digest of the access token in the reply
	yield   string // digest of the refresh token in the reply
	fault   string
	late    bool // paused between the window check and the first byte
}

// process is one run of the program.
type process struct {
	w       *world
	machine int
	name    string
	dead    bool
	leased  bool // its last write left its lease in the record
	killAt  time.Time
}

func newWorld(p profile, seed uint64, st *stats) *world {
	w := &world{
		p: p, rng: rand.New(rand.NewPCG(seed, 0x65766572)), taken: map[int64]bool{}, stats: st,
		store: mem.New(), procs: map[string]*process{}, raws: map[string]bool{}, down: map[string]time.Time{},
		touched: map[string]bool{}, killers: map[string]string{}, gens: map[uint64]string{}, durable: map[string]bool{}, saved: map[string]bool{}, rejected: map[string]time.Time{}, start: time.Now(),
	}
	n := 0
	model, err := simulator.NewModel(simulator.Rules{Behaviour: p.b, AccessLife: time.Hour}, func(k simulator.Kind) string {
		n++
		return fmt.Sprintf("token-%d-%d", k, n)
	})
	if err != nil {
		panic(err)
	}
	w.model = model
	for m := range p.machines {
		w.spills = append(w.spills, map[string]grant.Credential{})
		w.marks = append(w.marks, grant.Mark{})
		skew := time.Duration(0)
		if !p.sameHost {
			skew = time.Duration(w.rng.Int64N(int64(time.Minute))) - 30*time.Second
		}
		if p.clockOff && m == p.machines-1 {
			skew = 24 * time.Hour
		}
		w.skew = append(w.skew, skew)
	}
	return w
}

// hit draws a fault of this probability and counts it.
func (w *world) hit(name string, p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm || p == 0 || w.rng.Float64() >= p {
		return false
	}
	w.stats.count("fault", name)
	return true
}

func (w *world) float() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64()
}

// between draws a duration in [a, b).
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.float()*float64(b-a))
}

// sleep passes virtual time until an instant that nothing else wakes at.
func (w *world) sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	at := time.Now().Add(d).UnixNano()
	for w.taken[at] {
		at++
	}
	w.taken[at] = true
	w.mu.Unlock()
	timer := time.NewTimer(time.Duration(at - time.Now().UnixNano()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %s", w.trace, time.Since(w.start), line)
	w.trace = h.Sum64()
	if w.stats.verbose != nil {
		w.stats.verbose("%12s %s", time.Since(w.start).Round(time.Millisecond), line)
	}
}

func (w *world) fail(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.note("VIOLATION %s", line)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad = append(w.bad, line)
}

// newID is unique, and the same in each replay.
func (w *world) newID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprintf("id%d", w.ids)
}

// isDown reports a running outage of the named party.
func (w *world) isDown(party string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm && time.Now().Before(w.down[party])
}

func (w *world) process(machine int) *process {
	p := &process{w: w, machine: machine}
	p.name = fmt.Sprintf("m%d/%s", machine, w.newID())
	w.mu.Lock()
	w.procs[p.name] = p
	w.mu.Unlock()
	return p
}

func (p *process) now() time.Time { return time.Now().Add(p.w.skew[p.machine]) }

// gone is what a process on the same machine can know of another.
func (p *process) gone(holder string) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	o := p.w.procs[holder]
	return o != nil && o.machine == p.machine && o.dead
}

// io is one system call or message: it takes time, and the process may be
// paused or die there. A dead process does nothing any more.
func (p *process) io(ctx context.Context, what string, d time.Duration) error {
	p.alive()
	err := p.w.sleep(ctx, d)
	p.alive()
	if p.w.hit("crash", p.w.p.f.crash) {
		p.w.note("%s crashes at %s", p.name, what)
		p.die()
	}
	if p.w.hit("pause", p.w.p.f.pause) {
		p.w.note("%s pauses at %s", p.name, what)
		_ = p.w.sleep(context.Background(), p.w.between(10*time.Second, 400*time.Second))
		p.alive()
	}
	return err
}

func (p *process) alive() {
	p.w.mu.Lock()
	dead := p.dead || !p.killAt.IsZero() && time.Now().After(p.killAt)
	p.w.mu.Unlock()
	if dead {
		p.die()
	}
}

func (p *process) die() {
	p.w.mu.Lock()
	p.dead = true
	p.w.mu.Unlock()
	runtime.Goexit()
}

// engine wires a process's engine.
func (p *process) engine() *engine.Engine {
	e, err := engine.New(engine.Config{
		Store: &faultyStore{p}, Refresher: &refresher{p}, Behaviour: p.w.p.b,
		Provider: "sim", Bind: grant.Binding{TokenURL: "https://sim.example/token", ClientID: client},
		Spill: &spill{p}, Marks: &marks{p}, Rescue: p.printRescue,
		Holder: func() string { return p.name }, HolderGone: p.gone, By: p.name,
		Now: p.now, Jitter: p.w.float, NewID: p.w.newID,
		Logger: slog.New(&recorder{w: p.w}),
	})
	if err != nil {
		panic(err)
	}
	return e
}

func (p *process) printRescue(c grant.Credential) error {
	_ = p.io(context.Background(), "print rescue", time.Millisecond)
	p.w.note("%s prints a rescue block of generation %d", p.name, c.Generation)
	p.w.stats.count("other", "rescue block")
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.rescue = append(p.w.rescue, c)
	return nil
}

// recorder counts the engine's decisions and fates from its log.
type recorder struct{ w *world }

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }
func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	var line strings.Builder
	rec.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "row":
			r.w.stats.count("row", a.Value.String())
		case a.Key == "fate":
			r.w.stats.count("fate", a.Value.String())
		}
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		return true
	})
	r.w.note("  %s%s", rec.Message, line.String())
	return nil
}
