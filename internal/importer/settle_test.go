package importer_test

import (
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/importer"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	now := at("2030-01-02T12:00:00Z")
	hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	var never time.Time
	for _, tt := range []struct {
		name                   string
		access                 bool
		expiry, obtained       time.Time
		life                   time.Duration
		kept                   bool
		wantExpiry, wantObtain time.Time
		assumed                bool
		warned                 int
	}{
		{"its end is known, its life too", true, hour(2), never, 8 * time.Hour, true, hour(2), hour(-6), false, 0},
		{"its end is known", true, hour(2), never, 0, true, hour(2), now, false, 0},
		{"all is known", true, hour(2), hour(-1), 8 * time.Hour, true, hour(2), hour(-1), false, 0},
		{"ended", true, hour(-2), never, 0, true, hour(-2), hour(-2), false, 0},
		{"ended, its life is known", true, hour(-2), never, time.Hour, true, hour(-2), hour(-3), false, 0},
		{"a beginning and a usual life", true, never, hour(-1), 8 * time.Hour, true, hour(7), hour(-1), true, 0},
		{"nobody knows when it ends", true, never, never, 8 * time.Hour, false, never, now, false, 1},
		{"nobody knows how long it lives", true, never, hour(-1), 0, false, never, hour(-1), false, 1},
		{"no access token", false, never, never, time.Hour, false, never, now, false, 0},
		{"an end without a token", false, hour(2), never, time.Hour, false, never, now, false, 0},
		{"obtained in the future", true, hour(9), hour(1), 0, true, hour(9), now, false, 0},
		{"lives longer than it should", true, hour(9), never, 8 * time.Hour, true, hour(9), now, false, 0},
	} {
		f := importer.Found{Tokens: grant.TokenSet{Refresh: grant.NewSecret("canary"), ObtainedAt: tt.obtained}}
		f.Tokens.Access.Expiry, f.Tokens.Access.Scope = tt.expiry, []string{"x"}
		if tt.access {
			f.Tokens.Access.Value = grant.NewSecret("canary-access")
		}
		f.Settle(tt.life, now)
		a := f.Tokens.Access
		if a.Value.IsZero() == tt.kept || !a.Expiry.Equal(tt.wantExpiry) || !f.Tokens.ObtainedAt.Equal(tt.wantObtain) || a.ExpiryAssumed != tt.assumed || len(f.Warnings) != tt.warned {
			t.Errorf("%s: kept %v, expiry %v (assumed %v), obtained %v, warnings %q", tt.name, !a.Value.IsZero(), a.Expiry, a.ExpiryAssumed, f.Tokens.ObtainedAt, f.Warnings)
		}
		if (a.Type == "Bearer") != tt.kept || len(a.Scope) != 1 || f.Tokens.Refresh.IsZero() {
			t.Errorf("%s: type %q, scope %q", tt.name, a.Type, a.Scope)
		}
	}
}
