package hostile_test

// Resets at every stage of a connection's life.

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestResets(t *testing.T) {
	const (
		times = 20 / scale // of each stage, one after the other
		// The server may keep nothing of connections that are gone; this is slack of the runtime.
		keptHeap  = 256 << 10
		resetTime = 20 * time.Second
	)
	text := frame(true, hailtest.OpText, []byte("hello"))
	bye := hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes()
	command := func(s string) []byte { return frame(true, hailtest.OpText, []byte(s)) }
	stages := []struct {
		name  string
		do    func(c *client)
		never bool // the server never gets a connection
	}{
		{"before the request", func(*client) {}, true},
		{"in a TLS handshake", func(c *client) { c.tcp.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}) }, true},
		{"in the request", func(c *client) { c.write([]byte(kit.Handshake)[:60]) }, true},
		{"after the handshake", func(c *client) { c.upgrade() }, false},
		{"in the greeting", func(c *client) { c.upgrade(); c.take(3) }, false},
		{"in a header", func(c *client) { c.upgrade(); c.write(text[:1]) }, false},
		{"in a mask", func(c *client) { c.upgrade(); c.write(text[:4]) }, false},
		{"in a payload", func(c *client) { c.upgrade(); c.write(text[:8]) }, false},
		{"in a long payload", func(c *client) { c.upgrade(); c.write(frame(true, hailtest.OpBinary, make([]byte, 60_000))[:30_000]) }, false},
		{"after a message", func(c *client) { c.upgrade(); c.write(text) }, false},
		{"in a reply", func(c *client) { c.upgrade(); c.write(text); c.take(11 + 1) }, false},
		{"between fragments", func(c *client) { c.upgrade(); c.write(frame(false, hailtest.OpText, []byte("a"))) }, false},
		{"in a fragment", func(c *client) {
			c.upgrade()
			c.write(slices.Concat(frame(false, hailtest.OpText, []byte("a")), frame(true, 0, []byte("bc"))[:7]))
		}, false},
		{"in a ping", func(c *client) { c.upgrade(); c.write(frame(true, hailtest.OpPing, []byte("ping"))[:8]) }, false},
		{"after a flood", func(c *client) { c.upgrade(); c.write(repeat(text, 1000)) }, false},
		{"while a callback runs", func(c *client) { c.upgrade(); c.take(11); c.write(command("block")); c.take(2 + 5) }, false},
		{"while Send waits", func(c *client) { c.upgrade(); c.take(11); c.write(command("fill")); c.take(2 + 5) }, false},
		{"in the client's close frame", func(c *client) { c.upgrade(); c.write(bye[:3]) }, false},
		{"after the client's close frame", func(c *client) { c.upgrade(); c.write(bye) }, false},
		{"after both close frames", func(c *client) { c.upgrade(); c.write(bye); c.take(11 + 4) }, false},
		{"after the server's close frame", func(c *client) { c.upgrade(); c.take(11); c.write(command("close")); c.take(4) }, false},
		{"in the answer to the server's close frame", func(c *client) { c.upgrade(); c.take(11); c.write(command("close")); c.take(4); c.write(bye[:5]) }, false},
		{"after an illegal frame", func(c *client) { c.upgrade(); c.write([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}) }, false},
	}
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			tg := serve(t, kind, hail.Handler{
				OnConnect: hail.Greet(hail.Text(hail.DefaultGreeting)),
				OnMessage: obey,
			}, hail.Options{WriteTimeout: 5 * time.Second, CloseTimeout: 5 * time.Second})
			first := dial(t, kind, tg.addr) // everything that is made once is made
			first.upgrade()
			first.reset()
			tg.ends(t, 1, hail.CausePeerGone)
			files := descriptors(t)
			bounds{keptHeap, 2, resetTime}.hold(t, func(look func(func() bool)) {
				for _, stage := range stages {
					for range times {
						c := dial(t, kind, tg.addr)
						stage.do(c)
						c.reset()
					}
					if !stage.never {
						tg.ends(t, times, hail.CausePeerGone, hail.CausePeerClosed, hail.CauseClosed, hail.CauseProtocol)
					}
					if len(tg.closed) > 0 {
						t.Errorf("%s: OnClose was called for more connections than there were", stage.name)
					}
				}
				kit.Until(t, "all is over", func() bool { return tg.server.Stats().Open == 0 })
				kit.Until(t, "no descriptor is left", func() bool { return descriptors(t) <= files })
				look(nil)
			})
		})
	}
}

// descriptors returns how many the process has, if the system tells.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(list)
}

// obey executes a message.
func obey(c *hail.Conn, m hail.Message) error {
	switch m.String() {
	case "block":
		c.Send(hail.Text("block"))
		select {
		case <-c.Context().Done():
		case <-time.After(50 * time.Millisecond): // only epoll reports a peer's end meanwhile
		}
		return nil
	case "fill":
		for c.Send(hail.Text("fills"+strings.Repeat(".", 50_000))) == nil {
		}
		return nil
	case "close":
		return c.Close(hail.StatusGoingAway, "")
	}
	return c.Send(m)
}
