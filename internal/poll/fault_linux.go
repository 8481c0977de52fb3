//go:build hailfault

package poll

// Faults under a sock, for tests: system calls that do less than they could, or fail. A system does all of it, but seldom.
// After a call that leaves something undone an event follows, as it does in a system.

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Faults says how often a system call on a socket fails. n means one call in n, 0 means never.
type Faults struct {
	Short   int // reads and writes of a part
	Blocked int // EAGAIN although there is something to read, or room
	Reset   int // ECONNRESET
	Slow    int // events that come late, and a few at a time
	NoFile  int // EMFILE
}

var faults struct {
	sync.Mutex
	Faults
	rand    *rand.Rand
	watched map[int]watch // by descriptor
	seen    int
}

// watch is a descriptor that an epoll set watches.
type watch struct {
	set   int
	event unix.EpollEvent
}

// Inject makes system calls fail from now on, and returns how many have failed so far.
func Inject(f Faults, seed uint64) (seen int) {
	faults.Lock()
	defer faults.Unlock()
	faults.Faults, faults.rand = f, rand.New(rand.NewPCG(seed, 0))
	return faults.seen
}

// Injects reports that this build has faults.
const Injects = true

// strikes reports at random whether a fault is due. faults is locked.
func strikes(oneIn int) bool {
	if oneIn <= 0 || faults.rand == nil || faults.rand.IntN(oneIn) > 0 {
		return false
	}
	faults.seen++
	return true
}

// disturb returns at random how many of n bytes a call may read or write, or its error.
func disturb(fd, n int) (int, error) {
	faults.Lock()
	defer faults.Unlock()
	switch {
	case n == 0:
	case strikes(faults.Reset):
		unix.Shutdown(fd, unix.SHUT_RDWR) // ends the connection, and leads to an event
		return 0, unix.ECONNRESET
	case strikes(faults.Blocked):
		rearm(fd)
		return 0, unix.EAGAIN
	case strikes(faults.Short * 4):
		return 0, unix.EINTR
	case n > 1 && strikes(faults.Short):
		rearm(fd)
		return 1 + faults.rand.IntN(n-1), nil
	}
	return n, nil
}

// rearm has the system repeat the event of fd in a while.
func rearm(fd int) {
	w, ok := faults.watched[fd]
	if !ok {
		return
	}
	time.AfterFunc(time.Duration(faults.rand.IntN(2000))*time.Microsecond, func() {
		faults.Lock()
		defer faults.Unlock()
		if faults.watched[fd] == w {
			unix.EpollCtl(w.set, unix.EPOLL_CTL_MOD, fd, &w.event)
		}
	})
}

func rawRead(fd int, p []byte) (int, error) {
	n, err := disturb(fd, len(p))
	if err != nil {
		return 0, err
	}
	return syscall.Read(fd, p[:n])
}

func rawWrite(fd int, p []byte) (int, error) {
	n, err := disturb(fd, len(p))
	if err != nil {
		return 0, err
	}
	return syscall.Write(fd, p[:n])
}

func rawDup(fd int) (int, error) {
	faults.Lock()
	fails := strikes(faults.NoFile)
	faults.Unlock()
	if fails {
		return -1, unix.EMFILE
	}
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

func rawClose(fd int) {
	faults.Lock()
	defer faults.Unlock()
	delete(faults.watched, fd)
	unix.Close(fd)
}

func rawWatch(set, fd int, event *unix.EpollEvent) error {
	faults.Lock()
	defer faults.Unlock()
	if strikes(faults.NoFile) {
		return unix.ENOSPC
	}
	if faults.watched == nil {
		faults.watched = make(map[int]watch)
	}
	faults.watched[fd] = watch{set, *event}
	return unix.EpollCtl(set, unix.EPOLL_CTL_ADD, fd, event)
}

func rawEvents(set int, events []unix.EpollEvent) (int, error) {
	faults.Lock()
	slow := strikes(faults.Slow)
	var pause time.Duration
	if slow {
		events = events[:1+faults.rand.IntN(3)]
		pause = time.Duration(faults.rand.IntN(3000)) * time.Microsecond
	}
	faults.Unlock()
	time.Sleep(pause)
	return unix.EpollWait(set, events, 0)
}
