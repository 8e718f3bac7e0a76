package engine_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// foreign is a token set that another program obtained an hour ago.
func (w *world) foreign(refresh string) grant.TokenSet {
	return grant.TokenSet{
		Access:  grant.AccessToken{Value: w.token("at-foreign"), Type: "Bearer", Scope: []string{"read"}, Expiry: time.Now().Add(2 * time.Hour)},
		Refresh: w.token(refresh), RefreshExpiry: time.Now().Add(20 * 24 * time.Hour), ObtainedAt: time.Now().Add(-time.Hour),
	}
}

// TestImport holds "one Swap with a new Consent, generation + 1", for a whole token
// set, and that nothing is spent by it.
func TestImport(t *testing.T) {
	t.Parallel()
	scenario(t, "no record", strict, func(t *testing.T, w *world) {
		tokens := w.foreign("fresh")
		done, err := w.engine().Import(t.Context(), acme, tokens, false, "imported from claude")
		if err != nil || done != (engine.Imported{Generation: 1}) {
			t.Fatalf("Import: %+v, %v", done, err)
		}
		c := w.stored()
		switch {
		case c.Generation != 1 || c.Tokens.Access.Generation != 1 || c.Tokens.Access.Grant != acme || c.State != grant.Live || c.Bind != w.bind:
			t.Errorf("the record has generation %d, access token %+v", c.Generation, c.Tokens.Access)
		case w.name(c.Tokens.Refresh) != "fresh" || !c.Tokens.RefreshExpiry.Equal(tokens.RefreshExpiry) || !c.Tokens.ObtainedAt.Equal(tokens.ObtainedAt):
			t.Errorf("the record has another token set")
		case !slices.Equal(c.Seeds, []string{w.token("fresh").Digest()}) || c.Consent == "":
			t.Errorf("seeds %q, consent %q", c.Seeds, c.Consent)
		}
		w.lastEvent("Import", grant.EventAdopted)
		if note := c.Events[len(c.Events)-1].Note; note != "imported from claude" {
			t.Errorf("the story says %q", note)
		}
		// The access token that came along is served; its refresh token is spent only
		// when one must.
		out, err := w.access(engine.Request{MinTTL: time.Hour})
		if err != nil || out.Refreshed || !out.Access.Value.Equal(w.token("at-foreign")) {
			t.Errorf("the imported access token is not served: refreshed %v, %v", out.Refreshed, err)
		}
		w.wantSent("nothing is spent by an import")
		if out, err = w.access(engine.Request{Force: true}); err != nil || !out.Refreshed || out.Access.Generation != 2 {
			t.Errorf("a refresh after it: generation %d, %v", out.Access.Generation, err)
		}
		w.wantSent("the imported token is the one to present", "fresh")
	})
	scenario(t, "a living grant", strict, func(t *testing.T, w *world) {
		before := w.keep(leased(80*time.Second), doubted(3, 0))
		_, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		wantErr(t, "Import over a living grant", err, engine.ErrLiving)
		w.wantStored("Import over a living grant", before)
		done, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), true, "")
		if err != nil || !done.Replaced || done.Generation != before.Generation+1 {
			t.Fatalf("Import that replaces: %+v, %v", done, err)
		}
		c := w.stored()
		if c.Consent == before.Consent || c.Lease != nil || c.Doubt != nil || w.name(c.Tokens.Refresh) != "fresh" {
			t.Errorf("consent %q, lease %v, doubt %v", c.Consent, c.Lease, c.Doubt)
		}
	})
	scenario(t, "a grant whose consent ended", strict, func(t *testing.T, w *world) {
		before := w.keep(ended)
		done, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		if err != nil || !done.Replaced || done.Generation != before.Generation+1 || w.stored().State != grant.Live {
			t.Fatalf("Import: %+v, %v", done, err)
		}
	})
	scenario(t, "a grant whose consent ended, elsewhere", strict, func(t *testing.T, w *world) {
		before := w.keep(ended, func(c *grant.Credential) { c.Bind.ClientID = "client-2" })
		_, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		wantErr(t, "Import over another client's grant", err, engine.ErrLiving)
		w.wantStored("Import over another client's grant", before)
	})
	for _, known := range []string{"seed", "rt6", "rt7"} {
		scenario(t, "a known token: "+known, strict, func(t *testing.T, w *world) {
			before := w.keep(ended)
			_, err := w.engine().Import(t.Context(), acme, w.foreign(known), true, "")
			wantErr(t, "Import", err, engine.ErrKnownToken)
			w.wantStored("Import", before)
		})
	}
	scenario(t, "no refresh token", strict, func(t *testing.T, w *world) {
		_, err := w.engine().Import(t.Context(), acme, grant.TokenSet{}, true, "")
		wantErr(t, "Import", err, engine.ErrNoToken)
	})
	scenario(t, "no record, with a mark", strict, func(t *testing.T, w *world) {
		w.mark = grant.Mark{Consent: "consent-1", Generation: 20}
		done, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		if err != nil || done.Generation != 21 || w.mark.Generation != 21 {
			t.Errorf("Import: %+v, mark %d, %v; want 21: generations never restart", done, w.mark.Generation, err)
		}
	})
	scenario(t, "the Swap's answer is lost", strict, func(t *testing.T, w *world) {
		w.onSwap = func(_ string, n int) fault { return fault{drop: n == 1} }
		done, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		if err != nil || done.Generation != 1 || done.Replaced || w.stored().Generation != 1 {
			t.Errorf("Import: %+v, %v, stored generation %d", done, err, w.stored().Generation)
		}
	})
	scenario(t, "it landed, and somebody else wrote since", strict, func(t *testing.T, w *world) {
		before := w.keep(ended)
		w.onSwap = func(kind string, n int) fault {
			switch {
			case kind == grant.EventAdopted && n == 1:
				return fault{drop: true}
			case kind == grant.EventAdopted:
				return fault{before: func() { w.stranger(func(*grant.Credential) {}) }}
			}
			return fault{}
		}
		done, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		if err != nil || done != (engine.Imported{Generation: before.Generation + 1, Replaced: true}) || w.stored().Generation != done.Generation {
			t.Errorf("Import that landed: %+v, %v", done, err)
		}
	})
	scenario(t, "the store fails", strict, func(t *testing.T, w *world) {
		w.onSwap = func(string, int) fault { return fault{err: errors.Join(grant.ErrNotWritten, errDisk)} }
		_, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		wantErr(t, "Import", err, engine.ErrStore)
	})
	// A grant that looks ended in the store lives on in what this machine holds.
	scenario(t, "a spill that is newer", strict, func(t *testing.T, w *world) {
		before := w.keep(ended)
		newer := before.Clone()
		newer.Generation, newer.Writer, newer.State, newer.Reason = before.Generation+1, "spilled", grant.Live, ""
		newer.Tokens.Refresh = w.token("rt8")
		w.spills[newer.Writer] = newer
		_, err := w.engine().Import(t.Context(), acme, w.foreign("fresh"), false, "")
		wantErr(t, "Import over a spilled record", err, engine.ErrLiving)
		if got := w.stored(); got.Generation != newer.Generation || w.name(got.Tokens.Refresh) != "rt8" {
			t.Errorf("the spilled record is not in the store: generation %d", got.Generation)
		}
	})
}
