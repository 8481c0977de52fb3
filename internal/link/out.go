package link

// Frames out: a queue that whoever holds the socket writes for all.

import (
	"sync"
	"time"

	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

const (
	// How long a reply may wait for the rest of its batch.
	holdTime = time.Millisecond
	// More pongs than this are not kept for a peer that does not read: only the newest
	// ping needs one (RFC 6455 section 5.5.3).
	maxControlQueue = 4 << 10
	// DeflateFrom is the size of a message from which on it is worth compressing.
	DeflateFrom = 1 << 10
	// After so many writes a goroutine that only came to send hands the socket on.
	maxWrites = 16
)

// out is the sending half of a connection.
type out struct {
	mu  sync.Mutex
	buf *buffer // data frames in order
	ctl *buffer // pings and pongs, which go first
	batch
	farewell

	writing bool          // somebody writes
	held    bool          // replies are being collected: frames wait for the last
	armed   bool          // hold runs
	hold    *time.Timer   // ends held after holdTime
	after   func()        // what unlock does when mu is free
	room    chan struct{} // closed when a waiting Send should look again
	quiet   chan struct{} // closed when nobody writes, for awaitQuiet
	lost    int           // messages that were queued or published, and not written
	feeds   *feeds        // nil until the connection listens to something
	behind  error         // the owner has to be told: see fallBehind
}

// batch is what is being written. Its bytes belong to whoever writes.
type batch struct {
	w      *buffer
	off    int // w.b[off:] is not written
	at     int // where in w the frame begins that off is in
	ctlEnd int // where in w the control frames end
}

// farewell is how far the end has come.
type farewell struct {
	ending bool  // the close frame is queued, or written
	last   bool  // the close frame ends w, or is written
	size   uint8 // the close frame's
	eof    bool  // the peer has ended its sending direction: nothing more is awaited of it
	half   bool  // behind the close frame the sending direction ends
	err    error // why nothing can be written any more
}

// Send queues one message, and writes it unless somebody else does or a batch is being handled.
// first is the frame's first byte, without RSV1. p is copied. With wait it waits for room.
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
	defer c.unlock()
	if err := c.reserve(size, wait); err != nil {
		return err
	}
	o.buf = o.buf.room(size)
	o.buf.b = wire.AppendFrame(o.buf.b, first, p)
	c.stampLocked()
	c.pushLocked()
	return nil
}

// stampLocked gives what was put into buf its place among published messages.
func (c *Conn) stampLocked() {
	if f := c.out.feeds; f != nil {
		f.stamp(c.cfg.Order(), &c.out)
	}
}

// compresses reports whether a message of n bytes is sent compressed.
func (c *Conn) compresses(n int) bool { return c.deflates && n >= DeflateFrom }

// reserve waits until size bytes fit into the queue. mu is held, but not while it waits.
func (c *Conn) reserve(size int, wait bool) error {
	o := &c.out
	limit, clock := c.cfg.SendQueue, c.cfg.Clock
	var timer *time.Timer // nil: does not wait yet, or waits for ever
	var timeout <-chan time.Time
	var begin time.Duration // of the wait
	for {
		switch {
		case o.deaf():
			return ErrClosed
		case limit < 0 || o.queued()+size <= limit:
			return nil
		case size > limit:
			return ErrTooLarge
		case !o.writing && o.queued() > 0:
			c.flushLocked(nil) // held, and in our way
			continue
		case !wait:
			return ErrFull
		}
		if timer == nil && c.cfg.SendWait >= 0 {
			timer, begin = time.NewTimer(c.cfg.SendWait), clock.Now()
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
			if left := begin + c.cfg.SendWait - clock.Now(); left > clock.Step() {
				timer.Reset(left) // the clock has passed over some of the time: the process did not run
				continue
			}
			if stall := c.Stamps.Stall.Get(); stall != 0 && stall <= begin+clock.Step() {
				return ErrStuck
			}
			return ErrFull
		}
	}
}

// queued returns the bytes of own data that wait, and of what is noted about them.
func (o *out) queued() int {
	n := o.buf.len() + o.w.len() - o.off
	if o.feeds != nil {
		n += markSize * len(o.feeds.marks)
	}
	return n
}

// control queues a ping or pong ahead of the data.
func (c *Conn) control(op byte, p []byte) {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	if o.err != nil || o.last {
		return
	}
	if o.ctl.len() > maxControlQueue {
		o.ctl.b = o.ctl.b[:0]
	}
	o.ctl = o.ctl.room(2 + len(p))
	o.ctl.b = wire.AppendFrame(o.ctl.b, wire.Fin|op, p)
	c.pushLocked()
}

// Ping sends a ping.
func (c *Conn) Ping() { c.control(wire.Ping, nil) }

func (c *Conn) pong(p []byte) { c.control(wire.Pong, p) }

// unlock frees mu, and then does what a flush has left to do: no system call stands under mu.
func (c *Conn) unlock() {
	after, behind := c.out.after, c.out.behind
	c.out.after, c.out.behind = nil, nil
	c.out.mu.Unlock()
	if after != nil {
		after()
	}
	if behind != nil {
		c.owner.Slow(behind)
	}
}

// pushLocked sees to it that what was queued goes out.
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

// holdEnds runs when a batch takes so long that its replies should not wait for it.
func (c *Conn) holdEnds() {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	o.armed = false
	if !o.writing {
		c.flushLocked(nil)
	}
}

// setHeld says whether frames wait. Letting go does not write: the batch's last reply does, or release.
func (c *Conn) setHeld(on bool) {
	c.out.mu.Lock()
	c.out.held = on
	c.out.mu.Unlock()
}

// release writes what was held.
func (c *Conn) release() {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	o.held = false
	if !o.writing {
		c.flushLocked(nil)
	}
}

// Writable is poll's: see [poll.Handler].
func (c *Conn) Writable(write func([]byte) (int, error)) {
	c.out.mu.Lock()
	defer c.unlock()
	c.flushLocked(write)
}

// flushLocked writes until nothing is left, the socket takes no more, or others keep queueing; then poll has
// the right to write, and calls Writable. mu is held, but not while it writes. A nil write is the socket's own.
func (c *Conn) flushLocked(write func([]byte) (int, error)) {
	o := &c.out
	o.writing = true
	for writes := 0; o.err == nil; writes++ {
		p := o.next()
		if len(p) == 0 {
			break
		}
		if write == nil && writes == maxWrites && c.sock.WantWrite() {
			c.Stamps.Stall.Start(c.cfg.Clock.Now())
			return
		}
		c.unlock() // it may be told that it has fallen behind: the write may take long
		var n int
		var err error
		if write != nil {
			n, err = write(p)
		} else {
			n, err = c.sock.Write(p)
		}
		o.mu.Lock()
		if o.feeds != nil {
			o.feeds.wrote(o, p, n)
		} else {
			o.off += n
		}
		if n > 0 {
			c.traffic.Out.Add(uint64(n))
			c.written.Add(int64(n))
			o.wake()
		}
		if waits := write != nil || err == poll.ErrWouldBlock; waits && (n > 0 || c.Stamps.Stall.Get() == 0) {
			c.Stamps.Stall.Set(c.cfg.Clock.Now())
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

// flushedLocked ends a flush that has nothing left to do.
func (c *Conn) flushedLocked() {
	o := &c.out
	o.writing = false
	c.Stamps.Stall.Clear()
	if o.armed {
		o.armed = false
		o.hold.Stop()
	}
	if o.quiet != nil {
		close(o.quiet)
		o.quiet = nil
	}
	if o.err != nil {
		// A transport that has failed is mostly read to its end soon, but not where only its writes have.
		c.Stamps.CloseSent.Start(c.cfg.Clock.Now())
		if o.eof {
			o.after = c.end
		}
		return // what is left is settle's
	}
	for _, buf := range []**buffer{&o.buf, &o.ctl, &o.w} {
		(*buf).free()
		*buf = nil
	}
	o.off, o.at, o.ctlEnd = 0, 0, 0
	if o.feeds != nil {
		o.feeds.reset()
	}
	if o.eof && !o.ending {
		o.after = c.end
	}
	if o.ending && !c.flags.closeSent.Load() {
		c.Stamps.CloseSent.Set(c.cfg.Clock.Now())
		c.flags.closeSent.Store(true)
		switch {
		case c.flags.peerClose.Load(), o.eof:
			o.after = c.end
		case o.half:
			o.after = func() { c.sock.CloseWrite() }
		}
	}
}

// next returns the bytes to write now.
func (o *out) next() []byte {
	if o.feeds != nil {
		return o.feeds.nextBytes(o)
	}
	return o.nextOwn()
}

// nextOwn returns what is left of a frame, then control frames, then own data.
func (o *out) nextOwn() []byte {
	if o.off < o.w.len() {
		if o.ctl.len() > 0 {
			o.splice()
		}
		return o.w.b[o.off:]
	}
	written, control := o.w.len(), o.ctl.len()
	o.w.free()
	o.w, o.off, o.at, o.ctlEnd = nil, 0, 0, control
	if o.last {
		return nil // nothing follows the close frame
	}
	o.last = o.ending
	switch {
	case control == 0:
		o.w, o.buf = o.buf, nil
	case o.buf.len() == 0:
		o.w, o.ctl = o.ctl, nil
	default:
		o.w, o.ctl = o.ctl.room(o.buf.len()), nil
		o.w.b = append(o.w.b, o.buf.b...)
		o.buf.free()
		o.buf = nil
	}
	if o.feeds != nil {
		o.feeds.loaded(written, control)
	}
	if o.w == nil {
		return nil
	}
	return o.w.b
}

// splice puts the control frames behind the frame that is partly written.
func (o *out) splice() {
	if o.off < o.ctlEnd {
		return // a peer that pings and does not read gets no longer queue
	}
	begin := o.at // of the frame that is partly written
	for o.at < o.off {
		begin = o.at
		o.at += frameAt(o.w.b[o.at:])
	}
	if o.at == o.off {
		begin = o.off
	}
	o.dropWritten(begin) // or each ping would make it longer
	ctl := o.ctl.b
	rest := len(o.w.b) - o.at
	o.w = o.w.room(len(ctl))
	o.w.b = append(o.w.b, ctl...)
	copy(o.w.b[o.at+len(ctl):], o.w.b[o.at:o.at+rest])
	copy(o.w.b[o.at:], ctl)
	o.ctlEnd = o.at + len(ctl)
	if o.feeds != nil {
		o.feeds.spliced(o.at, len(ctl))
	}
	o.ctl.free()
	o.ctl = nil
}

// dropWritten forgets the first n bytes of w, which are written. They end with a frame.
func (o *out) dropWritten(n int) {
	o.w.b = append(o.w.b[:0], o.w.b[n:]...)
	o.off -= n
	o.at -= n
	if o.feeds != nil {
		o.feeds.dropped(n)
	}
}

// frameAt returns the size of the frame of ours that b begins with.
func frameAt(b []byte) int {
	h, n := wire.Parse(b)
	return n + int(h.Length)
}

// wake lets every waiting Send look again.
func (o *out) wake() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}
