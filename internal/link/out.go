package link

// Frames out: a queue. One goroutine at a time writes the frames of all.

import (
	"sync"
	"time"

	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

const (
	// How long a reply may wait for the end of its batch.
	holdTime = time.Millisecond
	// A queue of control frames that is longer than this is dropped: only the newest ping needs a pong
	// (RFC 6455 section 5.5.3).
	maxControlQueue = 4 << 10
	// DeflateFrom is the size of the smallest message that is worth compressing.
	DeflateFrom = 1 << 10
	// After so many writes a goroutine that called Send passes the right to write to poll.
	maxWrites = 16
)

// out is the sending half of a connection.
type out struct {
	mu  sync.Mutex
	buf *buffer // data frames in order
	ctl *buffer // pings and pongs, which go first
	outgoing
	closing

	writing bool          // somebody has the right to write
	held    bool          // frames wait for the last reply of the batch
	armed   bool          // hold runs
	kind    frameKind     // of the frames that next has returned
	pre     uint16        // w.b[:pre] are control frames
	cwOff   uint16        // cw.b[cwOff:] is not written
	hold    *time.Timer   // ends held after holdTime
	tell    news          // what unlock tells the owner when mu is free
	telling int           // how many are at that
	room    chan struct{} // closed when a waiting Send should look again
	quiet   chan struct{} // closed when nobody writes or tells, for awaitQuiet
	lost    int           // messages that were queued or published, and not written
	sources *sources      // nil until the first is added
}

// closing is how far the end of the sending half has come.
type closing struct {
	ending bool  // the close frame is queued, or written
	last   bool  // the close frame is at the end of w, or written
	said   bool  // the owner knows that the close frame was written, or that nothing can be written
	size   uint8 // the close frame's
	err    error // why nothing can be written any more
}

// news is what the owner has to be told.
type news struct {
	closeWritten bool
	writeFailed  bool
	behind       error // see fallBehind
}

// Send queues a message, and writes it unless another goroutine does or replies wait for the end of a batch. first is the
// frame's first byte, without RSV1. p is copied. With wait it waits for room in the queue.
func (c *Conn) Send(first byte, p []byte, wait bool) error {
	if c.compresses(len(p)) {
		z := newBuffer(len(p))
		defer func() { z.free() }()
		if z.b = wire.AppendDeflated(z.b, p); len(z.b) < len(p) {
			first, p = first|wire.RSV1, z.b
		}
	}
	size := wire.FrameSize(len(p))
	o := &c.out
	o.mu.Lock()
	err := c.reserve(size, wait)
	if err == nil {
		o.buf = o.buf.grow(size)
		o.buf.b = wire.AppendFrame(o.buf.b, first, p)
		c.orderLocked(size)
		c.pushLocked()
	}
	c.unlock()
	return err
}

// orderLocked notes the place of the last n bytes in buf among published messages.
func (c *Conn) orderLocked(n int) {
	if s := c.out.sources; s != nil {
		s.order.add(n, c.cfg.Order())
	}
}

// compresses reports whether Send tries to compress a message of n bytes.
func (c *Conn) compresses(n int) bool { return c.deflates && n >= DeflateFrom }

// reserve waits until size bytes fit into the queue, for at most SendWait. mu is held, except while it waits.
func (c *Conn) reserve(size int, wait bool) error {
	o, limit := &c.out, c.cfg.SendQueue
	var timeout <-chan time.Time
	for {
		switch {
		case o.deaf():
			return ErrClosed
		case limit < 0 || o.queued()+size <= limit:
			return nil
		case size > limit:
			return ErrTooLarge
		case !o.writing && o.queued() > 0:
			c.flushLocked(nil) // held replies need the room
			continue
		case !wait:
			return ErrFull
		}
		if timeout == nil && c.cfg.SendWait >= 0 {
			timer := time.NewTimer(c.cfg.SendWait)
			defer timer.Stop()
			timeout = timer.C
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
			o.mu.Lock()
		case <-timeout:
			o.mu.Lock()
			return ErrFull
		}
	}
}

// queued returns the size of the queue: own data that is not written, and the segments of its order.
func (o *out) queued() int {
	n := o.buf.len() + o.w.len() - o.off
	if o.sources != nil {
		n += segmentSize * len(o.sources.order.segments)
	}
	return n
}

// control queues a ping or pong ahead of the data.
func (c *Conn) control(op byte, p []byte) {
	o := &c.out
	o.mu.Lock()
	if o.err == nil && !o.last {
		if o.ctl.len() > maxControlQueue {
			o.ctl.b = o.ctl.b[:0]
		}
		o.ctl = o.ctl.grow(2 + len(p))
		o.ctl.b = wire.AppendFrame(o.ctl.b, wire.Fin|op, p)
		c.pushLocked()
	}
	c.unlock()
}

// Ping sends a ping.
func (c *Conn) Ping() { c.control(wire.Ping, nil) }

func (c *Conn) pong(p []byte) { c.control(wire.Pong, p) }

// unlock frees mu. If a flush has found something, it tells the owner, with mu free: the owner may close the socket for that.
func (c *Conn) unlock() {
	o := &c.out
	if tell := o.tell; tell != (news{}) {
		o.tell = news{}
		o.telling++
		o.mu.Unlock()
		c.report(tell)
		o.mu.Lock()
		o.telling--
	}
	if o.quiet != nil && o.isQuiet() {
		close(o.quiet)
		o.quiet = nil
	}
	o.mu.Unlock()
}

// report tells the owner.
func (c *Conn) report(tell news) {
	if tell.closeWritten {
		c.owner.CloseWritten()
	}
	if tell.writeFailed {
		c.owner.WriteFailed()
	}
	if tell.behind != nil {
		c.owner.Slow(tell.behind)
	}
}

// isQuiet reports whether nobody writes, and nobody tells the owner how it went.
func (o *out) isQuiet() bool { return !o.writing && o.telling == 0 }

// pushLocked has queued frames be written: now, by the goroutine that writes, or at the end of the batch.
func (c *Conn) pushLocked() {
	o := &c.out
	switch {
	case o.writing:
	case !o.held:
		c.flushLocked(nil)
	case o.armed:
	case o.hold == nil:
		o.hold, o.armed = time.AfterFunc(holdTime, c.holdEnds), true
	default:
		o.armed = true
		o.hold.Reset(holdTime)
	}
}

// holdEnds writes the held replies of a batch that has lasted for holdTime.
func (c *Conn) holdEnds() {
	o := &c.out
	o.mu.Lock()
	o.armed = false
	if !o.writing {
		c.flushLocked(nil)
	}
	c.unlock()
}

// setHeld sets whether frames wait. It writes nothing: the last reply of the batch does, or release.
func (c *Conn) setHeld(on bool) {
	c.out.mu.Lock()
	c.out.held = on
	c.out.mu.Unlock()
}

// release writes the frames that were held.
func (c *Conn) release() {
	o := &c.out
	o.mu.Lock()
	o.held = false
	if !o.writing {
		c.flushLocked(nil)
	}
	c.unlock()
}

// Writable implements [poll.Handler].
func (c *Conn) Writable(write func([]byte) (int, error)) {
	c.out.mu.Lock()
	c.flushLocked(write)
	c.unlock()
}

// flushLocked writes until nothing is queued. If the socket accepts no more, or others keep queueing, poll gets the right
// to write and calls Writable. mu is held, except during a write. A nil write stands for the socket's Write.
func (c *Conn) flushLocked(write func([]byte) (int, error)) {
	o := &c.out
	o.writing = true
	for writes := 0; o.err == nil; writes++ {
		p := o.next()
		if len(p) == 0 {
			break
		}
		if write == nil && writes == maxWrites && c.sock.WantWrite() {
			c.Stamps.Stall.Start(c.cfg.Now())
			return
		}
		c.unlock() // tells the owner if the peer is slow, before a write that may block
		var n int
		var err error
		if write != nil {
			n, err = write(p)
		} else {
			n, err = c.sock.Write(p)
		}
		o.mu.Lock()
		o.wrote(p, n)
		if n > 0 {
			c.traffic.Out.Add(uint64(n))
			c.written.Add(int64(n))
			o.wake()
		}
		if waits := write != nil || err == poll.ErrWouldBlock; waits && (n > 0 || c.Stamps.Stall.Get() == 0) {
			c.Stamps.Stall.Set(c.cfg.Now())
		}
		if err == poll.ErrWouldBlock {
			if c.sock.WantWrite() {
				return
			}
			err = ErrClosed
		}
		if err != nil {
			o.err = err
			o.wake()
		}
	}
	c.flushedLocked()
}

// flushedLocked ends a flush that has written everything, or failed.
func (c *Conn) flushedLocked() {
	o := &c.out
	o.writing = false
	c.Stamps.Stall.Clear()
	if o.armed {
		o.armed = false
		o.hold.Stop()
	}
	if o.err != nil {
		if !o.said {
			o.said, o.tell.writeFailed = true, true
			c.Stamps.Closed.Set(c.cfg.Now())
		}
		return // settle frees the rest
	}
	for _, buf := range []**buffer{&o.buf, &o.ctl, &o.w, &o.cw} {
		(*buf).free()
		*buf = nil
	}
	o.off, o.at, o.pre, o.cwOff, o.kind = 0, 0, 0, 0, noFrames
	if o.sources != nil {
		o.sources.order.trim()
	}
	if o.ending && !o.said {
		o.said, o.tell.closeWritten = true, true
		c.Stamps.Closed.Set(c.cfg.Now())
	}
}

// wake has each waiting Send check again.
func (o *out) wake() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}
