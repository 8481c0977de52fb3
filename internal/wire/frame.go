// Package wire turns WebSocket frames into bytes and back (RFC 6455 section 5).
// It does no I/O, starts no goroutine and keeps no state between calls.
package wire

import (
	"encoding/binary"
	"math"
)

// Opcodes of RFC 6455 section 11.8.
const (
	Continuation = 0x0
	Text         = 0x1
	Binary       = 0x2
	Close        = 0x8
	Ping         = 0x9
	Pong         = 0xA
)

// Bits of a frame's first byte.
const (
	Fin        = 0x80
	RSV1       = 0x40
	rsvBits    = 0x70
	opcodeBits = 0x0F
	controlBit = 0x08
)

const (
	// MaxControl is the longest payload of a control frame (RFC 6455 section 5.5).
	MaxControl = 125
	// MaxHeader is the longest header of a frame: two bytes, a 64 bit length and a mask.
	MaxHeader = 14

	maskBit  = 0x80
	length16 = 126
	length64 = 127
)

// Header is a frame's header.
type Header struct {
	First  byte   // FIN, RSV1 to RSV3 and the opcode
	Masked bool   // whether there is a Key
	Key    uint32 // the masking key, its first byte lowest
	Length uint64 // of the payload; as sent, so its top bit may be set
	Long   bool   // the length is in more bytes than it needs, which is illegal
}

// Parse reads the header at the start of b and returns its size in bytes,
// 0 if b is too short to hold all of it.
func Parse(b []byte) (h Header, n int) {
	if len(b) < 2 {
		return h, 0
	}
	h.First = b[0]
	h.Masked = b[1]&maskBit != 0
	n = 2
	switch length := b[1] &^ maskBit; length {
	case length16:
		if len(b) < 4 {
			return h, 0
		}
		h.Length, n = uint64(binary.BigEndian.Uint16(b[2:])), 4
		h.Long = h.Length < length16
	case length64:
		if len(b) < 10 {
			return h, 0
		}
		h.Length, n = binary.BigEndian.Uint64(b[2:]), 10
		h.Long = h.Length <= math.MaxUint16
	default:
		h.Length = uint64(length)
	}
	if h.Masked {
		if len(b) < n+4 {
			return h, 0
		}
		h.Key = binary.LittleEndian.Uint32(b[n:])
		n += 4
	}
	return h, n
}

// Opcode returns the frame's opcode.
func (h Header) Opcode() byte { return h.First & opcodeBits }

// Control reports whether the opcode is a control frame's, known or not.
func (h Header) Control() bool { return h.First&controlBit != 0 }

// Compressed reports whether RSV1 is set, permessage-deflate's mark (RFC 7692 section 6).
func (h Header) Compressed() bool { return h.First&RSV1 != 0 }

// Whole reports whether the frame is, by itself, a legal message or heartbeat from a client:
// final, masked, no RSV bit, a length in the fewest bytes, and text, binary, ping or pong.
func (h Header) Whole() bool {
	if !h.Masked || h.Long || int64(h.Length) < 0 {
		return false
	}
	switch h.First {
	case Fin | Text, Fin | Binary:
		return true
	case Fin | Ping, Fin | Pong:
		return h.Length <= MaxControl
	}
	return false
}

// AppendHeader appends the header of an unmasked frame, as a server sends it.
func AppendHeader(dst []byte, first byte, length int) []byte {
	switch {
	case length <= MaxControl:
		return append(dst, first, byte(length))
	case length <= math.MaxUint16:
		return append(dst, first, length16, byte(length>>8), byte(length))
	default:
		dst = append(dst, first, length64)
		return binary.BigEndian.AppendUint64(dst, uint64(length))
	}
}

// AppendFrame appends an unmasked frame, as a server sends it.
func AppendFrame(dst []byte, first byte, payload []byte) []byte {
	return append(AppendHeader(dst, first, len(payload)), payload...)
}

// FrameSize returns the size of an unmasked frame with a payload of this length.
func FrameSize(length int) int {
	switch {
	case length <= MaxControl:
		return 2 + length
	case length <= math.MaxUint16:
		return 4 + length
	default:
		return 10 + length
	}
}
