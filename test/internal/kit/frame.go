package kit

// Frames made by hand.

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"sync"
	"testing"

	"example.com/hail/hailtest"
	"example.com/hail/internal/wire"
)

// Message returns the bytes of a whole frame.
func Message(data []byte) []byte {
	return hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Payload: data}.Bytes()
}

// Fragments returns the bytes of a message in frames of the given sizes and a last one.
func Fragments(rsv1 bool, data []byte, sizes ...int) []byte {
	var b []byte
	opcode := hailtest.OpBinary
	for _, size := range sizes {
		b = append(b, hailtest.Frame{RSV1: rsv1, Opcode: opcode, Payload: data[:size]}.Bytes()...)
		data, opcode, rsv1 = data[size:], hailtest.OpContinuation, false
	}
	return append(b, hailtest.Frame{Fin: true, RSV1: rsv1, Opcode: opcode, Payload: data}.Bytes()...)
}

// tail is what the sender of a compressed message cuts off. last is an empty final block, so that reading ends with io.EOF.
const (
	tail = "\x00\x00\xff\xff"
	last = "\x01\x00\x00\xff\xff"
)

var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	return w
}}

// Deflate returns data as the payload of a frame with RSV1 (RFC 7692 section 7.2.1).
func Deflate(data []byte) []byte {
	w := compressors.Get().(*flate.Writer)
	defer compressors.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	w.Write(data)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(tail))
}

// Inflate reverses Deflate.
func Inflate(payload []byte) ([]byte, error) {
	return io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader(tail+last))))
}

// Inflated is Inflate of a payload that has to be right.
func Inflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	data, err := Inflate(payload)
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return data
}

// ReadFrame reads a server's frame, and returns its first byte and its payload.
func ReadFrame(r *bufio.Reader) (first byte, payload []byte, err error) {
	head, err := r.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	if head, err = r.Peek(map[byte]int{126: 4, 127: 10}[head[1]&0x7F] | 2); err != nil {
		return 0, nil, err
	}
	h, n := wire.Parse(head)
	first = head[0]
	r.Discard(n)
	payload = make([]byte, h.Length)
	_, err = io.ReadFull(r, payload)
	return first, payload, err
}

// Noise returns bytes that do not compress.
func Noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(n) + 88172645463325252
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}
