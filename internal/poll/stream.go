package poll

// stream is the Socket for a net.Conn that can only wait: TLS in process, memory,
// and systems without raw sockets. It holds one goroutine, and while idle a small buffer.

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	stashSize = 512
	// A peer is seen to take what is written chunk by chunk: a slow one gets small ones.
	smallChunk = 4 << 10
	largeChunk = 16 << 10 // a TLS record
	slowChunk  = 50 * time.Millisecond
)

type stream struct {
	nc      net.Conn
	h       Handler
	streams *group // of the Poller

	closed chan struct{} // by Close
	once   sync.Once

	// Owned by serve.
	stash   []byte
	stashed int
	taken   int
	direct  bool  // the next read waits, for a message in parts
	err     error // of the last read

	writers group
	chunk   int // owned by write
}

func newStream(nc net.Conn, h Handler, streams *group) *stream {
	return &stream{nc: nc, h: h, streams: streams, closed: make(chan struct{})}
}

func (s *stream) Start(bool) {
	s.streams.join()
	go s.serve()
}

// serve reads for the handler until the transport ends. Start starts it, Close or the peer
// ends it, and Poller.Halt waits for it.
func (s *stream) serve() {
	ended := false
	defer func() {
		if !ended {
			go s.serve() // user code has ended the goroutine
			return
		}
		defer s.streams.leave() // also where user code ends the goroutine
		s.once.Do(func() {      // else Close has begun to, and is waited for
			close(s.closed)
			s.end()
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
			<-s.closed // nothing more can come, but what is queued is still written
			ended = true
		case verdict == Partial:
			s.direct = true
		default:
			s.fill()
		}
	}
}

// fill waits for bytes with as little memory as that takes.
func (s *stream) fill() {
	if s.stash == nil {
		s.stash = make([]byte, stashSize)
	}
	s.taken = 0
	s.stashed, s.err = s.nc.Read(s.stash)
}

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
	case s.taken < s.stashed:
		n = copy(p, s.stash[s.taken:s.stashed])
		s.taken += n
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

// Write never writes: the transport might keep the caller waiting.
func (s *stream) Write([]byte) (int, error) { return 0, ErrWouldBlock }

func (s *stream) WantWrite() bool { return s.writers.start(s.write) }

// write lets the handler write what it has. WantWrite starts it; it ends when nothing
// is left or the transport fails; serve waits for it.
func (s *stream) write() { s.h.Writable(s.writeSome) }

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

// Close does not wait for the peer: of TLS it closes the connection beneath, without an alert. Nor does it wait for
// the goroutine that reads, as a net.Conn's own does: where many are flooded, that may be long in coming.
func (s *stream) Close() error {
	err := net.ErrClosed
	s.once.Do(func() {
		err = nil
		close(s.closed) // what is read from now on is nobody's
		s.writers.start(s.end)
	})
	return err
}

func (s *stream) Abandon(after time.Duration) error {
	forgetUnsent(s.nc, after)
	return s.Close()
}

// end closes the transport. Close starts it on a goroutine of its own, which serve waits for.
func (s *stream) end() {
	beneath(s.nc).Close()
	s.nc.Close() // does not wait any more
}

// beneath returns the transport of a TLS connection, and else nc.
func beneath(nc net.Conn) net.Conn {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return over.NetConn()
	}
	return nc
}

// closeWrite ends nc's sending direction, where its type can.
func closeWrite(nc net.Conn) error {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
