package granttest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
)

// SinkPlace is a sink and the view of those who read what it delivers.
type SinkPlace struct {
	Sink grant.Sink
	// Values returns the access tokens at the place, oldest first, parsed as
	// its readers parse them.
	Values func(t *testing.T) []string
}

// SinkOptions tell [TestSink] what it cannot find out through a sink.
type SinkOptions struct {
	// Appends says that a later delivery stands behind the earlier ones, of
	// which the reader takes the last. Otherwise it replaces them.
	Appends bool
	// Broken returns a sink whose place cannot be written.
	Broken func(t *testing.T) grant.Sink
}

// hostile are token values that break out of a carelessly written line.
func hostile() []string {
	return []string{
		"a\nOTHER=b", "a\r\nb", "\n", "a\n", "a\x00b", "EOF\nEOF", `a"b'c`, "$(id)`id`${HOME}", "a\\nb", " a ", "a#b", "a=b",
		"%0A", "é\u2028", "<<EOF", "::set-env name=x::y", "a\xffb", strings.Repeat("x", 100_000),
	}
}

// TestSink checks a sink against the contract of [grant.Sink]: a delivered
// value is there exactly, a later one supersedes it, a failure is an error
// without the value, and a value that the place cannot carry is refused with
// nothing changed. open returns a new, empty place with each call.
func TestSink(t *testing.T, open func(t *testing.T) SinkPlace, o SinkOptions) {
	t.Run("delivered exactly", func(t *testing.T) {
		t.Parallel()
		place := open(t)
		var all []string
		for _, value := range []string{"first-" + Canary, "second." + Canary + "_~+/=-", "third-" + Canary} {
			if err := place.Sink.Deliver(t.Context(), accessToken(value)); err != nil {
				t.Fatalf("Deliver: %v", err)
			}
			all = append(all, value)
			if !o.Appends {
				all = all[len(all)-1:]
			}
			if got := place.Values(t); !slices.Equal(got, all) {
				t.Errorf("%d values are there, want %d, or they differ", len(got), len(all))
			}
		}
	})
	t.Run("hostile values", func(t *testing.T) {
		t.Parallel()
		for i, value := range hostile() {
			place := open(t)
			if err := place.Sink.Deliver(t.Context(), accessToken("before-"+Canary)); err != nil {
				t.Fatalf("Deliver: %v", err)
			}
			before := place.Values(t)
			err := place.Sink.Deliver(t.Context(), accessToken(value))
			after := place.Values(t)
			switch {
			case err != nil && !slices.Equal(before, after):
				t.Errorf("hostile value %d was refused, and the place was changed", i)
			case err != nil && (strings.Contains(err.Error(), "\n") || len(value) > 2 && strings.Contains(err.Error(), value)):
				t.Errorf("hostile value %d: the error is not one line without the value", i)
			case err == nil && (len(after) == 0 || after[len(after)-1] != value || len(after) > len(before)+1):
				t.Errorf("hostile value %d was accepted, and is not what the reader gets", i)
			}
		}
	})
	t.Run("no value", func(t *testing.T) {
		t.Parallel()
		place := open(t)
		if err := place.Sink.Deliver(t.Context(), grant.AccessToken{Grant: suiteGrant}); err == nil {
			t.Error("an access token without a value was delivered")
		}
		if got := place.Values(t); len(got) != 0 {
			t.Errorf("%d values are there, want none", len(got))
		}
	})
	t.Run("failure", func(t *testing.T) {
		t.Parallel()
		if o.Broken == nil {
			t.Fatal("TestSink needs SinkOptions.Broken")
		}
		err := o.Broken(t).Deliver(t.Context(), accessToken("value-"+Canary))
		if err == nil {
			t.Fatal("the place cannot be written, and Deliver gave no error")
		}
		if strings.Contains(err.Error(), Canary) || strings.Contains(err.Error(), "\n") {
			t.Error("the error is not one line without the value")
		}
	})
}

func accessToken(value string) grant.AccessToken {
	return grant.AccessToken{
		Grant: suiteGrant, Generation: 7, Value: grant.NewSecret(value), Type: "Bearer",
		Scope: []string{"read"}, Expiry: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}
