package poll

import "golang.org/x/sys/unix"

const canWatch = true

// hungUp reports whether the peer has ended the connection, or its sending direction,
// even behind bytes that nobody has read.
func hungUp(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
