package kit

// Frames made by hand.

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"testing"

	"example.com/hail/hailtest"
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

const deflateTail = "\x00\x00\xff\xff"

// Deflated returns data as the payload of a frame with RSV1.
func Deflated(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
}

// Inflated reverses Deflated.
func Inflated(t *testing.T, payload []byte) []byte {
	t.Helper()
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader(deflateTail+"\x01\x00\x00\xff\xff")))
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return data
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
