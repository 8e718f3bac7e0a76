package record_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
)

// full is a record as a long life leaves it: every list at its limit, tokens of
// the size that signed ones have, nothing unknown.
func full() grant.Credential {
	c := granttest.Credential(acme)
	c.Extra, c.Raw, c.Events, c.Spent = nil, grant.Secret{}, nil, nil
	c.Tokens.Access.Value = grant.NewSecret(strings.Repeat("eyJhbGciOi", 120))
	c.Tokens.Refresh = grant.NewSecret(strings.Repeat("rt_4b1f0c9a", 10))
	for i := range grant.MaxEvents {
		c.AddSpent(grant.NewSecret(fmt.Sprint("spent-", i)).Digest())
		c.AddEvent(grant.Event{At: c.Tokens.ObtainedAt.Add(time.Duration(i) * time.Hour), By: "github run 1234567890", What: grant.EventRefreshed})
	}
	return c
}

func BenchmarkEncode(b *testing.B) {
	codec := newCodec(b, grant.Secret{})
	c := full()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Encode(c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	codec := newCodec(b, grant.Secret{})
	text := encode(b, codec, full())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Decode(acme, text); err != nil {
			b.Fatal(err)
		}
	}
}
