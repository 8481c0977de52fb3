package link

// Compressed messages (RFC 7692 section 7.2.2), each of them by itself.

import (
	"compress/flate"
	"errors"
	"io"
	"sync"

	"example.com/hail/internal/wire"
)

const (
	// What the sender has cut off a message's end (RFC 7692 section 7.2.1).
	flushTail = "\x00\x00\xff\xff"
	// An empty final block: a stream that was whole until here ends with it.
	finalBlock = "\x01\x00\x00\xff\xff"

	// A stream more than so many needs that many bytes of content: one begins with a copy of what the next may refer to.
	freeStreams, streamContent = 64, 32
)

// errPastLimit is the inflater's for a message that is longer than it may be.
var errPastLimit = errors.New("link: message past the limit")

var errStreams = &Violation{Code: codeTooBig, Reason: "message too big",
	Err: errors.New("compressed message of many final blocks with next to no content")}

// inflater inflates one message at a time. It is large, and pooled.
type inflater struct {
	flate   io.ReadCloser // reads from the inflater
	payload []byte        // what of it has not been read
	behind  int           // bytes that were read of what follows the payload
	streams int           // begun in this message
}

var inflaters = sync.Pool{New: func() any {
	z := new(inflater)
	z.flate = flate.NewReader(z)
	return z
}}

// inflate returns the message that a compressed payload holds. With it, a message in parts has ended.
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

// inflate reads a payload into a buffer that grows with what comes out of it, and not past the limit. The buffer is the
// caller's also with an error.
func (z *inflater) inflate(payload []byte, text bool, limit int64) (*buffer, error) {
	z.payload, z.streams = payload, 0
	z.restart(nil)
	var check wire.UTF8
	buf := newBuffer(classes[0])
	for {
		buf = buf.room(1)
		free := buf.b[len(buf.b):cap(buf.b)]
		if left := limit - int64(len(buf.b)); limit >= 0 && left < int64(len(free)) {
			free = free[:left+1] // one byte past the limit tells
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

// restart begins a stream whose blocks may refer back to what came out before.
func (z *inflater) restart(out []byte) {
	z.behind = 0
	z.streams++
	// There is no error if the window fits.
	z.flate.(flate.Resetter).Reset(z, out[max(0, len(out)-wire.MaxWindow):])
}

// next is asked when a stream has ended. It begins the next one, or returns io.EOF if the message ends too.
func (z *inflater) next(out []byte) error {
	switch z.behind {
	case 0:
		// Others may follow a block that is final (RFC 7692 section 7.2.1). If none does, the empty
		// block that should be last is missing, but no data.
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
	return io.ErrUnexpectedEOF // took what follows the payload for its own
}

// ReadByte is flate's: with it flate reads no byte past a stream's end.
func (z *inflater) ReadByte() (byte, error) {
	if len(z.payload) > 0 {
		b := z.payload[0]
		z.payload = z.payload[1:]
		return b, nil
	}
	const behind = flushTail + finalBlock
	if z.behind == len(behind) {
		return 0, io.EOF
	}
	z.behind++
	return behind[z.behind-1], nil
}

// Read is flate's, for blocks that are not compressed: their lengths and their data.
func (z *inflater) Read(p []byte) (int, error) {
	switch {
	case len(z.payload) > 0:
		n := copy(p, z.payload)
		z.payload = z.payload[n:]
		return n, nil
	case len(p) == 0:
		return 0, nil
	case z.behind == len(flushTail):
		return 0, io.ErrUnexpectedEOF // data that is missing, which the final block would be taken for
	}
	b, err := z.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}
