//go:build amd64 || arm64

package rig

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// watched says of a call how it is named here, and which of its arguments are a
// path and the folder that a relative one starts from; -1: none. Without a path
// the first argument is a descriptor.
func watched(number uint64) (call string, path, folder int) {
	switch number {
	case unix.SYS_OPENAT:
		return "openat", 1, 0
	case unix.SYS_UNLINKAT:
		return "unlinkat", 1, 0
	case unix.SYS_MKDIRAT:
		return "mkdirat", 1, 0
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return "renameat", 3, 2
	case unix.SYS_LINKAT:
		return "linkat", 3, 2
	case unix.SYS_READ, unix.SYS_RECVFROM:
		return "read", -1, -1
	case unix.SYS_WRITE, unix.SYS_SENDTO:
		return "write", -1, -1
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		return "fsync", -1, -1
	case unix.SYS_CLOSE:
		return "close", -1, -1
	case unix.SYS_FLOCK:
		return "flock", -1, -1
	case unix.SYS_GETDENTS64:
		return "getdents64", -1, -1
	case unix.SYS_CONNECT:
		return "connect", -1, -1
	}
	return watchedOld(number)
}

// sightOf says what a thread is about to do; false where nobody needs to know.
// Of the programs that the binary starts, only what they become, how they end,
// and what changes or waits for anything outside of them counts.
func sightOf(id int, program string, s callState) (Sight, bool) {
	v := Sight{Program: program, FD: -1}
	switch {
	case s.number == unix.SYS_EXECVE:
		argv := argumentsAt(id, uintptr(s.args[1]))
		v.Program, v.Call, v.Path = programOf(argv), "execve", absolute(id, unix.AT_FDCWD, textAt(id, uintptr(s.args[0])))
		return v, len(argv) > 0
	case program == starting:
		return v, false
	case s.number == unix.SYS_EXIT_GROUP:
		v.Call, v.Code = "exit_group", int(int32(s.args[0]))
		return v, program != ""
	}
	call, path, folder := watched(s.number)
	if v.Call = call; call == "" {
		return v, false
	}
	if path >= 0 {
		from := unix.AT_FDCWD
		if folder >= 0 {
			from = int(int32(s.args[folder]))
		}
		v.Path = absolute(id, from, textAt(id, uintptr(s.args[path])))
		v.Made = call == "openat" && s.args[2]&unix.O_CREAT != 0
		return v, v.Path != "" && (program == "" || call != "openat" || v.Made)
	}
	if program != "" && (call == "close" || call == "getdents64" || call == "flock") {
		return v, false
	}
	v.FD = int(int32(s.args[0]))
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", id, v.FD))
	v.Path = link
	if program != "" && call == "read" && strings.HasPrefix(link, "/") {
		return v, false
	}
	return v, err == nil
}

// absolute completes a path by the folder that it starts from.
func absolute(id, folder int, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return filepath.Join(path) // without the "./" in its middle
	}
	from := "cwd"
	if folder != unix.AT_FDCWD {
		from = fmt.Sprintf("fd/%d", folder)
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", id, from))
	if err != nil {
		return path
	}
	return filepath.Join(dir, path)
}

// processOf returns the process of a thread.
func processOf(id int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", id))
	if err != nil {
		return id
	}
	_, rest, _ := strings.Cut(string(text), "\nTgid:")
	line, _, _ := strings.Cut(rest, "\n")
	if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
		return pid
	}
	return id
}

// programOf names a program and what it is to do by its arguments: "git push"
// for git's own commands, however they are called.
func programOf(argv []string) string {
	name := filepath.Base(argv[0])
	if rest, ok := strings.CutPrefix(name, "git-"); ok {
		return "git " + rest
	}
	if name != "git" {
		return name
	}
	for i := 1; i < len(argv); i++ {
		switch a := argv[i]; {
		case a == "--shallow-file" || a == "-c" || a == "-C":
			i++ // its value
		case !strings.HasPrefix(a, "-"):
			return "git " + a
		}
	}
	return name
}

// argumentsAt reads the first arguments of an execve from the memory of the
// process.
func argumentsAt(id int, at uintptr) (argv []string) {
	for range 16 {
		word := make([]byte, 8)
		if !peek(id, at, word) {
			break
		}
		p := binary.NativeEndian.Uint64(word)
		if p == 0 {
			break
		}
		argv = append(argv, textAt(id, uintptr(p)))
		at += uintptr(len(word))
	}
	return argv
}

func peek(id int, at uintptr, into []byte) bool {
	n, err := unix.ProcessVMReadv(id, []unix.Iovec{{Base: &into[0], Len: uint64(len(into))}},
		[]unix.RemoteIovec{{Base: at, Len: len(into)}}, 0)
	return err == nil && n == len(into)
}

// textAt reads a path from the memory of a process, page by page: what follows
// it may not be there.
func textAt(id int, at uintptr) string {
	var text strings.Builder
	for text.Len() < 4096 {
		page := make([]byte, 4096-int(at%4096))
		if !peek(id, at, page) {
			return ""
		}
		part, _, ended := strings.Cut(string(page), "\x00")
		text.WriteString(part)
		if ended {
			return text.String()
		}
		at += uintptr(len(page))
	}
	return ""
}
