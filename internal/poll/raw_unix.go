//go:build unix

package poll

// raw is the Socket for TCP and Unix sockets: it waits through the runtime's poller
// with one goroutine and no buffer, and reads and writes without waiting.

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type raw struct {
	nc net.Conn
	rc syscall.RawConn
	h  Handler

	// Owned by the serving goroutine. The functions are bound once: a method value
	// made for each call would be allocated each time.
	in       transfer
	fillFunc func(fd uintptr) bool
	waitFunc func(fd uintptr) bool

	// Owned by whoever may write.
	out       transfer
	writeFunc func(fd uintptr) bool

	writers group

	watcher sync.WaitGroup
	leave   atomic.Bool // the watcher has to end
}

// transfer carries one system call's arguments and results through the poller's callback.
type transfer struct {
	fd  int
	p   []byte
	n   int
	err error
}

func newRaw(nc net.Conn, h Handler) Socket {
	// The exact types only: a type around one may read and write other bytes.
	var rc syscall.RawConn
	var err error
	switch t := nc.(type) {
	case *net.TCPConn:
		rc, err = t.SyscallConn()
	case *net.UnixConn:
		rc, err = t.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	return &raw{nc: nc, rc: rc, h: h}
}

func (s *raw) Start() {
	s.fillFunc = func(fd uintptr) bool {
		s.in.fd = int(fd)
		return s.h.Fill()
	}
	go s.serve()
}

// serve reads for the handler until the transport ends. Start starts it, Close or the peer
// ends it, and whoever waits for Done waits for it.
func (s *raw) serve() {
	ended := false
	defer func() {
		if !ended {
			go s.serve() // user code has ended the goroutine
			return
		}
		s.nc.Close()
		s.writers.wait()
		s.h.Done()
	}()
	for !ended {
		ended = s.rc.Read(s.fillFunc) != nil || !s.h.Turn()
	}
}

// Read runs within fillFunc, which holds the descriptor.
func (s *raw) Read(p []byte) (int, error) { return readFD(s.in.fd, p) }

func (s *raw) ReadWait(p []byte) (int, error) {
	if s.waitFunc == nil {
		s.waitFunc = func(fd uintptr) bool {
			s.in.n, s.in.err = readFD(int(fd), s.in.p)
			return s.in.err != ErrWouldBlock
		}
	}
	return s.in.do(s.rc.Read, s.waitFunc, p)
}

func (s *raw) Write(p []byte) (int, error) {
	if s.writeFunc == nil {
		s.writeFunc = func(fd uintptr) bool {
			s.out.n, s.out.err = writeFD(int(fd), s.out.p)
			return true
		}
	}
	return s.out.do(s.rc.Write, s.writeFunc, p)
}

func (s *raw) WantWrite() bool { return s.writers.start(s.write) }

// write lets the handler write what it has, waiting for the socket. WantWrite starts it; it ends
// when nothing is left or the socket fails or is closed; serve waits for it.
func (s *raw) write() {
	wait := func(fd uintptr) bool {
		s.out.n, s.out.err = writeFD(int(fd), s.out.p)
		return s.out.n > 0 || s.out.err != ErrWouldBlock
	}
	s.h.Writable(func(p []byte) (int, error) {
		n, err := s.out.do(s.rc.Write, wait, p)
		if err == ErrWouldBlock {
			err = nil // some went out; the next call waits
		}
		return n, err
	})
}

func (s *raw) Unsent() int       { return unsent(s.nc) }
func (s *raw) CloseWrite() error { return closeWrite(s.nc) }
func (s *raw) Close() error      { return s.nc.Close() }

func (s *raw) Watch() {
	if canWatch {
		s.leave.Store(false)
		s.watcher.Go(s.watch)
	}
}

// watch waits for the peer's end while user code runs. Watch starts it, Unwatch ends it and waits for it.
func (s *raw) watch() {
	gone := false
	err := s.rc.Read(func(fd uintptr) bool {
		gone = hungUp(int(fd))
		return gone || s.leave.Load()
	})
	if err == nil && gone {
		s.h.Hangup(io.EOF)
	}
}

func (s *raw) Unwatch() {
	if canWatch {
		s.leave.Store(true)
		s.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the watcher
		s.watcher.Wait()
		s.nc.SetReadDeadline(time.Time{})
	}
}

// do runs f, one read or write of p, through the poller.
func (t *transfer) do(through func(func(uintptr) bool) error, f func(uintptr) bool, p []byte) (int, error) {
	t.p = p
	err := through(f)
	t.p = nil
	if err != nil {
		return 0, err
	}
	return t.n, t.err
}

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		switch {
		case err == nil && n == 0 && len(p) > 0:
			return 0, io.EOF
		case err == nil:
			return n, nil
		case err == syscall.EAGAIN:
			return 0, ErrWouldBlock
		case err != syscall.EINTR:
			return 0, err
		}
	}
}

// writeFD returns ErrWouldBlock beside a count that is short.
func writeFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, p)
		switch {
		case err == nil && n < len(p):
			return n, ErrWouldBlock
		case err == nil:
			return n, nil
		case err == syscall.EAGAIN:
			return 0, ErrWouldBlock
		case err != syscall.EINTR:
			return 0, err
		}
	}
}
