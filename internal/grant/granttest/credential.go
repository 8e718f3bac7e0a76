// Package granttest holds the conformance suites of grant's contracts: every
// store, sink and refresher runs the one that it claims to fulfil.
package granttest

import (
	"fmt"
	"time"

	"evergrant/internal/grant"
)

// Canary is in every secret of [Credential] and nowhere else in it. Where it is
// found, a secret leaked.
const Canary = "canary-3b9f60d7"

// Credential returns a record with every field set, none to a value that
// another field has. Its secrets carry [Canary].
func Credential(id grant.ID) grant.Credential {
	start := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	refresh := grant.NewSecret("refresh-" + Canary)
	return grant.Credential{
		Grant: id, Provider: "custom", Consent: "consent-1", Replaces: "consent-0",
		Account:    grant.Account{ID: "sub:account-1", Name: "ada@account.example"},
		Bind:       grant.Binding{TokenURL: "https://issuer.example/token", ClientID: "client-1"},
		Generation: 7,
		Tokens: grant.TokenSet{
			Access: grant.AccessToken{
				Grant: id, Generation: 7, Value: grant.NewSecret("access-" + Canary), Type: "Bearer",
				Scope: []string{"read", "write"}, Expiry: at(480), ExpiryAssumed: true,
			},
			Refresh: refresh, RefreshExpiry: at(43200), ObtainedAt: at(0),
		},
		Lease:  &grant.Lease{Holder: "holder-1", Until: at(2), TTL: 90 * time.Second, Spends: refresh.Digest()},
		Doubt:  &grant.Doubt{Spends: refresh.Digest(), Sends: 2, First: at(3), Last: at(4)},
		Writer: "writer-1",
		Seeds:  []string{grant.NewSecret("seed-1").Digest()},
		Spent:  []string{grant.NewSecret("spent-1").Digest(), grant.NewSecret("spent-2").Digest()},
		Raw:    grant.NewSecret(`{"refresh_token":"raw-` + Canary + `"`),
		Events: []grant.Event{
			{At: at(5), By: "run 1", What: grant.EventAdopted, Note: "from the environment"},
			{At: at(6), By: "run 2", What: grant.EventInDoubt, Note: "reply lost"},
		},
		State: grant.NeedsConsent, Reason: "the provider said invalid_grant",
		Extra: map[string]string{
			"/future":        `{"kept": [1, 2.50, "as it is"]}`,
			"/tokens/future": `"kept"`, "/tokens/access/future": `1e3`, "/bind/future": `null`, "/account/future": `{}`,
			"/lease/future": `true`, "/doubt/future": `[ ]`,
		},
	}
}

// next returns the content of a later Swap: c with another Writer and
// generation, and an access token that says so.
func next(c grant.Credential, writer string) grant.Credential {
	c = c.Clone()
	c.Generation++
	c.Tokens.Access.Generation = c.Generation
	c.Tokens.Access.Value = grant.NewSecret(fmt.Sprintf("access-%d-%s", c.Generation, Canary))
	c.Writer = writer
	return c
}
