package link

// The end of the sending half: the close frame, and the messages that were not written.

import (
	"time"

	"example.com/hail/internal/wire"
)

// stalled is the time without progress after which a failing connection gives up its queue.
const stalled = time.Second

// CloseFrame is a close frame, and which messages are given up for it.
type CloseFrame struct {
	Code        int
	Reason      string
	DropStalled bool // give up the queue if it makes no progress
	DropSources bool // give up published messages
}

// Close queues the close frame after the data, as the last frame. It reports false if it was called before, or if nothing
// can be written. Owner.CloseWritten follows.
func (c *Conn) Close(f CloseFrame) bool {
	o := &c.out
	o.mu.Lock()
	ok := !o.ending && o.err == nil
	if ok {
		o.closeLocked(f, c.cfg.Order, c.stalledFor() >= stalled)
		o.wake()
		if !o.writing {
			c.flushLocked(nil)
		}
	}
	c.unlock()
	return ok
}

// stalledFor returns how long a write has waited without progress.
func (c *Conn) stalledFor() time.Duration {
	stall := c.Stamps.Stall.Get()
	if stall == 0 {
		return 0
	}
	return c.cfg.Now() - stall
}

// closeLocked queues the close frame, and gives up the messages that f says.
func (o *out) closeLocked(f CloseFrame, order func() uint64, stalled bool) {
	o.ending = true
	drop := f.DropStalled && stalled
	if drop {
		o.lost += countData(o.buf.bytes(), 0)
		if o.sources != nil {
			o.sources.order.cut(o.buf.len())
			o.lost += o.sources.dropAll()
		}
		o.buf.free()
		o.buf = nil
	}
	if o.sources != nil {
		if f.DropSources {
			o.lost += o.sources.dropAll()
		}
		o.sources.endAll()
	}
	o.buf = o.buf.grow(wire.FrameSize(wire.MaxControl))
	before := o.buf.len()
	o.buf.b = wire.AppendClose(o.buf.b, f.Code, f.Reason)
	o.size = uint8(o.buf.len() - before)
	if o.sources != nil {
		o.sources.order.add(int(o.size), order())
	}
}

// closesFirst reports whether the peer's close frame, which was just read, came before ours: ours is not queued, or data is
// to be written before it.
func (c *Conn) closesFirst() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return !c.out.ending || c.out.ahead()
}

// ahead reports whether data is to be written before the close frame.
func (o *out) ahead() bool {
	own := o.w.len() - o.off + o.cw.len() - int(o.cwOff)
	if !o.last {
		own += o.buf.len()
	}
	return own > int(o.size) || o.sources != nil && o.sources.ahead()
}

// Finish closes the transport after both close frames were exchanged.
func (c *Conn) Finish() {
	c.sock.CloseWrite()
	c.sock.Close()
}

// CloseWrite ends the sending direction.
func (c *Conn) CloseWrite() { c.sock.CloseWrite() }

// fail lets nothing more be queued. The owner need not be told: it is the owner, or the end, that calls it.
func (c *Conn) fail(err error) {
	o := &c.out
	o.mu.Lock()
	if o.err == nil {
		o.err, o.said = err, true
	}
	o.wake()
	o.mu.Unlock()
}

// awaitQuiet waits until nobody writes: until all is written, or the connection is cut. Who has written tells the owner
// first: Done is the last that the owner is told.
func (c *Conn) awaitQuiet() {
	o := &c.out
	o.mu.Lock()
	if o.isQuiet() {
		o.mu.Unlock()
		return
	}
	if o.quiet == nil {
		o.quiet = make(chan struct{})
	}
	quiet := o.quiet
	o.mu.Unlock()
	<-quiet
}

// settle waits for a running write, which the closed socket ends at once, and counts the messages that were not written.
func (c *Conn) settle() {
	c.fail(ErrClosed)
	c.awaitQuiet()
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hold != nil {
		o.hold.Stop()
	}
	o.lost += countData(o.w.bytes(), o.off) + countData(o.buf.bytes(), 0)
	if o.sources != nil {
		o.lost += o.sources.settle()
		o.sources = nil
	}
	o.buf.free()
	o.ctl.free()
	o.w.free()
	o.cw.free()
	o.buf, o.ctl, o.w, o.cw, o.off, o.at, o.pre, o.cwOff = nil, nil, nil, nil, 0, 0, 0, 0
}

// Undelivered returns how many messages were queued and not written. It is valid after Done.
func (c *Conn) Undelivered() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.lost
}

// countData counts the messages in b that end after off.
func countData(b []byte, off int) int {
	n := 0
	for at := 0; at < len(b); {
		h, _ := wire.Parse(b[at:])
		at += frameAt(b[at:])
		if at > off && !h.Control() {
			n++
		}
	}
	return n
}
