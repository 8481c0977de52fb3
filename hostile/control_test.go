package hostile_test

// Floods of pings and pongs.

import (
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestControlFloods(t *testing.T) {
	const (
		frames = 100_000
		// Of pongs no more than the newest 4 KiB wait, twice while they are written, beside the buffer that is read into.
		floodHeap       = 256 << 10
		floodGoroutines = 3
		floodTime       = 20 * time.Second
	)
	payload := make([]byte, 125)
	for name, tc := range map[string]struct {
		op    hailtest.Opcode
		pongs bool
	}{
		"pings without reading": {hailtest.OpPing, true},
		"unsolicited pongs":     {hailtest.OpPong, false},
	} {
		for kind := range transports {
			t.Run(name+", "+kind, func(t *testing.T) {
				got := make(chan string, 1)
				tg := serve(t, kind, hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
					got <- m.String()
					return nil
				}}, hail.Options{})
				p := tg.connect(t, hailtest.BufferSize(32<<10))
				bounds{floodHeap, floodGoroutines, floodTime}.hold(t, func(look func()) {
					b := repeat(frame(true, tc.op, payload), 100)
					for range frames / 100 {
						p.Write(b)
					}
					p.Write(frame(true, hailtest.OpText, []byte("still here")))
					if s := await(t, "OnMessage", got); s != "still here" {
						t.Errorf("got %q, want %q", s, "still here")
					}
					look()
					p.Write(hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes())
					pongs := 0
					for {
						f := p.ReadFrame()
						if f.Opcode == hailtest.OpClose {
							break
						}
						pongs++
					}
					if tc.pongs != (pongs > 0) || pongs > frames {
						t.Errorf("got %d pongs, want some: %v", pongs, tc.pongs)
					}
					tg.ends(t, 1, hail.CausePeerClosed)
				})
			})
		}
	}
}
