package jsonfile_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"evergrant/internal/jsonfile"
)

func TestSet(t *testing.T) {
	t.Parallel()
	put := func(value any, path ...string) jsonfile.Edit { return jsonfile.Edit{Path: path, Value: value} }
	for _, tt := range []struct {
		name, before string
		edits        []jsonfile.Edit
		want         string
	}{
		{"empty", "", []jsonfile.Edit{put("x", "a", "b")}, `{"a":{"b":"x"}}` + "\n"},
		{"replace", `{"z":1,"a":"old","m":[1, 2]}`, []jsonfile.Edit{put("new", "a")}, `{"z":1,"a":"new","m":[1, 2]}`},
		{"compact, new", `{"z":1}`, []jsonfile.Edit{put(true, "a")}, `{"z":1,"a":true}`},
		{"spaced, new", `{ "z" : 1 }`, []jsonfile.Edit{put(2, "a")}, `{ "z" : 1, "a" : 2 }`},
		{"indented, new", "{\n\t\"z\": 1.0e0\n}\n", []jsonfile.Edit{put("x", "a")}, "{\n\t\"z\": 1.0e0,\n\t\"a\": \"x\"\n}\n"},
		{"in an object", "{\r\n  \"o\": {\r\n    \"k\": null\r\n  },\r\n  \"n\": 12345678901234567890\r\n}", []jsonfile.Edit{put("x", "o", "k"), put(5, "o", "l")},
			"{\r\n  \"o\": {\r\n    \"k\": \"x\",\r\n    \"l\": 5\r\n  },\r\n  \"n\": 12345678901234567890\r\n}"},
		{"null becomes an object", `{"o":null}`, []jsonfile.Edit{put("x", "o", "p", "q")}, `{"o":{"p":{"q":"x"}}}`},
		{"an empty object", `{"o":{ }}`, []jsonfile.Edit{put(1, "o", "p"), put(2, "o", "q")}, `{"o":{"p":1,"q":2}}`},
		{"a name with escapes", `{"\u0061":1}`, []jsonfile.Edit{put(2, "a")}, `{"\u0061":2}`},
		{"braces in texts", `{"}":"{\"a\":1}\\","a":"x"}`, []jsonfile.Edit{put("y", "a")}, `{"}":"{\"a\":1}\\","a":"y"}`},
		{"another case is another name", `{"A":1}`, []jsonfile.Edit{put(2, "a")}, `{"A":1,"a":2}`},
		{"a byte order mark goes", "\xef\xbb\xbf{}", []jsonfile.Edit{put(1, "a")}, `{"a":1}`},
	} {
		got, err := jsonfile.Set([]byte(tt.before), tt.edits...)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ before, says string }{
		{`{"a":1`, "malformed at byte 6 of 6"},
		{`{"a":canary}`, "malformed at byte"},
		{`[1]`, "no object"},
		{`"canary"`, "no object"},
		{`{"a":1,"a":2}`, "twice"},
		{`{"o":{"x":1,"x":2}}`, "twice"},
		{`{"o":"canary"}`, "its member o is no object"},
		{`{} {}`, "malformed"},
	} {
		got, err := jsonfile.Set([]byte(tt.before), jsonfile.Edit{Path: []string{"o", "x"}, Value: 1})
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") || got != nil {
			t.Errorf("%s: %q, %v; want an error that says %q", tt.before, got, err, tt.says)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := jsonfile.Parse([]byte("\xef\xbb\xbf \n{\"b\": [1, {\"x\":\"]\"}] , \"a\":-1.5e+3}"))
	if err != nil || len(o) != 2 || o[0].Name != "b" || string(o[0].Value) != `[1, {"x":"]"}]` {
		t.Fatalf("%+v, %v", o, err)
	}
	if v, ok := o.Get("a"); !ok || string(v) != "-1.5e+3" {
		t.Errorf("a is %s, %v", v, ok)
	}
	if _, ok := o.Get("c"); ok {
		t.Error("c is there")
	}
	for _, bad := range []string{"", " ", "\xef\xbb\xbf", "null", "1"} {
		if _, err := jsonfile.Parse([]byte(bad)); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

func TestUpdateKeepsWhatItMustNotChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f.json")
	edit := func(text []byte) ([]byte, error) { return append(text, 'x'), nil }
	if err := jsonfile.Update(path, edit); err != nil {
		t.Fatal(err)
	}
	mode := func() os.FileMode {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode().Perm()
	}
	if mode() != 0o600 {
		t.Errorf("a new file has mode %04o", mode())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := jsonfile.Update(path, edit); err != nil || mode() != 0o640 {
		t.Errorf("mode %04o, error %v; want the mode that was there", mode(), err)
	}
	if _, err := jsonfile.Set([]byte("{")); err != nil {
		t.Error("without an edit there is nothing to refuse")
	}
	failing := func(text []byte) ([]byte, error) {
		return jsonfile.Set([]byte("{"), jsonfile.Edit{Path: []string{"a"}})
	}
	if err := jsonfile.Update(path, failing); err == nil || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("the error of an edit is %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "xx" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("something is left over: %v", entries)
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "there"), link); err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, jsonfile.MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		"": "missing", dir: "not a regular file", link: "symbolic link", filepath.Join(dir, "no", "f"): "takes no new file",
		filepath.Join(big, "f"): "cannot be read", big: "larger than",
	} {
		err := jsonfile.Check(path)
		if runtime.GOOS == "linux" && path == filepath.Join(big, "f") {
			says = "not a directory"
		}
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v does not say %q on one line", path, err, says)
		}
	}
	if _, _, err := jsonfile.Read(os.DevNull); err == nil {
		t.Error("a device was read")
	}
}

// FuzzSet: what is edited is JSON afterwards, holds the value, is the same after
// the same edit again, and differs from the text before in that value only.
func FuzzSet(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"a":{"b":1},"c":[{"a":2}]}`, "{\n  \"a\" : null ,\"x\":\"\\\"\"\n}", `{"\u0061":{"b":{}}}`, `{"a":{"b":1,"b":2}}`,
		"\xef\xbb\xbf{\"z\":1e9}", `{"a":3}`, "{\"\xff\":1}", `{"a":{"b":"\ud800"}}`, "[]", `{"":{"":0}}`,
	} {
		f.Add([]byte(s), "b", "value")
	}
	f.Fuzz(func(t *testing.T, text []byte, name, value string) {
		before := bytes.Clone(text)
		edit := jsonfile.Edit{Path: []string{"a", name}, Value: value}
		got, err := jsonfile.Set(text, edit)
		if !bytes.Equal(before, text) {
			t.Fatal("the text was changed in its place")
		}
		if err != nil {
			if got != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error with a text, or of several lines: %v", err)
			}
			return
		}
		// encoding/json is the judge of what is written and found again.
		var o struct{ A map[string]json.RawMessage }
		var all map[string]json.RawMessage
		if err := json.Unmarshal(got, &all); err != nil {
			t.Fatalf("not JSON: %v", err)
		}
		if err := json.Unmarshal(all["a"], &o.A); err != nil {
			t.Fatalf("a is no object: %v", err)
		}
		want, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(name)
		var folded string // as encoding/json reads a name back
		if err := json.Unmarshal(quoted, &folded); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(o.A[folded], want) {
			t.Fatalf("a.%q is %s, want %s", name, o.A[folded], want)
		}
		if again, err := jsonfile.Set(got, edit); folded == name && (err != nil || !bytes.Equal(again, got)) {
			t.Fatalf("the same edit again: %v", err)
		}
		// Every other member is there with its bytes, in its order.
		old, err := jsonfile.Parse(before)
		if err != nil {
			return // it was empty
		}
		now, err := jsonfile.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range old {
			if i >= len(now) || now[i].Name != m.Name || m.Name != "a" && !bytes.Equal(now[i].Value, m.Value) {
				t.Fatalf("member %d is another", i)
			}
		}
	})
}
