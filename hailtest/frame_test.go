package hailtest_test

import (
	"bytes"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestFrameBytes(t *testing.T) {
	t.Parallel()
	hello := []byte("Hello")
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	// The first two are the examples of RFC 6455, section 5.7.
	for name, test := range map[string]struct {
		frame hailtest.Frame
		want  string
	}{
		"unmasked":       {hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: hello, Unmasked: true}, "\x81\x05Hello"},
		"masked":         {hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: hello, Key: key}, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"},
		"fragment":       {hailtest.Frame{Opcode: hailtest.OpBinary, Unmasked: true}, "\x02\x00"},
		"reserved bits":  {hailtest.Frame{RSV1: true, RSV3: true, Unmasked: true}, "\x50\x00"},
		"second bit":     {hailtest.Frame{RSV2: true, Opcode: 0xf, Unmasked: true}, "\x2f\x00"},
		"claimed length": {hailtest.Frame{Fin: true, Payload: hello, Length: 300, Unmasked: true}, "\x80\x7e\x01\x2cHello"},
		"top bit":        {hailtest.Frame{Length: 1 << 63, Unmasked: true}, "\x00\x7f\x80\x00\x00\x00\x00\x00\x00\x00"},
		"long length":    {hailtest.Frame{Payload: hello, LengthSize: 2, Unmasked: true}, "\x00\x7e\x00\x05Hello"},
		"longest length": {hailtest.Frame{Payload: hello, LengthSize: 8, Unmasked: true}, "\x00\x7f\x00\x00\x00\x00\x00\x00\x00\x05Hello"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.frame.Bytes(); string(got) != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFrameBytesKeys(t *testing.T) {
	t.Parallel()
	f := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: []byte("the same")}
	first := f.Bytes()
	for range 8 {
		if !bytes.Equal(first, f.Bytes()) {
			return
		}
	}
	t.Error("got the same masking key 9 times, want random ones")
}

func TestFrameBytesLengths(t *testing.T) {
	t.Parallel()
	for n, header := range map[int]int{0: 2, 125: 2, 126: 4, 65535: 4, 65536: 10} {
		f := hailtest.Frame{Payload: make([]byte, n), Unmasked: true}
		if got := len(f.Bytes()); got != header+n {
			t.Errorf("payload of %d bytes: got a header of %d bytes, want %d", n, got-n, header)
		}
	}
}

func TestFrameBytesPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		want := "hailtest: Frame.LengthSize is 3, want 0, 2 or 8"
		if got := recover(); got != want {
			t.Errorf("got panic %v, want %s", got, want)
		}
	}()
	hailtest.Frame{LengthSize: 3}.Bytes()
}

func TestCloseFrame(t *testing.T) {
	t.Parallel()
	for _, want := range []hail.CloseError{{Code: 1000}, {Code: 4000, Reason: "bye"}, {Code: 1005}} {
		f := hailtest.CloseFrame(want.Code, want.Reason)
		if got := f.CloseError(); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if len(f.Payload) == 0 != (want.Code == 1005) {
			t.Errorf("code %d: got payload %q", want.Code, f.Payload)
		}
	}
}

func TestFrameString(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]hailtest.Frame{
		`text FIN, "hi"`:                            {Fin: true, Opcode: hailtest.OpText, Payload: []byte("hi")},
		`continuation RSV1 RSV2 RSV3, ""`:           {RSV1: true, RSV2: true, RSV3: true},
		`opcode 0xb, ""`:                            {Opcode: 0xb},
		`binary, "` + zeros(64) + `"... (65 bytes)`: {Opcode: hailtest.OpBinary, Payload: []byte(zeros(65))},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func zeros(n int) string { return string(bytes.Repeat([]byte("0"), n)) }
