package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// maxOutput bounds what is read of git's answer, in bytes: a record and its
// surroundings, or a listing of ten thousand refs.
const maxOutput = 2 << 20

// afterKill is how long the pipes of a git that has ended are waited for.
const afterKill = 10 * time.Second

// program is the system's git with all that it may know.
type program struct {
	path    string // absolute
	remote  Remote
	env     []string
	timeout time.Duration
}

// findProgram resolves a program once, to an absolute path. One that is found
// through the working folder is refused: a checkout could hold it.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrDot), err == nil && !filepath.IsAbs(path):
		return "", fmt.Errorf("%s would be taken from the working folder, because PATH has a relative entry; take that out", name)
	case err != nil:
		return "", fmt.Errorf("%s is not installed, or not in PATH", name)
	}
	return path, nil
}

// newProgram finds git, and ssh where it is needed, and fixes the environment
// for all calls.
func newProgram(c Config) (*program, error) {
	path, err := findProgram("git")
	if err != nil {
		return nil, err
	}
	p := &program{path: path, remote: c.Remote, timeout: c.Timeout}
	if p.timeout <= 0 {
		p.timeout = 30 * time.Second
	}
	folders := []string{filepath.Dir(path)}
	ssh := ""
	if c.Remote.scheme == "ssh" {
		if ssh, err = findProgram("ssh"); err != nil {
			return nil, err
		}
		folders = append(folders, filepath.Dir(ssh))
	}
	p.env = append(environment(c.Remote, c.Getenv, folders), sshEnvironment(ssh)...)
	p.env = append(p.env, configuration(c.Remote, c.Credential)...)
	return p, nil
}

// passed are the variables that git gets from ours: the way out and whom to
// trust on it. All GIT_* variables but GIT_SSL_CAINFO stay out: traces that
// print headers, other repositories, configuration, commands.
func passed(remote Remote) []string {
	names := []string{"SystemRoot", "ComSpec", "PATHEXT"} // without these nothing starts on Windows
	switch remote.scheme {
	case "https": // libcurl(3), "ENVIRONMENT"; a loopback address needs no way out
		return append(names, "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
			"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_DIR", "SSL_CERT_FILE")
	case "ssh":
		return append(names, "SSH_AUTH_SOCK", "USERPROFILE")
	}
	return names
}

func environment(remote Remote, get func(string) string, folders []string) []string {
	if runtime.GOOS == "windows" {
		folders = append(folders, filepath.Join(get("SystemRoot"), "System32"))
	} else {
		folders = append(folders, "/usr/local/bin", "/usr/bin", "/bin")
	}
	env := []string{
		"PATH=" + strings.Join(folders, string(filepath.ListSeparator)), "LC_ALL=C", // the texts that outcomes are told by
		"GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=" + remote.scheme,
		"GIT_OPTIONAL_LOCKS=0", "GCM_INTERACTIVE=never",
	}
	for _, name := range passed(remote) {
		if v := get(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	// git knows nothing of SSL_CERT_FILE, by which the rest of this program is told.
	if file := get("SSL_CERT_FILE"); remote.scheme == "https" && file != "" && get("GIT_SSL_CAINFO") == "" {
		env = append(env, "GIT_SSL_CAINFO="+file)
	}
	return env
}

// sshEnvironment has ssh ask nobody. It reads the user's own ~/.ssh, which it
// finds by the password file and not by HOME.
func sshEnvironment(ssh string) []string {
	if ssh == "" {
		return nil
	}
	quoted := "'" + strings.ReplaceAll(filepath.ToSlash(ssh), "'", `'\''`) + "'"
	return []string{"GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND=" + quoted + " -o BatchMode=yes -o ConnectTimeout=10"}
}

// configuration goes by variables: arguments are seen by every process, and a
// file would be one more place to clean.
func configuration(remote Remote, c Credential) []string {
	settings := [][2]string{
		{"core.hooksPath", "/dev/null"}, {"core.fsync", "none"}, {"core.askPass", ""}, {"credential.helper", ""},
		{"gc.auto", "0"}, {"maintenance.auto", "false"}, {"protocol.version", "2"}, {"http.followRedirects", "false"},
		{"push.gpgSign", "false"}, {"push.recurseSubmodules", "no"}, {"fetch.recurseSubmodules", "false"}, {"fetch.writeCommitGraph", "false"},
	}
	if !c.Password.IsZero() {
		basic := base64.StdEncoding.EncodeToString([]byte(c.User + ":" + c.Password.Reveal()))
		settings = append(settings, [2]string{"http." + remote.origin() + ".extraHeader", "Authorization: Basic " + basic})
	}
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings))}
	for i, s := range settings {
		n := strconv.Itoa(i)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+s[0], "GIT_CONFIG_VALUE_"+n+"="+s[1])
	}
	return env
}

// answer is what one call of git left behind.
type answer struct {
	stdout  []byte
	stderr  string
	code    int   // exit code; -1 if it did not exit by itself
	started bool  // it may have done something
	err     error // nil only with code 0
}

// run calls git in a repository and waits. ctx and the timeout kill git with
// all that it started.
func (p *program) run(caller context.Context, r *repository, stdin string, args ...string) answer {
	ctx, cancel := context.WithTimeout(caller, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Dir = r.dir
	cmd.Env = append(append([]string{}, p.env...),
		"GIT_DIR="+r.gitDir(), "GIT_CONFIG_GLOBAL="+r.globalConfig(), "HOME="+r.dir, "XDG_CONFIG_HOME="+r.dir, "TMPDIR="+r.dir, "TMP="+r.dir, "TEMP="+r.dir)
	cmd.Stdin = strings.NewReader(stdin)
	stdout, stderr := &bounded{most: maxOutput}, &bounded{most: 64 << 10, quiet: true}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = afterKill
	ownGroup(cmd)
	a := answer{code: -1}
	if caller.Err() != nil {
		a.err = caller.Err()
		return a
	}
	a.err = cmd.Start()
	if a.err != nil {
		a.err = lastingError{fmt.Errorf("git cannot be started: %w", a.err)}
		return a
	}
	a.started = true
	a.err = cmd.Wait()
	a.stdout, a.stderr = stdout.b.Bytes(), stderr.b.String()
	a.code = cmd.ProcessState.ExitCode()
	switch {
	case a.err != nil && caller.Err() != nil:
		a.code, a.err = -1, caller.Err()
	case a.err != nil && ctx.Err() != nil:
		a.code, a.err = -1, fmt.Errorf("no answer within %v", p.timeout)
	case stdout.over:
		a.code, a.err = -1, errLong
	case a.err != nil:
		a.err = p.cause(a.stderr, a.err)
	}
	return a
}

// errLong: something is there that nobody here has written.
var errLong = errors.New("git's answer is far larger than a record")

// bounded keeps the beginning of what is written to it, and then fails, or,
// when quiet, forgets the rest.
type bounded struct {
	b     bytes.Buffer
	most  int
	quiet bool
	over  bool
}

func (w *bounded) Write(p []byte) (int, error) {
	room := min(len(p), w.most-w.b.Len())
	_, _ = w.b.Write(p[:room]) // a buffer never fails
	if w.over = w.over || room < len(p); w.over && !w.quiet {
		return room, errors.New("too much")
	}
	return len(p), nil
}
