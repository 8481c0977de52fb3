package link

// Frames in: from the bytes of the socket to whole messages.

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"example.com/hail/internal/poll"
	"example.com/hail/internal/wire"
)

// Close codes of violations (RFC 6455 section 7.4.1).
const (
	codeProtocol = 1002
	codeInvalid  = 1007
	codeTooBig   = 1009
)

// maxFrames is how many frames are handled before other connections come first.
const maxFrames = 256

var errNotUTF8 = errors.New("text that is not valid UTF-8")

// in is the receiving half of a connection.
type in struct {
	buf         *buffer // nil while nothing is in it
	r, w        int     // buf.b[r:w] is unread
	class       int     // the class of the next buffer
	budget      int     // how many frames are left before other connections come first
	err         error   // the transport's; returned after the bytes before it
	errReturned bool

	part    *part   // of a message; nil between two messages
	lent    *buffer // holds the last message, until the next Next
	held    bool    // replies wait for the end of the batch
	batched bool    // held was set in this batch

	skip uint64 // bytes of payload that are still to be dropped
	lost bool   // where the next frame begins is not known
}

// direct reports whether bytes are read directly into the message that they belong to: the rest of the frame would not fit
// into the buffer, or would be expensive to copy.
func (in *in) direct() bool {
	return in.part != nil && in.part.left > min(classes[in.class], maxCopy)
}

// read reads once, into space, and reports whether bytes have arrived.
func (c *Conn) read() bool {
	in := &c.in
	p := in.space()
	n, err := c.sock.Read(p)
	if n > 0 {
		c.traffic.In.Add(uint64(n))
		c.Stamps.Read.Set(c.cfg.Now())
		in.advance(n, len(p))
	}
	if err != nil && err != poll.ErrWouldBlock {
		in.err = err
	}
	return n > 0
}

// space returns the memory for the next bytes. It is never empty.
func (in *in) space() []byte {
	if in.direct() {
		return in.part.space()
	}
	if in.r == in.w && in.buf != nil && len(in.buf.b) != classes[in.class] {
		in.drop()
	}
	if in.buf == nil {
		in.buf = newBuffer(classes[in.class])
		in.buf.b = in.buf.b[:cap(in.buf.b)]
	}
	if in.r > 0 {
		// The rest is the start of a single frame. It is short, or soon copied into its message.
		in.w = copy(in.buf.b, in.buf.b[in.r:in.w])
		in.r = 0
	}
	return in.buf.b[in.w:]
}

// advance notes that n bytes were read into a space of that size. It adapts the size of the next buffer to that.
func (in *in) advance(n, size int) {
	if in.direct() {
		in.part.advance(n)
		return
	}
	in.w += n
	switch {
	case n == size && in.class < 2:
		in.class++
	case in.class > 0 && n < classes[in.class-1]/2 && in.part == nil: // the rest of a message says nothing
		in.class--
	}
}

// unread returns the bytes that were read and not handled.
func (in *in) unread() []byte {
	if in.buf == nil {
		return nil
	}
	return in.buf.b[in.r:in.w]
}

// drop frees the buffer. Nothing in it may be unread.
func (in *in) drop() {
	in.buf.free()
	in.buf, in.r, in.w = nil, 0, 0
}

// free frees all memory of the receiving half.
func (in *in) free() {
	in.drop()
	in.lent.free()
	in.lent = nil
	if in.part != nil {
		in.part.buf.free()
		in.dropPart()
	}
}

// Next returns the next message. Its error is ErrAgain, a *PeerClose, a *Violation or the transport's. It answers pings.
func (c *Conn) Next() (Message, error) {
	in := &c.in
	in.lent.free()
	in.lent = nil
	for {
		if in.part != nil && in.part.inFrame {
			m, ok, err := c.collect()
			if ok || err != nil {
				return m, err
			}
			continue
		}
		b := in.unread()
		h, n := wire.Parse(b)
		if n == 0 {
			if err := c.refill(); err != nil {
				return Message{}, err
			}
			continue
		}
		if in.budget--; in.budget == 0 {
			c.endBatch()
			return Message{}, ErrAgain
		}
		if !h.Whole() || in.part != nil && !h.Control() {
			m, ok, err := c.handleFrame(h, n)
			if ok || err != nil {
				return m, err
			}
			continue
		}
		if !h.Control() {
			if err := c.checkLength(h.Length, false); err != nil {
				return Message{}, c.refuse(h, n, err)
			}
		}
		if len(b)-n < int(h.Length) {
			if !h.Control() {
				c.startMessage(h, n, false)
			} else if err := c.refill(); err != nil {
				return Message{}, err
			}
			continue
		}
		p := b[n : n+int(h.Length)]
		in.r += n + len(p)
		wire.Mask(p, h.Key)
		if h.Opcode() == wire.Text && !utf8.Valid(p) {
			return Message{}, notUTF8()
		}
		if m, ok := c.deliver(h, p); ok {
			return m, nil
		}
	}
}

// deliver returns the payload of a whole frame as a message. If the frame is a ping, it answers it.
func (c *Conn) deliver(h wire.Header, p []byte) (Message, bool) {
	c.hold(c.in.more())
	switch h.Opcode() {
	case wire.Ping, wire.Pong:
		if c.in.part == nil {
			c.Stamps.Message.Clear()
		}
		if h.Opcode() == wire.Ping {
			c.pong(p)
		}
		return Message{}, false
	}
	c.Stamps.Message.Clear()
	if !c.cfg.Reuse {
		p = c.in.keep(p)
	}
	return Message{h.Opcode() == wire.Text, p[:len(p):len(p)]}, true // an append must not overwrite the next frame
}

// keep returns the payload p, which lies in the buffer, as memory that its receiver may keep: a copy, or the buffer's own
// if little else is in it.
func (in *in) keep(p []byte) []byte {
	if in.r < in.w || len(p) < len(in.buf.b)/2 {
		return append([]byte{}, p...)
	}
	in.buf.giveAway()
	in.buf, in.r, in.w = nil, 0, 0
	return p[:len(p):len(p)]
}

// more reports whether another whole frame is in the buffer.
func (in *in) more() bool {
	b := in.unread()
	h, n := wire.Parse(b)
	return n > 0 && h.Length <= uint64(len(b)-n)
}

// checkLength returns an error if a message of so many bytes on the wire is too long.
func (c *Conn) checkLength(n uint64, compressed bool) error {
	if n > c.maxBytes(compressed) {
		return c.tooBig()
	}
	return nil
}

// maxBytes returns how many bytes a message may have on the wire. ReadLimit is for the inflated message; but blocks may have no
// content, so a compressed one has a limit too.
func (c *Conn) maxBytes(compressed bool) uint64 {
	const longest = math.MaxInt - wire.MaxHeader
	limit := uint64(c.cfg.ReadLimit)
	switch {
	case c.cfg.ReadLimit < 0:
		return longest
	case compressed:
		limit = min(limit, longest/4)*4 + 1<<10
	}
	return min(limit, longest)
}

// tooBig returns the violation of ReadLimit.
func (c *Conn) tooBig() *Violation {
	return &Violation{Code: codeTooBig, Reason: "message too big",
		Err: fmt.Errorf("message of more than %d bytes (Options.ReadLimit)", c.cfg.ReadLimit)}
}

// notUTF8 returns the violation of text that is not valid UTF-8.
func notUTF8() *Violation {
	return &Violation{Code: codeInvalid, Reason: "invalid UTF-8", Err: errNotUTF8}
}

// refill ends the batch and reads, when no whole frame is left. Its error is ErrAgain if nothing has arrived, or the
// transport's.
func (c *Conn) refill() error {
	in := &c.in
	c.endBatch()
	switch {
	case in.err == nil && c.read():
		return nil
	case in.err != nil:
		in.errReturned = true
		return in.err
	case in.r < in.w || in.part != nil:
		c.Stamps.Message.Start(c.cfg.Now())
	default:
		c.Stamps.Message.Clear()
	}
	return ErrAgain
}

// hold sets whether replies wait for the end of the batch. A batch is the frames that are handled between two reads.
func (c *Conn) hold(on bool) {
	if c.in.held != on {
		c.in.held = on
		c.in.batched = c.in.batched || on
		c.setHeld(on)
	}
}

// endBatch writes the replies that were held for the end of the batch.
func (c *Conn) endBatch() {
	if c.in.batched {
		c.in.held, c.in.batched = false, false
		c.release()
	}
}
