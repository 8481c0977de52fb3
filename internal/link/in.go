package link

// Frames in: the way of the bytes from the socket to a whole message.

import (
	"errors"
	"fmt"
	"math"
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

// maxShare is how many frames are handled before other connections have theirs.
const maxShare = 256

var errNotUTF8 = errors.New("text that is not valid UTF-8")

// in is the receiving half of a connection.
type in struct {
	buf   *buffer // nil while nothing is there
	r, w  int     // buf.b[r:w] is unread
	class int     // the class of the next buffer
	share int     // frames that are left before others have theirs
	err   error   // the transport's; told when the bytes before it are used up
	ended bool    // err was told

	part    *part   // of a message; nil between two
	lent    *buffer // what the last message lies in, until the next Next
	held    bool    // replies wait for the batch's end
	batched bool    // held since the last refill

	// After our close frame.
	skip   uint64 // payload that is still to come and of no interest
	broken bool   // where a frame starts is no longer known
}

// direct reports whether what arrives is read into the place of the message that it belongs to: what is left of its frame
// would not fit into the buffer, or would cost much to copy.
func (in *in) direct() bool {
	return in.part != nil && in.part.left > min(classes[in.class], copyMost)
}

// read reads once, to where the next bytes belong, and reports whether some came.
func (c *Conn) read() bool {
	in := &c.in
	p := in.space()
	n, err := c.sock.Read(p)
	if n > 0 {
		c.traffic.In.Add(uint64(n))
		c.Stamps.Read.Set(c.cfg.Now())
		in.took(n, len(p))
	}
	if err != nil && err != poll.ErrWouldBlock {
		in.err = err
	}
	return n > 0
}

// space returns where the next bytes go. It is never empty.
func (in *in) space() []byte {
	if in.direct() {
		return in.part.room()
	}
	if in.r == in.w && in.buf != nil && len(in.buf.b) != classes[in.class] {
		in.drop()
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
	if in.direct() {
		in.part.took(n)
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
	if in.part != nil {
		in.part.place.free()
		in.dropPart()
	}
}

// Next returns the next message. Its error is ErrAgain, a *PeerClose, a *Violation or the transport's.
// Heartbeats are answered on the way.
func (c *Conn) Next() (Message, error) {
	in := &c.in
	in.lent.free()
	in.lent = nil
	for {
		if in.part != nil && in.part.inside {
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
		if in.share--; in.share == 0 {
			c.endBatch()
			return Message{}, ErrAgain
		}
		if !h.Whole() || in.part != nil && !h.Control() {
			m, ok, err := c.frame(h, n)
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
				c.begin(h, n, false)
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
		if m, ok := c.take(h, p); ok {
			return m, nil
		}
	}
}

// take hands out the payload of a whole frame, or answers it if it is a heartbeat.
func (c *Conn) take(h wire.Header, p []byte) (Message, bool) {
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
	return Message{h.Opcode() == wire.Text, p[:len(p):len(p)]}, true // what is appended to it is not the next frame
}

// keep returns the payload p, which lies in the buffer, as memory that is its receiver's: a copy, or
// the buffer's own if little else is in it.
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

// checkLength says whether a message of so many bytes on the wire is accepted.
func (c *Conn) checkLength(n uint64, compressed bool) error {
	if n > c.most(compressed) {
		return c.tooBig()
	}
	return nil
}

// most returns how many bytes a message may have on the wire. ReadLimit is for what comes out of a compressed one, but
// blocks may be without content.
func (c *Conn) most(compressed bool) uint64 {
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

func (c *Conn) tooBig() *Violation {
	return &Violation{Code: codeTooBig, Reason: "message too big",
		Err: fmt.Errorf("message of more than %d bytes (Options.ReadLimit)", c.cfg.ReadLimit)}
}

func notUTF8() *Violation {
	return &Violation{Code: codeInvalid, Reason: "invalid UTF-8", Err: errNotUTF8}
}

// refill is called when nothing whole is left: replies that were held go out, and what has arrived meanwhile is read. Its
// error is ErrAgain if that is nothing, or the transport's.
func (c *Conn) refill() error {
	in := &c.in
	c.endBatch()
	switch {
	case in.err == nil && c.read():
		return nil
	case in.err != nil:
		in.ended = true
		return in.err
	case in.r < in.w || in.part != nil:
		c.Stamps.Message.Start(c.cfg.Now())
	default:
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
