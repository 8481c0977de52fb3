package link

// Frames in: the way of the bytes from the socket to a whole message.

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"unicode/utf8"

	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

// Close codes that in gives out (RFC 6455 section 7.4.1).
const (
	codeProtocol = 1002
	codeInvalid  = 1007
	codeTooBig   = 1009
)

// maxShare is how many frames a turn takes before other connections have theirs.
const maxShare = 256

// A frame's memory grows with what has arrived from here on, so that a header alone takes no more.
const firstPiece = 256 << 10

var errNotUTF8 = errors.New("text that is not valid UTF-8")

// in is the receiving half of a connection.
type in struct {
	buf   *buffer // nil while nothing is there
	r, w  int     // buf.b[r:w] is unread
	class int     // the class of the next buffer
	fresh bool    // bytes came with the handshake
	share int     // frames that this turn may still take
	err   error   // the transport's; told when the bytes before it are used up
	ended bool    // err was told; our close frame is still to be written

	frame   *frame  // a plain frame of which a part has arrived
	lent    *buffer // what the last message lies in, until the next Next
	held    bool    // replies wait for the batch's end
	batched bool    // held since the last rest

	// After our close frame.
	skip   uint64 // payload that is still to come and of no interest
	broken bool   // where a frame starts is no longer known
}

// frame is a plain frame of which a part has arrived.
type frame struct {
	head   wire.Header
	size   int     // of the header
	place  *buffer // where a payload larger than the buffer is read into, from the pool
	own    []byte  // or its final place
	have   int     // bytes of it
	clear  int     // bytes that are unmasked and checked
	key    uint32
	text   wire.UTF8
	remote bool // the payload lies in place or own, not in the buffer
}

// Fill is poll's: see [poll.Handler].
func (c *Conn) Fill() bool {
	in := &c.in
	if in.fresh {
		in.fresh = false
		return true
	}
	if in.err != nil {
		return !in.ended
	}
	n, err := c.read(c.sock.Read)
	if err == poll.ErrWouldBlock {
		if n == 0 && in.r == in.w {
			in.drop()
		}
		return n > 0
	}
	return true
}

// Pending is poll's: see [poll.Handler].
func (c *Conn) Pending() bool { return c.in.fresh || c.in.r < c.in.w || c.in.remote() }

// remote reports whether what arrives belongs to a frame that lies outside the buffer.
func (in *in) remote() bool { return in.frame != nil && in.frame.remote }

// read reads once into the place where the next byte belongs.
func (c *Conn) read(from func([]byte) (int, error)) (int, error) {
	in := &c.in
	p := in.space()
	n, err := from(p)
	if n > 0 {
		c.traffic.In.Add(uint64(n))
		c.Stamps.Read.Set(c.cfg.Clock.Now())
		in.took(n, len(p))
	}
	if err != nil && err != poll.ErrWouldBlock {
		in.err = err
	}
	return n, err
}

// space returns where the next bytes go. It is never empty.
func (in *in) space() []byte {
	if in.remote() {
		return in.frame.payload()[in.frame.have:]
	}
	if in.buf == nil {
		in.buf = newBuffer(classes[in.class])
		in.buf.b = in.buf.b[:cap(in.buf.b)]
	}
	if in.r > 0 {
		// What is left here is the start of one frame, short or soon to be moved.
		in.w = copy(in.buf.b, in.buf.b[in.r:in.w])
		in.r = 0
	}
	return in.buf.b[in.w:]
}

// took notes n bytes read into the space of the given size, and learns from it
// how large a buffer the connection has use for.
func (in *in) took(n, size int) {
	if in.remote() {
		in.frame.have += n
		return
	}
	in.w += n
	switch {
	case n == size && in.class < 2:
		in.class++
	case in.class > 0 && n < classes[in.class-1]/2:
		in.class--
	}
}

func (in *in) unread() []byte {
	if in.buf == nil {
		return nil
	}
	return in.buf.b[in.r:in.w]
}

// drop gives the buffer back. Nothing unread may be in it.
func (in *in) drop() {
	in.buf.free()
	in.buf, in.r, in.w = nil, 0, 0
}

func (in *in) free() {
	in.drop()
	in.lent.free()
	in.lent = nil
	if in.frame != nil {
		in.frame.place.free()
		in.dropFrame()
	}
}

// Next returns the next message. Its error is ErrAgain, a *PeerClose, a *Violation or the transport's.
// Heartbeats are answered on the way.
func (c *Conn) Next() (Message, error) {
	in := &c.in
	in.lent.free()
	in.lent = nil
	for {
		if c.flags.closing.Load() {
			return Message{}, c.discard()
		}
		if in.frame != nil {
			m, ok, err := c.continueFrame()
			if ok || err != nil {
				return m, err
			}
			continue
		}
		b := in.unread()
		h, n := wire.Parse(b)
		if n == 0 {
			return Message{}, c.rest()
		}
		if in.share--; in.share == 0 {
			c.endBatch()
			return Message{}, ErrAgain
		}
		if !h.Whole() || c.cfg.EngineOnly {
			m, ok, err := c.nextFromEngine()
			if ok || err != nil {
				return m, err
			}
			continue
		}
		if !h.Control() {
			if err := c.checkLength(h.Length); err != nil {
				in.r += n
				in.skip = h.Length
				return Message{}, err
			}
		}
		if len(b)-n < int(h.Length) {
			c.startFrame(h, n)
			continue
		}
		p := b[n : n+int(h.Length)]
		in.r += n + len(p)
		wire.Mask(p, h.Key)
		if h.Opcode() == wire.Text && !utf8.Valid(p) {
			return Message{}, &Violation{Code: codeInvalid, Reason: "invalid UTF-8", Err: errNotUTF8}
		}
		if m, ok := c.take(h, p); ok {
			return m, nil
		}
	}
}

// take hands out the payload of a whole frame, or answers it where it is a heartbeat.
func (c *Conn) take(h wire.Header, p []byte) (Message, bool) {
	c.Stamps.Message.Clear()
	c.hold(c.in.more())
	switch h.Opcode() {
	case wire.Ping:
		c.pong(p)
		return Message{}, false
	case wire.Pong:
		return Message{}, false
	}
	if !c.cfg.Reuse && !c.in.remote() {
		p = c.in.keep(p)
	}
	return Message{h.Opcode() == wire.Text, p[:len(p):len(p)]}, true // what is appended to it is not the next frame
}

// keep returns the payload p, which lies in the buffer, as memory that is its receiver's: a copy, or
// the buffer's own where little else is in it.
func (in *in) keep(p []byte) []byte {
	if in.r < in.w || len(p) < len(in.buf.b)/2 {
		return append([]byte{}, p...)
	}
	in.buf.giveAway()
	in.buf, in.r, in.w = nil, 0, 0
	return p[:len(p):len(p)]
}

// more reports whether another frame waits in the buffer, whole.
func (in *in) more() bool {
	b := in.unread()
	h, n := wire.Parse(b)
	return n > 0 && h.Length <= uint64(len(b)-n)
}

var frames sync.Pool

// dropFrame ends the frame in parts.
func (in *in) dropFrame() {
	*in.frame = frame{}
	frames.Put(in.frame)
	in.frame = nil
}

// checkLength says whether a message of this length may be taken.
func (c *Conn) checkLength(n uint64) error {
	limit := uint64(math.MaxInt - wire.MaxHeader)
	if c.cfg.ReadLimit >= 0 {
		limit = min(limit, uint64(c.cfg.ReadLimit))
	}
	if n > limit {
		return c.tooBig()
	}
	return nil
}

// checkDeflated says whether a compressed message of this length may be taken. The limit is for what comes out of
// it, but blocks may be without content.
func (c *Conn) checkDeflated(n uint64) error {
	const mostTimes, atLeast = 4, 1 << 10
	if limit := c.cfg.ReadLimit; limit >= 0 && n > atLeast && (n-atLeast)/mostTimes > uint64(limit) {
		return c.tooBig()
	}
	return nil
}

func (c *Conn) tooBig() *Violation {
	return &Violation{Code: codeTooBig, Reason: "message too big",
		Err: fmt.Errorf("message of more than %d bytes (Options.ReadLimit)", c.cfg.ReadLimit)}
}

// startFrame begins with a frame of which the header and a part of the payload are there.
func (c *Conn) startFrame(h wire.Header, size int) {
	in := &c.in
	f, _ := frames.Get().(*frame)
	if f == nil {
		f = new(frame)
	}
	*f = frame{head: h, size: size, key: h.Key}
	in.frame = f
	if size+int(h.Length) > len(in.buf.b) {
		// Too large for the buffer: the rest is read straight into its place.
		f.remote = true
		f.extend(c.cfg.Reuse)
		f.have = copy(f.payload(), in.unread()[size:])
		in.drop()
	}
}

// payload is the place of a remote frame's payload, as far as it is made.
func (f *frame) payload() []byte {
	if f.place != nil {
		return f.place.b
	}
	return f.own
}

// extend makes the place larger: whole for usual sizes, else with what has come.
func (f *frame) extend(reuse bool) {
	size := min(int(f.head.Length), max(firstPiece, 2*f.have))
	if reuse {
		larger := newBuffer(size)
		larger.b = larger.b[:size]
		copy(larger.b, f.payload())
		f.place.free()
		f.place = larger
		return
	}
	larger := make([]byte, size)
	copy(larger, f.own)
	f.own = larger
}

// continueFrame takes what has arrived of a frame in parts; with the last byte it hands it out.
func (c *Conn) continueFrame() (Message, bool, error) {
	in := &c.in
	f := in.frame
	length := int(f.head.Length)
	var p []byte
	if f.remote {
		p = f.payload()[:f.have]
	} else {
		p = in.unread()[f.size:]
		p = p[:min(len(p), length)]
	}
	fresh := p[f.clear:]
	f.key = wire.Mask(fresh, f.key)
	f.clear = len(p)
	text := f.head.Opcode() == wire.Text
	whole := len(p) == length
	if text && (!f.text.Write(fresh) || whole && !f.text.Done()) {
		c.abandonFrame()
		return Message{}, false, &Violation{Code: codeInvalid, Reason: "invalid UTF-8", Err: errNotUTF8}
	}
	if !whole {
		if f.remote && f.have == len(p) && f.have == len(f.payload()) {
			f.extend(c.cfg.Reuse)
		}
		return Message{}, false, c.rest()
	}
	if !f.remote {
		in.r += f.size + length
	}
	in.lent = f.place
	m, ok := c.take(f.head, p)
	in.dropFrame()
	return m, ok, nil
}

// abandonFrame leaves the frame in parts: what is still to come of it is skipped.
func (c *Conn) abandonFrame() {
	in := &c.in
	f := in.frame
	if f.remote {
		in.skip = f.head.Length - uint64(f.have)
	} else {
		in.r += f.size
		in.skip = f.head.Length
	}
	f.place.free()
	in.dropFrame()
}

// rest ends a turn: nothing whole is left. Replies that waited go out.
func (c *Conn) rest() error {
	in := &c.in
	c.endBatch()
	if in.err != nil {
		return in.err
	}
	if in.r < in.w || in.remote() {
		c.Stamps.Message.Start(c.cfg.Clock.Now())
	} else {
		c.Stamps.Message.Clear()
	}
	return ErrAgain
}

// hold says whether replies wait for the end of the batch that is being handled.
func (c *Conn) hold(on bool) {
	if c.in.held != on {
		c.in.held = on
		c.in.batched = c.in.batched || on
		c.setHeld(on)
	}
}

// endBatch lets go what waits for the batch's end.
func (c *Conn) endBatch() {
	if c.in.batched {
		c.in.held, c.in.batched = false, false
		c.release()
	}
}

// discard reads on after our close frame, for the peer's.
func (c *Conn) discard() error {
	in := &c.in
	c.Stamps.Message.Clear()
	if in.frame != nil {
		c.abandonFrame()
	}
	for !in.broken {
		n := min(in.skip, uint64(in.w-in.r))
		in.r += int(n)
		in.skip -= n
		h, size := wire.Parse(in.unread())
		if in.skip > 0 || size == 0 {
			break
		}
		if h.Opcode() != wire.Close {
			in.broken = int64(h.Length) < 0
			in.r += size
			in.skip = h.Length
			continue
		}
		if h.Length > wire.MaxControl {
			in.broken = true
			break
		}
		if uint64(in.w-in.r-size) < h.Length {
			break
		}
		p := in.unread()[size:][:h.Length]
		in.r += size + len(p)
		if h.Masked {
			wire.Mask(p, h.Key)
		}
		return c.peerClosed(wire.ParseClose(p))
	}
	if in.broken {
		in.r = in.w
	}
	err := c.rest()
	c.Stamps.Message.Clear()
	if err == io.EOF && !c.endQuiet() {
		in.ended = true // the peer may still read, and wait for our close frame
		return ErrAgain
	}
	return err
}

// peerClosed makes the error for the peer's close frame, behind which nothing is of interest.
func (c *Conn) peerClosed(code int, reason string, err error) error {
	c.in.broken = true
	first := c.peerDone()
	switch {
	case err == nil:
		return &PeerClose{code, reason, first}
	case errors.Is(err, wire.ErrReason):
		return &Violation{Code: codeInvalid, Reason: "invalid UTF-8", Err: err}
	default:
		return &Violation{Code: codeProtocol, Reason: "invalid close frame", Err: err}
	}
}
