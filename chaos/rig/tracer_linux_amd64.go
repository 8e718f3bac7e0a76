package rig

import "syscall"

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
