package store_test

import (
	"os"
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
		{"git:https://Forge.example:443/Acme/api.git/", "git:https://forge.example/Acme/api.git", true, false},
		{"git:git@Forge.example:acme/api.git", "git:git@forge.example:acme/api.git", true, false},
		{"git:ssh://git@forge.example:2222/acme/api", "git:ssh://git@forge.example:2222/acme/api", true, false},
		{"git:./store.git", "git:" + filepath.Join(here, "store.git"), true, false},
		{"git:file://" + here + "#refs/heads/x", "git:" + here + "#refs/heads/x", true, false},
		{"ghsecret:acme/widgets/grant?env=VAR", "ghsecret:acme/widgets/GRANT?env=VAR", true, false},
		{"ghsecret:a/b/C?environment=eu+prod%2F1&env=V", "ghsecret:a/b/C?env=V&environment=eu+prod%2F1", true, false},
		{"ghsecret:a/b/C?env=V&api=https://GHE.example/api/v3/", "ghsecret:a/b/C?env=V&api=https%3A%2F%2Fghe.example%2Fapi%2Fv3", true, false},
		{"ghsecret:a/b/C?env=V&api=https://api.github.com", "ghsecret:a/b/C?env=V&api=https%3A%2F%2Fapi.github.com", true, false},
		{"git:https://forge.example/acme/api#refs/heads/evergrant/", "git:https://forge.example/acme/api#refs/heads/evergrant/", true, false},
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
		"git:https://u:pw@example.com/r": "--git-token-env",
		"git:https://pw@example.com/r":   "--git-token-env",
		"git:ssh://u:pw@example.com/r":   "SSH takes its key",
		"git:http://example.com/r":       "use https",
		"git:ftp://example.com/r":        "there are https, ssh and a path",
		"git:https://example.com":        "names a host and no repository",
		"git:https:///r":                 "names no host",
		"git:owner/name":                 "not a URL",
		"git:ext::sh -c pw":              "a space",
		"git:ext::sh":                    "not a URL",
		"git:--upload-pack=x:y":          "not a URL",
		"git:-x@host:y":                  "not a URL",
		"git:ssh://-oProxyCommand=x/r":   "names no host",
		"git:~/store.git":                "not expanded",
		"git:https://example.com/r?x=1":  "?was=REMOTE",
		"git:https://example.com/r?was=": "?was= is wrong",
		"git:https://example.com/r#main": "refs/heads/NAME",
		"git:https://example.com/r#":     "refs/heads/NAME",
		"ghsecret:":                      "OWNER/REPO/NAME",
		"ghsecret:o/r/N":                 "?env=VAR",
		"ghsecret:o/r/N?":                "name=value",
		"ghsecret:o/r/N?env=":            "has no value",
		"ghsecret:o/r/N?env=A&env=B":     "comes twice",
		"ghsecret:o/r/N?env=pw-pw":       "not the name of a variable",
		"ghsecret:o/r/N?env=1A":          "not the name of a variable",
		"ghsecret:o/r/N?env=V&x=1":       "no other option",
		"ghsecret:o/r/N?env=V&api=pw":    "not a URL",
		"ghsecret:pw pw/r/N?env=V":       "the owner",
		"ghsecret:https://o/r/N?env=V":   "OWNER/REPO/NAME",
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

// Bare git: takes its repository from the job, and the job's token goes to the
// job's own forge only.
func TestGitInAJob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	event := func(text string) string {
		path := filepath.Join(dir, grant.NewSecret(text).Digest())
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	github := func(more ...string) map[string]string {
		env := map[string]string{"GITHUB_SERVER_URL": "https://forge.example", "GITHUB_REPOSITORY": "acme/api", "GITHUB_TOKEN": "pw"}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	public := event(`{"repository":{"full_name":"Acme/API","private":false}}`)
	for name, tt := range map[string]struct {
		url, is, refused string
		env              map[string]string
		allow            bool
	}{
		"github":                  {url: "git:", env: github(), is: "git:https://forge.example/acme/api.git"},
		"a branch":                {url: "git:#refs/heads/x", env: github(), is: "git:https://forge.example/acme/api.git#refs/heads/x"},
		"elsewhere":               {url: "git:https://forge.example/acme/state", env: github("GITHUB_EVENT_PATH", public), is: "git:https://forge.example/acme/state"},
		"private":                 {url: "git:", env: github("GITHUB_EVENT_PATH", event(`{"repository":{"full_name":"acme/api","private":true}}`)), is: "git:https://forge.example/acme/api.git"},
		"public":                  {url: "git:", env: github("GITHUB_EVENT_PATH", public), refused: "--allow-public"},
		"public, by its name":     {url: "git:git@forge.example:acme/api", env: github("GITHUB_EVENT_PATH", public), refused: "--allow-public"},
		"public and accepted":     {url: "git:", env: github("GITHUB_EVENT_PATH", public), allow: true, is: "git:https://forge.example/acme/api.git"},
		"an event of another":     {url: "git:", env: github("GITHUB_EVENT_PATH", event(`{"repository":{"full_name":"acme/fork","private":false}}`)), is: "git:https://forge.example/acme/api.git"},
		"an event that is gone":   {url: "git:", env: github("GITHUB_EVENT_PATH", filepath.Join(dir, "none")), is: "git:https://forge.example/acme/api.git"},
		"an event that is broken": {url: "git:", env: github("GITHUB_EVENT_PATH", event(`{`)), is: "git:https://forge.example/acme/api.git"},
		"gitlab": {url: "git:", env: map[string]string{"CI_SERVER_URL": "https://lab.example", "CI_PROJECT_PATH": "a/b/c", "CI_PROJECT_VISIBILITY": "private"},
			is: "git:https://lab.example/a/b/c.git"},
		"gitlab, public": {url: "git:", env: map[string]string{"CI_SERVER_URL": "https://lab.example", "CI_PROJECT_PATH": "a/b", "CI_PROJECT_VISIBILITY": "public"},
			refused: "--allow-public"},
		"no job":                 {url: "git:", refused: "no CI job"},
		"a repository that lies": {url: "git:", env: github("GITHUB_REPOSITORY", "https://u:pw@forge.example/x"), refused: "GITHUB_REPOSITORY"},
		"a server that lies":     {url: "git:", env: github("GITHUB_SERVER_URL", "http://u:pw@forge.example"), refused: "GITHUB_SERVER_URL"},
		"a server by http":       {url: "git:", env: github("GITHUB_SERVER_URL", "http://forge.example"), refused: "GITHUB_SERVER_URL"},
		"a repository above":     {url: "git:", env: github("GITHUB_REPOSITORY", "../../x"), refused: "GITHUB_SERVER_URL"},
	} {
		l, err := store.Parse(tt.url)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l, err = l.In(store.Surroundings{Getenv: func(n string) string { return tt.env[n] }, AllowPublic: tt.allow})
		switch {
		case tt.is != "" && (err != nil || l.String() != tt.is):
			t.Errorf("%s: %v, %v, want %s", name, l, err, tt.is)
		case tt.is == "" && (err == nil || !strings.Contains(err.Error(), tt.refused) || strings.Contains(err.Error(), "pw")):
			t.Errorf("%s: %v, want a refusal with %q and without the password", name, err, tt.refused)
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
