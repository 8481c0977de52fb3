package wire_test

// Headers of frames.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"example.com/hail/internal/wire"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const key = "\x01\x02\x03\x04"
	tests := []struct {
		name  string
		bytes string
		want  wire.Header
	}{
		{"length 0", "\x81\x00", wire.Header{First: 0x81}},
		{"length 1", "\x81\x01", wire.Header{First: 0x81, Length: 1}},
		{"length 125", "\x82\x7d", wire.Header{First: 0x82, Length: 125}},
		{"length 126", "\x82\x7e\x00\x7e", wire.Header{First: 0x82, Length: 126}},
		{"length 65535", "\x82\x7e\xff\xff", wire.Header{First: 0x82, Length: 65535}},
		{"length 65536", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", wire.Header{First: 0x82, Length: 65536}},
		{"length 2^31", "\x82\x7f\x00\x00\x00\x00\x80\x00\x00\x00", wire.Header{First: 0x82, Length: 1 << 31}},
		{"length 2^62", "\x82\x7f\x40\x00\x00\x00\x00\x00\x00\x00", wire.Header{First: 0x82, Length: 1 << 62}},
		{"length 2^63-1", "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", wire.Header{First: 0x82, Length: math.MaxInt64}},
		{"length 2^63", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", wire.Header{First: 0x82, Length: 1 << 63}},
		{"length 2^64-1", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", wire.Header{First: 0x82, Length: math.MaxUint64}},
		{"16 bits for 0", "\x82\x7e\x00\x00", wire.Header{First: 0x82, Long: true}},
		{"16 bits for 125", "\x82\x7e\x00\x7d", wire.Header{First: 0x82, Length: 125, Long: true}},
		{"64 bits for 0", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00", wire.Header{First: 0x82, Long: true}},
		{"64 bits for 126", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7e", wire.Header{First: 0x82, Length: 126, Long: true}},
		{"64 bits for 65535", "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", wire.Header{First: 0x82, Length: 65535, Long: true}},
		{"every bit of the first byte", "\xff\x00", wire.Header{First: 0xff}},
		{"no bit of the first byte", "\x00\x00", wire.Header{}},
	}
	for _, masked := range []bool{false, true} {
		for _, tt := range tests {
			b, want, name := []byte(tt.bytes), tt.want, tt.name+", unmasked"
			if masked {
				b[1] |= 0x80
				b = append(b, key...)
				want.Masked, want.Key, name = true, 0x04030201, tt.name+", masked"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for _, behind := range []string{"", "\xff", "payload and another frame"} {
					if got, n := wire.Parse(append(bytes.Clone(b), behind...)); got != want || n != len(b) {
						t.Errorf("Parse(% x + %q) = %+v, %d, want %+v, %d", b, behind, got, n, want, len(b))
					}
				}
				for short := range len(b) {
					if _, n := wire.Parse(b[:short:short]); n != 0 {
						t.Errorf("Parse(% x) takes %d bytes, want 0: %d are missing", b[:short], n, len(b)-short)
					}
				}
			})
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	// Against the bits as RFC 6455 section 5.2 draws them.
	for first := range 256 {
		for odd := range 4 {
			masked, long := odd&1 != 0, odd&2 != 0
			for _, length := range []uint64{0, 125, 126, math.MaxInt64, 1 << 63, math.MaxUint64} {
				h := wire.Header{First: byte(first), Masked: masked, Length: length, Long: long}
				fin, rsv, op := first>>7 == 1, first>>4&7, first&15
				legal := fin && rsv == 0 && masked && !long && length < 1<<63
				data, heartbeat := op == 1 || op == 2, op == 9 || op == 10
				if got, want := h.Whole(), legal && (data || heartbeat && length <= 125); got != want {
					t.Errorf("%+v.Whole() = %v, want %v", h, got, want)
				}
				if got, want := h.Opcode(), byte(op); got != want {
					t.Errorf("%+v.Opcode() = %#x, want %#x", h, got, want)
				}
				if got, want := h.Control(), op >= 8; got != want {
					t.Errorf("%+v.Control() = %v, want %v", h, got, want)
				}
				if got, want := h.Compressed(), rsv&4 != 0; got != want {
					t.Errorf("%+v.Compressed() = %v, want %v", h, got, want)
				}
			}
		}
	}
}

func TestAppendHeader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		length int
		want   string
	}{
		{0, "\x82\x00"},
		{1, "\x82\x01"},
		{125, "\x82\x7d"},
		{126, "\x82\x7e\x00\x7e"},
		{127, "\x82\x7e\x00\x7f"},
		{65535, "\x82\x7e\xff\xff"},
		{65536, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
		{math.MaxInt32, "\x82\x7f\x00\x00\x00\x00\x7f\xff\xff\xff"},
	}
	if math.MaxInt > math.MaxInt32 {
		for _, shift := range []int{31, 62} {
			length := math.MaxInt >> 62 << shift // 1 << shift, if an int has that many bits
			tests = append(tests, struct {
				length int
				want   string
			}{length, string(binary.BigEndian.AppendUint64([]byte("\x82\x7f"), 1<<shift))})
		}
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.length), func(t *testing.T) {
			t.Parallel()
			got := wire.AppendHeader([]byte("before"), wire.Fin|wire.Binary, tt.length)
			if want := "before" + tt.want; string(got) != want {
				t.Fatalf("AppendHeader = % x, want % x", got, want)
			}
			if got, want := wire.FrameSize(tt.length), len(tt.want)+tt.length; got != want {
				t.Errorf("FrameSize = %d, want %d", got, want)
			}
			want := wire.Header{First: 0x82, Length: uint64(tt.length)}
			if h, n := wire.Parse(got[len("before"):]); h != want || n != len(tt.want) {
				t.Errorf("Parse of it = %+v, %d, want %+v, %d", h, n, want, len(tt.want))
			}
		})
	}
}

func TestAppendFrame(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			t.Parallel()
			payload := noise(length)
			got := wire.AppendFrame([]byte("before"), wire.Fin|wire.Text, payload)
			frame, ok := bytes.CutPrefix(got, []byte("before"))
			if !ok {
				t.Fatalf("what was before is %q, want %q", got[:6], "before")
			}
			if got, want := len(frame), wire.FrameSize(length); got != want {
				t.Errorf("len = %d, want FrameSize = %d", got, want)
			}
			h, n := wire.Parse(frame)
			if want := (wire.Header{First: 0x81, Length: uint64(length)}); h != want {
				t.Errorf("header = %+v, want %+v", h, want)
			}
			if !bytes.Equal(frame[n:], payload) {
				t.Errorf("payload differs: %d bytes, want %d", len(frame[n:]), length)
			}
		})
	}
}

// noise returns n bytes that do not repeat soon, the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(n) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "\x81", "\x81\x05hello", "\x82\xfe\x00\x7e\x01\x02\x03\x04", "\x82\x7e\xff",
		"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04", "\x89\x80\x01\x02\x03\x04", "\x82\x7f\x00\x00\x00\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n := wire.Parse(b)
		if n < 0 || n > len(b) || n > wire.MaxHeader || n == 1 {
			t.Fatalf("Parse(% x) takes %d bytes of %d", b, n, len(b))
		}
		if n == 0 {
			// Whatever bytes follow, only a longer b is a header.
			if _, m := wire.Parse(append(bytes.Clone(b), make([]byte, wire.MaxHeader)...)); m <= len(b) {
				t.Fatalf("Parse(% x) takes 0 bytes, and %d once more have come", b, m)
			}
			return
		}
		if again, m := wire.Parse(b[:n:n]); again != h || m != n {
			t.Errorf("Parse of the header alone = %+v, %d, want %+v, %d", again, m, h, n)
		}
		if _, m := wire.Parse(b[: n-1 : n-1]); m != 0 {
			t.Errorf("Parse of all but the last byte takes %d, want 0", m)
		}
		if h.First != b[0] || h.Masked != (b[1] >= 0x80) || !h.Masked && h.Key != 0 {
			t.Errorf("Parse(% x) = %+v", b[:n], h)
		}
		if h.Whole() && (h.Long || h.Length >= 1<<63 || h.Control() && h.Length > wire.MaxControl) {
			t.Errorf("%+v is whole", h)
		}
		if h.Length > math.MaxInt {
			return
		}
		// AppendHeader's form is the shortest, and means the same.
		own := wire.AppendHeader(nil, h.First, int(h.Length))
		back, m := wire.Parse(own)
		if want := (wire.Header{First: h.First, Length: h.Length}); back != want || m != len(own) {
			t.Errorf("Parse(AppendHeader) = %+v, %d, want %+v, %d", back, m, want, len(own))
		}
		key := 0
		if h.Masked {
			key = 4
		}
		if len(own) > n-key {
			t.Errorf("AppendHeader takes %d bytes, the peer only %d", len(own), n-key)
		}
		if want := len(own) < n-key; h.Long != want {
			t.Errorf("%+v in %d bytes, which AppendHeader does in %d: got Long %v, want %v", h, n-key, len(own), h.Long, want)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, header := range []string{"\x81\x85\x01\x02\x03\x04", "\x82\xfe\x10\x00\x01\x02\x03\x04",
		"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04"} {
		b.Run(fmt.Sprintf("header=%d", len(header)), func(b *testing.B) {
			p := []byte(header)
			b.ReportAllocs()
			for b.Loop() {
				if _, n := wire.Parse(p); n != len(p) {
					b.Fatalf("Parse takes %d bytes, want %d", n, len(p))
				}
			}
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, length := range []int{16, 128, 4096, 65536} {
		b.Run(fmt.Sprintf("bytes=%d", length), func(b *testing.B) {
			payload := noise(length)
			dst := make([]byte, 0, wire.FrameSize(length))
			b.SetBytes(int64(length))
			b.ReportAllocs()
			for b.Loop() {
				dst = wire.AppendFrame(dst[:0], wire.Fin|wire.Binary, payload)
			}
		})
	}
}
