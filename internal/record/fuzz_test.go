package record_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"

	"filippo.io/age"
)

// FuzzDecodeSealed mutates what is inside the seal: whoever has the recipient
// can write there, so that what comes out is as foreign as what is plain.
func FuzzDecodeSealed(f *testing.F) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	key := grant.NewSecret(identity.String())
	codec, plain := newCodec(f, key, identity.Recipient().String()), newCodec(f, grant.Secret{})
	for _, c := range []grant.Credential{granttest.Credential(acme), {Grant: acme}} {
		f.Add(encode(f, plain, c))
	}
	nested := encode(f, codec, grant.Credential{Grant: acme})
	for _, b := range [][]byte{nil, []byte("{}"), []byte(`{"evergrant":1,"sealed":"AA=="}`), []byte(`{"evergrant":2}`), nested} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, inside []byte) {
		c, err := codec.Decode(acme, seal(t, identity.Recipient(), inside))
		open, perr := plain.Decode(acme, inside)
		if err != nil {
			if !errors.Is(err, grant.ErrUnreadable) || strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Fatalf("not one line that wraps ErrUnreadable: %q", err)
			}
			if perr == nil {
				t.Fatalf("it is read plain, and not sealed: %v", err)
			}
			return
		}
		if perr != nil && !errors.Is(perr, grant.ErrUnreadable) {
			t.Fatalf("not ErrUnreadable: %v", perr)
		}
		if perr == nil && granttest.Diff(open, c) != "" {
			t.Fatalf("sealed and plain differ in %s", granttest.Diff(open, c))
		}
		again, err := codec.Decode(acme, encode(t, codec, c))
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if d := granttest.Diff(again, c); d != "" {
			t.Fatalf("%s differs", d)
		}
	})
}

// seal makes a stored record of any bytes.
func seal(t testing.TB, to age.Recipient, inside []byte) []byte {
	t.Helper()
	var box bytes.Buffer
	w, err := age.Encrypt(&box, to)
	if err == nil {
		_, err = w.Write(inside)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return []byte(`{"evergrant":1,"sealed":"` + base64.StdEncoding.EncodeToString(box.Bytes()) + `"}`)
}

// FuzzParseKeyFile: a key file is a key, or is refused in one line that does not
// quote it.
func FuzzParseKeyFile(f *testing.F) {
	for _, s := range []string{"", "# only a comment\n", "AGE-SECRET-KEY-1", "age-secret-key-1x\n", "AGE-SECRET-KEY-PQ-1X", "\r\n\tx y\n", "AGE-SECRET-KEY-1A\nAGE-SECRET-KEY-1B\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := record.ParseKeyFile(b)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("not one line: %q", err)
			}
			for line := range strings.Lines(string(b)) {
				if line = strings.TrimSpace(line); len(line) > 20 && strings.Contains(err.Error(), line) {
					t.Error("the error quotes the file")
				}
			}
			return
		}
		if _, err := record.Recipient(key); err != nil {
			t.Errorf("a key without a recipient: %v", err)
		}
	})
}
