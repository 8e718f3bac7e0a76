package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

var ada = grant.Account{ID: "sub:ada", Name: "ada@id.example"}

// signIn is what a person's sign-in yields now.
func (w *world) signIn(who grant.Account) engine.SignIn {
	return engine.SignIn{Account: who, Note: "signed in by browser", Tokens: grant.TokenSet{
		Access:  grant.AccessToken{Value: w.token("at-fresh"), Type: "Bearer", Scope: []string{"read"}},
		Refresh: w.token("fresh"), ObtainedAt: time.Now(),
	}}
}

func owned(who grant.Account) func(*grant.Credential) {
	return func(c *grant.Credential) { c.Account = who }
}

// arrive is a whole sign-in: expected, made while meanwhile happens, and saved.
func (w *world) arrive(ctx context.Context, who grant.Account, replace bool, meanwhile func()) (*engine.Arrival, engine.Imported, error) {
	w.t.Helper()
	a, err := w.engine().Expect(w.t.Context(), acme, replace)
	if err != nil {
		return nil, engine.Imported{}, err
	}
	if meanwhile != nil {
		meanwhile()
	}
	done, err := a.Save(ctx, w.signIn(who))
	for _, text := range append(a.Warnings(), errorText(err)) {
		w.clean("what the caller is told", text)
	}
	return a, done, err
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestSignIn holds "one Swap with a new Consent, generation + 1, lease and doubt
// cleared; no waiting for a lease", and "save first".
func TestSignIn(t *testing.T) {
	t.Parallel()
	scenario(t, "no record", strict, func(t *testing.T, w *world) {
		_, done, err := w.arrive(t.Context(), ada, false, nil)
		if err != nil || done != (engine.Imported{Generation: 1}) {
			t.Fatalf("a first sign-in: %+v, %v", done, err)
		}
		w.wantIO("a first sign-in", "mark, load, list, load, put, swap adopted, remove, set mark")
		c := w.stored()
		switch {
		case w.name(c.Tokens.Refresh) != "fresh" || c.Tokens.Access.Generation != 1 || c.Tokens.Access.Grant != acme || c.Account != ada || c.Replaces != "":
			t.Errorf("the record is %+v", c)
		case !c.Tokens.Access.ExpiryAssumed || !c.Tokens.Access.Expiry.Equal(time.Now().Add(time.Hour)):
			t.Errorf("the access token ends at %v", c.Tokens.Access.Expiry)
		case c.Events[0].Note != "signed in by browser":
			t.Errorf("the story says %q", c.Events[0].Note)
		}
		out, err := w.access(engine.Request{MinTTL: time.Minute})
		w.wantServed("after a sign-in", out, err, "at-fresh", false)
		w.wantSent("a sign-in presents no refresh token")
	})
	scenario(t, "over a living grant, of the same account", strict, func(t *testing.T, w *world) {
		before := w.keep(leased(80*time.Second), doubted(3, 0), owned(ada), func(c *grant.Credential) { c.Raw = w.token("raw") })
		a, done, err := w.arrive(t.Context(), ada, false, nil)
		if err != nil || !done.Replaced || done.Generation != 8 || len(a.Warnings()) != 0 || a.Account() != ada {
			t.Fatalf("a sign-in: %+v, %v, %v", done, a.Warnings(), err)
		}
		c := w.stored()
		if w.since() != 0 || c.Lease != nil || c.Doubt != nil || !c.Raw.IsZero() || c.Consent == before.Consent || c.Replaces != before.Consent {
			t.Errorf("after %v: lease %v, doubt %v, consent %q over %q", w.since(), c.Lease, c.Doubt, c.Consent, c.Replaces)
		}
	})
	scenario(t, "over a grant that ended, of another account", strict, func(t *testing.T, w *world) {
		w.keep(ended, owned(grant.Account{ID: "sub:bob"}))
		a, done, err := w.arrive(t.Context(), ada, false, nil)
		if err != nil || done.Generation != 8 || a.Account() != (grant.Account{}) || w.stored().Account != ada || w.stored().State != grant.Live {
			t.Fatalf("a sign-in: %+v, %v", done, err)
		}
	})
	scenario(t, "over a logged-out grant that was elsewhere", strict, func(t *testing.T, w *world) {
		w.keep(func(c *grant.Credential) {
			c.State, c.Bind.ClientID, c.Tokens = grant.Retired, "client-2", grant.TokenSet{}
		})
		if _, _, err := w.arrive(t.Context(), ada, false, nil); err != nil || w.stored().Bind != w.bind || w.stored().State != grant.Live {
			t.Fatalf("a sign-in: %v", err)
		}
	})
	scenario(t, "the refresh token is one that the grant knows", safe, func(t *testing.T, w *world) {
		w.keep(owned(ada), func(c *grant.Credential) { c.Tokens.Refresh = w.token("fresh") })
		if _, done, err := w.arrive(t.Context(), ada, false, nil); err != nil || done.Generation != 8 || len(w.spills) != 0 {
			t.Fatalf("a provider that does not rotate: %+v, %v", done, err)
		}
	})
	scenario(t, "no refresh token", strict, func(t *testing.T, w *world) {
		a, err := w.engine().Expect(t.Context(), acme, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Save(t.Context(), engine.SignIn{})
		wantErr(t, "nothing to keep", err, engine.ErrNoToken)
		w.wantSpills("nothing to keep", 0)
	})
}

// TestSignInIsRefused holds "another account is refused without --replace", and
// that what can be known before a person signs in is known before.
func TestSignInIsRefused(t *testing.T) {
	t.Parallel()
	scenario(t, "another account", strict, func(t *testing.T, w *world) {
		before := w.keep(owned(ada))
		_, _, err := w.arrive(t.Context(), grant.Account{ID: "sub:bob", Name: "bob@id.example"}, false, nil)
		wantErr(t, "another account", err, engine.ErrOtherAccount)
		if err == nil || !strings.Contains(err.Error(), "ada@id.example") || !strings.Contains(err.Error(), "bob@id.example") {
			t.Errorf("the error names not both: %v", err)
		}
		w.wantStored("another account", before)
		w.wantSpills("another account", 0)
		if _, done, err := w.arrive(t.Context(), grant.Account{ID: "sub:bob"}, true, nil); err != nil || done.Generation != 8 {
			t.Errorf("with replace: %+v, %v", done, err)
		}
	})
	for name, who := range map[string]grant.Account{"an account that is not told": {}, "an account told in another way": {ID: "account:7"}} {
		scenario(t, name, strict, func(t *testing.T, w *world) {
			w.keep(owned(grant.Account{ID: "sub:ada"}))
			a, _, err := w.arrive(t.Context(), who, false, nil)
			if err != nil || len(a.Warnings()) != 1 || !strings.Contains(a.Warnings()[0], "nobody can tell") {
				t.Errorf("%v, %q", err, a.Warnings())
			}
		})
	}
	scenario(t, "the name counts where the ids are of two kinds", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		_, _, err := w.arrive(t.Context(), grant.Account{ID: "account:7", Name: "bob@id.example"}, false, nil)
		wantErr(t, "another name", err, engine.ErrOtherAccount)
		if _, _, err := w.arrive(t.Context(), grant.Account{ID: "account:7", Name: "ADA@id.example"}, false, nil); err != nil {
			t.Errorf("the same name: %v", err)
		}
	})
	scenario(t, "a living grant elsewhere", strict, func(t *testing.T, w *world) {
		w.keep(func(c *grant.Credential) { c.Bind.TokenURL = "https://other.example/token" })
		_, err := w.engine().Expect(t.Context(), acme, false)
		wantErr(t, "elsewhere", err, engine.ErrLiving)
		if _, done, err := w.arrive(t.Context(), ada, true, nil); err != nil || done.Generation != 8 || w.stored().Bind != w.bind {
			t.Errorf("with replace: %+v, %v", done, err)
		}
	})
	scenario(t, "a store that does not answer", strict, func(t *testing.T, w *world) {
		w.onLoad = func(int) error { return errLost }
		_, err := w.engine().Expect(t.Context(), acme, false)
		wantErr(t, "before anybody signs in", err, engine.ErrStore)
	})
	scenario(t, "a record that cannot be read", strict, func(t *testing.T, w *world) {
		w.onLoad = func(int) error { return grant.ErrUnreadable }
		_, err := w.engine().Expect(t.Context(), acme, true)
		wantErr(t, "before anybody signs in", err, grant.ErrUnreadable)
	})
	scenario(t, "a disk that takes no spill", strict, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Spill = unready{cfg.Spill}
		e, err := engine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Expect(t.Context(), acme, false)
		wantErr(t, "before anybody signs in", err, engine.ErrStore)
	})
}

// TestSignInMeetsOthers: minutes pass while a person signs in.
func TestSignInMeetsOthers(t *testing.T) {
	t.Parallel()
	scenario(t, "a refresh meanwhile", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		_, done, err := w.arrive(t.Context(), ada, false, func() { w.stranger(w.advance(9, "9")) })
		if err != nil || done.Generation != 10 || w.name(w.stored().Tokens.Refresh) != "fresh" {
			t.Errorf("over what a refresh left: %+v, %v", done, err)
		}
	})
	scenario(t, "a refresh at the very moment", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = func(kind string, n int) fault {
			if kind == grant.EventAdopted && n == 1 {
				return fault{before: func() { w.stranger(w.advance(12, "12")) }}
			}
			return fault{}
		}
		_, done, err := w.arrive(t.Context(), ada, false, nil)
		if err != nil || done.Generation != 13 || w.stored().Generation != 13 || len(w.spills) != 0 {
			t.Errorf("over what a refresh left: %+v, %v, %d spills", done, err, len(w.spills))
		}
	})
	scenario(t, "another sign-in at the very moment", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = func(kind string, n int) fault {
			if kind == grant.EventAdopted && n == 1 {
				return fault{before: func() {
					w.stranger(func(c *grant.Credential) { c.Consent, c.Replaces, c.Generation = "consent-x", c.Consent, 8 })
				}}
			}
			return fault{}
		}
		a, done, err := w.arrive(t.Context(), ada, false, nil)
		if c := w.stored(); err != nil || done.Generation != 9 || c.Replaces != "consent-x" || len(w.spills) != 0 {
			t.Errorf("the later of two: %+v, %v, over %q, %d spills", done, err, c.Replaces, len(w.spills))
		}
		if len(a.Warnings()) != 0 {
			t.Errorf("the later of two is told %q", a.Warnings())
		}
	})
	scenario(t, "somebody else's sign-in at the very moment", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = func(kind string, n int) fault {
			if kind == grant.EventAdopted && n == 1 {
				return fault{before: func() {
					w.stranger(func(c *grant.Credential) {
						c.Consent, c.Account, c.Generation = "consent-x", grant.Account{ID: "sub:bob"}, 8
					})
				}}
			}
			return fault{}
		}
		_, _, err := w.arrive(t.Context(), ada, false, nil)
		wantErr(t, "two accounts at once", err, engine.ErrOtherAccount)
		w.wantSpills("two accounts at once", 0)
	})
	scenario(t, "a logout at the very moment", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = func(kind string, n int) fault {
			if kind == grant.EventAdopted && n == 1 {
				return fault{before: func() {
					w.stranger(func(c *grant.Credential) { c.Consent, c.State, c.Tokens = "consent-x", grant.Retired, grant.TokenSet{} })
				}}
			}
			return fault{}
		}
		if _, done, err := w.arrive(t.Context(), ada, false, nil); err != nil || done.Generation != 8 || w.stored().State != grant.Live {
			t.Errorf("a sign-in after a logout: %+v, %v", done, err)
		}
	})
	scenario(t, "a logout at the very moment, and then the store goes away", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = func(kind string, n int) fault {
			if kind != grant.EventAdopted || n > 1 {
				return fault{lose: true}
			}
			return fault{before: func() {
				w.stranger(func(c *grant.Credential) { c.Consent, c.State, c.Tokens = "consent-x", grant.Retired, grant.TokenSet{} })
				loads := w.loads
				w.onLoad = func(n int) error { // the conflict is looked at, and then nothing is
					if n > loads+1 {
						return errLost
					}
					return nil
				}
			}}
		}
		_, _, err := w.arrive(t.Context(), ada, false, nil)
		unsaved := (*engine.UnsavedError)(nil)
		if !errors.As(err, &unsaved) || !unsaved.Spilled || !unsaved.Rescued || len(w.rescued) != 1 {
			t.Errorf("%v, %d blocks", err, len(w.rescued))
		}
		w.wantSpills("the sign-in is here", 1)
	})
	scenario(t, "a refresh of the older consent that is saved late", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.replies = []reply{{during: func() {
			if _, _, err := w.arrive(context.Background(), ada, false, nil); err != nil {
				t.Errorf("a sign-in while a refresh runs: %v", err)
			}
		}}}
		out, err := w.access(engine.Request{Force: true})
		if err != nil || out.Access.Generation < 8 || w.stored().Account != ada {
			t.Fatalf("the refresh: %+v, %v", out, err)
		}
		w.wantServed("the older consent's result does not win", out, nil, "at-fresh", false)
		w.wantSent("and nothing more is presented", "rt7")
	})
}

// TestSignInIsNotLost: nobody signs in twice because a store failed.
func TestSignInIsNotLost(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]func(*world){
		"no record":      func(*world) {},
		"a living grant": func(w *world) { w.keep(owned(ada)) },
		"an ended grant": func(w *world) { w.keep(ended) },
		"a logged-out grant": func(w *world) {
			w.keep(func(c *grant.Credential) { c.State, c.Tokens = grant.Retired, grant.TokenSet{} })
		},
	} {
		scenario(t, "the store is away, over "+name, strict, func(t *testing.T, w *world) {
			keep(w)
			w.onSwap = storeOut(grant.EventAdopted)
			_, done, err := w.arrive(t.Context(), ada, false, nil)
			unsaved := (*engine.UnsavedError)(nil)
			if !errors.As(err, &unsaved) || !unsaved.Spilled || !unsaved.Rescued || done.Generation == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			if took := w.since(); took < 80*time.Second || took > 100*time.Second {
				t.Errorf("it tried for %v", took)
			}
			w.wantSpills("the sign-in is here", 1)
			// The store answers again, and the next call on this machine puts it there.
			w.onSwap = nil
			out, err := w.access(engine.Request{MinTTL: time.Minute})
			w.wantServed("the next call", out, err, "at-fresh", false)
			w.wantSpills("it is in the store", 0)
			if c := w.stored(); c.Account != ada || c.State != grant.Live {
				t.Errorf("the store has %+v", c)
			}
		})
	}
	scenario(t, "and the older consent moved on meanwhile", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = storeOut(grant.EventAdopted)
		if _, _, err := w.arrive(t.Context(), ada, false, nil); err == nil {
			t.Fatal("the store is away, and nobody says so")
		}
		w.onSwap = nil
		w.stranger(w.advance(20, "20"))
		out, err := w.access(engine.Request{MinTTL: time.Minute})
		w.wantServed("the newer consent wins", out, err, "at-fresh", false)
		if g := w.stored().Generation; g != 21 {
			t.Errorf("generation %d, want 21", g)
		}
	})
	scenario(t, "a rescue block is put back", strict, func(t *testing.T, w *world) {
		w.keep(owned(ada))
		w.onSwap = storeOut(grant.EventAdopted)
		if _, _, err := w.arrive(t.Context(), ada, false, nil); err == nil || len(w.rescued) != 1 {
			t.Fatalf("%d blocks", len(w.rescued))
		}
		w.onSwap, w.spills = nil, map[string]grant.Credential{} // another machine
		if res, err := w.engine().Offer(t.Context(), w.rescued[0].cred); res != engine.Write || err != nil {
			t.Errorf("Offer: %v, %v", res, err)
		}
		if res, err := w.engine().Offer(t.Context(), w.rescued[0].cred); res != engine.Saved || err != nil {
			t.Errorf("Offer again: %v, %v", res, err)
		}
	})
	scenario(t, "a signal", strict, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		w.onSwap = func(kind string, n int) fault {
			cancel()
			return fault{lose: n < 3}
		}
		if _, done, err := w.arrive(ctx, ada, false, nil); err != nil || done.Generation != 1 || w.stored().Generation != 1 {
			t.Errorf("a sign-in that a signal met: %+v, %v", done, err)
		}
		if len(w.rescued) != 1 {
			t.Errorf("%d blocks were printed, want one as soon as a Swap had failed", len(w.rescued))
		}
	})
	scenario(t, "neither disk nor store", strict, func(t *testing.T, w *world) {
		w.spillPut, w.onSwap = errDisk, storeOut(grant.EventAdopted)
		a, _, err := w.arrive(t.Context(), ada, false, nil)
		unsaved := (*engine.UnsavedError)(nil)
		if !errors.As(err, &unsaved) || unsaved.Spilled || !unsaved.Rescued || len(a.Warnings()) != 1 {
			t.Errorf("%v, %q", err, a.Warnings())
		}
	})
	scenario(t, "the Swap's answer is lost", strict, func(t *testing.T, w *world) {
		w.onSwap = func(_ string, n int) fault { return fault{drop: n == 1} }
		if _, done, err := w.arrive(t.Context(), ada, false, nil); err != nil || done.Generation != 1 || len(w.spills) != 0 {
			t.Errorf("%+v, %v, %d spills", done, err, len(w.spills))
		}
	})
}
