package link

// The parts of a link's inside that tests see.

import (
	"fmt"

	"example.com/hail/internal/poll"
)

// NewConn makes a link of a socket of the test's own. With compressed it sends long messages compressed.
func NewConn(cfg *Config, sock poll.Socket, owner Owner, traffic *Traffic, compressed bool) *Conn {
	return &Conn{cfg: cfg, sock: sock, owner: owner, traffic: traffic, deflates: compressed}
}

// Writing returns the size of the write under way, including the bytes of it that are already written.
func (c *Conn) Writing() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.w.len()
}

// HoldEnds does as the timer does when a batch lasts long.
func (c *Conn) HoldEnds() { c.holdEnds() }

// Locked reports whether somebody has the sending half locked.
func (c *Conn) Locked() bool {
	if c.out.mu.TryLock() {
		c.out.mu.Unlock()
		return false
	}
	return true
}

// Check returns an error if the sending half breaks an invariant. No goroutine may be in a write, except one that waits for
// Writable, if owed.
func (c *Conn) Check(owed bool) error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	waits := o.buf.len() + o.ctl.len() + o.w.len() + o.cw.len()
	switch {
	case o.writing != owed:
		return fmt.Errorf("writing: %v, owed a call of Writable: %v", o.writing, owed)
	case !o.writing && o.err == nil && waits > 0 && !(o.held && o.armed):
		return fmt.Errorf("%d bytes wait, held: %v, and nobody writes or will", waits, o.held)
	case !o.writing && o.err == nil && (o.w != nil || o.cw != nil):
		return fmt.Errorf("%d and %d bytes are being written by nobody", o.w.len(), o.cw.len())
	case !o.writing && o.err == nil && o.ending && !o.said:
		return fmt.Errorf("the close frame is neither written nor being written")
	case o.room != nil && (o.deaf() || !o.writing):
		return fmt.Errorf("a Send waits for room, deaf: %v, writing: %v", o.deaf(), o.writing)
	case o.tell != news{} || o.telling != 0:
		return fmt.Errorf("the owner was not told: %+v, %d tell", o.tell, o.telling)
	case o.off > o.w.len() || o.at > o.w.len() || int(o.cwOff) > o.cw.len():
		return fmt.Errorf("off %d, at %d of %d; cwOff %d of %d", o.off, o.at, o.w.len(), o.cwOff, o.cw.len())
	case o.err == nil && o.sources != nil:
		return o.checkSources()
	}
	return nil
}

// checkSources checks the order's invariant, and compares its numbers with the bytes that are there.
func (o *out) checkSources() error {
	d := &o.sources.order
	if err := d.check(); err != nil {
		return err
	}
	if got, want := d.queued-d.written, int64(o.ownLeft()+o.buf.len()); got != want {
		return fmt.Errorf("%d own bytes are to be written, but %d are counted", want, got)
	}
	begins := map[int64]bool{d.written: true}            // of frames, as numbers of own bytes
	begin := d.written - int64(max(o.off-int(o.pre), 0)) // of w's own data
	for at := int(o.pre); at < o.w.len(); at += frameAt(o.w.b[at:]) {
		begins[begin+int64(at-int(o.pre))] = true
	}
	for b := o.buf.bytes(); len(b) > 0; b = b[frameAt(b):] {
		begins[d.queued-int64(len(b))] = true
	}
	begins[d.queued] = true
	for i, s := range append([]segment{{0, d.free}}, d.segments...) {
		if !begins[s.end] {
			return fmt.Errorf("segment %d of %+v, the first being what may be written, ends within a frame", i, d)
		}
	}
	for _, s := range append(o.sources.ended, o.sources.live...) {
		if s.after > d.joined {
			return fmt.Errorf("a source waits for byte %d, but the latest joined at %d", s.after, d.joined)
		}
	}
	return nil
}

// check returns an error if the order breaks its invariant.
func (d *order) check() error {
	last := segment{0, d.free}
	ok := d.written <= d.free && d.free <= d.queued && d.joined <= d.queued
	for i, s := range d.segments {
		ok = ok && s.end > last.end && (i == 0 || s.upto >= last.upto)
		last = s
	}
	if !ok || last.end != d.queued {
		return fmt.Errorf("not written <= free < the segments' ends, which rise to queued: %+v", *d)
	}
	return nil
}

// Order is an order that a test drives.
type Order struct{ d order }

// NewOrder returns the order of a connection that has so many own bytes to write.
func NewOrder(waiting int) *Order { return &Order{newOrder(waiting)} }

func (o *Order) Join() int64          { return o.d.join() }
func (o *Order) Add(n int, up uint64) { o.d.add(n, up) }
func (o *Order) Cut(n int)            { o.d.cut(n) }
func (o *Order) Wrote(n int)          { o.d.wrote(n) }
func (o *Order) Ready() int           { return o.d.ready() }
func (o *Order) Upto() uint64         { return o.d.upto() }
func (o *Order) Release() bool        { return o.d.release() }
func (o *Order) Check() error         { return o.d.check() }
