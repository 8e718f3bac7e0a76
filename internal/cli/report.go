package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"syscall"
	"time"

	"evergrant/internal/engine"
	"evergrant/internal/grant"
)

// refreshReport is the JSON report of refresh. It never holds a token. Members
// are added freely and never change their meaning.
type refreshReport struct {
	Grant         grant.ID `json:"grant"`
	Provider      string   `json:"provider"`
	Generation    uint64   `json:"generation"`
	Action        string   `json:"action"` // served or refreshed
	Rotated       bool     `json:"rotated"`
	TokenType     string   `json:"token_type"`
	Scope         []string `json:"scope"`
	ExpiresAt     string   `json:"expires_at"` // RFC 3339
	ExpiresIn     int64    `json:"expires_in"` // seconds
	AssumedExpiry bool     `json:"assumed_expiry"`
	TTLMet        bool     `json:"ttl_met"`
	GoodUntil     string   `json:"good_until"`
	ConsentEndsAt *string  `json:"consent_ends_at"` // null: unknown
	State         string   `json:"state"`
	Reason        string   `json:"reason,omitempty"`
	Warnings      []string `json:"warnings"`
	Delivered     []string `json:"delivered"`
	Store         string   `json:"store"`

	*Verdict // of codes 7 and 8; absent from a success

	expires time.Time
}

func newRefreshReport(s *session, out engine.Outcome, delivered []string, now time.Time) refreshReport {
	r := refreshReport{
		Grant: s.id, Provider: s.provider.name, Generation: out.Access.Generation, Action: action(out), Rotated: out.Rotated,
		TokenType: out.Access.Type, Scope: emptyNotNull(out.Access.Scope), ExpiresAt: stamp(out.Access.Expiry),
		ExpiresIn: int64(out.Access.Expiry.Sub(now) / time.Second), AssumedExpiry: out.Access.ExpiryAssumed,
		TTLMet: out.TTLMet, GoodUntil: "expiry", State: out.State.String(), Reason: out.Reason,
		Warnings: emptyNotNull(out.Warnings), Delivered: emptyNotNull(delivered), Store: s.place.location.String(),
		expires: out.Access.Expiry,
	}
	if out.NextRefreshEnds {
		r.GoodUntil = "expiry or the next refresh"
	}
	if !out.ConsentEnds.IsZero() {
		at := stamp(out.ConsentEnds)
		r.ConsentEndsAt = &at
	}
	return r
}

func action(out engine.Outcome) string {
	if out.Refreshed {
		return "refreshed"
	}
	return "served"
}

// line is the same report for a person.
func (r refreshReport) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, generation %d, good until %s (%s)", r.Grant, r.Action, r.Generation, r.ExpiresAt,
		span(time.Duration(r.ExpiresIn)*time.Second))
	if r.AssumedExpiry {
		b.WriteString(", which is assumed: the provider did not say")
	}
	b.WriteString(orNext(r.GoodUntil != "expiry"))
	if len(r.Delivered) > 0 {
		b.WriteString("; delivered to " + strings.Join(r.Delivered, ", "))
	}
	return b.String()
}

// orNext completes "good until" where a refresh ends the running token.
func orNext(ends bool) string {
	if ends {
		return " or the next refresh"
	}
	return ""
}

// written is the error of writing what to standard output, for commands that only
// tell something. A reader that has seen enough, as head does, is none.
func written(what string, err error) error {
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("writing %s: %w", what, err)
}

// printJSON writes one indented JSON value.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return written("the report", enc.Encode(v))
}

func emptyNotNull[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// span words a duration by its two largest units: "3d 4h", "59m", "12s".
func span(d time.Duration) string {
	switch {
	case d < 0: // the negative of the least one is itself
		return span(-max(d, -math.MaxInt64)) + " ago"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return joinSpan(d/time.Hour, "h", d%time.Hour/time.Minute, "m")
	}
	return joinSpan(d/(24*time.Hour), "d", d%(24*time.Hour)/time.Hour, "h")
}

func joinSpan(a time.Duration, unitA string, b time.Duration, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d%s", a, unitA)
	}
	return fmt.Sprintf("%d%s %d%s", a, unitA, b, unitB)
}

func trimNewlines(s string) string { return strings.Trim(s, "\n") }
