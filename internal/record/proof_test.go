package record_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
)

const place = "forge.example/acme/api"

func authenticated(t testing.TB, c *record.Codec, place string, former ...string) *record.Codec {
	t.Helper()
	a, err := c.Authenticated(place, former...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestProof(t *testing.T) {
	t.Parallel()
	key, recipient := newKey(t)
	otherKey, _ := newKey(t)
	base := newCodec(t, key)
	c := authenticated(t, base, place)
	want := granttest.Credential(acme)
	good := encode(t, c, want)
	var box struct {
		Evergrant     int
		Sealed, Proof string
	}
	if err := json.Unmarshal(good, &box); err != nil {
		t.Fatal(err)
	}
	again := func(sealed, proof string) string {
		return `{"evergrant":1,"sealed":"` + sealed + `","proof":"` + proof + `"}`
	}
	// A stranger who knows the recipient, which is public, and no key.
	strange := encode(t, newCodec(t, grant.Secret{}, recipient), want)
	var planted struct{ Sealed string }
	if err := json.Unmarshal(strange, &planted); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		codec *record.Codec
		text  string
		says  string // "": readable
	}{
		"its own":                       {c, string(good), ""},
		"by somebody else with the key": {authenticated(t, newCodec(t, key), place), string(good), ""},
		"renamed place":                 {authenticated(t, base, "forge.example/acme/new", "x", place), string(good), ""},
		"a reader that asks no proof":   {base, string(good), ""},
		"another place":                 {authenticated(t, base, "forge.example/acme/fork"), string(good), "for another place"},
		"another key for the proof":     {c, string(encode(t, authenticated(t, newCodec(t, otherKey, recipient), place), want)), "without the key"},
		"a reader with another key":     {authenticated(t, newCodec(t, otherKey), place), string(good), "sealed to another key"},
		"sealed by a stranger":          {c, string(strange), "nothing proves"},
		"a stranger's seal, our proof":  {c, again(planted.Sealed, box.Proof), "proof does not hold"},
		"half a proof":                  {c, again(box.Sealed, base64.StdEncoding.EncodeToString(make([]byte, 16))), "proof does not hold"},
		"an empty proof":                {c, again(box.Sealed, ""), "proof does not hold"},
		"a proof that is no base64":     {c, again(box.Sealed, "?"), "not base64"},
		"a proof that is no string":     {c, strings.Replace(string(good), `"proof":"`+box.Proof+`"`, `"proof":1`, 1), "not a string"},
		"a plain record":                {c, string(encode(t, newCodec(t, grant.Secret{}), want)), "not sealed"},
	} {
		got, err := tt.codec.Decode(acme, []byte(tt.text))
		if tt.says == "" {
			if d := granttest.Diff(got, want); err != nil || d != "" {
				t.Errorf("%s: %v %s", name, err, d)
			}
			continue
		}
		if !errors.Is(err, grant.ErrUnreadable) || !strings.Contains(err.Error(), tt.says) || got.Grant != "" {
			t.Errorf("%s: %v, want unreadable with %q", name, err, tt.says)
		}
	}
	if _, err := newCodec(t, grant.Secret{}, recipient).Authenticated(place); err == nil {
		t.Error("a codec without an identity claims to prove its records")
	}
}

// The proof is part of the stored form: it is computed here as the package's
// comment says, by other means than the package's own.
func TestProofIsAsDrawn(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	var box struct{ Sealed, Proof []byte }
	if err := json.Unmarshal(encode(t, authenticated(t, newCodec(t, key), place), granttest.Credential(acme)), &box); err != nil {
		t.Fatal(err)
	}
	k, err := hkdf.Key(sha256.New, []byte(key.Reveal()), nil, "evergrant/record-proof/1", 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, k)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(place))))
	mac.Write(append([]byte(place), box.Sealed...))
	if !bytes.Equal(mac.Sum(nil), box.Proof) {
		t.Error("the proof is not the one that the format promises")
	}
}
