//go:build !hailfault

package poll

// The system calls on a sock's descriptor. With the build tag hailfault they fail now and then: see fault_linux.go.

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func rawRead(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func rawWrite(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func rawDup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

func rawClose(fd int) { unix.Close(fd) }

func rawWatch(set, fd int, event *unix.EpollEvent) error {
	return unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fd, event)
}

func rawEvents(set int, events []unix.EpollEvent) (int, error) { return unix.EpollWait(set, events, 0) }
