//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"evergrant/bench/sample"
)

func printMachine(b *bench, syncs int, counted bool) {
	source := "counted by strace"
	if !counted {
		source = "as last counted; strace is not installed"
	}
	trust := "the system's certificates and the session's own"
	if !b.ca.system {
		trust = "the session's own certificate only; the system's were not found"
	}
	if dir := os.Getenv("BENCH_CERT_DIR"); dir != "" {
		trust += ", folder " + dir
	}
	fmt.Printf("machine    %s, %d cores, load %s\n", cpuModel(), runtime.NumCPU(), load())
	fmt.Printf("kernel     %s, file system %s\n", kernel(), fileSystem(b.dir))
	fmt.Printf("tools      %s; python %s; curl %s;\n           jq %s; node %s\n", runtime.Version(),
		version("python3", "-c", "import platform; print(platform.python_version())"),
		word(version("curl", "--version"), 1), strings.TrimPrefix(version("jq", "--version"), "jq-"), version("node", "--version"))
	fmt.Printf("evergrant  %d fsyncs in a refresh (%s)\n", syncs, source)
	fmt.Printf("trust      %s\n", trust)
}

func printTable(scheme string, rounds int, contenders []*contender) {
	fmt.Printf("\nloopback %s, %d rounds, whole process, ms\n", strings.ToUpper(scheme), rounds)
	fmt.Printf("  %-27s %31s   %15s   %13s\n", "", "wall", "cpu", "to the wire")
	fmt.Printf("  %-27s %7s %7s %7s %7s   %7s %7s   %7s\n", "", "median", "p10", "p90", "min", "median", "p90", "median")
	for _, c := range contenders {
		wall, cpu, wire := c.column(func(r run) time.Duration { return r.wall }),
			c.column(func(r run) time.Duration { return r.cpu }), c.column(func(r run) time.Duration { return r.wire })
		fmt.Printf("  %-27s %7s %7s %7s %7s   %7s %7s   %7s\n", c.name,
			ms(wall, 0.5), ms(wall, 0.1), ms(wall, 0.9), ms(wall, 0), ms(cpu, 0.5), ms(cpu, 0.9), wireCell(c, wire))
	}
}

func wireCell(c *contender, wire []time.Duration) string {
	if c.requests == 0 {
		return "none"
	}
	return ms(wire, 0.5)
}

// goal compares two contenders: many over one, at most or at least a limit.
type goal struct {
	text       string
	over, base string // roles
	limit      float64
	atMost     bool
}

func printGoals(contenders []*contender) {
	by := map[string]*contender{}
	for _, c := range contenders {
		by[c.role] = c
	}
	fmt.Printf("  %-50s %30s\n", "", "wall ratio: median (p10 to p90)")
	for _, g := range goals() {
		over, base := by[g.over], by[g.base]
		if base == nil && g.base == roleTrusted {
			continue // over HTTP nobody reads certificates
		}
		if over == nil || base == nil {
			fmt.Printf("  %-52s %28s\n", g.text, "not measured")
			continue
		}
		wall := func(r run) time.Duration { return r.wall }
		ratios := sample.Ratios(over.column(wall), base.column(wall))
		low, median, high := sample.Quantile(ratios, 0.1), sample.Quantile(ratios, 0.5), sample.Quantile(ratios, 0.9)
		fmt.Printf("  %-52s %8.2f (%.2f to %.2f)%s\n", g.text, median, low, high, g.verdict(low, median, high))
	}
	if wire := by[roleEvergrant].column(func(r run) time.Duration { return r.wire }); len(wire) > 0 {
		at := func(q float64) float64 { return sample.Millis(sample.Quantile(wire, q)) }
		g := goal{limit: 15, atMost: true}
		fmt.Printf("  %-52s %8.2f ms (%.2f to %.2f)%s\n", "evergrant on the wire within 15 ms of its start", at(0.5), at(0.1), at(0.9), g.verdict(at(0.1), at(0.5), at(0.9)))
	}
}

func goals() []goal {
	return []goal{
		{"evergrant within 1.5 x of bare Go with fsyncs", roleEvergrant, roleDurable, 1.5, true},
		{"evergrant within 1.5 x of the same, bundle only", roleEvergrant, roleTrusted, 1.5, true},
		{"Python at least 3 x evergrant", rolePython, roleEvergrant, 3, false},
		{"Node at least 10 x evergrant", roleNode, roleEvergrant, 10, false},
		{"no goal: curl and jq over evergrant", roleCurl, roleEvergrant, 0, false},
		{"no goal: refresh.py over evergrant", roleScriptPy, roleEvergrant, 0, false},
		{"no goal: refresh.sh over evergrant", roleScriptSh, roleEvergrant, 0, false},
		{"no goal: refresh.mjs over evergrant", roleScriptMjs, roleEvergrant, 0, false},
		{"no goal: evergrant over bare Go unsynced", roleEvergrant, roleBare, 0, false},
		{"no goal: bare Go over the same, bundle only", roleDurable, roleTrusted, 0, false},
	}
}

// verdict says whether a goal was met by nine runs of ten, by the median only,
// or missed.
func (g goal) verdict(low, median, high float64) string {
	within := func(v float64) bool { return g.atMost == (v <= g.limit) || v == g.limit }
	worst := low
	if g.atMost {
		worst = high
	}
	switch {
	case g.limit == 0:
		return ""
	case within(worst):
		return "  met"
	case within(median):
		return "  met by the median only"
	}
	return "  MISSED"
}

func (c *contender) column(of func(run) time.Duration) []time.Duration {
	values := make([]time.Duration, len(c.runs))
	for i, r := range c.runs {
		values[i] = of(r)
	}
	return values
}

func ms(values []time.Duration, q float64) string {
	return fmt.Sprintf("%.2f", sample.Millis(sample.Quantile(values, q)))
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(release))
}

func load() string {
	average, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return word(string(average), 0)
}

// fileSystem names the file system of a folder by the magic number of statfs(2).
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	names := map[uint32]string{
		0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0xF2F52010: "f2fs", 0x2FC12FC1: "zfs",
		0x794C7630: "overlayfs", 0x01021994: "tmpfs (its fsyncs cost nothing: choose another folder)",
		0x6969: "nfs", 0x01021997: "9p", 0x65735546: "fuse",
	}
	if name, ok := names[uint32(s.Type)]; ok {
		return name
	}
	return fmt.Sprintf("of type %#x", uint32(s.Type))
}

// version returns a tool's first line, or says that the tool is missing.
func version(argv ...string) string {
	if line := firstLine(argv...); line != "" {
		return line
	}
	return "not installed"
}

func firstLine(argv ...string) string {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func word(line string, n int) string {
	if words := strings.Fields(line); n < len(words) {
		return words[n]
	}
	return line
}
