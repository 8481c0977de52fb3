package hailtest

// Frames for tests: every bit can be set, right or wrong.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"example.com/hail"
)

// Opcode is the opcode of a frame (RFC 6455, section 5.2).
type Opcode byte

// The opcodes that RFC 6455 defines.
const (
	OpContinuation Opcode = 0
	OpText         Opcode = 1
	OpBinary       Opcode = 2
	OpClose        Opcode = 8
	OpPing         Opcode = 9
	OpPong         Opcode = 10
)

// String returns the opcode's name in the RFC.
func (o Opcode) String() string {
	switch o {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return fmt.Sprintf("opcode %#x", byte(o))
}

func (o Opcode) control() bool { return o >= 8 }

// Frame is a frame to send or one that was read (RFC 6455, section 5.2).
//
// The fields after Payload only say how [Frame.Bytes] builds the frame. They are zero in a frame that was
// read.
type Frame struct {
	Fin              bool
	RSV1, RSV2, RSV3 bool
	Opcode           Opcode
	Payload          []byte // unmasked

	Unmasked   bool    // send without a mask, which is illegal for a client
	Key        [4]byte // the masking key; default: a random one
	Length     uint64  // the length to claim; default: the payload's
	LengthSize int     // 2 or 8: the bytes of the extended length, even if fewer suffice; default: the fewest
}

// CloseFrame returns a close frame with a code and a reason, or with an empty payload if code is
// [hail.StatusNoStatusRcvd].
func CloseFrame(code hail.StatusCode, reason string) Frame {
	f := Frame{Fin: true, Opcode: OpClose}
	if code != hail.StatusNoStatusRcvd {
		f.Payload = append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	}
	return f
}

// CloseError returns the code and the reason in a close frame's payload. The code is 1005 if there is
// none.
func (f Frame) CloseError() hail.CloseError {
	if len(f.Payload) < 2 {
		return hail.CloseError{Code: hail.StatusNoStatusRcvd}
	}
	return hail.CloseError{
		Code:   hail.StatusCode(binary.BigEndian.Uint16(f.Payload)),
		Reason: string(f.Payload[2:]),
	}
}

// String returns the frame's header and the start of its payload, for a failure's message.
func (f Frame) String() string {
	s := f.Opcode.String()
	for _, bit := range []struct {
		set  bool
		name string
	}{{f.Fin, "FIN"}, {f.RSV1, "RSV1"}, {f.RSV2, "RSV2"}, {f.RSV3, "RSV3"}} {
		if bit.set {
			s += " " + bit.name
		}
	}
	return fmt.Sprintf("%s, %s", s, clip(f.Payload))
}

// Bytes returns the frame's bytes on the wire. Join frames that are to travel together with
// [slices.Concat].
func (f Frame) Bytes() []byte {
	b := []byte{byte(f.Opcode) & 0x0f}
	for i, set := range []bool{f.RSV3, f.RSV2, f.RSV1, f.Fin} {
		if set {
			b[0] |= 0x10 << i
		}
	}
	b = f.appendLength(b)
	if f.Unmasked {
		return append(b, f.Payload...)
	}
	b[1] |= 0x80
	key := f.Key
	if key == [4]byte{} {
		binary.NativeEndian.PutUint32(key[:], rand.Uint32())
	}
	b = append(b, key[:]...)
	for i, c := range f.Payload {
		b = append(b, c^key[i%4])
	}
	return b
}

func (f Frame) appendLength(b []byte) []byte {
	n := f.Length
	if n == 0 {
		n = uint64(len(f.Payload))
	}
	switch {
	case f.LengthSize == 8, f.LengthSize == 0 && n > 0xffff:
		return binary.BigEndian.AppendUint64(append(b, 127), n)
	case f.LengthSize == 2, f.LengthSize == 0 && n > 125:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	case f.LengthSize == 0:
		return append(b, byte(n))
	}
	panic(fmt.Sprintf("hailtest: Frame.LengthSize is %d, want 0, 2 or 8", f.LengthSize))
}

// violation is a server's breach of RFC 6455.
type violation string

func (v violation) Error() string { return "the server broke the protocol: " + string(v) }

// readFrame reads one frame of a server. It fails on a mask and on a length that is not minimal.
func readFrame(r *bufio.Reader) (Frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{
		Fin:    head[0]&0x80 != 0,
		RSV1:   head[0]&0x40 != 0,
		RSV2:   head[0]&0x20 != 0,
		RSV3:   head[0]&0x10 != 0,
		Opcode: Opcode(head[0] & 0x0f),
	}
	if head[1]&0x80 != 0 {
		return f, violation("a masked frame")
	}
	n, err := readLength(r, head[1])
	if err != nil {
		return f, err
	}
	// The buffer grows with the bytes that arrive: a length alone costs nothing.
	var payload bytes.Buffer
	if _, err := io.CopyN(&payload, r, int64(n)); err != nil {
		return f, unexpectedEOF(err)
	}
	f.Payload = payload.Bytes()
	return f, nil
}

func readLength(r *bufio.Reader, first byte) (uint64, error) {
	size, least := 0, uint64(0)
	switch first {
	case 126:
		size, least = 2, 126
	case 127:
		size, least = 8, 0x10000
	default:
		return uint64(first), nil
	}
	var b [8]byte
	if _, err := io.ReadFull(r, b[8-size:]); err != nil {
		return 0, unexpectedEOF(err)
	}
	n := binary.BigEndian.Uint64(b[:])
	if n < least || n > 1<<63-1 {
		return n, violation(fmt.Sprintf("length %d in %d bytes", n, size))
	}
	return n, nil
}

func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// clip quotes the start of b.
func clip(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("%q... (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}
