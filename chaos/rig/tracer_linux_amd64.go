package rig

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// watchedOld is [watched] for the calls that this processor has besides, under
// the names of the newer ones.
func watchedOld(number uint64) (call string, path, folder int) {
	switch number {
	case unix.SYS_RENAME:
		return "renameat", 1, -1
	case unix.SYS_LINK:
		return "linkat", 1, -1
	case unix.SYS_UNLINK, unix.SYS_RMDIR:
		return "unlinkat", 0, -1
	case unix.SYS_MKDIR:
		return "mkdirat", 0, -1
	}
	return "", -1, -1
}

// skipCall makes the call that a thread is about to do a call that there is
// not.
func skipCall(id int) error {
	return changeRegisters(id, func(r *syscall.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// setValue replaces what a call returns.
func setValue(id int, value int64) error {
	return changeRegisters(id, func(r *syscall.PtraceRegs) { r.Rax = uint64(value) })
}

func changeRegisters(id int, change func(*syscall.PtraceRegs)) error {
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(id, &r); err != nil {
		return err
	}
	change(&r)
	return syscall.PtraceSetRegs(id, &r)
}
