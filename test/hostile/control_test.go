package hostile_test

// Floods of pings and pongs.

import (
	"io"
	"net/http"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestControlFloods(t *testing.T) {
	const (
		frames = 100_000 / scale
		// At most the newest 4 KiB of pongs wait, twice that while they are written; and the read buffer.
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
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				got := make(chan string, 1)
				ended := make(chan hail.CloseInfo, 1)
				s := &hail.Server{Options: hail.Options{Logger: kit.Quiet}, Handler: hail.Handler{
					OnConnect: func(*hail.Conn, *http.Request) error { return nil },
					OnMessage: func(_ *hail.Conn, m hail.Message) error {
						got <- m.String()
						return nil
					},
					OnClose: func(_ *hail.Conn, info hail.CloseInfo) { ended <- info },
				}}
				// Over TCP a client that does not read loses acknowledgements too, and stalls.
				c := dial(t, kind, listen(t, "unix", kind, s, func() { s.Close() }))
				c.upgrade()
				bounds{floodHeap, floodGoroutines, floodTime}.hold(t, func(look func(func() bool)) {
					b := repeat(frame(true, tc.op, payload), 100)
					for range frames / 100 {
						c.write(b)
					}
					c.write(frame(true, hailtest.OpText, []byte("still here")))
					if s := kit.Await(t, "OnMessage", got, kit.Ample); s != "still here" {
						t.Errorf("got %q, want %q", s, "still here")
					}
					look(nil)
					c.write(hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes())
					b, err := io.ReadAll(c.br)
					if err != nil {
						t.Errorf("read: %v", err)
					}
					pongs := len(b) / (2 + len(payload)) // and a close frame
					if tc.pongs != (pongs > 0) || pongs > frames {
						t.Errorf("got %d pongs, want some: %v", pongs, tc.pongs)
					}
					if info := kit.Await(t, "OnClose", ended, kit.Ample); info.Cause != hail.CausePeerClosed {
						t.Errorf("OnClose: got %v, want the peer's close", info)
					}
				})
				c.reset()
			})
		}
	}
}
