package poll_test

// Everything at once, for the race detector.

import (
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestManyAtOnce(t *testing.T) {
	overAll(t, func(t *testing.T, server, peer net.Conn) {
		// Many goroutines read, write and close.
		var read, wrote atomic.Int64
		var called atomic.Int32
		h := start(t, server, func(h *handler) {
			h.turn = func(p []byte, err error) bool {
				h.sock.Unsent()
				h.sock.HungUp()
				if h.turns%7 == 3 && err == nil {
					runtime.Goexit()
				}
				return err == nil
			}
			h.writable = func(write func([]byte) (int, error)) {
				n, _ := write([]byte("pong"))
				wrote.Add(int64(n))
				called.Add(1)
			}
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			n, _ := io.Copy(io.Discard, peer)
			read.Store(n)
		})
		wg.Go(func() { h.askToWrite(&called) })
		for i := range 50 {
			write(t, peer, pattern(i+1))
		}
		h.sock.Close()
		wait(t, "Done", h.done)
		wg.Wait()
		if got, want := read.Load(), wrote.Load(); got > want {
			t.Errorf("the peer read %d bytes, want at most the %d that were written", got, want)
		}
	})
}
