package link

// The end of the sending half: the close frame, and what was queued in vain.

import (
	"time"

	"example.com/hail/internal/wire"
)

// A queue that stood still for so long is not waited for where a connection fails.
const stalled = time.Second

// CloseFrame is what CloseWith sends, and how.
type CloseFrame struct {
	Code   int
	Reason string
	Drop   bool // do not wait for data that the peer has not taken for long
	Behind bool // nor for anything published
	Half   bool // end the sending direction behind it: the peer's close frame could not be found
}

// CloseWith queues the close frame behind the data, as the last thing that is sent. It reports false where it was called
// before, or nothing can be written. Where the peer has ended its sending direction (PeerEnded) nothing is queued, and the
// link ends by itself.
func (c *Conn) CloseWith(f CloseFrame) bool {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	if o.ending || o.err != nil {
		return false
	}
	if o.eof {
		return true
	}
	o.ending, o.half = true, f.Half
	now := c.cfg.Clock.Now()
	c.Stamps.Closing.Set(now)
	c.flags.closing.Store(true)
	if stall := c.Stamps.Stall.Get(); f.Drop && stall != 0 && now-stall >= stalled {
		o.lost += countData(o.buf.bytes(), 0)
		if o.sources != nil {
			o.sources.order.cut(o.buf.len())
			o.lost += o.sources.dropAll()
		}
		o.buf.free()
		o.buf = nil
	}
	if o.sources != nil {
		if f.Behind {
			o.lost += o.sources.dropAll()
		}
		o.sources.endAll()
	}
	o.buf = o.buf.room(wire.FrameSize(wire.MaxControl))
	before := o.buf.len()
	o.buf.b = wire.AppendClose(o.buf.b, f.Code, f.Reason)
	o.size = uint8(o.buf.len() - before)
	c.stampLocked(int(o.size))
	o.wake()
	if !o.writing {
		c.flushLocked(nil)
	}
	return true
}

// peerDone notes that the peer's close frame was read: with ours written, all is over. It reports whether it came first: ours
// was not queued, or waited for something else to be written.
func (c *Conn) peerDone() (first bool) {
	c.out.mu.Lock()
	c.flags.peerClose.Store(true)
	sent := c.flags.closeSent.Load()
	first = !c.out.ending || !sent && c.out.ahead()
	c.out.mu.Unlock()
	if sent {
		c.end()
	}
	return first
}

// ahead reports whether something is to be written before the close frame.
func (o *out) ahead() bool {
	own := o.w.len() - o.off + o.cw.len() - int(o.cwOff)
	if !o.last {
		own += o.buf.len()
	}
	return own > int(o.size) || o.sources != nil && o.sources.ahead()
}

// end ends a connection on which both close frames were exchanged.
func (c *Conn) end() {
	c.sock.CloseWrite()
	c.sock.Close()
}

// fail lets nothing more be queued.
func (c *Conn) fail(err error) {
	o := &c.out
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.wake()
	o.mu.Unlock()
}

// PeerEnded notes that the peer has ended its sending direction without a close frame. It may still read: PeerEnded lets
// nothing more be queued, and reports whether something is being written; the connection ends when all of it is. It
// belongs to the turn.
func (c *Conn) PeerEnded() bool {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	if !o.writing || o.err != nil {
		return false
	}
	o.eof, c.in.ended = true, true
	if o.sources != nil {
		o.sources.endAll()
	}
	o.wake()
	c.Stamps.Message.Clear()
	return true
}

// endQuiet reports whether nobody writes. Where somebody does, the connection ends when all is written.
func (c *Conn) endQuiet() bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.eof = o.writing
	return !o.writing
}

// awaitQuiet waits until nobody writes: until all is written, or the connection is cut.
func (c *Conn) awaitQuiet() {
	o := &c.out
	o.mu.Lock()
	if !o.writing {
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

// settle waits for a write that is under way, which a closed socket ends at once, and counts what was not written.
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

// Undelivered returns how many messages were queued and not written, once the link is done.
func (c *Conn) Undelivered() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.lost
}

// countData counts the messages in b that end behind off.
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
