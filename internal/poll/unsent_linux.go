package poll

// Bytes that were written and that the peer has not acknowledged.

import (
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxUnsent limits how many bytes the system accepts and has not sent. Without it the system accepts megabytes for a peer
// that does not read: no limit of the server counts them, they outlive the connection by minutes, and a pong has to wait
// for them.
const maxUnsent = 256 << 10

// limitUnsent has the kernel keep to maxUnsent, for TCP. The socket gets writable again at half of that.
func limitUnsent(fd int) { unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent) }

// unsent asks the kernel how many of nc's bytes the peer has not acknowledged. Writability does not show that a peer reads
// slowly: the socket gets writable only when half of maxUnsent is sent.
func unsent(nc net.Conn) int {
	n := -1
	control(nc, func(fd int) {
		if queued, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ); err == nil {
			n = queued
		}
	})
	return n
}

// forgetUnsent has the kernel drop nc's bytes if the peer acknowledges nothing for that time.
func forgetUnsent(nc net.Conn, after time.Duration) {
	control(nc, func(fd int) { setUserTimeout(fd, after) })
}

// setUserTimeout sets TCP's user timeout (RFC 5482). Multipath TCP has none: there the close drops the bytes.
func setUserTimeout(fd int, after time.Duration) {
	ms := min(max(after.Milliseconds(), 1), math.MaxInt32)
	if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ms)) != nil {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// control calls f with the descriptor of nc's transport, if it has one.
func control(nc net.Conn, f func(fd int)) {
	sc, ok := underlying(nc).(syscall.Conn)
	if !ok {
		return
	}
	if rc, err := sc.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { f(int(fd)) })
	}
}
