package link

// The order of writing: control frames between others, own data, and published frames in their order with it.

import "example.com/hail/internal/wire"

// outgoing is the frames that are being written. The bytes belong to the goroutine that writes.
type outgoing struct {
	w   *buffer // control frames, and own data after them
	off int     // w.b[off:] is not written
	at  int     // w.b[at:] begins with a frame
	cw  *buffer // later control frames, which go between the frames of w
}

// frameKind is a kind of frames that are written.
type frameKind uint8

const (
	noFrames frameKind = iota
	controlFrames
	ownFrames
	publishedFrames
	publishedRest // of a frame
)

// next returns the bytes to write next, none if nothing is queued. Control frames go before data, but not twice in a row:
// else a peer that pings without end would get nothing but pongs.
func (o *out) next() []byte {
	if p := o.nextBegun(); len(p) > 0 {
		return p
	}
	between := o.off < o.w.len() && o.off >= int(o.pre) || o.off == o.w.len() && o.buf.len() == 0
	if o.ctl.len() > 0 && between && !o.wroteControl() {
		return o.nextControl()
	}
	if p := o.nextData(); len(p) > 0 {
		return p
	}
	return o.nextControl()
}

// nextBegun returns the rest of a frame that is partly written, if frames wait that may not be written inside it.
func (o *out) nextBegun() []byte {
	switch s := o.sources; {
	case o.cw != nil:
		o.kind = controlFrames
		return o.cw.b[o.cwOff:]
	case s != nil && len(s.rest) > 0:
		o.kind = publishedRest
		return s.rest
	case o.ctl.len() > 0 && o.off > int(o.pre) && o.off < o.w.len():
		for o.at < o.off {
			o.at += frameAt(o.w.b[o.at:])
		}
		o.kind = ownFrames
		return o.w.b[o.off:o.at]
	}
	return nil
}

// wroteControl reports whether control frames were written last.
func (o *out) wroteControl() bool {
	return o.kind == controlFrames || o.kind == ownFrames && o.pre > 0 && o.off == int(o.pre)
}

// nextControl returns the control frames that wait.
func (o *out) nextControl() []byte {
	if o.ctl.len() == 0 {
		return nil
	}
	o.kind = controlFrames
	o.cw, o.ctl = o.ctl, nil
	return o.cw.b
}

// nextData returns own data, or the published frames that go before it.
func (o *out) nextData() []byte {
	own := o.nextOwn()
	s := o.sources
	if s == nil {
		o.kind = ownFrames
		return own
	}
	for s.order.ready() == 0 {
		p, err := s.peek(s.order.upto())
		switch {
		case err != nil:
			o.fallBehind(err)
			continue
		case len(p) == 0 && s.order.release():
			continue
		case o.off < int(o.pre):
			o.kind = ownFrames
			return o.w.b[o.off:o.pre]
		}
		o.kind = publishedFrames
		return p
	}
	o.kind = ownFrames
	return own[:min(len(own), max(int(o.pre)-o.off, 0)+s.order.ready())]
}

// nextOwn returns queued own data, or a part of it. Control frames that wait go before it, in the same write.
func (o *out) nextOwn() []byte {
	if o.off < o.w.len() {
		return o.w.b[o.off:]
	}
	o.w.free()
	o.w, o.off, o.at, o.pre = o.buf, 0, 0, 0
	o.last = o.ending
	if o.ctl.len() > 0 && o.buf.len() > 0 {
		o.pre = uint16(o.ctl.len())
		o.w, o.ctl = o.ctl.grow(o.buf.len()), nil
		o.w.b = append(o.w.b, o.buf.b...)
		o.buf.free()
	}
	o.buf = nil
	return o.w.bytes()
}

// wrote notes that the first n bytes of p were written. next has returned p.
func (o *out) wrote(p []byte, n int) {
	switch o.kind {
	case controlFrames:
		if o.cwOff += uint16(n); int(o.cwOff) == o.cw.len() {
			o.cw.free()
			o.cw, o.cwOff = nil, 0
		}
	case ownFrames:
		before := o.ownLeft()
		o.off += n
		if o.sources != nil {
			o.sources.order.wrote(before - o.ownLeft())
		}
	case publishedFrames:
		o.wrotePublished(p, n)
	case publishedRest:
		o.sources.wroteRest(n)
	}
}

// ownLeft returns how many bytes of own data in w are not written.
func (o *out) ownLeft() int { return o.w.len() - max(o.off, int(o.pre)) }

// frameAt returns the size of the first frame in b. The frame is ours, and whole.
func frameAt(b []byte) int {
	h, n := wire.Parse(b)
	return n + int(h.Length)
}
