package ghsecret_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"evergrant/internal/githubapi/double"
	"evergrant/internal/grant"
)

// TestLostReply: a write whose answer was lost is settled by writing again, or by
// a look that finds it.
func TestLostReply(t *testing.T) {
	t.Parallel()
	for name2, acted := range map[string]bool{"acted": true, "not acted": false} {
		for _, settle := range []string{"writing", "looking"} {
			t.Run(name2+", settled by "+settle, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, step)
				s := w.job(name)
				v := swap(t, s, "", content(1, "adopted"))
				w.github.Fail(double.Fault{Method: http.MethodPut, Name: name, Acted: acted})
				got, err := s.Swap(t.Context(), acme, v, content(2, "mine"))
				if err == nil || got != "" || errors.Is(err, grant.ErrConflict) || errors.Is(err, grant.ErrNotWritten) || errors.Is(err, grant.ErrUnreadable) {
					t.Fatalf("a Swap without an answer: %q, %v, want an unknown outcome", got, err)
				}
				clean(t, err)
				w.github.Mend()
				if settle == "looking" {
					writer := map[bool]string{true: "mine", false: "adopted"}[acted]
					v = loaded(t, s, writer)
				}
				v = swap(t, s, v, content(2, "mine"))
				if loaded(t, w.job(name), "mine") != v {
					t.Error("another job finds another version")
				}
			})
		}
	}
}

// TestCreateWithoutAnAnswer: the same for a secret that did not exist.
func TestCreateWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s := w.job(name)
	w.github.Fail(double.Fault{Method: http.MethodPut, Name: name, Acted: true})
	if _, err := s.Swap(t.Context(), acme, "", content(1, "adopted")); err == nil {
		t.Fatal("a Swap without an answer succeeded")
	}
	w.github.Mend()
	swap(t, s, "", content(1, "adopted"))
	loaded(t, s, "adopted")
	loaded(t, w.job(name), "adopted")
}

// TestWriteIsProvenFirst: on another secret, once, and before the real one.
func TestWriteIsProvenFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	swap(t, s, v, content(2, "leased"))
	var writes []string
	for _, r := range w.github.Requests() {
		if r.Method != http.MethodGet {
			writes = append(writes, r.Method+" "+r.Path[strings.LastIndex(r.Path, "/")+1:])
		}
	}
	if got, want := strings.Join(writes, ", "), "PUT STATE_EVERGRANT_PROBE, DELETE STATE_EVERGRANT_PROBE, PUT STATE, PUT STATE"; got != want {
		t.Errorf("written: %s, want %s", got, want)
	}
	if got := strings.Join(w.github.Names(repo), " "); got != name {
		t.Errorf("the secrets are %s", got)
	}
}

// TestUnwritable: what cannot be written is untouched, and that is definite.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	for name2, tt := range map[string]struct {
		access double.Access
		fault  *double.Fault
		says   string
	}{
		"read only":        {double.Read, nil, "secrets=write"},
		"probe is refused": {double.Write, &double.Fault{Method: http.MethodPut, Name: "STATE_EVERGRANT_PROBE", Status: 422}, "STATE_EVERGRANT_PROBE"},
		"write is refused": {double.Write, &double.Fault{Method: http.MethodPut, Name: name, Status: 422}, "acme/widgets/STATE"},
		"job's own token":  {double.Job, nil, "lacks the permission"},
		"sign-on":          {double.Unsigned, nil, "single sign-on"},
		"unseen":           {double.Unseeing, nil, "no repository acme/widgets"},
		"unknown":          {double.Unknown, nil, "does not know the token"},
	} {
		t.Run(name2, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, step)
			v := swap(t, w.job(name), "", content(1, "adopted"))
			before := w.value()
			w.github.Allow("canary-other", tt.access)
			s := w.open(name, before, "canary-other")
			if tt.fault != nil {
				w.github.Fail(*tt.fault)
			}
			_, err := s.Swap(t.Context(), acme, v, content(2, "mine"))
			if !errors.Is(err, grant.ErrNotWritten) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want ErrNotWritten and %q", err, tt.says)
			}
			clean(t, err)
			if w.value() != before {
				t.Error("the secret was changed")
			}
			if tt.access != double.Read && tt.access != double.Write {
				denied(t, s, tt.says)
			}
		})
	}
}

// TestPassing: an outage and a rate limit are not definite: the caller tries
// again.
func TestPassing(t *testing.T) {
	t.Parallel()
	for name2, fault := range map[string]double.Fault{
		"500": {Status: 500}, "cut": {}, "limit": {Status: 403, Header: map[string]string{"Retry-After": "120"}},
	} {
		w := newWorld(t, step)
		v := swap(t, w.job(name), "", content(1, "adopted"))
		s := w.job(name)
		w.github.Fail(fault)
		_, _, err := s.Load(t.Context(), acme)
		if err == nil || errors.Is(err, grant.ErrUnreadable) || errors.Is(err, grant.ErrNotFound) || errors.Is(err, grant.ErrDenied) {
			t.Errorf("%s: Load: %v", name2, err)
		}
		if _, err = s.Swap(t.Context(), acme, v, content(2, "mine")); err == nil || errors.Is(err, grant.ErrNotWritten) || errors.Is(err, grant.ErrConflict) {
			t.Errorf("%s: Swap: %v", name2, err)
		}
		clean(t, err)
	}
}

// TestUndescribed: a write that GitHub confirmed and does not describe is a
// success if it is later than the one before, and found by the next look.
func TestUndescribed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, step)
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	w.github.Fail(double.Fault{Method: http.MethodGet, Name: name, Skip: 1, Status: 500})
	v = swap(t, s, v, content(2, "leased"))
	w.github.Mend()
	if loaded(t, s, "leased") != v {
		t.Error("the next look finds another version")
	}
	swap(t, s, v, content(3, "saved"))
	loaded(t, w.job(name), "saved")
}

// TestLaggingReplica: an answer of before the write is waited out, and neither
// taken for somebody else's nor for another clock.
func TestLaggingReplica(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, double.Config{})
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	old := w.value()
	w.github.Pass(time.Minute)
	loaded(t, s, "adopted")
	w.github.Lag(3) // the look before the write, which tells the truth still, and two after it
	before := w.github.Written(name)
	v = swap(t, s, v, content(2, "saved"))
	if n := w.github.Written(name) - before; n > 2 {
		t.Errorf("%d writes for one record, want 2 at most", n)
	}
	v = swap(t, s, v, content(3, "saved again"))
	w.github.Pass(time.Minute)
	v = swap(t, s, v, content(4, "saved"))
	if loaded(t, w.job(name), "saved") != v {
		t.Error("another job finds another version")
	}
	refused(t, w.queued(old), "queued before")
}

// TestSwapEndsWithItsContext: a write that has to be made once more is unknown if
// there is no time for it.
func TestSwapEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, double.Config{})
	s := w.job(name)
	v := swap(t, s, "", content(1, "adopted"))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := s.Swap(ctx, acme, v, content(2, "saved"))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 2*time.Second || !strings.Contains(err.Error(), "once more") {
		t.Fatalf("%v after %v", err, time.Since(begun))
	}
	swap(t, s, v, content(2, "saved"))
	loaded(t, w.job(name), "saved")
}

// TestShortTries: a caller who has little time for each try, as one whose job is
// being cancelled, gets there all the same: the same content need not be told
// from itself.
func TestShortTries(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, double.Config{})
	s := w.job(name)
	v := swap(t, s, "", content(1, "leased"))
	begun := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		_, err := s.Swap(ctx, acme, v, content(2, "saved"))
		cancel()
		if err == nil {
			break
		}
		if time.Since(begun) > 8*time.Second {
			t.Fatalf("after %v: %v", time.Since(begun), err)
		}
	}
	loaded(t, w.job(name), "saved")
}
