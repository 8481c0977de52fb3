package link

// Inflating compressed messages (RFC 7692 section 7.2.2), without context takeover.

import (
	"compress/flate"
	"errors"
	"io"
	"sync"

	"example.com/hail/internal/wire"
)

const (
	// The sender has removed these bytes from the end of the message (RFC 7692 section 7.2.1).
	flushTail = "\x00\x00\xff\xff"
	// An empty final block. A stream without a final block ends with it.
	finalBlock = "\x01\x00\x00\xff\xff"

	// A message may have so many streams, and one more for each so many bytes of content. Each stream costs a copy of the
	// window.
	freeStreams, streamContent = 64, 32
)

// errPastLimit is the inflater's error for a message that exceeds the limit.
var errPastLimit = errors.New("link: message past the limit")

var errStreams = &Violation{Code: codeTooBig, Reason: "message too big",
	Err: errors.New("compressed message of many final blocks with next to no content")}

// inflater inflates one message at a time. It is large, so it is pooled.
type inflater struct {
	flate    io.ReadCloser // reads from the inflater
	payload  []byte        // the part that has not been read
	tailRead int           // how many bytes of flushTail and finalBlock were read, after the payload
	streams  int           // how many this message has had
}

var inflaters = sync.Pool{New: func() any {
	z := new(inflater)
	z.flate = flate.NewReader(z)
	return z
}}

// inflate returns the message of a compressed payload.
func (c *Conn) inflate(text bool, payload []byte) (Message, error) {
	z := inflaters.Get().(*inflater)
	buf, err := z.inflate(payload, text, c.cfg.ReadLimit)
	z.payload = nil
	inflaters.Put(z)
	if err != nil {
		buf.free()
		switch err {
		case errPastLimit:
			return Message{}, c.tooBig()
		case errStreams:
			return Message{}, errStreams
		case errNotUTF8:
			return Message{}, notUTF8()
		}
		return Message{}, &Violation{Code: codeInvalid, Reason: "invalid compressed data", Err: err}
	}
	c.Stamps.Message.Clear()
	c.hold(c.in.more())
	return Message{text, c.handOver(buf, buf.b)}, nil
}

// inflate inflates a payload into a buffer, which grows with the content and not beyond the limit. The caller has to free
// the buffer, even after an error.
func (z *inflater) inflate(payload []byte, text bool, limit int64) (*buffer, error) {
	z.payload, z.streams = payload, 0
	z.restart(nil)
	var check wire.UTF8
	buf := newBuffer(classes[0])
	for {
		buf = buf.grow(1)
		free := buf.b[len(buf.b):cap(buf.b)]
		if left := limit - int64(len(buf.b)); limit >= 0 && left < int64(len(free)) {
			free = free[:left+1] // one byte more shows that the limit is exceeded
		}
		n, err := z.flate.Read(free)
		buf.b = buf.b[:len(buf.b)+n]
		if limit >= 0 && int64(len(buf.b)) > limit {
			return buf, errPastLimit
		}
		if text && !check.Write(free[:n]) {
			return buf, errNotUTF8
		}
		if err == io.EOF {
			err = z.next(buf.b)
		}
		switch {
		case err == io.EOF && text && !check.Done():
			return buf, errNotUTF8
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

// restart starts a stream. Its blocks may refer to the content that came before.
func (z *inflater) restart(out []byte) {
	z.tailRead = 0
	z.streams++
	// It returns no error: the window is not too large.
	z.flate.(flate.Resetter).Reset(z, out[max(0, len(out)-wire.MaxWindow):])
}

// next is called at the end of a stream. It starts the next one, or returns io.EOF if the message ends too.
func (z *inflater) next(out []byte) error {
	switch z.tailRead {
	case 0:
		// More blocks may follow a final one (RFC 7692 section 7.2.1). If none does, the empty block is missing that
		// should be the last, but no data.
		if len(z.payload) == 0 {
			return io.EOF
		}
		if z.streams > freeStreams+len(out)/streamContent {
			return errStreams
		}
		z.restart(out)
		return nil
	case len(flushTail), len(flushTail + finalBlock):
		return io.EOF
	}
	return io.ErrUnexpectedEOF // the stream has read a part of the tail as its data
}

// ReadByte implements io.ByteReader. So flate reads no byte after a stream's end.
func (z *inflater) ReadByte() (byte, error) {
	if len(z.payload) > 0 {
		b := z.payload[0]
		z.payload = z.payload[1:]
		return b, nil
	}
	const tail = flushTail + finalBlock
	if z.tailRead == len(tail) {
		return 0, io.EOF
	}
	z.tailRead++
	return tail[z.tailRead-1], nil
}

// Read implements io.Reader. flate reads the lengths and the data of uncompressed blocks with it.
func (z *inflater) Read(p []byte) (int, error) {
	switch {
	case len(z.payload) > 0:
		n := copy(p, z.payload)
		z.payload = z.payload[n:]
		return n, nil
	case len(p) == 0:
		return 0, nil
	case z.tailRead == len(flushTail):
		return 0, io.ErrUnexpectedEOF // data is missing, and finalBlock must not stand for it
	}
	b, err := z.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}
