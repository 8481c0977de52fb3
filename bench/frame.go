package main

// Frames and messages as bytes: the load's requests, and the expected replies.

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// payload returns the content of a message: ASCII, which compresses like JSON if the case asks for compression.
func payload(size int, compress bool) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		if compress {
			fmt.Fprintf(&b, `{"id":%d,"name":"user-%x","at":%d,"text":"%x"},`, i, i*7919, 1700000000+i*37, uint64(i+1)*0x9E3779B97F4A7C15)
		} else {
			b.WriteByte(' ' + byte(i*31%95))
		}
	}
	return b.Bytes()[:size]
}

// clientFrame returns p as a masked text frame.
func clientFrame(p []byte, compress bool) []byte {
	first := byte(0x81)
	if compress {
		var z bytes.Buffer
		w, _ := flate.NewWriter(&z, flate.BestSpeed) // it fails only if the level is wrong
		w.Write(p)
		w.Flush()
		first, p = first|0x40, z.Bytes()[:z.Len()-4]
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	frame := appendHeader(nil, first, 0x80, len(p))
	frame = append(frame, key[:]...)
	for i, c := range p {
		frame = append(frame, c^key[i%4])
	}
	return frame
}

// serverFrame returns p as the text frame that a server sends.
func serverFrame(p []byte) []byte { return append(appendHeader(nil, 0x81, 0, len(p)), p...) }

func appendHeader(b []byte, first, mask byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, first, mask|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, first, mask|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, first, mask|127), uint64(n))
}

// message is a server's message, in one frame or several.
type message struct {
	content    []byte
	compressed bool
	size       int // with the headers of all frames
}

var errPartial = errors.New("the message is not whole yet")

// parseMessage returns the text message that b begins with, errPartial if b ends before it does.
func parseMessage(b []byte) (message, error) {
	m := message{}
	for first := true; ; first = false {
		rest := b[m.size:]
		header, size := parseHeader(rest)
		if header == 0 || len(rest) < header+size {
			return message{}, errPartial
		}
		opcode := rest[0] & 0x0F
		if first != (opcode == 1) || !first && opcode != 0 {
			return message{}, fmt.Errorf("a frame of opcode %d, first %t", opcode, first)
		}
		m.compressed = m.compressed || rest[0]&0x40 != 0
		m.content = append(m.content, rest[header:header+size]...)
		m.size += header + size
		if rest[0]&0x80 != 0 {
			return m, m.inflate()
		}
	}
}

// parseHeader returns the sizes of the header and the payload of an unmasked frame, 0 if b is too short.
func parseHeader(b []byte) (header, size int) {
	switch {
	case len(b) >= 2 && b[1] < 126:
		return 2, int(b[1])
	case len(b) >= 4 && b[1] == 126:
		return 4, int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= 10 && b[1] == 127:
		return 10, int(binary.BigEndian.Uint64(b[2:]))
	}
	return 0, 0
}

// counter counts the messages of a stream.
type counter struct {
	head  [10]byte // of the current frame
	have  int      // bytes of head that have arrived
	left  int      // bytes of the frame that have not arrived
	final bool     // the frame ends a message
}

// count returns how many messages end in b.
func (c *counter) count(b []byte) (n int) {
	for len(b) > 0 {
		if c.left == 0 {
			c.head[c.have] = b[0]
			c.have++
			b = b[1:]
			header, size := parseHeader(c.head[:c.have])
			if header == 0 {
				continue
			}
			c.left, c.final, c.have = size, c.head[0]&0x80 != 0, 0
		}
		some := min(c.left, len(b))
		c.left -= some
		b = b[some:]
		if c.left == 0 && c.final {
			n++
		}
	}
	return n
}

func (m *message) inflate() error {
	if !m.compressed {
		return nil
	}
	const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff" // the bytes that the sender cut off (RFC 7692 section 7.2.2), and a final block
	var err error
	m.content, err = io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(m.content), bytes.NewReader([]byte(tail)))))
	return err
}

// check returns an error if m is not the echo of want.
func (m *message) check(want []byte, compress bool) error {
	switch {
	case !bytes.Equal(m.content, want):
		return fmt.Errorf("the reply is not the request: %d bytes, not %d", len(m.content), len(want))
	case m.compressed != compress:
		return fmt.Errorf("the reply is compressed: %t, not %t", m.compressed, compress)
	case compress && m.size > len(want)/4*3:
		return fmt.Errorf("the reply is hardly compressed: %d bytes", m.size)
	}
	return nil
}
