package link

// What tests see of a link's inside.

import (
	"fmt"

	"example.com/hail/internal/poll"
)

// NewConn makes a link of a socket of the test's own. With compressed it sends long messages compressed.
func NewConn(cfg *Config, sock poll.Socket, owner Owner, traffic *Traffic, compressed bool) *Conn {
	return &Conn{cfg: cfg, sock: sock, owner: owner, traffic: traffic, deflates: compressed}
}

// Writing returns how many bytes are held for being written, those that have been among them.
func (c *Conn) Writing() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.w.len()
}

// Check returns what is wrong with the sending half. Nobody may be in a write, but for one that waits for Writable,
// which owed says.
func (c *Conn) Check(owed bool) error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	waits := o.buf.len() + o.ctl.len() + o.w.len()
	switch {
	case o.writing != owed:
		return fmt.Errorf("writing: %v, owed a call of Writable: %v", o.writing, owed)
	case !o.writing && o.err == nil && waits > 0 && !(o.held && o.armed):
		return fmt.Errorf("%d bytes wait, held: %v, and nobody writes or will", waits, o.held)
	case !o.writing && o.err == nil && o.w != nil:
		return fmt.Errorf("%d bytes are being written by nobody", o.w.len())
	case !o.writing && o.err == nil && o.ending && !c.flags.closeSent.Load():
		return fmt.Errorf("the close frame is neither written nor being written")
	case o.room != nil && (o.deaf() || !o.writing):
		return fmt.Errorf("a Send waits for room, deaf: %v, writing: %v", o.deaf(), o.writing)
	case o.behind != nil || o.after != nil:
		return fmt.Errorf("something was left to do: %v, %v", o.behind, o.after != nil)
	case o.off > o.w.len() || o.at > o.w.len() || o.ctlEnd > o.w.len():
		return fmt.Errorf("off %d, at %d, ctlEnd %d of %d", o.off, o.at, o.ctlEnd, o.w.len())
	case o.err == nil && o.feeds != nil:
		return o.checkFeeds()
	}
	return nil
}

func (o *out) checkFeeds() error {
	f := o.feeds
	places := map[int]bool{}
	at := 0
	for ; at < o.w.len(); at += frameAt(o.w.b[at:]) {
		places[at] = true
	}
	places[at] = true
	all := o.w.len() + o.buf.len()
	for ; at < all; at += frameAt(o.buf.b[at-o.w.len():]) {
		places[at] = true
	}
	places[at] = true
	if !places[f.lim] || f.lim < o.off {
		return fmt.Errorf("own bytes may be written up to %d, which is in the middle of a frame or before %d", f.lim, o.off)
	}
	last := 0
	for i, m := range f.marks {
		end := m.end - f.base
		if !places[end] || end < last || i > 0 && m.upto < f.marks[i-1].upto {
			return fmt.Errorf("mark %d of %v is out of place, base %d, %d bytes and %d", i, f.marks, f.base, o.w.len(), o.buf.len())
		}
		last = end
	}
	left := 0
	for _, l := range f.list {
		if l.ended {
			left++
		}
		if l.after > f.passed+len(f.marks) {
			return fmt.Errorf("a feed waits for mark %d, but there are only %d", l.after, f.passed+len(f.marks))
		}
	}
	if left != f.left {
		return fmt.Errorf("%d feeds have ended, but %d are counted", left, f.left)
	}
	return nil
}
