//go:build !race

package lifecycle_test

// Allocations a message. Under the race detector pools forget on purpose, so these run without it.

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// echoed returns the connection of a raw client, the bytes that it sends, and room for the bytes that it gets back.
func echoed(tb testing.TB, o hail.Options, size, inFlight int) (c io.ReadWriter, out, in []byte) {
	tb.Helper()
	o.ReadLimit = 1 << 20
	s := &hail.Server{Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo}, Options: o}
	p := hailtest.Dial(tb, s, "/", hailtest.TCP(), hailtest.Raw())
	frame := hailtest.Frame{Fin: true, Opcode: hailtest.OpText, Payload: bytes.Repeat([]byte("a"), size)}
	out = bytes.Repeat(frame.Bytes(), inFlight)
	reply := len(frame.Bytes()) - 4 // without a mask
	return p.NetConn(), out, make([]byte, reply*inFlight)
}

func TestAllocationsAMessage(t *testing.T) {
	cases := map[string]struct {
		size  int
		reuse bool
		want  float64
	}{
		"default, 128 B":       {128, false, 1},
		"default, 16 KiB":      {16 << 10, false, 1},
		"ReuseBuffers, 128 B":  {128, true, 0},
		"ReuseBuffers, 16 KiB": {16 << 10, true, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			const inFlight = 4
			c, out, in := echoed(t, hail.Options{ReuseBuffers: tc.reuse}, tc.size, inFlight)
			turn := func() {
				if _, err := c.Write(out); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(c, in); err != nil {
					t.Error(err)
				}
			}
			turn() // fills the pools
			// A garbage collection may empty a pool, hence the least of some runs.
			got := testing.AllocsPerRun(200, turn)
			for range 4 {
				got = min(got, testing.AllocsPerRun(200, turn))
			}
			if got /= inFlight; got > tc.want {
				t.Errorf("got %v allocations a message, want %v", got, tc.want)
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{128, 16 << 10} {
		for _, inFlight := range []int{1, 16} {
			for _, reuse := range []bool{false, true} {
				b.Run(fmt.Sprintf("size=%d/inflight=%d/reuse=%v", size, inFlight, reuse), func(b *testing.B) {
					c, out, in := echoed(b, hail.Options{ReuseBuffers: reuse}, size, inFlight)
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for n := 0; n < b.N; n += inFlight {
						if _, err := c.Write(out); err != nil {
							b.Fatal(err)
						}
						if _, err := io.ReadFull(c, in); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
