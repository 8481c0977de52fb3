package link

// Frames that are not a whole message or heartbeat by themselves, and messages of which only a part has arrived: a frame in
// parts, or fragments.

import (
	"bytes"
	"sync"

	"example.com/hail/internal/wire"
)

const (
	// From this size on, the memory of a frame grows with what has arrived: a header alone gets no more.
	firstPiece = 256 << 10
	// The rest of a frame that is longer than this is read into its place. To copy a shorter one costs less than a read more.
	copyMost = 16 << 10
)

// frame handles a frame that is compressed, one of several, a close, or illegal. Its header has n bytes.
func (c *Conn) frame(h wire.Header, n int) (m Message, ok bool, err error) {
	in := &c.in
	b := in.unread()
	switch {
	case int64(h.Length) < 0:
		return m, false, c.judge(b[:n])
	case h.Long: // which the engine does not refuse
		return m, false, c.refuse(h, n, &Violation{Code: codeProtocol, Reason: "protocol error", Err: errLong})
	case h.Control():
		return m, false, c.closeFrame(h, n)
	}
	compressed := c.deflates && in.part == nil && h.Compressed() && h.Opcode() != wire.Continuation
	if err := c.checkFrame(h, compressed); err != nil {
		return m, false, c.refuse(h, n, err)
	}
	if compressed {
		h.First &^= wire.RSV1
		b[0] = h.First // for the engine, which has not negotiated it
	}
	final := h.First&wire.Fin != 0
	switch op := h.First &^ wire.Fin; {
	case !h.Masked:
	case op == wire.Continuation && in.part != nil:
		in.part.enter(h)
		in.r += n
		return c.collect()
	case op != wire.Text && op != wire.Binary || in.part != nil:
	case compressed && final && h.Length <= uint64(len(b)-n):
		p := b[n:][:h.Length]
		in.r += n + len(p)
		wire.Mask(p, h.Key)
		m, err := c.inflate(op == wire.Text, p)
		return m, err == nil, err
	default:
		c.begin(h, n, compressed)
		return c.collect()
	}
	return m, false, c.judge(b[:n])
}

// closeFrame handles a control frame that is not a legal heartbeat.
func (c *Conn) closeFrame(h wire.Header, n int) error {
	b := c.in.unread()
	if h.First != wire.Fin|wire.Close || !h.Masked || h.Length > wire.MaxControl {
		return c.judge(b[:n])
	}
	if uint64(len(b)-n) < h.Length {
		return c.refill()
	}
	b = b[:n+int(h.Length)]
	p := bytes.Clone(b[n:]) // the engine gets the masked one
	wire.Mask(p, h.Key)
	code, reason, err := wire.ParseClose(p)
	if err != nil && err != wire.ErrReason { // at which the engine does not look
		return c.judge(b)
	}
	c.in.r += len(b)
	return c.peerClosed(code, reason, err)
}

// checkFrame says whether the next frame of a message is accepted, by its header.
func (c *Conn) checkFrame(h wire.Header, compressed bool) error {
	total := h.Length
	if p := c.in.part; p != nil {
		total, compressed = total+p.total, p.compressed
	}
	return c.checkLength(total, compressed)
}

// refuse skips a frame, and drops the message that it belongs to.
func (c *Conn) refuse(h wire.Header, n int, why error) error {
	if c.in.part != nil {
		c.abandon()
	}
	c.in.r += n
	c.in.skip = h.Length
	return why
}

// part is the part of a message that has arrived.
type part struct {
	text       bool
	compressed bool // its bytes are inflated when all have come

	// Of the current frame.
	inside bool // it has not ended
	final  bool
	left   int // bytes of the payload that have not been read
	key    uint32

	total uint64  // bytes of the message, by the headers so far
	data  []byte  // the payload so far
	clear int     // bytes of data that are unmasked and checked
	place *buffer // that data lies in, from the pool
	own   bool    // in place of it, data has memory of its own, which is the receiver's in the end
	least int     // bytes of memory that are given at once, if the header asks for them
	most  int     // bytes that data may have
	utf8  wire.UTF8
}

var parts sync.Pool

// begin begins a message with the first frame, whose header has n bytes.
func (c *Conn) begin(h wire.Header, n int, compressed bool) {
	p, _ := parts.Get().(*part)
	if p == nil {
		p = new(part)
	}
	*p = part{text: h.Opcode() == wire.Text, compressed: compressed, least: classes[0], most: int(c.most(compressed))}
	if h.First&wire.Fin != 0 && !compressed {
		p.own, p.least = !c.cfg.Reuse, firstPiece
	}
	c.in.part = p
	c.Stamps.Message.Start(c.cfg.Now())
	p.enter(h)
	c.in.r += n
}

// enter begins a frame of the message.
func (p *part) enter(h wire.Header) {
	p.inside, p.final, p.left, p.key = true, h.First&wire.Fin != 0, int(h.Length), h.Key
	p.total += h.Length
}

// collect adds what has arrived of the current frame, and returns the message with its last byte.
func (c *Conn) collect() (m Message, ok bool, err error) {
	in, p := &c.in, c.in.part
	for p.left > 0 && in.r < in.w {
		n := copy(p.room(), in.unread())
		p.took(n)
		in.r += n
	}
	fresh := p.data[p.clear:]
	p.key = wire.Mask(fresh, p.key)
	p.clear = len(p.data)
	whole := p.final && p.left == 0
	if p.text && !p.compressed && (!p.utf8.Write(fresh) || whole && !p.utf8.Done()) {
		c.abandon()
		return m, false, notUTF8()
	}
	switch {
	case whole:
		return c.assembled()
	case p.left > 0:
		return m, false, c.refill()
	default:
		p.inside = false
		return m, false, nil
	}
}

// room returns where the next bytes of the frame go. It is never empty while some are left.
func (p *part) room() []byte {
	if len(p.data) == cap(p.data) {
		p.grow()
	}
	free := p.data[len(p.data):cap(p.data)]
	return free[:min(len(free), p.left)]
}

// took notes that n bytes were put into the room.
func (p *part) took(n int) {
	p.data = p.data[:len(p.data)+n]
	p.left -= n
}

// grow makes room for more of the frame: for all of it, or for as much as has arrived so far.
func (p *part) grow() {
	have := len(p.data)
	size := min(have+p.left, max(p.least, 2*have))
	if !p.final {
		size = max(size, min(2*have, p.most)) // many small fragments do not copy all each time
	}
	if p.own {
		p.data = append(make([]byte, 0, size), p.data...)
		return
	}
	var larger *buffer
	if p.compressed && size > classes[2] {
		larger = exactBuffer(size) // it may have several times ReadLimit, and not that rounded up
	} else {
		larger = newBuffer(size)
	}
	larger.b = append(larger.b, p.data...)
	p.place.free()
	p.place, p.data = larger, larger.b
}

// assembled ends the message, of which all has arrived.
func (c *Conn) assembled() (m Message, ok bool, err error) {
	p := c.in.part
	place, data := p.place, p.data
	m.Text = p.text
	compressed, own := p.compressed, p.own
	c.in.dropPart()
	if compressed {
		m, err = c.inflate(m.Text, data)
		place.free()
		return m, err == nil, err
	}
	c.Stamps.Message.Clear()
	c.hold(c.in.more())
	if own {
		m.Data = data
	} else {
		m.Data = c.handOver(place, data)
	}
	return m, true, nil
}

// handOver returns data, which lies in buf, as memory that its receiver may use: buf's own until the next Next, or a copy.
func (c *Conn) handOver(buf *buffer, data []byte) []byte {
	if c.cfg.Reuse {
		c.in.lent = buf
		return data[:len(data):len(data)]
	}
	data = append([]byte{}, data...)
	buf.free()
	return data
}

// abandon drops the message. What is still to come of its frame is skipped.
func (c *Conn) abandon() {
	p := c.in.part
	c.in.skip = uint64(p.left)
	p.place.free()
	c.in.dropPart()
}

func (in *in) dropPart() {
	*in.part = part{}
	parts.Put(in.part)
	in.part = nil
}
