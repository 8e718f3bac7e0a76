package holder_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"evergrant/internal/holder"

	"golang.org/x/sys/unix"
)

const child = "EVERGRANT_TEST_CHILD"

// TestMain makes this binary a process that prints its holder's name and waits
// for its input to end, when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	fmt.Println(holder.New("child"))
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0)
}

func start(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	name, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSuffix(name, "\n")
}

func TestKilledProcessIsGone(t *testing.T) {
	t.Parallel()
	cmd, name := start(t)
	if holder.Label(name) != "child" || holder.Gone(name) || !holder.Alive(name) {
		t.Fatalf("%q is gone while it runs", name)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// It has ended, and nobody has taken notice yet: a zombie.
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if !holder.Gone(name) || holder.Alive(name) {
		t.Errorf("%q is a zombie and not gone", name)
	}
	_ = cmd.Wait() // it was killed
	if !holder.Gone(name) {
		t.Errorf("%q is not gone after its end", name)
	}
}

// Each part of a name has its say in whether the process is certainly gone.
func TestWhatMakesGone(t *testing.T) {
	t.Parallel()
	cmd, name := start(t)
	label, rest, _ := strings.Cut(name, "@")
	part := strings.Split(rest, ".")
	with := func(i int, s string) string {
		p := append([]string(nil), part...)
		p[i] = s
		return label + "@" + strings.Join(p, ".")
	}
	// While it runs: the same process id with another start is another process.
	if !holder.Gone(with(3, part[3]+"0")) {
		t.Error("a process id that was given out again hides that its first process is gone")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for what, changed := range map[string]string{
		"another boot": with(0, strings.Repeat("0", 32)), "an unknown boot": with(0, "-"),
		"another namespace": with(1, "1-1"), "an unknown namespace": with(1, "-"), "an unknown start": with(3, "-"),
		"a cut name": name[:len(name)-1],
	} {
		if holder.Gone(changed) {
			t.Errorf("%s: %q is gone", what, changed)
		}
	}
	if !holder.Gone(with(4, "0123456789abcdef")) {
		t.Error("another attempt of the same process is not gone with it")
	}
}

// Process 1 belongs to somebody else where the tests do not run as root, and is
// there in any case.
func TestForeignProcess(t *testing.T) {
	t.Parallel()
	// Where /proc hides it, its start is unknown to us, and so it is not gone.
	start := "1"
	if b, err := os.ReadFile("/proc/1/stat"); err == nil {
		start = strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[19]
	}
	label, rest, _ := strings.Cut(holder.New("x"), "@")
	part := strings.Split(rest, ".")
	part[2], part[3] = "1", start
	if name := label + "@" + strings.Join(part, "."); holder.Gone(name) {
		t.Errorf("process 1 is gone by %q", name)
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	if holder.Alive(holder.New("self")) {
		t.Error("this process took itself for another that lives")
	}
	if holder.Alive("no name at all") {
		t.Error("nonsense lives")
	}
}
