package link_test

// A socket whose kernel, poller and peer a test plays.

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
)

// pretender is a poll.Socket for one goroutine. As a stream it writes nothing but in Writable.
type pretender struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand
	c    *link.Conn
	act  func() // the events during a write

	stream bool
	room   int    // bytes that a write may accept
	in     []byte // to be read
	eof    bool   // after in
	reset  bool   // by the peer: nothing is read or written any more
	failed bool   // writes fail

	busy   bool   // in a write
	owed   bool   // a call of Writable
	out    []byte // that was written
	ended  bool   // the sending direction
	closed bool
}

func (p *pretender) Start(bool)   {}
func (p *pretender) HungUp() bool { return false }
func (p *pretender) Unsent() int  { return -1 }

// syscall fails the test if the link calls the system while it has its sending half locked.
func (p *pretender) syscall(what string) {
	if p.c.Locked() {
		p.t.Fatalf("seed %d: %s with the sending half locked", p.seed, what)
	}
}

func (p *pretender) Read(b []byte) (int, error) {
	p.syscall("reads")
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.reset:
		return 0, syscall.ECONNRESET
	case len(p.in) > 0:
		n := copy(b[:min(len(b), 1+p.r.IntN(200))], p.in)
		p.in = p.in[n:]
		return n, nil
	case p.eof:
		return 0, io.EOF
	}
	return 0, poll.ErrWouldBlock
}

func (p *pretender) Write(b []byte) (int, error) {
	p.syscall("writes")
	if p.stream {
		return 0, poll.ErrWouldBlock
	}
	n, err := p.take(b, p.room)
	if err == nil && n < len(b) {
		err = poll.ErrWouldBlock
	}
	return n, err
}

// writeSome is the write of a stream's Writable. A real one would wait; this one accepts a few bytes.
func (p *pretender) writeSome(b []byte) (int, error) {
	p.syscall("writes")
	return p.take(b, 1+p.r.IntN(60))
}

// take accepts some of b, while other things happen.
func (p *pretender) take(b []byte, most int) (int, error) {
	if p.busy {
		p.t.Fatalf("seed %d: two write at once", p.seed)
	}
	near := b[:min(len(b), most+1<<10)] // copying a long batch for each few bytes would be most of the test's work
	before := bytes.Clone(near)
	p.busy = true
	p.act()
	p.busy = false
	if !bytes.Equal(before, near) {
		p.t.Fatalf("seed %d: the bytes that are being written have changed", p.seed)
	}
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.failed || p.reset:
		return 0, syscall.EPIPE
	case p.ended:
		p.t.Fatalf("seed %d: writes %d bytes after the end", p.seed, len(b))
	}
	n := min(len(b), most)
	p.out = append(p.out, b[:n]...)
	p.room -= min(n, p.room)
	return n, nil
}

func (p *pretender) WantWrite() bool {
	if p.owed {
		p.t.Fatalf("seed %d: wants to write twice", p.seed)
	}
	p.owed = !p.closed
	return p.owed
}

func (p *pretender) CloseWrite() error {
	p.syscall("ends the sending direction")
	p.ended = true
	return nil
}

func (p *pretender) Close() error {
	p.syscall("closes")
	p.closed = true
	return nil
}

func (p *pretender) Abandon(time.Duration) error { return p.Close() }

// writable calls Writable if that is owed.
func (p *pretender) writable() {
	if !p.owed {
		return
	}
	p.owed = false
	if p.stream {
		p.c.Writable(p.writeSome)
	} else {
		p.c.Writable(nil)
	}
}
