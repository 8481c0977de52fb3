package poll

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// epollSet is an epoll set that is itself waited for by the runtime's poller, so that no thread is.
type epollSet struct {
	fd   int
	file *os.File // closes fd when nobody refers to the set any more

	// Held while the system looks for events. Of two that look at once, one may find none although an event has just
	// come, of which the other has used up the news: the kernel checks two lists, without a lock, while events move.
	looking sync.Mutex

	// Owned by the poller.
	rc     rawReader
	events []unix.EpollEvent
	n      int
	rested bool
	ready  func(fd uintptr) bool
}

type rawReader interface {
	Read(func(fd uintptr) bool) error
}

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
		err = e.file.SetReadDeadline(time.Time{}) // fails where the runtime cannot wait for it
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
		e.rested = e.rested || e.n == 0
		return e.n > 0
	}
	return e, nil
}

// add watches fd for everything. Events carry the generation beside the descriptor, which the system may have
// given to another socket by the time that they are looked at.
func (e *epollSet) add(fd int, gen uint32) error {
	return os.NewSyscallError("epoll_ctl", rawWatch(e.fd, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: int32(gen),
	}))
}

// look returns how many events there are, none where somebody else is looking.
func (e *epollSet) look(events []unix.EpollEvent) int {
	if !e.looking.TryLock() {
		return 0
	}
	defer e.looking.Unlock()
	return e.scan(events)
}

func (e *epollSet) scan(events []unix.EpollEvent) int {
	n, _ := rawEvents(e.fd, events) // which is not interrupted, as it does not wait
	return max(n, 0)
}

// wait waits until there are events, or interrupt is called, and reports whether it had to.
func (e *epollSet) wait(events []unix.EpollEvent) (n int, rested bool) {
	e.events, e.n, e.rested = events, 0, false
	e.rc.Read(e.ready) // its error is the interrupt
	return e.n, e.rested
}

// interrupt has wait return, now and later, or no longer.
func (e *epollSet) interrupt(on bool) {
	var t time.Time
	if on {
		t = time.Unix(1, 0)
	}
	e.file.SetReadDeadline(t)
}
