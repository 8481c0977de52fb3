package hostile_test

// Compressed messages that cost more than their size suggests.

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func deflated(payload []byte) []byte {
	return hailtest.Frame{Fin: true, RSV1: true, Opcode: hailtest.OpBinary, Payload: payload, Key: [4]byte{0, 0, 0, 1}}.Bytes()
}

func TestDeflateBombs(t *testing.T) {
	const (
		conns = 100 / scale
		limit = 256 << 10
		// The bytes that were inflated up to the limit are freed, and so is the read buffer.
		heapEach = 4 << 10
		// Allocated until then: buffers that double up to the limit, the compressed bytes, and the inflater.
		takenEach = 8 * limit
		// Over TLS, crypto/tls keeps a buffer for a record of the bomb's length.
		heapRecord = 20 << 10
		bombTime   = 20 * time.Second
	)
	bomb := deflated(kit.Deflate(make([]byte, 64<<20/scale)))
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			tg := serve(t, kind, hail.Handler{}, hail.Options{Compression: true, ReadLimit: limit, CloseTimeout: bombTime})
			clients := tg.crowd(t, conns, deflates)
			heap := conns*heapEach + 128<<10
			if kind == "tls" {
				heap += conns * heapRecord
			}
			bounds{heap, 3 + conns, bombTime}.hold(t, func(look func(func() bool)) {
				before := kit.TotalAlloc()
				for _, c := range clients {
					c.write(bomb)
				}
				for _, c := range clients {
					if code := c.closing(); code != hail.StatusMessageTooBig {
						t.Errorf("got a close frame with %v, want 1009", code)
					}
				}
				if n := kit.TotalAlloc() - before; n > conns*takenEach {
					t.Errorf("allocated %d bytes, want at most %d", n, conns*takenEach)
				}
				look(tg.stands)
				for _, c := range clients {
					c.reset()
				}
				tg.ends(t, conns, hail.CauseReadLimit)
			})
		})
	}
}

// TestDeflateBlocksWithoutContent has a message without end that inflates to no bytes.
func TestDeflateBlocksWithoutContent(t *testing.T) {
	const (
		// More than the cost of a megabyte of plain messages.
		sent      = 4 << 20
		blockTime = 20 * time.Second
	)
	full := string(kit.Deflate(make([]byte, 32<<10)))
	for name, payload := range map[string]string{
		"stored":                         strings.Repeat("\x00\x00\x00\xff\xff", sent/5),
		"stored, final":                  strings.Repeat("\x01\x00\x00\xff\xff", sent/5),
		"fixed codes, final":             strings.Repeat("\x03\x00", sent/2),
		"final, after a full window":     full + "\x00\x00\xff\xff" + strings.Repeat("\x03\x00", sent/2),
		"final, as much as the limit is": full + "\x00\x00\xff\xff" + strings.Repeat("\x03\x00", 64<<10/2),
	} {
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				tg := serve(t, kind, hail.Handler{}, hail.Options{Compression: true, CloseTimeout: blockTime})
				c := tg.connect(t, deflates)
				bounds{128 << 10, 3, blockTime}.hold(t, func(look func(func() bool)) {
					for part := range slices.Chunk(deflated([]byte(payload)), 32<<10) {
						if _, err := c.nc.Write(part); err != nil {
							break // the server may have refused by the header, and closed
						}
					}
					if code := c.closing(); code != hail.StatusMessageTooBig {
						t.Errorf("got a close frame with %v, want 1009", code)
					}
					look(tg.stands)
					c.reset()
					tg.ends(t, 1, hail.CauseReadLimit)
				})
			})
		}
	}
}
