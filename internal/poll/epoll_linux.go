package poll

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// epollSet is an epoll set. The runtime's poller waits for it, so waiting for events blocks no thread.
type epollSet struct {
	fd   int
	file *os.File // closes fd when nobody refers to the set any more

	// Held during epoll_wait. Of two concurrent calls, one may find no event although one has just come: the kernel
	// checks two lists, without a lock, while the other call moves events between them.
	looking sync.Mutex

	// Owned by the poller.
	rc     rawReader
	events []unix.EpollEvent
	n      int
	waited bool
	ready  func(fd uintptr) bool
}

// rawReader is the part of a syscall.RawConn that waits.
type rawReader interface {
	Read(func(fd uintptr) bool) error
}

// newEpollSet returns an empty set.
func newEpollSet() (*epollSet, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &epollSet{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	rc, err := e.file.SyscallConn()
	if err == nil {
		err = e.file.SetReadDeadline(time.Time{}) // fails if the runtime cannot wait for it
	}
	if err != nil {
		e.file.Close()
		return nil, err
	}
	e.rc = rc
	e.ready = func(fd uintptr) bool {
		e.n = 0
		e.looking.Lock()
		e.n = e.scan(e.events)
		e.looking.Unlock()
		e.waited = e.waited || e.n == 0
		return e.n > 0
	}
	return e, nil
}

// add watches fd for all events. An event carries the descriptor and its generation: the system may have given the
// descriptor to another socket by the time that the event is handled.
func (e *epollSet) add(fd int, gen uint32) error {
	return os.NewSyscallError("epoll_ctl", rawWatch(e.fd, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: int32(gen),
	}))
}

// look reads events without waiting, and returns how many. It returns 0 if another goroutine is reading events.
func (e *epollSet) look(events []unix.EpollEvent) int {
	if !e.looking.TryLock() {
		return 0
	}
	defer e.looking.Unlock()
	return e.scan(events)
}

// scan reads the events that are there. looking is held.
func (e *epollSet) scan(events []unix.EpollEvent) int {
	n, _ := rawEvents(e.fd, events) // it does not wait, so it is not interrupted
	return max(n, 0)
}

// wait waits until there are events, or until interrupt. waited reports whether there were none at first.
func (e *epollSet) wait(events []unix.EpollEvent) (n int, waited bool) {
	e.events, e.n, e.waited = events, 0, false
	e.rc.Read(e.ready) // it fails if it is interrupted
	return e.n, e.waited
}

// interrupt has wait return at once, from now on or no longer.
func (e *epollSet) interrupt(on bool) {
	var t time.Time
	if on {
		t = time.Unix(1, 0)
	}
	e.file.SetReadDeadline(t)
}
