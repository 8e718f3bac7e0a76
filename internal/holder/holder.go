// Package holder names the attempts that hold leases, so that one whose
// process is certainly gone is over before its lease ends.
//
//	<label>@<boot id>.<namespaces>.<pid>.<start>.<random>
//
// for example ci-job-7@3f0c…e1.4026531836-4026531834.812.1048576.9f2c66a01b7d4e55.
// The boot id is that of Linux, without dashes; the namespaces are those of
// process ids and of time; the start is that of the process, in clock ticks
// since boot. Where the system does not tell them, they are "-".
package holder

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
)

// maxLabel is the longest label kept, in bytes.
const maxLabel = 40

// unknown stands for what the system does not tell.
const unknown = "-"

// place is where a process runs, in the words of its system.
type place struct {
	boot       string // one run of one kernel
	namespaces string // in which process ids and start times mean the same
	start      string // when the process began
}

// New returns a unique name for one attempt of this process. The label is for
// people; of it, letters, digits and "-", "_", "." are kept.
func New(label string) string {
	at := here()
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return clean(label) + "@" + strings.Join([]string{
		at.boot, at.namespaces, strconv.Itoa(os.Getpid()), at.start, hex.EncodeToString(random[:]),
	}, ".")
}

// Label returns the label of a name made by [New], and "" for any other text.
func Label(name string) string {
	n, ok := parse(name)
	if !ok {
		return ""
	}
	return n.label
}

// Gone reports that the process that made name certainly exists no more. False
// means that it lives or that nobody can tell: it runs on another machine, was
// started before the last boot, or is in another namespace of process ids.
func Gone(name string) bool {
	n, ok := parse(name)
	if !ok || n.boot == unknown || n.namespaces == unknown || n.start == unknown {
		return false
	}
	at := here()
	return n.boot == at.boot && n.namespaces == at.namespaces && gone(n.pid, n.start)
}

// Alive reports that another process than ours, the one that made name,
// certainly exists. False means that it is gone or that nobody can tell.
func Alive(name string) bool {
	n, ok := parse(name)
	if !ok || n.boot == unknown || n.namespaces == unknown || n.start == unknown || n.pid == os.Getpid() {
		return false
	}
	at := here()
	return n.boot == at.boot && n.namespaces == at.namespaces && alive(n.pid, n.start)
}

type parsed struct {
	place
	label string
	pid   int
}

// parse is strict: what it does not know, it does not judge.
func parse(name string) (parsed, bool) {
	label, rest, ok := strings.Cut(name, "@")
	f := strings.Split(rest, ".")
	if !ok || len(f) != 5 || label == "" || clean(label) != label {
		return parsed{}, false
	}
	pid, err := strconv.Atoi(f[2])
	if err != nil || pid < 1 || strconv.Itoa(pid) != f[2] || len(f[4]) != 16 || strings.Trim(f[4], "0123456789abcdef") != "" {
		return parsed{}, false
	}
	for _, s := range []string{f[0], f[1], f[3]} {
		if s == "" {
			return parsed{}, false
		}
	}
	return parsed{place{f[0], f[1], f[3]}, label, pid}, true
}

func clean(label string) string {
	label = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '-'
	}, label)
	if label == "" {
		return unknown
	}
	return label[:min(len(label), maxLabel)]
}
