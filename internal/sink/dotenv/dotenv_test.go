package dotenv_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/sink/dotenv"
)

func token(value string) grant.AccessToken { return grant.AccessToken{Value: grant.NewSecret(value)} }

func TestDeliverChangesOneAssignment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, before, value, after string }{
		{"absent", "", "v1.x-y~z+/=", "T=v1.x-y~z+/=\n"},
		{"appended", "# c\nA=1\n", "v", "# c\nA=1\nT=v\n"},
		{"appended after an open line", "A=1", "v", "A=1\nT=v\n"},
		{"appended with the file's line ends", "A=1\r\n", "v", "A=1\r\nT=v\r\n"},
		{"replaced in place", "A=1\nT=old\nB=2\n", "v", "A=1\nT=v\nB=2\n"},
		{"windows line ends stay", "T=old\r\nB=2\r\n", "v", "T=v\r\nB=2\r\n"},
		{"export and comment stay", "export T=old # why\nB=2\n", "v", "export T=v # why\nB=2\n"},
		{"comment behind quotes stays", `T="old" # why` + "\n", "v", "T=v # why\n"},
		{"last of two", "T=1\nT=2\n", "v", "T=1\nT=v\n"},
		{"a comment is no assignment", "#T=old\n", "v", "#T=old\nT=v\n"},
		{"a longer name is another", "TT=1\nT_=2\n", "v", "TT=1\nT_=2\nT=v\n"},
		{"lines inside a quoted value", "A=\"x\nT=inside\ny\"\nB=2\n", "v", "A=\"x\nT=inside\ny\"\nB=2\nT=v\n"},
		{"quotes escaped inside quotes", "A=\"x\\\"\nT=inside\"\n", "v", "A=\"x\\\"\nT=inside\"\nT=v\n"},
		{"its own value over lines", "T='x\ny'\nB=2\n", "v", "T=v\nB=2\n"},
		{"a quote that never ends", "A='x\nT=old\n", "v", "A='x\nT=v\n"},
		{"empty value", "T=\nB=2\n", "v", "T=v\nB=2\n"},
		{"no end of line", "T=old", "v", "T=v"},
		{"single quotes", "T=old\n", "a b#$`\"", "T='a b#$`\"'\n"},
		{"double quotes", "T=old\n", "it's", "T=\"it's\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), ".env")
			if tt.before != "" {
				if err := os.WriteFile(path, []byte(tt.before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			s, err := dotenv.Open(path, "T")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second delivery finds its own first
				if err := s.Deliver(t.Context(), token(tt.value)); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(b) != tt.after {
				t.Errorf("file\n%q, want\n%q", b, tt.after)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			want := os.FileMode(0o640)
			if tt.before == "" {
				want = 0o600
			}
			if info.Mode().Perm() != want {
				t.Errorf("mode %v, want %v", info.Mode().Perm(), want)
			}
		})
	}
}

func TestDeliverRefuses(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "a\nPATH=/tmp", "a\rb", "a\x00b", "a\x1bb", "a\x7fb", "ä", `both ' and "`, `back\slash`, "it's $HOME"} {
		path := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(path, []byte("T=old\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := dotenv.Open(path, "T")
		if err != nil {
			t.Fatal(err)
		}
		err = s.Deliver(t.Context(), token(value))
		if err == nil {
			t.Errorf("value %q was written", value)
		} else if value != "" && strings.Contains(err.Error(), value) {
			t.Errorf("the error repeats the value")
		}
		if b, _ := os.ReadFile(path); string(b) != "T=old\n" {
			t.Errorf("value %q changed the file to %q", value, b)
		}
	}
}

func TestDeliverCancelled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".env")
	s, err := dotenv.Open(path, "T")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Deliver(ctx, token("v")) == nil {
		t.Error("a cancelled delivery succeeds")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a cancelled delivery wrote")
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, variable string }{
		{"no path", "", "T"},
		{"no name", plain, ""},
		{"a name with a space", plain, "A B"},
		{"a name that steers", plain, "NODE_OPTIONS"},
		{"a folder", dir, "T"},
		{"a symbolic link", link, "T"},
		{"a folder that is not there", filepath.Join(dir, "no", ".env"), "T"},
		{"a file in the way", filepath.Join(plain, ".env"), "T"},
	} {
		if _, err := dotenv.Open(tt.path, tt.variable); err == nil {
			t.Errorf("%s: opened", tt.name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("opening left something behind: %v", entries)
	}
}

func TestTwoVariablesOfOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".env")
	const n = 16
	var wg sync.WaitGroup
	for i := range n {
		s, err := dotenv.Open(path, fmt.Sprintf("T%d", i))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := s.Deliver(t.Context(), token(fmt.Sprintf("v%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if !strings.Contains(string(b), fmt.Sprintf("T%d=v%d\n", i, i)) {
			t.Errorf("T%d was lost", i)
		}
	}
}

// FuzzDeliver: whatever the file holds, a delivered value is found again in
// its place, and a second delivery of another value gives the same file as the
// first would have.
func FuzzDeliver(f *testing.F) {
	for _, s := range []string{"", "T=1\n", "A=\"x\nT=1\n\"", "export T = 'x' # y\r\n", "T", "=\n", "T=`a\nb`\n\x00", "A='\nT=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, before string) {
		write := func(text string, values ...string) string {
			path := filepath.Join(t.TempDir(), ".env")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := dotenv.Open(path, "T")
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if err := s.Deliver(t.Context(), token(v)); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		once := write(before, "canary")
		if strings.Count(once, "canary") != strings.Count(before, "canary")+1 && !strings.Contains(before, "canary") {
			t.Errorf("the value is there %d times", strings.Count(once, "canary"))
		}
		if twice := write(before, "other", "canary"); twice != once {
			t.Errorf("after another value %q, directly %q", twice, once)
		}
	})
}
