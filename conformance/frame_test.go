package conformance_test

// Frames one by one: their bits, opcodes, masks and lengths (RFC 6455 section 5).

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"example.com/hail/hailtest"
)

// readFrame reads a server's frame and refuses what no server may send, whatever was negotiated.
func readFrame(r *bufio.Reader) (f hailtest.Frame, err error) {
	head, err := r.Peek(2)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return f, err
	}
	f = hailtest.Frame{Fin: head[0]&0x80 != 0, RSV1: head[0]&0x40 != 0, RSV2: head[0]&0x20 != 0, RSV3: head[0]&0x10 != 0,
		Opcode: hailtest.Opcode(head[0] & 0x0F)}
	length, size, least := uint64(head[1]), 2, uint64(0)
	switch head[1] {
	case 126:
		size, least = 4, 126
	case 127:
		size, least = 10, 1<<16
	}
	head, err = r.Peek(size)
	if err != nil {
		return f, io.ErrUnexpectedEOF
	}
	switch size {
	case 4:
		length = uint64(binary.BigEndian.Uint16(head[2:]))
	case 10:
		length = binary.BigEndian.Uint64(head[2:])
	}
	r.Discard(size)
	control := f.Opcode >= hailtest.OpClose
	switch {
	case head[1]&0x80 != 0:
		return f, fmt.Errorf("masked frame: %v", f)
	case length < least || length > 1<<24:
		return f, fmt.Errorf("length %d in %d bytes", length, size)
	case control && (length > 125 || !f.Fin || f.RSV1):
		return f, fmt.Errorf("control frame of %d bytes: %v", length, f)
	case f.Opcode > hailtest.OpBinary && !control || f.Opcode > hailtest.OpPong || f.RSV2 || f.RSV3:
		return f, fmt.Errorf("reserved opcode or bit: %v", f)
	}
	f.Payload = make([]byte, length)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, io.ErrUnexpectedEOF
	}
	return f, nil
}
