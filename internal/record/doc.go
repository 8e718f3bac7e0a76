// Package record turns a grant's record into bytes and back: the versioned
// wire form, the seal around it, and the rescue block, which is a sealed record
// as text that survives a CI log.
//
// # The wire form
//
// A record is one JSON object. Members that hold nothing are left out; times
// are RFC 3339 in UTC, durations as Go writes them.
//
//	{
//	  "evergrant": 1,                  major version; a reader refuses a newer one
//	  "minor": 1,                      newer minors only add members
//	  "grant": "acme/claude",
//	  "provider": "claude",
//	  "consent": "5f0c…",
//	  "replaces": "1c9e…",
//	  "account": {"id": "sub:…", "name": "…"},
//	  "bind": {"token_url": "https://…", "client_id": "…"},
//	  "generation": 17,
//	  "tokens": {
//	    "access": {"grant": "acme/claude", "generation": 17, "value": "…", "type": "Bearer",
//	               "scope": ["…"], "expiry": "2026-01-02T15:04:05.123Z", "expiry_assumed": true},
//	    "refresh": "…",
//	    "refresh_expiry": "…",
//	    "obtained_at": "…"
//	  },
//	  "lease": {"holder": "…", "until": "…", "ttl": "1m30s", "spends": "<digest>"},
//	  "doubt": {"spends": "<digest>", "sends": 1, "first": "…", "last": "…"},
//	  "writer": "…",
//	  "seeds": ["<digest>"],
//	  "spent": ["<digest>"],
//	  "raw": "…",
//	  "events": [{"at": "…", "by": "…", "what": "refreshed", "note": "…"}],
//	  "state": "live",                 live, needs_consent or retired
//	  "reason": "…"
//	}
//
// A string that is not UTF-8 is written as {"base64": "…"}, so that no byte of a
// token or of an unreadable reply is lost to an encoder.
//
// Members that a reader does not know survive byte for byte, in each object
// drawn above, through [grant.Credential.Extra]. Its keys are JSON pointers
// (RFC 6901), but for the list of events, which moves: there the index is a
// digest of the event, "-", and how many equal ones come later. When an object
// is gone, such as a lease that ended, so are its unknown members. A newer
// minor is kept too.
//
// Reading is strict: a wrong type, a member that comes twice, a byte behind the
// object or another grant's name make the record [grant.ErrUnreadable].
//
// # The seal
//
// A sealed record is {"evergrant": 1, "sealed": "<base64>"}, where the base64 is
// an age file (age-encryption.org/v1) for X25519 recipients that holds the wire
// form above. Members that a later version adds beside "sealed" describe that
// one sealing and end with it.
//
// # The proof
//
// A seal hides and does not prove who wrote. Where a store's writers are not
// all trusted, a sealed record has one more member, {"evergrant": 1, "sealed":
// "…", "proof": "<base64>"}: HMAC-SHA-256 (RFC 2104) over the name of the place
// (its length in eight bytes, then its bytes) and the age file. The key is
// HKDF-SHA-256 (RFC 5869) of the identity's text, "AGE-SECRET-KEY-1…", without
// salt, with the info "evergrant/record-proof/1"; see [Codec.Authenticated].
package record
