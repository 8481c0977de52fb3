package poll

// What the system holds of what was written.

import (
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxUnsent is how much the system takes ahead of what it sends, in bytes. By itself it takes megabytes for a peer that
// does not read: they count as nobody's, outlive the connection by minutes, and no pong gets past them.
const maxUnsent = 256 << 10

// limitUnsent has the kernel keep to maxUnsent, for TCP. It asks for more when it holds half of that.
func limitUnsent(fd int) { unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent) }

// unsent asks the kernel what of nc's bytes the peer has not acknowledged. A socket that is not writable
// tells nothing of a peer that reads slowly: it becomes so only when half of maxUnsent is sent.
func unsent(nc net.Conn) int {
	n := -1
	control(nc, func(fd int) {
		if queued, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err == nil {
			n = queued
		}
	})
	return n
}

// forgetUnsent has the kernel give up what nc's peer does not take for so long.
func forgetUnsent(nc net.Conn, after time.Duration) {
	control(nc, func(fd int) { setUserTimeout(fd, after) })
}

// setUserTimeout sets TCP's user timeout (RFC 5482). Multipath TCP, which has none, forgets with the close.
func setUserTimeout(fd int, after time.Duration) {
	ms := min(max(after.Milliseconds(), 1), math.MaxInt32)
	if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ms)) != nil {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// control calls f with the descriptor of nc's transport, where it has one.
func control(nc net.Conn, f func(fd int)) {
	sc, ok := beneath(nc).(syscall.Conn)
	if !ok {
		return
	}
	if rc, err := sc.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { f(int(fd)) })
	}
}
