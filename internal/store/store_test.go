package store_test

import (
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/grant/granttest"
	"evergrant/internal/record"
	"evergrant/internal/store"
)

func TestParse(t *testing.T) {
	t.Parallel()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		url, canonical  string
		keeps, sameHost bool
	}{
		{"none:", "none:", false, true},
		{"file:" + here, "file:" + here, true, true},
		{"file:" + here + "/", "file:" + here, true, true},
		{"file:" + here + "/x/../y", "file:" + filepath.Join(here, "y"), true, true},
		{"file:grants", "file:" + filepath.Join(here, "grants"), true, true},
		{"file:./grants?shared=no", "file:" + filepath.Join(here, "grants"), true, true},
		{"file:grants?shared=yes", "file:" + filepath.Join(here, "grants") + "?shared=yes", true, false},
	} {
		l, err := store.Parse(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if l.String() != tt.canonical || l.Keeps() != tt.keeps || l.SameHost() != tt.sameHost {
			t.Errorf("%s: %s, keeps %v, same host %v", tt.url, l, l.Keeps(), l.SameHost())
		}
		again, err := store.Parse(l.String())
		if err != nil || again != l {
			t.Errorf("%s: its canonical form is read as %v, %v", tt.url, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for url, says := range map[string]string{
		"":                               "no colon",
		"grants":                         "no colon",
		"/var/lib/grants":                "no colon",
		"file:":                          "path of a folder",
		"file:?shared=yes":               "path of a folder",
		"file:~/grants":                  "does not expand ~",
		"file:x?shared=maybe":            "?shared=yes",
		"file:x?shared=yes&shared=no":    "?shared=yes",
		"file:x?mode=0600":               "no other option",
		"file:x?%zz":                     "name=value",
		"none:x":                         "nothing after the colon",
		"git:":                           "not built yet",
		"git:https://u:pw@example.com/r": "not built yet",
		"ghsecret:o/r/N?env=V":           "not built yet",
		"vault:x":                        "there is no store",
	} {
		_, err := store.Parse(url)
		if err == nil {
			t.Errorf("%q is read as a store", url)
			continue
		}
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %q does not say %q on one line without the password", url, err, says)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	codec, err := record.NewCodec(grant.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []store.Location{store.None(), store.File(filepath.Join(t.TempDir(), "grants"))} {
		for _, opening := range []string{"first", "again"} {
			s, err := l.Open(codec)
			if err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			c := granttest.Credential("acme/api")
			_, _, err = s.Load(t.Context(), c.Grant)
			if found := err == nil; found != (opening == "again" && l.Keeps()) {
				t.Errorf("%s: found on the %s opening: %v", l, opening, found)
			}
			if err == nil {
				continue
			}
			if _, err := s.Swap(t.Context(), c.Grant, "", c); err != nil {
				t.Errorf("%s: %v", l, err)
			}
		}
	}
}
