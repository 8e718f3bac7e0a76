package record_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
)

func TestSeal(t *testing.T) {
	t.Parallel()
	key, recipient := newKey(t)
	other, otherRecipient := newKey(t)
	plain, sealed := newCodec(t, grant.Secret{}), newCodec(t, key)
	want := granttest.Credential(acme)

	if plain.Sealed() || !sealed.Sealed() || !newCodec(t, grant.Secret{}, recipient).Sealed() {
		t.Fatal("Sealed does not tell who has a recipient")
	}
	b := encode(t, sealed, want)
	for _, secret := range []string{granttest.Canary, "acme", "consent", base64.StdEncoding.EncodeToString([]byte("refresh-can"))} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%q is readable in a sealed record", secret)
		}
		if p := encode(t, plain, want); !bytes.Contains(p, []byte(secret)) && !strings.HasPrefix(secret, "cmV") {
			t.Errorf("%q is not in a plain record, so this test proves nothing", secret)
		}
	}
	for name, codec := range map[string]*record.Codec{
		"own key": sealed, "strict": sealed.RequireSealed(), "with an escrow": newCodec(t, key, otherRecipient),
	} {
		got, err := codec.Decode(acme, b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if d := granttest.Diff(got, want); d != "" {
			t.Errorf("%s: %s differs", name, d)
		}
	}
	for name, codec := range map[string]*record.Codec{
		"escrowed": newCodec(t, key, otherRecipient), "recipients alone": newCodec(t, grant.Secret{}, otherRecipient),
	} {
		if _, err := newCodec(t, other).Decode(acme, encode(t, codec, want)); err != nil {
			t.Errorf("%s: the other key cannot read it: %v", name, err)
		}
	}
	if _, err := sealed.Decode(acme, encode(t, plain, want)); err != nil {
		t.Errorf("a plain record, read with a key: %v", err)
	}

	_, err := sealed.RequireSealed().Decode(acme, encode(t, plain, want))
	refused(t, err, "not sealed")
	_, err = plain.Decode(acme, b)
	refused(t, err, "no key is at hand; give it with EVERGRANT_KEY")
	_, err = newCodec(t, grant.Secret{}, recipient).Decode(acme, b)
	refused(t, err, "no key is at hand")
	_, err = newCodec(t, other).Decode(acme, b)
	refused(t, err, "sealed to another key")
	_, err = sealed.Decode("acme/other", b)
	refused(t, err, `belongs to grant "acme/main"`)
}

// Every single damaged byte of the seal is noticed.
func TestDamagedSeal(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	codec := newCodec(t, key)
	b := encode(t, codec, grant.Credential{Grant: acme, Writer: "w"})
	start := bytes.Index(b, []byte(`"sealed":"`)) + len(`"sealed":"`)
	box, err := base64.StdEncoding.DecodeString(string(b[start : len(b)-2]))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(box); i += 7 {
		bad := bytes.Clone(box)
		bad[i] ^= 1
		_, err := codec.Decode(acme, []byte(`{"evergrant":1,"sealed":"`+base64.StdEncoding.EncodeToString(bad)+`"}`))
		refused(t, err, "record cannot be read")
	}
}

func TestNewCodecRefuses(t *testing.T) {
	t.Parallel()
	key, recipient := newKey(t)
	for name, c := range map[string]struct {
		key        grant.Secret
		recipients []string
		want       string
	}{
		"no key":             {key: grant.NewSecret("hunter2"), want: "not an age X25519 identity"},
		"recipient as key":   {key: grant.NewSecret(recipient), want: "not an age X25519 identity"},
		"damaged key":        {key: grant.NewSecret(key.Reveal()[:70]), want: "not an age X25519 identity"},
		"post-quantum key":   {key: grant.NewSecret("AGE-SECRET-KEY-PQ-1QQ"), want: "post-quantum"},
		"ssh recipient":      {recipients: []string{"ssh-ed25519 AAAA"}, want: "not an age X25519 recipient"},
		"no recipient":       {key: key, recipients: []string{""}, want: "not an age X25519 recipient"},
		"damaged recipients": {key: key, recipients: []string{recipient, recipient[:60] + "x"}, want: "not an age X25519 recipient"},
	} {
		_, err := record.NewCodec(c.key, c.recipients...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
			continue
		}
		if s := err.Error(); !c.key.IsZero() && strings.Contains(s, c.key.Reveal()) || strings.Contains(s, "\n") {
			t.Errorf("%s: not one line without secrets", name)
		}
	}
}

func TestParseKeyFile(t *testing.T) {
	t.Parallel()
	key, recipient := newKey(t)
	if r, err := record.Recipient(key); err != nil || r != recipient {
		t.Errorf("Recipient: %q, %v, want %q", r, err, recipient)
	}
	k := key.Reveal()
	for name, c := range map[string]struct{ text, want string }{
		"age-keygen": {"# created: 2026-01-02T03:04:05Z\n# public key: " + recipient + "\n" + k + "\n", ""},
		"bare":       {k, ""},
		"Windows":    {"# x\r\n\r\n  " + k + "  \r\n", ""},
		"empty":      {"", "there is no key in it"},
		"comments":   {"# " + k + "\n", "there is no key in it"},
		"two":        {k + "\n" + k + "\n", "line 2: a second key"},
		"recipient":  {"# x\n" + recipient, "line 2: the sealing key is not"},
		"cut off":    {k[:40], "the sealing key is not"},
	} {
		got, err := record.ParseKeyFile([]byte(c.text))
		switch {
		case c.want == "" && (err != nil || !got.Equal(key)):
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), k[20:40])):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func BenchmarkEncodeSealed(b *testing.B) {
	key, _ := newKey(b)
	codec := newCodec(b, key)
	c := granttest.Credential(acme)
	for b.Loop() {
		encode(b, codec, c)
	}
}

func BenchmarkDecodeSealed(b *testing.B) {
	key, _ := newKey(b)
	codec := newCodec(b, key)
	text := encode(b, codec, granttest.Credential(acme))
	for b.Loop() {
		if _, err := codec.Decode(acme, text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodePlain(b *testing.B) {
	codec := newCodec(b, grant.Secret{})
	c := granttest.Credential(acme)
	for b.Loop() {
		encode(b, codec, c)
	}
}
