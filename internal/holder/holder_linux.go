package holder

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// here looks at /proc (proc(5), namespaces(7), random(4)).
func here() place {
	p := place{unknown, unknown, unknown}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		id := strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")
		if len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" {
			p.boot = id
		}
	}
	// A /proc of another namespace, as a chroot may have it, numbers processes
	// differently: there our own link bears another number.
	self, err := os.Readlink("/proc/self")
	if err != nil || self != strconv.Itoa(os.Getpid()) {
		return p
	}
	if pids, ok := namespace("pid"); ok {
		// Kernels before 5.6 have one time for all, and no such link.
		times, ok := namespace("time")
		if !ok {
			times = "0"
		}
		p.namespaces = pids + "-" + times
	}
	if st, ok := readStat(os.Getpid()); ok {
		p.start = st.start
	}
	return p
}

// namespace returns the inode number of a namespace. A number is given out
// again only after the namespace ended, and all its processes with it.
func namespace(kind string) (string, bool) {
	link, err := os.Readlink("/proc/self/ns/" + kind)
	number, ok := strings.CutPrefix(link, kind+":[")
	number, end := strings.CutSuffix(number, "]")
	if err != nil || !ok || !end || number == "" || strings.Trim(number, "0123456789") != "" {
		return "", false
	}
	return number, true
}

// gone asks the kernel by kill(2) with signal 0 first. Unlike /proc, it tells
// of every process of the namespace, whatever the mount option hidepid says.
func gone(pid int, start string) bool {
	err := syscall.Kill(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return true
	}
	if err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	st, ok := readStat(pid)
	if !ok {
		return false // hidden, or just ended: the next look will tell
	}
	// A zombie without other threads does nothing any more; it only waits for a
	// parent that may never look.
	return st.start != start || st.state == "Z" && st.threads == "1"
}

// alive needs the start time: a number alone may have been given out again.
func alive(pid int, start string) bool {
	st, ok := readStat(pid)
	return ok && st.start == start && st.state != "Z" && st.state != "X"
}

type stat struct{ state, threads, start string }

// readStat reads /proc/PID/stat. The name of the program may hold anything,
// the last parenthesis ends it (proc_pid_stat(5): fields 3, 20 and 22).
func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 || strings.Trim(f[19], "0123456789") != "" {
		return stat{}, false
	}
	return stat{state: f[0], threads: f[17], start: f[19]}, true
}
