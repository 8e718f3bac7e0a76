package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
)

const acme = grant.ID("acme/main")

func newKey(t testing.TB) (grant.Secret, string) {
	t.Helper()
	key, recipient, err := record.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, recipient
}

func newCodec(t testing.TB, key grant.Secret, recipients ...string) *record.Codec {
	t.Helper()
	c, err := record.NewCodec(key, recipients...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func encode(t testing.TB, c *record.Codec, cred grant.Credential) []byte {
	t.Helper()
	b, err := c.Encode(cred)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	return b
}

// Stored forms must be readable for ever. When this test fails, the format
// changed: raise its version and add a golden file instead of changing one. The
// newest is the one that is written.
func TestGolden(t *testing.T) {
	t.Parallel()
	first := granttest.Credential(acme)
	first.Replaces, first.Account = "", grant.Account{}
	delete(first.Extra, "/account/future")
	newest := granttest.Credential(acme)
	codec := newCodec(t, grant.Secret{})
	for file, want := range map[string]grant.Credential{"record-1.json": first, "record-1.1.json": newest} {
		golden, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.Decode(acme, golden)
		if err != nil {
			t.Fatalf("Decode %s: %v", file, err)
		}
		if d := granttest.Diff(got, want); d != "" {
			t.Errorf("%s: %s differs", file, d)
		}
		if b := encode(t, codec, newest); file == "record-1.1.json" && !bytes.Equal(b, bytes.TrimSpace(golden)) {
			t.Errorf("Encode gave\n%s", b)
		}
	}
}

// Every field of a record, found by reflection, is set in the sample, so that
// the round trips below notice one that the wire form forgot.
func TestSampleIsFull(t *testing.T) {
	t.Parallel()
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch x := v.Interface().(type) {
		case grant.Secret:
			if x.IsZero() {
				t.Errorf("%s is not set", path)
			}
			return
		case time.Time:
			if x.IsZero() {
				t.Errorf("%s is not set", path)
			}
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case reflect.Pointer:
			if v.IsNil() {
				t.Errorf("%s is not set", path)
				return
			}
			walk(v.Elem(), path)
		case reflect.Slice:
			if v.Len() == 0 {
				t.Errorf("%s is not set", path)
				return
			}
			walk(v.Index(0), path+"[0]")
		default:
			if v.IsZero() {
				t.Errorf("%s is not set", path)
			}
		}
	}
	walk(reflect.ValueOf(granttest.Credential(acme)), "record")
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	for name, codec := range map[string]*record.Codec{
		"plain": newCodec(t, grant.Secret{}), "sealed": newCodec(t, key),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2))
			rounds := 300
			if codec.Sealed() {
				rounds = 30 // the cryptography is slow under the race detector
			}
			for i := range rounds {
				want := grant.Credential{Grant: acme}
				if i > 0 {
					want = fill(random, reflect.TypeFor[grant.Credential]()).Interface().(grant.Credential)
					want.Grant = acme
					want.Extra = map[string]string{"/later": `{"a" :1}`, "/tokens/a~1b~0c": `"x"`, "/a": `1.0`}
				}
				b := encode(t, codec, want)
				got, err := codec.Decode(want.Grant, b)
				if err != nil {
					t.Fatalf("round %d: Decode: %v", i, err)
				}
				if d := granttest.Diff(got, want); d != "" {
					t.Fatalf("round %d: %s differs", i, d)
				}
			}
		})
	}
}

// fill makes a random value of a type that occurs in a record, absent parts and
// hostile strings included.
func fill(r *rand.Rand, typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	switch typ {
	case reflect.TypeFor[grant.Secret]():
		return reflect.ValueOf(grant.NewSecret(randomText(r)))
	case reflect.TypeFor[time.Time]():
		if r.IntN(3) == 0 {
			return v
		}
		zone := time.FixedZone("", (r.IntN(20)-10)*3600)
		return reflect.ValueOf(time.Unix(r.Int64N(250_000_000_000), r.Int64N(1e9)).In(zone))
	case reflect.TypeFor[grant.State]():
		return reflect.ValueOf(grant.State(r.IntN(3)))
	}
	switch typ.Kind() {
	case reflect.Struct:
		for i := range typ.NumField() {
			v.Field(i).Set(fill(r, typ.Field(i).Type))
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(typ.Elem()))
			v.Elem().Set(fill(r, typ.Elem()))
		}
	case reflect.Slice:
		for range r.IntN(4) {
			v.Set(reflect.Append(v, fill(r, typ.Elem())))
		}
	case reflect.String:
		v.SetString(randomText(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Uint, reflect.Uint64:
		v.SetUint([]uint64{0, 1, math.MaxUint32, r.Uint64() % (1 << 53) >> (64 - reflect.TypeFor[uint]().Bits())}[r.IntN(4)])
	case reflect.Int64:
		v.SetInt([]int64{0, math.MaxInt64, math.MinInt64, r.Int64()}[r.IntN(4)])
	}
	return v
}

func randomText(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return ""
	}
	b := make([]byte, r.IntN(12)+1)
	for i := range b {
		b[i] = byte(r.IntN(256)) // most are not UTF-8
	}
	if r.IntN(2) == 0 {
		return fmt.Sprintf("é\u2028</script>\ufffd\"\\\n\t\x00 %x", b)
	}
	return string(b)
}

// An expiry that no calendar holds must not make a record that cannot be saved.
func TestAbsurdTimes(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, grant.Secret{})
	for _, at := range []time.Time{
		time.Unix(math.MaxInt64/2, 0), time.Unix(math.MinInt64/2, 0), time.Time{}.Add(-time.Hour),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), time.Time{}.In(time.FixedZone("", 3600)),
	} {
		c := granttest.Credential(acme)
		c.Tokens.Access.Expiry = at
		got, err := codec.Decode(acme, encode(t, codec, c))
		if err != nil {
			t.Errorf("%v: %v", at, err)
			continue
		}
		if e := got.Tokens.Access.Expiry; e.IsZero() != at.IsZero() || e.Year() < 1 || e.Year() > 9999 {
			t.Errorf("%v came back as %v", at, e)
		}
	}
}

func TestUnknownMembersSurvive(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, grant.Secret{})
	text := `{ "new" : {"b" : [1,2.0 ], "a":"\u0041"} ,"evergrant":1,"minor":4, "grant":"acme/main","generation":3,
		"tokens":{"access":{"generation":3,"x":-0},"refresh":"r","a/b~c":[]},"state":"live",
		"events":[{"what":"adopted","n":1},{"what":"attempt","n":2},{"what":"adopted","n":3},{"what":"adopted"}]}`
	c, err := codec.Decode(acme, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for pointer, want := range map[string]string{
		"/new": `{"b" : [1,2.0 ], "a":"\u0041"}`, "/tokens/access/x": `-0`, "/tokens/a~1b~0c": `[]`, "/minor": "4",
	} {
		if c.Extra[pointer] != want {
			t.Errorf("Extra[%q] = %q, want %q", pointer, c.Extra[pointer], want)
		}
	}
	// The oldest event is forgotten and a new one comes: the others keep theirs.
	c.Events = append(c.Events[1:], grant.Event{What: "refreshed"})
	b := encode(t, codec, c)
	for _, want := range []string{
		`"minor":4`, `"new":{"b" : [1,2.0 ], "a":"\u0041"}`, `"a/b~c":[]`, `"x":-0`,
		`"events":[{"what":"attempt","n":2},{"what":"adopted","n":3},{"what":"adopted"},{"what":"refreshed"}]`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	again, err := codec.Decode(acme, b)
	if err != nil {
		t.Fatal(err)
	}
	if b2 := encode(t, codec, again); !bytes.Equal(b, b2) {
		t.Errorf("a second round trip gave\n%s, not\n%s", b2, b)
	}
	c.Lease = nil
	c.Extra["/lease/x"] = "1"
	if b := encode(t, codec, c); strings.Contains(string(b), "lease") {
		t.Errorf("members of a lease that is gone are still in %s", b)
	}
}

// However many members a stranger put in, each name counts once, whatever its
// spelling, and the work grows with the text, not with its square.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, grant.Secret{})
	var many, events strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&many, `,"m%d":%d`, i, i)
		fmt.Fprintf(&events, `,{"what":"adopted","n":%d}`, i)
	}
	text := `{"evergrant":1,"grant":"acme/main","generation":3,"tokens":{"access":{"generation":3}` + many.String() +
		`},"events":[{"what":"attempt"}` + events.String() + `],"state":"live"`
	c, err := codec.Decode(acme, []byte(text+"}"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Extra["/tokens/m19999"] != "19999" || len(c.Extra) != 40000 {
		t.Errorf("%d unknown members are kept", len(c.Extra))
	}
	again, err := codec.Decode(acme, encode(t, codec, c))
	if err != nil {
		t.Fatal(err)
	}
	if d := granttest.Diff(again, c); d != "" {
		t.Errorf("%s differs", d)
	}
	for _, at := range []int{1, 17, 33, 9999, 19999} {
		twice := strings.Replace(text, `"m20":20,`, fmt.Sprintf(`"m20":20,"\u006d%d":0,`, at), 1) + "}"
		_, err := codec.Decode(acme, []byte(twice))
		refused(t, err, fmt.Sprintf(`member /tokens has the member "m%d" twice`, at))
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	codec := newCodec(t, grant.Secret{})
	for name, change := range map[string]func(*grant.Credential){
		"an unknown state":         func(c *grant.Credential) { c.State = 9 },
		"an unknown that is known": func(c *grant.Credential) { c.Extra["/writer"] = `"x"` },
		"an unknown that is wild":  func(c *grant.Credential) { c.Extra["/x"] = `1,"grant":"other"` },
	} {
		c := granttest.Credential(acme)
		change(&c)
		if _, err := codec.Encode(c); err == nil || strings.Contains(err.Error(), granttest.Canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := `{"evergrant":1,"minor":0,"grant":"acme/main","generation":3,"tokens":{"access":{"generation":3},"refresh":"` +
		granttest.Canary + `"},"state":"live"}`
	codec := newCodec(t, grant.Secret{})
	if _, err := codec.Decode(acme, []byte(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	with := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in the good one", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "it is empty"},
		{"white space", " \n", "it is empty"},
		{"text", "hello", "not one whole JSON object"},
		{"cut off", good[:len(good)-1], "not one whole JSON object"},
		{"trailing bytes", good + "x", "not one whole JSON object"},
		{"two records", good + good, "not one whole JSON object"},
		{"list", "[]", "is not an object"},
		{"foreign", `{"access_token":"x"}`, "not an evergrant record"},
		{"newer major", with(`"evergrant":1`, `"evergrant":2`), "written by a newer evergrant (format 2); upgrade"},
		{"no version", with(`"evergrant":1`, `"evergrant":"1"`), "/evergrant is not a version"},
		{"version 0", with(`"evergrant":1`, `"evergrant":0`), "/evergrant is not a version"},
		{"other grant", with(`acme/main`, `acme/other`), `belongs to grant "acme/other"`},
		{"other case", with(`acme/main`, `ACME/main`), `belongs to grant "ACME/main"`},
		{"twice", with(`"minor"`, `"grant"`), `has the member "grant" twice`},
		{"twice by escape", with(`"minor"`, `"gr\u0061nt"`), `has the member "grant" twice`},
		{"twice below", with(`"refresh":`, `"refresh":"x","refresh":`), `member /tokens has the member "refresh" twice`},
		{"wrong case", with(`"state"`, `"State"`), "member /state is missing"},
		{"no generation", with(`"generation":3,`, ``), "member /generation is missing"},
		{"negative", with(`"generation":3`, `"generation":-3`), "/generation is not a whole number"},
		{"fraction", with(`"generation":3`, `"generation":3.5`), "/generation is not a whole number"},
		{"too large", with(`"generation":3`, `"generation":18446744073709551616`), "/generation is not a whole number"},
		{"null", with(`{"access":{"generation":3},"refresh":"`+granttest.Canary+`"}`, `null`), "member /tokens is not an object"},
		{"token of wrong type", with(`"refresh":"`+granttest.Canary+`"`, `"refresh":7`), "/tokens/refresh is not a string"},
		{"token in an object", with(`"refresh":"`+granttest.Canary+`"`, `"refresh":{"base64":"YQ=="}`), "/tokens/refresh is not a string"},
		{"state", with(`"live"`, `"zombie"`), "/state is none of"},
		{"time", with(`"refresh":`, `"obtained_at":"yesterday","refresh":`), "/tokens/obtained_at is not a time"},
		{"truth", with(`"generation":3}`, `"generation":3,"expiry_assumed":1}`), "/tokens/access/expiry_assumed is neither"},
		{"list of numbers", with(`"state"`, `"seeds":[1],"state"`), "/seeds is not a list of strings"},
		{"no list", with(`"state"`, `"seeds":"x","state"`), "/seeds is not a list"},
		{"lease", with(`"state"`, `"lease":{"ttl":90},"state"`), "/lease/ttl is not a string"},
		{"lease ttl", with(`"state"`, `"lease":{"ttl":"90"},"state"`), "/lease/ttl is not a duration"},
		{"event", with(`"state"`, `"events":[{},{"at":1}],"state"`), "/events/1/at is not a string"},
		{"sealed number", `{"evergrant":1,"sealed":1}`, "/sealed is not a string"},
		{"sealed text", `{"evergrant":1,"sealed":"%%"}`, "/sealed is not base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := codec.Decode(acme, []byte(c.text))
			refused(t, err, c.want)
		})
	}
}

// refused checks what every refusal must be: unreadable, one line, no secret.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, grant.ErrUnreadable) || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want ErrUnreadable with %q", err, want)
	}
	if s := err.Error(); strings.ContainsAny(s, "\n\r") || strings.Contains(s, granttest.Canary) || strings.Contains(s, "AGE-SECRET") {
		t.Errorf("not one line without secrets: %q", s)
	}
}

func FuzzDecode(f *testing.F) {
	codec := newCodec(f, grant.Secret{})
	f.Add(encode(f, codec, granttest.Credential(acme)))
	f.Add(encode(f, codec, grant.Credential{Grant: acme}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := codec.Decode(acme, b)
		if err != nil {
			if !errors.Is(err, grant.ErrUnreadable) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("not one line that wraps ErrUnreadable: %v", err)
			}
			return
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
