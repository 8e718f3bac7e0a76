package sink_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"evergrant/internal/grant"
	"evergrant/internal/sink"
	"evergrant/internal/workflow"
)

const canary = "canary-access-1"

type world struct {
	dir            string
	stdout, stderr bytes.Buffer
	vars           map[string]string
}

func newWorld(t *testing.T) *world {
	w := &world{dir: t.TempDir(), vars: map[string]string{}}
	for name, file := range map[string]string{"GITHUB_ENV": "env", "GITHUB_OUTPUT": "out"} {
		w.vars[name] = filepath.Join(w.dir, file)
		if err := os.WriteFile(w.vars[name], nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) open(url string) (sink.Sink, error) {
	return sink.Open(strings.ReplaceAll(url, "DIR", w.dir), sink.Deps{
		Stdout: &w.stdout, Getenv: func(n string) string { return w.vars[n] }, Mask: workflow.NewMasker(&w.stderr),
	})
}

func (w *world) read(t *testing.T, name string) string {
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEverySinkDeliversExactly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url    string
		where  func(t *testing.T, w *world) string
		want   string // of two deliveries; DELIMITER stands for a random word
		masked bool
	}{
		{"stdout:", func(_ *testing.T, w *world) string { return w.stdout.String() }, canary + "\n" + canary + "-2\n", false},
		{"file:DIR/token", func(t *testing.T, w *world) string { return w.read(t, "token") }, canary + "-2", false},
		{"dotenv:DIR/.env#TOKEN", func(t *testing.T, w *world) string { return w.read(t, ".env") }, "TOKEN=" + canary + "-2\n", false},
		{"github-env:TOKEN", func(t *testing.T, w *world) string { return w.read(t, "env") }, "TOKEN " + canary + " TOKEN " + canary + "-2", true},
		{"github-output:access-token", func(t *testing.T, w *world) string { return w.read(t, "out") }, "access-token " + canary + " access-token " + canary + "-2", true},
	} {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s, err := w.open(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []string{canary, canary + "-2"} {
				if err := s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(v)}); err != nil {
					t.Fatal(err)
				}
			}
			got := tt.where(t, w)
			if tt.masked {
				got = withoutDelimiters(t, got)
			}
			if got != tt.want {
				t.Errorf("delivered %q, want %q", got, tt.want)
			}
			wantMask := ""
			if tt.masked {
				wantMask = "::add-mask::" + canary + "\n::add-mask::" + canary + "-2\n"
			}
			if w.stderr.String() != wantMask {
				t.Errorf("standard error has %q, want %q", w.stderr.String(), wantMask)
			}
		})
	}
}

// withoutDelimiters reads an environment file as the runner does and returns
// names and values.
func withoutDelimiters(t *testing.T, text string) string {
	var out []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines)-1; i += 3 {
		name, delimiter, ok := strings.Cut(lines[i], "<<")
		if !ok || i+2 >= len(lines) || lines[i+2] != delimiter {
			t.Fatalf("line %d is not NAME<<DELIMITER with its end two lines on", i+1)
		}
		out = append(out, name, lines[i+1])
	}
	return strings.Join(out, " ")
}

func TestHostileValuesReachNoSink(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"stdout:", "file:DIR/token", "dotenv:DIR/.env#TOKEN", "github-env:TOKEN", "github-output:token"} {
		for _, value := range []string{"", "x\nPATH=/tmp", "x\r", "x\x00", "\x1b[31mx", "x\x7f", "xä"} {
			w := newWorld(t)
			s, err := w.open(url)
			if err != nil {
				t.Fatal(err)
			}
			if s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(value)}) == nil {
				t.Errorf("%s took %q", url, value)
			}
			if w.stdout.Len()+w.stderr.Len() > 0 || w.read(t, "env")+w.read(t, "out") != "" {
				t.Errorf("%s wrote something of %q", url, value)
			}
			for _, name := range []string{"token", ".env"} {
				if _, err := os.Stat(filepath.Join(w.dir, name)); err == nil {
					t.Errorf("%s made %s for %q", url, name, value)
				}
			}
		}
	}
}

func TestMaskComesFirst(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"github-env:TOKEN", "github-output:token"} {
		w := newWorld(t)
		s, err := sink.Open(url, sink.Deps{
			Stdout: &w.stdout, Getenv: func(n string) string { return w.vars[n] }, Mask: workflow.NewMasker(closed{}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(canary)}) == nil {
			t.Errorf("%s delivers what it could not mask", url)
		}
		if w.read(t, "env")+w.read(t, "out") != "" {
			t.Errorf("%s writes before it has masked", url)
		}
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, says string }{
		{"stdout", "no colon"},
		{"stdout:x", "nothing may follow"},
		{"ftp:x", "no such sink"},
		{"ghsecret:o/r/n", "there is no GitHub here"},
		{"ghsecret:o/n", "OWNER/REPO/NAME"},
		{"ghsecret:o/r/GITHUB_X", "starts with GITHUB_"},
		{"ghsecret:o/r/n?env=V", "no other option"},
		{"gitea-secret:o/r/n", "there is no Gitea here"},
		{"gitea-secret:o/n", "OWNER/REPO/NAME"},
		{"claude-file:", "path of the file is missing"},
		{"claude-file:DIR", "not a regular file"},
		{"codex-file:DIR/no/auth.json", "takes no new file"},
		{"file:", "path"},
		{"file:DIR", "not a regular file"},
		{"file:DIR/no/token", "folder"},
		{"file:DIR/env/token", ""},
		{"dotenv:DIR/.env", "PATH#NAME"},
		{"dotenv:DIR/.env#", "name of the variable"},
		{"dotenv:#NAME", "path"},
		{"github-env:CI", "refused"},
		{"github-env:A-B", "name of a variable"},
		{"github-output:a b", "name of an output"},
	} {
		w := newWorld(t)
		_, err := w.open(tt.url)
		if err == nil {
			t.Errorf("%s was opened", tt.url)
		} else if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q does not say %q on one line", tt.url, err, tt.says)
		}
	}
	w := newWorld(t)
	w.vars = nil
	if _, err := w.open("github-env:TOKEN"); err == nil || !strings.Contains(err.Error(), "GITHUB_ENV is not set") {
		t.Errorf("outside GitHub Actions: %v", err)
	}
}

func TestFileSinkIsPrivate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.dir, "token"), []byte("older"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := w.open("file:DIR/token")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(canary)}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(w.dir, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v; want 0600", info.Mode(), err)
	}
}

func TestStdoutFailureIsAnError(t *testing.T) {
	t.Parallel()
	s, err := sink.Open("stdout:", sink.Deps{Stdout: closed{}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Deliver(t.Context(), grant.AccessToken{Value: grant.NewSecret(canary)}) == nil {
		t.Error("a closed standard output takes the token")
	}
}
