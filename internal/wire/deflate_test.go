package wire_test

// Compressed messages.

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"example.com/hail/internal/wire"
)

// inflate follows RFC 7692 section 7.2.2, and appends a final block.
func inflate(t *testing.T, p []byte) []byte {
	t.Helper()
	r := flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("inflate: %v", err)
	}
	return plain
}

func TestAppendDeflated(t *testing.T) {
	t.Parallel()
	plains := map[string][]byte{
		"empty":     nil,
		"byte":      []byte("a"),
		"text":      []byte("hello, hello, hello"),
		"zeros":     make([]byte, 100_000),
		"noise":     noise(100_000),
		"megabytes": bytes.Repeat(noise(1000), 3000),
	}
	for name, plain := range plains {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := wire.AppendDeflated([]byte("before"), plain)
			payload, ok := bytes.CutPrefix(got, []byte("before"))
			if !ok {
				t.Fatalf("what was before is %q, want %q", got[:6], "before")
			}
			if bytes.HasSuffix(payload, []byte("\x00\x00\xff\xff")) {
				t.Error("the flush's last four bytes are sent, want them cut off")
			}
			if back := inflate(t, payload); !bytes.Equal(back, plain) {
				t.Errorf("inflates to %d bytes, want the %d from before", len(back), len(plain))
			}
		})
	}
	t.Run("no context taken over", func(t *testing.T) {
		t.Parallel()
		plain := []byte(strings.Repeat("no context takeover ", 100))
		first := wire.AppendDeflated(nil, plain)
		for range 5 {
			if got := wire.AppendDeflated(nil, plain); !bytes.Equal(got, first) {
				t.Fatalf("the same message compresses to %d bytes, before to %d", len(got), len(first))
			}
		}
	})
	t.Run("many goroutines", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				var dst []byte
				for i := range 50 {
					plain := []byte(strings.Repeat(fmt.Sprint(g, ":", i, " "), 50))
					dst = wire.AppendDeflated(dst[:0], plain)
					r := flate.NewReader(io.MultiReader(bytes.NewReader(dst), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
					if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, plain) {
						t.Errorf("message %d of goroutine %d inflates to %q, %v, want %q", i, g, back, err, plain)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkAppendDeflated(b *testing.B) {
	for _, length := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", length), func(b *testing.B) {
			var plain []byte
			for i := 0; len(plain) < length; i++ {
				plain = fmt.Appendf(plain, `{"id":%d,"name":"user-%x"},`, i, i*7919)
			}
			plain = plain[:length]
			dst := wire.AppendDeflated(nil, plain)
			b.SetBytes(int64(length))
			b.ReportAllocs()
			for b.Loop() {
				dst = wire.AppendDeflated(dst[:0], plain)
			}
			b.ReportMetric(float64(len(dst))/float64(length), "ratio")
		})
	}
}
