//go:build soak

package hostile_test

// Headers that claim more bytes than ever arrive. The test mostly waits for timeouts, so make soak runs it.

import (
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestLengthOf16GiB(t *testing.T) {
	const (
		conns = 1000 / scale
		claim = 16 << 30
		// The first buffer of a long frame, until more has arrived, and a read buffer.
		heapEach = 256<<10 + 8<<10
		// A fragment and a compressed message are collected in a buffer that grows with the bytes that arrive; and the read buffer.
		heapPart = 10 << 10
		// A header that is refused, while the server waits for the close frame.
		heapRefused    = 1 << 10
		messageTimeout = 1500 * time.Millisecond
		closeTimeout   = time.Second
	)
	plain := hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: claim}.Bytes()
	part := hailtest.Frame{Opcode: hailtest.OpBinary, Length: claim}.Bytes()
	compressed := hailtest.Frame{Fin: true, RSV1: true, Opcode: hailtest.OpBinary, Length: claim}.Bytes()
	for name, tc := range map[string]struct {
		limit int64
		send  []byte
		heap  int
		cause hail.Cause
	}{
		"refused":                    {0, plain, heapRefused, hail.CauseReadLimit},
		"in a part within the limit": {32 << 30, append(part, "some"...), heapPart, hail.CauseMessageTimeout},
		"without a limit":            {-1, append(plain, "some"...), heapEach, hail.CauseMessageTimeout},
		"compressed, refused":        {0, compressed, heapRefused, hail.CauseReadLimit},
		"compressed, within limits":  {32 << 30, compressed, heapPart, hail.CauseMessageTimeout},
	} {
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				tg := serve(t, kind, hail.Handler{}, hail.Options{Compression: true, ReadLimit: tc.limit, MessageTimeout: messageTimeout, CloseTimeout: closeTimeout})
				clients := tg.crowd(t, conns, deflates)
				bounds{conns * tc.heap, 2, 5 * (messageTimeout + closeTimeout)}.hold(t, func(look func(func() bool)) {
					for _, c := range clients {
						c.write(tc.send)
					}
					kit.Until(t, "all is read", func() bool { return tg.server.Stats().BytesIn == uint64(conns*len(tc.send)) })
					look(tg.stands)
					tg.ends(t, conns, tc.cause)
				})
			})
		}
	}
}
