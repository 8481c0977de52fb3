package wire_test

// Masking, against the loop of RFC 6455 section 5.3.

import (
	"bytes"
	"fmt"
	"testing"

	"example.com/hail/internal/wire"
)

// keys have four different bytes, so a wrong rotation shows.
var keys = []uint32{0x04030201, 0xfffefdfc, 0x000000ff, 0xff000000, 0}

// maskEach masks byte by byte: octet i of the payload with octet i mod 4 of the key.
func maskEach(p []byte, key uint32) []byte {
	masked := make([]byte, len(p))
	for i := range p {
		masked[i] = p[i] ^ byte(key>>(8*(i%4)))
	}
	return masked
}

// rotated is the key for the byte after n bytes.
func rotated(key uint32, n int) uint32 {
	n = n % 4 * 8
	return key>>n | key<<(32-n)
}

func TestMask(t *testing.T) {
	t.Parallel()
	for _, key := range keys {
		t.Run(fmt.Sprintf("key %08x", key), func(t *testing.T) {
			t.Parallel()
			for length := range 101 {
				plain := noise(length)
				want := maskEach(plain, key)
				// At every alignment, between bytes that must not change.
				for offset := range 8 {
					b := bytes.Repeat([]byte{0xEE}, offset+length+9)
					got := b[offset : offset+length]
					copy(got, plain)
					next := wire.Mask(got, key)
					if !bytes.Equal(got, want) {
						t.Errorf("length %d at %d: got % x, want % x", length, offset, got, want)
					}
					if want := rotated(key, length); next != want {
						t.Errorf("length %d at %d: next key %08x, want %08x", length, offset, next, want)
					}
					for i, c := range b {
						if (i < offset || i >= offset+length) && c != 0xEE {
							t.Errorf("length %d at %d: byte %d outside is %#x", length, offset, i, c)
						}
					}
					wire.Mask(got, key)
					if !bytes.Equal(got, plain) {
						t.Errorf("length %d at %d: twice gives % x, want % x", length, offset, got, plain)
					}
				}
			}
		})
	}
}

func TestMaskPieces(t *testing.T) {
	t.Parallel()
	for length := range 101 {
		plain := noise(length)
		want := maskEach(plain, keys[0])
		for size := 1; size <= length; size++ {
			got, key := bytes.Clone(plain), keys[0]
			for rest := got; len(rest) > 0; {
				n := min(size, len(rest))
				key = wire.Mask(rest[:n], key)
				key = wire.Mask(nil, key)
				rest = rest[n:]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("length %d in pieces of %d: got % x, want % x", length, size, got, want)
			}
			if want := rotated(keys[0], length); key != want {
				t.Errorf("length %d in pieces of %d: next key %08x, want %08x", length, size, key, want)
			}
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("hello"), uint32(0x04030201), uint16(2))
	f.Add(noise(200), uint32(0xdeadbeef), uint16(67))
	f.Fuzz(func(t *testing.T, p []byte, key uint32, cut uint16) {
		at := int(cut) % (len(p) + 1)
		got := bytes.Clone(p)
		next := wire.Mask(got[at:], wire.Mask(got[:at], key))
		if want := maskEach(p, key); !bytes.Equal(got, want) {
			t.Errorf("cut at %d: got % x, want % x", at, got, want)
		}
		if want := rotated(key, len(p)); next != want {
			t.Errorf("cut at %d: next key %08x, want %08x", at, next, want)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	for _, length := range []int{16, 128, 4096, 65536} {
		b.Run(fmt.Sprintf("bytes=%d", length), func(b *testing.B) {
			p := noise(length)
			b.SetBytes(int64(length))
			b.ReportAllocs()
			for b.Loop() {
				wire.Mask(p, keys[0])
			}
		})
	}
}
