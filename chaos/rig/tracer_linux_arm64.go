package rig

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// systemCallRegister is NT_ARM_SYSTEM_CALL of elf.h: the number of the call
// that a thread is about to do.
const systemCallRegister = 0x404

// watchedOld is [watched] for the calls that this processor has besides: none.
func watchedOld(uint64) (call string, path, folder int) { return "", -1, -1 }

// skipCall makes the call that a thread is about to do a call that there is
// not.
func skipCall(id int) error {
	none := int32(-1)
	vec := unix.Iovec{Base: (*byte)(unsafe.Pointer(&none)), Len: uint64(unsafe.Sizeof(none))}
	if _, _, e := syscall.Syscall6(syscall.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(id), systemCallRegister, uintptr(unsafe.Pointer(&vec)), 0, 0); e != 0 {
		return e
	}
	return nil
}

// setValue replaces what a call returns.
func setValue(id int, value int64) error {
	var r unix.PtraceRegsArm64
	if err := unix.PtraceGetRegSetArm64(id, 1, &r); err != nil { // 1: NT_PRSTATUS
		return err
	}
	r.Regs[0] = uint64(value)
	return unix.PtraceSetRegSetArm64(id, 1, &r)
}
