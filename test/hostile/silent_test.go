package hostile_test

// Peers that accept no data, and peers that do not close.

import (
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestPeersThatNeverRead(t *testing.T) {
	const (
		conns = 20 / scale
		queue = 64 << 10
		// The queue's two buffers, one being written and one for what follows, each up to four times as large as its
		// content; and a message and its read buffer.
		heapEach     = 8*queue + 3*16<<10
		writeTimeout = time.Second / 2
	)
	message := hail.Binary(make([]byte, 4000))
	flooded := repeat(frame(true, hailtest.OpBinary, message.Data), 10)
	// If its receive buffer is full, the peer's system may drop the acknowledgement that opens its window. The peer then sends
	// no more, is silent before the queue is full, and does not learn of the end.
	cut := []hail.Cause{hail.CauseWriteTimeout, hail.CausePingTimeout}
	for _, kind := range kinds() {
		for name, tc := range map[string]struct {
			handler hail.Handler
			ping    time.Duration
			send    func(t *testing.T, nc net.Conn, b []byte)
			bytes   []byte
			want    []hail.Cause
		}{
			"echoed by Send": {hail.Handler{OnMessage: hail.Echo}, writeTimeout, flood, flooded, cut},
			"echoed by TrySend": {hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error { c.TrySend(m); return nil }},
				writeTimeout, flood, flooded, cut},
			"pushed, while they pong": {hail.Handler{OnConnect: func(c *hail.Conn, _ *http.Request) error {
				go func() { // ends with the connection
					for c.Send(message) == nil {
					}
				}()
				return nil
			}}, -1, pester, frame(true, hailtest.OpPong, nil), []hail.Cause{hail.CauseWriteTimeout}},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				// Send waits for room on its callback's goroutine, and a TrySend that has no time to return counts as one that
				// waits. If connections have goroutines, each has one that reads and one that writes.
				goroutines := conns + 3
				if kind != "epoll" {
					goroutines = 2 * conns
				}
				if tc.handler.OnConnect != nil {
					goroutines += conns
				}
				tg := serve(t, kind, tc.handler, hail.Options{
					SendQueue: queue, WriteTimeout: writeTimeout, PingInterval: tc.ping, PongTimeout: writeTimeout,
				})
				clients := tg.crowd(t, conns, little)
				goroutines += conns // ours
				bounds{conns * heapEach, goroutines, 50 * writeTimeout}.hold(t, func(look func(func() bool)) {
					flooding := make(chan struct{}, conns)
					for _, c := range clients {
						go func() { // ends when the server cuts the connection; waited for below
							tc.send(t, c.nc, tc.bytes)
							flooding <- struct{}{}
						}()
					}
					kit.Until(t, "the queues are full", func() bool { return tg.server.Stats().Sent > conns*queue/4100 })
					look(tg.stands)
					tg.ends(t, conns, tc.want...)
					for _, c := range clients {
						c.reset()
					}
					for range clients {
						kit.Await(t, "the cut", flooding, kit.Ample)
					}
				})
			})
		}
	}
}

func TestPeersThatIgnoreTheClose(t *testing.T) {
	kit.Long(t)
	const (
		conns        = 50 / scale
		heapEach     = 8 << 10 // the read buffer
		closeTimeout = 400 * time.Millisecond
	)
	for name, behaviour := range map[string][]byte{ // again and again
		"and are silent":       nil,
		"and send messages":    frame(true, hailtest.OpText, []byte("what close?")),
		"and ping":             frame(true, hailtest.OpPing, nil),
		"and send a long one":  hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary, Length: 1 << 40, Payload: make([]byte, 1000)}.Bytes(),
		"and send what is not": {0xFF, 0xFF, 0xFF},
	} {
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				tg := serve(t, kind, hail.Handler{}, hail.Options{CloseTimeout: closeTimeout})
				clients := tg.crowd(t, conns)
				kit.Until(t, "all are open", func() bool { return tg.server.Len() == conns })
				goroutines := conns + 3 // ours
				if kind != "epoll" {
					goroutines += conns
				}
				bounds{conns * heapEach, goroutines, 2*closeTimeout + 4*time.Second}.hold(t, func(look func(func() bool)) {
					for c := range tg.server.Conns() {
						c.Close(hail.StatusGoingAway, "go")
					}
					gone := make(chan struct{}, conns)
					for _, c := range clients {
						go func() { // ends when the server cuts the connection; waited for below
							defer func() { gone <- struct{}{} }()
							if behaviour == nil {
								c.closing()
							} else {
								pester(t, c.nc, behaviour)
							}
						}()
					}
					look(tg.stands)
					tg.ends(t, conns, hail.CauseClosed)
					for range clients {
						kit.Await(t, "the cut", gone, kit.Ample)
					}
				})
			})
		}
	}
}
