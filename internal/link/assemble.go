package link

// Frames that are not a whole message or heartbeat by themselves, and messages of which only a part has arrived: a part of
// a frame, or fragments.

import (
	"bytes"
	"sync"

	"example.com/hail/internal/wire"
)

const (
	// From this size on the memory of a frame grows with the bytes that have arrived. So a header alone costs no more.
	firstPiece = 256 << 10
	// If more than this is left of a frame, it is read directly into the message. To copy less costs less than one more
	// read.
	maxCopy = 16 << 10
)

// handleFrame handles a frame that is compressed, a fragment, a close, or illegal. Its header has n bytes.
func (c *Conn) handleFrame(h wire.Header, n int) (m Message, ok bool, err error) {
	in := &c.in
	b := in.unread()
	switch {
	case int64(h.Length) < 0:
		return m, false, c.judge(b[:n])
	case h.Long: // the engine does not refuse this
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
		b[0] = h.First // for the engine, which has not negotiated compression
	}
	final := h.First&wire.Fin != 0
	switch op := h.First &^ wire.Fin; {
	case !h.Masked:
	case op == wire.Continuation && in.part != nil:
		in.part.startFrame(h)
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
		c.startMessage(h, n, compressed)
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
	p := bytes.Clone(b[n:]) // the engine gets the masked payload
	wire.Mask(p, h.Key)
	code, reason, err := wire.ParseClose(p)
	if err != nil && err != wire.ErrReason { // the engine does not check the reason
		return c.judge(b)
	}
	c.in.r += len(b)
	return c.peerClosed(code, reason, err)
}

// checkFrame checks the header of the next frame of a message against the limits.
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
		c.dropMessage()
	}
	c.in.r += n
	c.in.skip = h.Length
	return why
}

// part is the part of a message that has arrived.
type part struct {
	text       bool
	compressed bool // it is inflated when all of it has arrived

	// The current frame.
	inFrame bool // it has not ended
	final   bool
	left    int // bytes of its payload that have not been read
	key     uint32

	total    uint64  // the message's bytes, by the headers so far
	data     []byte  // the payload so far
	checked  int     // data[:checked] is unmasked, and text is checked
	buf      *buffer // holds data, unless unpooled
	unpooled bool    // data has memory of its own, which the receiver gets
	minSize  int     // the memory that is allocated at once, if the header claims as much
	maxSize  int     // bytes that data may have
	utf8     wire.UTF8
}

var parts sync.Pool

// startMessage starts a message with its first frame. The header has n bytes.
func (c *Conn) startMessage(h wire.Header, n int, compressed bool) {
	p, _ := parts.Get().(*part)
	if p == nil {
		p = new(part)
	}
	*p = part{text: h.Opcode() == wire.Text, compressed: compressed, minSize: classes[0], maxSize: int(c.maxBytes(compressed))}
	if h.First&wire.Fin != 0 && !compressed {
		p.unpooled, p.minSize = !c.cfg.Reuse, firstPiece
	}
	c.in.part = p
	c.Stamps.Message.Start(c.cfg.Now())
	p.startFrame(h)
	c.in.r += n
}

// startFrame starts a frame of the message.
func (p *part) startFrame(h wire.Header) {
	p.inFrame, p.final, p.left, p.key = true, h.First&wire.Fin != 0, int(h.Length), h.Key
	p.total += h.Length
}

// collect adds the bytes of the current frame that have arrived. It returns the message after its last byte.
func (c *Conn) collect() (m Message, ok bool, err error) {
	in, p := &c.in, c.in.part
	for p.left > 0 && in.r < in.w {
		n := copy(p.space(), in.unread())
		p.advance(n)
		in.r += n
	}
	fresh := p.data[p.checked:]
	p.key = wire.Mask(fresh, p.key)
	p.checked = len(p.data)
	whole := p.final && p.left == 0
	if p.text && !p.compressed && (!p.utf8.Write(fresh) || whole && !p.utf8.Done()) {
		c.dropMessage()
		return m, false, notUTF8()
	}
	switch {
	case whole:
		return c.assembled()
	case p.left > 0:
		return m, false, c.refill()
	default:
		p.inFrame = false
		return m, false, nil
	}
}

// space returns the memory for the next bytes of the frame. It is not empty while some are left.
func (p *part) space() []byte {
	if len(p.data) == cap(p.data) {
		p.grow()
	}
	free := p.data[len(p.data):cap(p.data)]
	return free[:min(len(free), p.left)]
}

// advance notes that n bytes were put into the space.
func (p *part) advance(n int) {
	p.data = p.data[:len(p.data)+n]
	p.left -= n
}

// grow makes space for more of the frame: for all of it, or for as much as has arrived so far.
func (p *part) grow() {
	have := len(p.data)
	size := min(have+p.left, max(p.minSize, 2*have))
	if !p.final {
		size = max(size, min(2*have, p.maxSize)) // so that many small fragments do not copy everything each time
	}
	if p.unpooled {
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
	p.buf.free()
	p.buf, p.data = larger, larger.b
}

// assembled returns the message, all of which has arrived.
func (c *Conn) assembled() (m Message, ok bool, err error) {
	p := c.in.part
	buf, data := p.buf, p.data
	m.Text = p.text
	compressed, unpooled := p.compressed, p.unpooled
	c.in.dropPart()
	if compressed {
		m, err = c.inflate(m.Text, data)
		buf.free()
		return m, err == nil, err
	}
	c.Stamps.Message.Clear()
	c.hold(c.in.more())
	if unpooled {
		m.Data = data
	} else {
		m.Data = c.handOver(buf, data)
	}
	return m, true, nil
}

// handOver returns data, which lies in buf, as memory for its receiver: buf's own, which is valid until the next Next, or a
// copy.
func (c *Conn) handOver(buf *buffer, data []byte) []byte {
	if c.cfg.Reuse {
		c.in.lent = buf
		return data[:len(data):len(data)]
	}
	data = append([]byte{}, data...)
	buf.free()
	return data
}

// dropMessage drops the message. The rest of its frame is skipped.
func (c *Conn) dropMessage() {
	p := c.in.part
	c.in.skip = uint64(p.left)
	p.buf.free()
	c.in.dropPart()
}

// dropPart puts the part back into its pool.
func (in *in) dropPart() {
	*in.part = part{}
	parts.Put(in.part)
	in.part = nil
}
