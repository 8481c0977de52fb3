package poll

// sock is the Socket for TCP and Unix sockets: a duplicate of the descriptor, which the runtime's poller does not know,
// and a word of state. An idle connection's transport holds nothing else.

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bits of a sock's state.
const (
	sockQueued    uint32 = 1 << iota // a read is queued, or runs, or Start was not called
	sockAgain                        // there was an event since the last read began
	sockHungUp                       // the peer has closed its sending direction, or the connection
	sockFull                         // the last write found no room, and there was no event since
	sockWantWrite                    // WantWrite was called, and Writable has not begun
	sockWriting                      // Writable runs, or is queued
	sockClosed
	sockEnding // finish waits for Writable
)

// maxReads is how often a socket is read before other sockets are.
const maxReads = 16

// Bits of a sock's refs. refClosing says that the last user of the descriptor closes it. The rest counts users.
const (
	refClosing int32 = 1
	refOne     int32 = 2
)

// sock is described at the top of this file.
type sock struct {
	poller *Poller
	h      Handler
	fd     int
	gen    uint32

	refs  atomic.Int32 // users of the descriptor
	state atomic.Uint32

	// Owned by the worker that serves the socket.
	reads    int  // how many are left before other sockets come first
	drained  bool // the last read got all that had arrived
	more     bool // a read was refused, because other sockets come first
	finished bool // Done was called
}

// adopt returns a sock for nc, with a duplicate of its descriptor, and closes nc.
func (p *Poller) adopt(nc net.Conn, h Handler) (*sock, error) {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var dupErr error
	err = rc.Control(func(original uintptr) {
		fd, dupErr = rawDup(int(original))
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	// os.File.Fd may have made it blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		rawClose(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	limitUnsent(fd)
	s := &sock{poller: p, h: h, fd: fd}
	s.state.Store(sockQueued)
	if err := p.add(s); err != nil {
		rawClose(fd)
		return nil, err
	}
	nc.Close()
	return s, nil
}

func (s *sock) Start(ready bool) {
	if ready || !s.park() {
		s.poller.push(task{s: s})
	}
}

// park leaves the socket to the poller. It reports false, and does nothing, if there is something to do.
func (s *sock) park() bool {
	for {
		state := s.state.Load()
		if state&(sockAgain|sockClosed) != 0 {
			return false
		}
		if s.state.CompareAndSwap(state, state&^sockQueued) {
			return true
		}
	}
}

// event notes events, and reports whether the peer has gone while a worker serves the socket. The Poller calls it, with
// its mu held.
func (s *sock) event(events uint32) (gone bool) {
	const hangup = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLOUT|hangup) != 0 && s.state.Load()&sockFull != 0 {
		s.state.And(^sockFull)
		if s.claimWrite() {
			s.poller.queue.push(task{s, true})
		}
	}
	if events&(unix.EPOLLIN|hangup) == 0 {
		return false
	}
	set := sockQueued | sockAgain
	if events&hangup != 0 {
		set |= sockHungUp
	}
	before := s.state.Or(set)
	if before&sockQueued == 0 {
		s.poller.queue.push(task{s: s})
		return false
	}
	return set&^before&sockHungUp != 0
}

// claimWrite reports whether the caller has to call Writable, or queue that. If the socket is closed, finish calls it.
func (s *sock) claimWrite() bool {
	for {
		state := s.state.Load()
		if state&(sockWantWrite|sockFull|sockWriting|sockClosed) != sockWantWrite {
			return false
		}
		if s.state.CompareAndSwap(state, state&^sockWantWrite|sockWriting) {
			return true
		}
	}
}

// write calls Writable, after claimWrite.
func (s *sock) write() {
	s.h.Writable(nil)
	switch state := s.state.And(^sockWriting); {
	case state&sockEnding != 0:
		s.finish()
	case s.claimWrite():
		s.poller.push(task{s, true})
	}
}

// serve calls Ready until the socket is drained, or other sockets come first.
func (s *sock) serve() {
	s.reads = maxReads
	for s.state.Load()&sockClosed == 0 {
		s.state.And(^sockAgain)
		s.drained, s.more = false, false
		switch verdict := s.h.Ready(); {
		case verdict == Ended:
			s.finish()
			return
		case verdict == Again || s.more:
			s.poller.push(task{s: s})
			return
		case s.park():
			return
		}
	}
	s.finish()
}

// finish ends the socket and calls Done. If Writable runs, the end of that calls finish again.
func (s *sock) finish() {
	s.Close()
	for {
		state := s.state.Load()
		switch {
		case state&sockWriting != 0:
			if s.state.CompareAndSwap(state, state|sockEnding) {
				return
			}
			continue
		case state&sockWantWrite != 0:
			if s.state.CompareAndSwap(state, state&^sockWantWrite) {
				s.h.Writable(nil) // finds the socket closed
			}
			continue
		}
		break
	}
	s.finished = true
	defer s.poller.done() // also if user code ends the goroutine
	s.h.Done()
}

func (s *sock) Read(p []byte) (int, error) {
	switch {
	case s.drained:
		return 0, ErrWouldBlock
	case s.reads == 0:
		s.more = true
		return 0, ErrWouldBlock
	case !s.acquire():
		return 0, net.ErrClosed
	}
	s.reads--
	n, err := readFD(s.fd, p)
	s.release()
	// A short read has drained the socket, unless the peer has hung up: then the end of the stream is left to be read.
	s.drained = err == ErrWouldBlock || n > 0 && n < len(p) && s.state.Load()&sockHungUp == 0
	return n, err
}

func (s *sock) Write(p []byte) (int, error) {
	if !s.acquire() {
		return 0, net.ErrClosed
	}
	n, err := writeFD(s.fd, p)
	if err == ErrWouldBlock {
		// There is no second event for room that came before sockFull was set.
		s.state.Or(sockFull)
		var more int
		more, err = writeFD(s.fd, p[n:])
		n += more
		if err != ErrWouldBlock {
			s.state.And(^sockFull)
		}
	}
	s.release()
	return n, err
}

func (s *sock) WantWrite() bool {
	if s.state.Or(sockWantWrite)&sockClosed != 0 {
		// finish has returned, or still handles this.
		return s.state.And(^sockWantWrite)&sockWantWrite == 0
	}
	if s.claimWrite() {
		s.poller.push(task{s, true})
	}
	return true
}

func (s *sock) HungUp() bool { return s.state.Load()&sockHungUp != 0 }

func (s *sock) Unsent() int {
	if !s.acquire() {
		return -1
	}
	defer s.release()
	n, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	if err != nil {
		return -1
	}
	return n
}

func (s *sock) CloseWrite() error {
	if !s.acquire() {
		return net.ErrClosed
	}
	defer s.release()
	return os.NewSyscallError("shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
}

func (s *sock) Close() error {
	before := s.state.Or(sockClosed | sockQueued)
	if before&sockClosed != 0 {
		return net.ErrClosed
	}
	if s.refs.Or(refClosing) == 0 {
		s.closeFD()
	}
	if before&sockQueued == 0 {
		s.poller.push(task{s: s}) // for finish
	}
	return nil
}

func (s *sock) Abandon(after time.Duration) error {
	if s.acquire() {
		setUserTimeout(s.fd, after)
		s.release()
	}
	return s.Close()
}

// acquire keeps the descriptor from being closed until release. It reports false if the socket is closed.
func (s *sock) acquire() bool {
	for {
		refs := s.refs.Load()
		if refs&refClosing != 0 {
			return false
		}
		if s.refs.CompareAndSwap(refs, refs+refOne) {
			return true
		}
	}
}

// release undoes acquire.
func (s *sock) release() {
	if s.refs.Add(-refOne) == refClosing {
		s.closeFD()
	}
}

// closeFD closes the descriptor. Nobody uses it any more.
func (s *sock) closeFD() {
	s.poller.forget(s)
	rawClose(s.fd)
}

// readFD reads. It returns ErrWouldBlock if nothing has arrived.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := rawRead(fd, p)
		switch {
		case err == nil && n == 0 && len(p) > 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case err == unix.EAGAIN:
			return 0, ErrWouldBlock
		case err != unix.EINTR:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

// writeFD writes. If it writes only a part of p, it returns ErrWouldBlock.
func writeFD(fd int, p []byte) (int, error) {
	for {
		n, err := rawWrite(fd, p)
		switch {
		case err == nil && n < len(p):
			return n, ErrWouldBlock
		case err == nil:
			return n, nil
		case err == unix.EAGAIN:
			return 0, ErrWouldBlock
		case err != unix.EINTR:
			return 0, os.NewSyscallError("write", err)
		}
	}
}
