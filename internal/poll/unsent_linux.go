package poll

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent asks the kernel what of nc's bytes the peer has not acknowledged. A socket that is not writable
// tells nothing of a peer that reads slowly: it becomes so only when a third of its buffer is free.
func unsent(nc net.Conn) int {
	sc, ok := beneath(nc).(syscall.Conn)
	if !ok {
		return -1
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	rc.Control(func(fd uintptr) {
		if queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = queued
		}
	})
	return n
}
