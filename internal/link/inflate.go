package link

// Compressed messages (RFC 7692 section 7.2.2), each of them by itself.

import (
	"bufio"
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

	inflateBuffer = 4 << 10

	// A stream more than so many needs that many bytes of content: one begins with a copy of what the next may refer to.
	freeStreams, streamContent = 64, 32
)

var errStreams = &Violation{Code: codeTooBig, Reason: "message too big",
	Err: errors.New("compressed message of many final blocks with next to no content")}

// inflater inflates one message at a time. It is large, and pooled.
type inflater struct {
	flate   io.ReadCloser // reads from the inflater
	payload *bufio.Reader
	behind  int // bytes that were read of what follows the payload
	streams int // begun in this message
}

var inflaters = sync.Pool{New: func() any {
	z := &inflater{payload: bufio.NewReaderSize(nil, inflateBuffer)}
	z.flate = flate.NewReader(z)
	return z
}}

// inflateAll reads a compressed message into a buffer that grows with what comes out of it, and not past the limit.
func (c *Conn) inflateAll(r io.Reader, text bool) (*buffer, error) {
	z := inflaters.Get().(*inflater)
	defer z.free()
	z.payload.Reset(r)
	z.streams = 0
	z.restart(nil)
	var check wire.UTF8
	limit := c.cfg.ReadLimit
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
			return buf, c.tooBig()
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
	// There is no error where the window fits.
	z.flate.(flate.Resetter).Reset(z, out[max(0, len(out)-wire.MaxWindow):])
}

// next is asked where a stream has ended. It begins the next one, or returns io.EOF where the message ends too.
func (z *inflater) next(out []byte) error {
	switch z.behind {
	case 0:
		// Others may follow a block that is final (RFC 7692 section 7.2.1). Where none does the empty
		// block is missing that should be last, but no data.
		if _, err := z.payload.Peek(1); err != nil {
			return err
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
	if z.behind == 0 {
		if c, err := z.payload.ReadByte(); err != io.EOF {
			return c, err
		}
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
	if z.behind == 0 {
		if n, err := z.payload.Read(p); err != io.EOF {
			return n, err
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	if z.behind == len(flushTail) {
		return 0, io.ErrUnexpectedEOF // data that is missing, which the final block would be taken for
	}
	c, err := z.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

func (z *inflater) free() {
	z.payload.Reset(nil)
	inflaters.Put(z)
}
