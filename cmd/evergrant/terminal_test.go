//go:build unix

package main

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdSignals is "signals N kill|key INT|QUIT [</dev/null]": a command of run gets that
// signal N times, which either came to run alone, without a terminal, or was a key that was
// pressed at the terminal of both; run itself goes on until the command ends.
func cmdSignals(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	dir := ts.MkAbs("signals")
	ts.Check(os.MkdirAll(dir, 0o700))
	defer os.RemoveAll(dir)
	name := args[2]
	script := `exec "$0" run -q acme/api --env-name T -- "$1" ` + strings.Join(args[3:], " ")
	counts, err := exec.LookPath("counts")
	ts.Check(err)
	cmd := exec.Command("sh", "-c", script, program(ts), counts)
	cmd.Env, cmd.Dir = settings(ts), dir
	key := map[string]string{"INT": "\x03", "QUIT": "\x1c"}[name]
	send := func() error {
		return cmd.Process.Signal(map[string]os.Signal{"INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT}[name])
	}
	if args[1] == "key" {
		terminal, err := pty.Start(cmd)
		ts.Check(err)
		defer terminal.Close()
		send = func() error { _, err := terminal.WriteString(key); return err }
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		ts.Check(cmd.Start())
	}
	there := func(file string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, file)); return err == nil }
	}
	w.until(ts, "the command", there("ready"))
	ts.Check(send())
	w.until(ts, "the signal", there("got"))
	// It ends the command, and comes after all that run has passed on before.
	ts.Check(cmd.Process.Signal(syscall.SIGUSR1))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		ts.Fatalf("run ended with %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "got"))
	ts.Check(err)
	if n := strings.Count(string(b), "got"); strconv.Itoa(n) != args[0] {
		ts.Fatalf("the command got SIG%s %d times, want %s", name, n, args[0])
	}
}

// countSignals is the program "counts": it notes each SIGINT and SIGQUIT, until
// SIGUSR1.
func countSignals() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1)
	if err := os.WriteFile("ready", nil, 0o600); err != nil {
		os.Exit(1)
	}
	noted := ""
	for s := range signals {
		if s == syscall.SIGUSR1 {
			os.Exit(5)
		}
		noted += "got\n"
		if err := os.WriteFile("got", []byte(noted), 0o600); err != nil {
			os.Exit(1)
		}
	}
}
