package hostile_test

// Messages in a million fragments, empty ones and ones of a byte.

import (
	"bytes"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

const (
	manyFragments = 1_000_000 / scale
	// The growing buffer of a message of a million bytes, and the read buffer.
	fragmentHeap = 2 << 20
	// A message in fragments holds none; workers come and go.
	fragmentGoroutines = 2
	fragmentTime       = 20 * time.Second
)

func TestFragments(t *testing.T) {
	for name, tc := range map[string]struct {
		part  string
		limit int64
		want  hail.StatusCode // 0: the message is delivered
	}{
		"a million empty ones":                 {"", 0, 0},
		"a million of a byte within the limit": {"x", manyFragments, 0},
		"a million of a byte, past the limit":  {"x", manyFragments - 1, hail.StatusMessageTooBig},
	} {
		for _, kind := range kinds() {
			t.Run(name+", "+kind, func(t *testing.T) {
				got := make(chan []byte, 1)
				tg := serve(t, kind, hail.Handler{OnMessage: func(_ *hail.Conn, m hail.Message) error {
					got <- m.Data
					return nil
				}}, hail.Options{ReadLimit: tc.limit, CloseTimeout: 100 * time.Millisecond})
				c := tg.connect(t)
				bounds{fragmentHeap, fragmentGoroutines, fragmentTime}.hold(t, func(look func(func() bool)) {
					part := repeat(frame(false, hailtest.OpContinuation, []byte(tc.part)), 1000)
					c.write(frame(false, hailtest.OpBinary, nil))
					for i := range manyFragments / 1000 {
						c.write(part)
						if i == manyFragments/2000 {
							look(tg.stands)
						}
					}
					c.write(frame(true, hailtest.OpContinuation, nil))
					if tc.want != 0 {
						tg.ends(t, 1, hail.CauseReadLimit)
						return
					}
					data := kit.Await(t, "OnMessage", got, kit.Ample)
					if want := bytes.Repeat([]byte(tc.part), manyFragments); !bytes.Equal(data, want) {
						t.Errorf("got a message of %d bytes, want %d", len(data), len(want))
					}
				})
			})
		}
	}
}

// TestFragmentsLeaveNothing has many connections in the middle of a message at the same time, again and again. A pool keeps the
// message's memory for the next, and frees it in the end.
func TestFragmentsLeaveNothing(t *testing.T) {
	const (
		conns    = 1000 / scale
		waves    = 5
		keptHeap = conns*512 + 256<<10
		keptTime = 20 * time.Second
	)
	for name, opts := range map[string][]option{"plain": nil, "compressed": {deflates}} {
		t.Run(name, func(t *testing.T) {
			tg := serve(t, "epoll", hail.Handler{OnMessage: func(*hail.Conn, hail.Message) error { return nil }}, hail.Options{Compression: true, PingInterval: -1})
			clients := tg.crowd(t, conns, opts...)
			bounds{keptHeap, 2, keptTime}.hold(t, func(look func(func() bool)) {
				for wave := range waves {
					for i, part := range [][]byte{frame(false, hailtest.OpBinary, []byte("x")), frame(true, hailtest.OpContinuation, []byte("x"))} {
						for _, c := range clients {
							c.write(part)
						}
						sent := uint64((2*wave + i + 1) * conns * len(part))
						kit.Until(t, "all is read", func() bool { return tg.server.Stats().BytesIn == sent })
					}
					kit.Until(t, "all are messages", func() bool { return tg.server.Stats().Received == uint64((wave+1)*conns) })
					heap() // the pool frees its memory
				}
				look(tg.stands)
				for _, c := range clients {
					c.reset()
				}
				tg.ends(t, conns, hail.CausePeerGone)
			})
		})
	}
}

// TestFragmentsWithoutEnd sends fragments as long as the server reads them: their number is not limited, their time is.
func TestFragmentsWithoutEnd(t *testing.T) {
	const messageTimeout, closeTimeout = time.Second, 100 * time.Millisecond
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			tg := serve(t, kind, hail.Handler{}, hail.Options{MessageTimeout: messageTimeout, CloseTimeout: closeTimeout})
			c := tg.connect(t)
			bounds{256 << 10, fragmentGoroutines + 1, 2*(messageTimeout+closeTimeout) + time.Second}.hold(t, func(look func(func() bool)) {
				c.write(frame(false, hailtest.OpText, nil))
				flooding := make(chan struct{})
				go func() { // ends when the server cuts the connection; waited for below
					defer close(flooding)
					flood(t, c.nc, repeat(frame(false, hailtest.OpContinuation, nil), 1000))
				}()
				kit.Until(t, "the flood", func() bool { return tg.server.Stats().BytesIn > 100_000 })
				look(tg.stands)
				tg.ends(t, 1, hail.CauseMessageTimeout)
				<-flooding
			})
		})
	}
}
