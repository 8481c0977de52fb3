package poll

// stream is the Socket for a net.Conn whose methods block: TLS in this process, pipes, and all connections on systems
// without epoll. It holds one goroutine, and while idle a small buffer.

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	idleSize = 512
	// Only whole chunks show that a peer makes progress, so a slow peer gets small ones.
	smallChunk = 4 << 10
	largeChunk = 16 << 10 // a TLS record
	slowChunk  = 50 * time.Millisecond
)

// stream is described at the top of this file.
type stream struct {
	nc      net.Conn
	h       Handler
	streams *group // of the Poller

	closed chan struct{} // closed by Close, or when the transport has ended
	once   sync.Once     // closes it

	// Owned by serve.
	buf    []byte // buf[used:filled] is unread
	filled int
	used   int
	direct bool  // the next Read may wait for the rest of a message
	err    error // of the last read

	writers group
	chunk   int // the size of the next; owned by write
}

func newStream(nc net.Conn, h Handler, streams *group) *stream {
	return &stream{nc: nc, h: h, streams: streams, closed: make(chan struct{})}
}

func (s *stream) Start(bool) {
	s.streams.join()
	go s.serve()
}

// serve calls Ready until the transport ends. Start starts it, Close or the peer ends it, and Poller.Halt waits for it.
func (s *stream) serve() {
	ended := false
	defer func() {
		if !ended {
			go s.serve() // user code has ended the goroutine
			return
		}
		defer s.streams.leave() // also if user code ends the goroutine
		s.once.Do(func() {      // else Close is closing the transport, as one of writers
			close(s.closed)
			s.closeConn()
		})
		s.writers.close()
		s.writers.wait()
		s.h.Done()
	}()
	for !ended {
		verdict := Ended
		if !s.isClosed() {
			verdict = s.h.Ready()
		}
		switch {
		case verdict == Ended:
			ended = true
		case verdict == Again:
			runtime.Gosched()
		case s.err != nil:
			<-s.closed // nothing more can arrive, but queued messages are still written
			ended = true
		case verdict == Partial:
			s.direct = true
		default:
			s.fill()
		}
	}
}

// fill waits for bytes with as little memory as possible.
func (s *stream) fill() {
	if s.buf == nil {
		s.buf = make([]byte, idleSize)
	}
	s.used = 0
	s.filled, s.err = s.nc.Read(s.buf)
}

// isClosed reports whether Close was called.
func (s *stream) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *stream) Read(p []byte) (n int, err error) {
	switch {
	case s.used < s.filled:
		n = copy(p, s.buf[s.used:s.filled])
		s.used += n
		return n, nil
	case s.err != nil:
		return 0, s.err
	case !s.direct:
		return 0, ErrWouldBlock
	}
	s.direct = false
	n, s.err = s.nc.Read(p)
	return n, s.err
}

// Write never writes: the transport might block the caller.
func (s *stream) Write([]byte) (int, error) { return 0, ErrWouldBlock }

func (s *stream) WantWrite() bool { return s.writers.start(s.write) }

// write calls Writable. WantWrite starts it, it ends when nothing is left to write or the transport fails, and serve waits
// for it.
func (s *stream) write() { s.h.Writable(s.writeSome) }

// writeSome writes a chunk of p.
func (s *stream) writeSome(p []byte) (int, error) {
	start := time.Now()
	n, err := s.nc.Write(p[:min(len(p), max(s.chunk, smallChunk))])
	if s.chunk = largeChunk; time.Since(start) > slowChunk {
		s.chunk = smallChunk
	}
	return n, err
}

func (s *stream) Unsent() int { return unsent(s.nc) }

func (s *stream) HungUp() bool      { return false }
func (s *stream) CloseWrite() error { return closeWrite(s.nc) }

// Close does not wait for the peer: it closes the connection under TLS, without an alert. Nor does it wait for the
// goroutine that reads, as a net.Conn's own Close does: if many connections are flooded, that can take long.
func (s *stream) Close() error {
	err := net.ErrClosed
	s.once.Do(func() {
		err = nil
		close(s.closed) // nobody gets the bytes that are read from now on
		s.writers.start(s.closeConn)
	})
	return err
}

func (s *stream) Abandon(after time.Duration) error {
	forgetUnsent(s.nc, after)
	return s.Close()
}

// closeConn closes the transport. Close starts it on a goroutine of its own, and serve waits for that.
func (s *stream) closeConn() {
	underlying(s.nc).Close()
	s.nc.Close() // cannot block any more
}

// underlying returns the connection under a TLS connection, and nc if it is none.
func underlying(nc net.Conn) net.Conn {
	if wrapper, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return wrapper.NetConn()
	}
	return nc
}

// closeWrite closes nc's sending direction, if its type can.
func closeWrite(nc net.Conn) error {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
