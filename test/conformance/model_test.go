package conformance_test

// A model of RFC 6455 and RFC 7692: the outcome of a client's bytes. It is simple because it has the whole stream.

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"slices"
	"unicode/utf8"

	"example.com/hail/hailtest"
)

// outcome is what a server has to do with a client's bytes.
type outcome struct {
	messages []string // their echoes, as show formats them
	pongs    []string
	ends     []int // the legal close codes; 1006 stands for no close frame
}

const lost = 1006

// model reads a client's stream.
type model struct {
	outcome
	limit    int
	deflate  bool // permessage-deflate was negotiated
	rest     []byte
	message  []byte // so far
	opcode   byte   // of the message; 0: none has begun
	deflated bool
}

// read returns the outcome of the bytes b, after which the client half-closes.
func read(b []byte, limit int, deflate bool) outcome {
	m := model{limit: limit, deflate: deflate, rest: b}
	for m.ends == nil {
		m.frame()
	}
	if m.opcode != 0 && m.deflated {
		// Besides: data that does not inflate, or inflates past the limit, may show before its end.
		m.ends = append(m.ends, 1007, 1009)
	}
	return m.outcome
}

// frame reads one frame, or sets ends.
func (m *model) frame() {
	if len(m.rest) < 2 {
		m.ends = []int{lost}
		return
	}
	first, op := m.rest[0], m.rest[0]&0x0F
	head, length, minimum := 2, uint64(m.rest[1]&0x7F), uint64(0)
	switch length {
	case 126:
		head, minimum = 4, 126
	case 127:
		head, minimum = 10, 65536
	}
	masked := m.rest[1]&0x80 != 0
	size := head
	if masked {
		size += 4
	}
	if len(m.rest) < size {
		m.ends = []int{lost}
		return
	}
	switch head {
	case 4:
		length = uint64(binary.BigEndian.Uint16(m.rest[2:]))
	case 10:
		length = binary.BigEndian.Uint64(m.rest[2:])
	}
	payload := m.rest[size:]
	whole := uint64(len(payload)) >= length
	if whole {
		payload = payload[:length]
	}
	payload = bytes.Clone(payload)
	if masked {
		for i := range payload {
			payload[i] ^= m.rest[size-4+i%4]
		}
	}
	control := op >= 8
	over := !control && length < 1<<63 && (length > uint64(m.limit) || uint64(len(m.message))+length > uint64(m.limit))
	switch {
	case length < minimum, length >= 1<<63, !masked, !m.legal(first), control && (first&0x80 == 0 || length > 125):
		m.ends = []int{1002}
		if over {
			m.ends = append(m.ends, 1009) // also true
		}
		if !whole {
			m.ends = append(m.ends, lost) // the server need not wait for it
		}
		return
	case control && !whole:
		m.ends = []int{lost}
		return
	case control:
		m.control(op, payload)
	default:
		m.data(first, payload, whole, over)
	}
	m.rest = m.rest[min(len(m.rest), size+len(payload)):]
}

// legal reports whether a frame may begin like this.
func (m *model) legal(first byte) bool {
	op := first & 0x0F
	switch {
	case first&0x30 != 0, op > 2 && op < 8, op > 10:
		return false
	case op < 8 && (op == 0) != (m.opcode != 0):
		return false
	case first&0x40 != 0:
		return m.deflate && (op == 1 || op == 2)
	}
	return true
}

func (m *model) control(op byte, payload []byte) {
	switch op {
	case 9:
		m.pongs = append(m.pongs, show(control(hailtest.OpPong, string(payload))))
	case 8:
		switch {
		case len(payload) == 0:
			m.ends = []int{1005}
		case len(payload) == 1 || !legalCode(int(binary.BigEndian.Uint16(payload))):
			m.ends = []int{1002}
		case !utf8.Valid(payload[2:]):
			m.ends = []int{1007}
		default:
			m.ends = []int{int(binary.BigEndian.Uint16(payload))}
		}
	}
}

func (m *model) data(first byte, payload []byte, whole, over bool) {
	if op := first & 0x0F; op != 0 {
		m.opcode, m.message, m.deflated = op, nil, first&0x40 != 0
	}
	m.message = append(m.message, payload...)
	fin := first&0x80 != 0 && whole
	switch {
	case m.deflated && fin:
		m.inflate()
	case m.deflated:
	case over:
		m.ends = []int{1009}
	case m.opcode == 1 && (impossible(string(m.message)) < len(m.message) || fin && !utf8.Valid(m.message)):
		m.ends = []int{1007}
	}
	if m.ends == nil && !whole {
		m.ends = []int{lost}
	}
	if m.ends == nil && fin {
		m.messages = append(m.messages, show(hailtest.Frame{Fin: true, Opcode: hailtest.Opcode(m.opcode), Payload: m.message}))
		m.opcode, m.message = 0, nil
	}
}

// inflate replaces a compressed message by its inflated bytes (RFC 7692 section 7.2.2).
func (m *model) inflate() {
	const tail, final = "\x00\x00\xff\xff", "\x01\x00\x00\xff\xff"
	in := append(bytes.Clone(m.message), tail+final...)
	var out []byte
	for r := bytes.NewReader(in); ; {
		window := out[max(0, len(out)-32<<10):]
		data, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(r, window), int64(m.limit+1-len(out))))
		out = append(out, data...)
		switch {
		case len(out) > m.limit:
			m.ends = []int{1007, 1009} // may be broken after that
			return
		case err != nil:
			m.ends = []int{1007}
			return
		case r.Len() > len(tail+final):
			continue // after a block with BFINAL
		case r.Len() != 0 && r.Len() != len(final) && r.Len() != len(tail+final),
			m.opcode == 1 && !utf8.Valid(out),
			r.Len() == 0 && bytes.HasSuffix(out, []byte(tail+final)): // a block that has them as its data
			m.ends = []int{1007}
			return
		}
		m.message, m.deflated = out, false
		return
	}
}

// allows reports whether the outcome may have this close code; lost stands for none.
func (o outcome) allows(code int) bool { return slices.Contains(o.ends, code) }
