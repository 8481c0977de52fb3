package poll

// sock is the Socket for TCP and Unix sockets: a duplicate of the descriptor, out of the reach of the runtime's
// poller, and a word of state. While idle it is all that the transport holds.

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
	sockQueued    uint32 = 1 << iota // to be read: queued, or with a worker; before Start, too
	sockAgain                        // there was an event since the last read began
	sockHungUp                       // the peer has ended its sending direction, or all
	sockFull                         // the last write found no room, and there was no event since
	sockWantWrite                    // Writable is owed
	sockWriting                      // Writable runs, or is queued
	sockClosed
	sockEnding // finish waits for Writable
)

// maxReads is how often a socket is read before others are.
const maxReads = 16

// Bits of a sock's refs: the lowest says that the descriptor is to be closed by the last that uses it.
const (
	refClosing int32 = 1
	refOne     int32 = 2
)

type sock struct {
	poller *Poller
	h      Handler
	fd     int
	gen    uint32

	refs  atomic.Int32 // of the descriptor
	state atomic.Uint32

	// Owned by the worker that serves the socket.
	reads    int  // that are left before others have theirs
	drained  bool // the last read got all that was there
	more     bool // a read was put off
	finished bool // Done was called
}

// adopt takes the descriptor of nc out of the runtime's poller.
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
	// It may have been made one that blocks, by os.File.Fd.
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
	if ready || !s.rest() {
		s.poller.push(task{s: s})
	}
}

// rest leaves the socket to the poller, and reports false if there is something to do.
func (s *sock) rest() bool {
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

// event notes what the system says, and reports whether the peer has gone while a worker serves the socket.
// The poller calls it, with its mu held.
func (s *sock) event(events uint32) (gone bool) {
	const end = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLOUT|end) != 0 && s.state.Load()&sockFull != 0 {
		s.state.And(^sockFull)
		if s.claimWrite() {
			s.poller.queue.push(task{s, true})
		}
	}
	if events&(unix.EPOLLIN|end) == 0 {
		return false
	}
	set := sockQueued | sockAgain
	if events&end != 0 {
		set |= sockHungUp
	}
	before := s.state.Or(set)
	if before&sockQueued == 0 {
		s.poller.queue.push(task{s: s})
		return false
	}
	return set&^before&sockHungUp != 0
}

// claimWrite reports whether Writable is to be called now, which is the caller's to see to.
// Of a closed socket it is finish's.
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

// write lets the handler write, which was claimed.
func (s *sock) write() {
	s.h.Writable(nil)
	switch state := s.state.And(^sockWriting); {
	case state&sockEnding != 0:
		s.finish()
	case s.claimWrite():
		s.poller.push(task{s, true})
	}
}

// serve lets the handler read until the socket is drained, or has had its share.
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
		case s.rest():
			return
		}
	}
	s.finish()
}

// finish ends the socket. It is the last that is done with it, or Writable is.
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
	defer s.poller.done() // also where user code ends the goroutine
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
	// A read that is short has drained the socket, except for the end that a peer has sent.
	s.drained = err == ErrWouldBlock || n > 0 && n < len(p) && s.state.Load()&sockHungUp == 0
	return n, err
}

func (s *sock) Write(p []byte) (int, error) {
	if !s.acquire() {
		return 0, net.ErrClosed
	}
	n, err := writeFD(s.fd, p)
	if err == ErrWouldBlock {
		// Room that came before the mark was set was not told of.
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
		// finish may be over, or may come to it yet.
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

// acquire keeps the descriptor from being closed, until release. It reports false if it is too late.
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

func (s *sock) release() {
	if s.refs.Add(-refOne) == refClosing {
		s.closeFD()
	}
}

func (s *sock) closeFD() {
	s.poller.forget(s)
	rawClose(s.fd)
}

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

// writeFD returns ErrWouldBlock beside a count that is short.
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
