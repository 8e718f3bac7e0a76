package engine_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/store/mem"
)

// instant is a provider that answers at once, and the rest of a machine that
// costs nothing: what is left is the engine.
type instant struct{ n int }

var errNoRescue = errors.New("nothing fails here")

func (p *instant) Connect(context.Context) (grant.Connection, error) { return p, nil }
func (*instant) Close() error                                        { return nil }

func (p *instant) Refresh(_ context.Context, _ grant.Credential, gate func() error) (grant.TokenSet, error) {
	if err := gate(); err != nil {
		return grant.TokenSet{}, &grant.RefreshError{Fate: grant.Unspent, Err: err}
	}
	p.n++
	now := time.Now()
	text := strconv.Itoa(p.n)
	return grant.TokenSet{
		Access:     grant.AccessToken{Value: grant.NewSecret("bench-access-" + text), Type: "Bearer", Expiry: now.Add(8 * time.Hour)},
		Refresh:    grant.NewSecret("bench-refresh-" + text),
		ObtainedAt: now,
	}, nil
}

type noSpill struct{}

func (noSpill) Put(context.Context, grant.Credential) error                   { return nil }
func (noSpill) List(context.Context, grant.ID) ([]grant.Credential, error)    { return nil, nil }
func (noSpill) Remove(_ context.Context, _ grant.ID, _ string) error          { return nil }
func (noSpill) Mark(context.Context, grant.ID) (m grant.Mark, _ error)        { return m, nil }
func (noSpill) SetMark(_ context.Context, _ grant.ID, _ grant.Mark) (_ error) { return nil }

// benchEngine returns an engine with one refreshed grant.
func benchEngine(b *testing.B) (*engine.Engine, *instant) {
	b.Helper()
	p := &instant{}
	e, err := engine.New(engine.Config{
		Store: mem.New(), Refresher: p, Provider: "bench", Bind: grant.Binding{TokenURL: "https://issuer.example/token", ClientID: "bench"},
		Behaviour: grant.Behaviour{Rotates: true}, Spill: noSpill{}, Marks: noSpill{},
		Rescue: func(grant.Credential) error { return errNoRescue }, Holder: func() string { return "bench/" + strconv.Itoa(p.n) },
	})
	if err != nil {
		b.Fatal(err)
	}
	_, err = e.Access(b.Context(), "bench", engine.Request{Seed: grant.NewSecret("bench-refresh-0")})
	if err != nil || p.n != 1 {
		b.Fatalf("the first refresh: %v, %d requests", err, p.n)
	}
	return e, p
}

// BenchmarkServed is a call that finds enough life left: no request, no Swap.
func BenchmarkServed(b *testing.B) {
	e, p := benchEngine(b)
	b.ReportAllocs()
	for b.Loop() {
		out, err := e.Access(b.Context(), "bench", engine.Request{MinTTL: time.Hour})
		if err != nil || out.Refreshed {
			b.Fatalf("refreshed: %v, %v", out.Refreshed, err)
		}
	}
	if p.n != 1 {
		b.Fatalf("%d requests", p.n)
	}
}

// BenchmarkRefreshed is a call that refreshes: lease, request, spill, save.
func BenchmarkRefreshed(b *testing.B) {
	e, _ := benchEngine(b)
	b.ReportAllocs()
	for b.Loop() {
		out, err := e.Access(b.Context(), "bench", engine.Request{Force: true})
		if err != nil || !out.Refreshed {
			b.Fatalf("refreshed: %v, %v", out.Refreshed, err)
		}
	}
}

// BenchmarkNext is the decision alone, for the record of each usual story.
func BenchmarkNext(b *testing.B) {
	now := time.Now()
	live := granttest.Credential("bench")
	live.State, live.Reason, live.Raw, live.Lease, live.Doubt = grant.Live, "", grant.Secret{}, nil, nil
	live.Tokens.ObtainedAt, live.Tokens.Access.Expiry = now, now.Add(8*time.Hour)
	spends := live.Tokens.Refresh.Digest()
	leased := live.Clone()
	leased.Lease = &grant.Lease{Holder: "another", Until: now.Add(time.Minute), TTL: 90 * time.Second, Spends: spends}
	doubted := live.Clone()
	doubted.Doubt = &grant.Doubt{Spends: spends, Sends: 2, First: now.Add(-10 * time.Minute), Last: now.Add(-9 * time.Minute)}
	ended := live.Clone()
	ended.Tokens.Access.Expiry = now.Add(-time.Second)
	t := engine.DefaultTiming(false)
	for _, c := range []struct {
		name   string
		record grant.Credential
		ask    engine.Ask
		want   engine.Verb
	}{
		{"serve", live, engine.Ask{Now: now, First: 7, MinTTL: time.Hour}, engine.Serve},
		{"take", ended, engine.Ask{Now: now, First: 7}, engine.Take},
		{"wait", leased, engine.Ask{Now: now, First: 7, Force: true}, engine.Wait},
		{"recover", doubted, engine.Ask{Now: now, First: 7, Force: true, Watched: time.Minute}, engine.Recover},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if step := engine.Next(c.record, c.ask, grant.Behaviour{Rotates: true}, t); step.Do != c.want {
					b.Fatalf("%v by row %v, want %v", step.Do, step.Row, c.want)
				}
			}
		})
	}
}
