package poll_test

// Halt: which calls have to end before it returns, and that a Poller can be used again after it.

import (
	"net"
	"runtime"
	"testing"

	"example.com/hail/internal/poll"
)

// halt calls Halt on a goroutine of its own. The channel is closed when Halt returns.
func halt(p *poll.Poller) <-chan struct{} {
	halted := make(chan struct{})
	go func() {
		defer close(halted)
		p.Halt()
	}()
	return halted
}

func TestHalt(t *testing.T) {
	t.Run("without sockets", func(t *testing.T) {
		t.Parallel()
		wait(t, "Halt", halt(new(poll.Poller)))
	})
	t.Run("waits for Done to return", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			var p poll.Poller
			release := make(chan struct{})
			h := startOf(t, &p, server, func(h *handler) {
				h.last = func() { <-release }
			})
			h.sock.Close()
			wait(t, "Done", h.done)
			halted := halt(&p)
			for range 1000 {
				runtime.Gosched()
			}
			select {
			case <-halted:
				t.Error("Halt has returned while Done runs")
			default:
			}
			close(release)
			wait(t, "Halt", halted)
		})
	})
	t.Run("waits for a Done that ends its goroutine", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			var p poll.Poller
			h := startOf(t, &p, server, func(h *handler) { h.last = runtime.Goexit })
			h.sock.Close()
			wait(t, "Done", h.done)
			wait(t, "Halt", halt(&p))
		})
	})
	t.Run("leaves a Poller that can be used", func(t *testing.T) {
		t.Parallel()
		for _, tr := range transports {
			t.Run(tr.name, func(t *testing.T) {
				t.Parallel()
				var p poll.Poller
				for range 3 {
					server, peer := tr.pair(t)
					h := startOf(t, &p, server, nil)
					write(t, peer, []byte("a"))
					peer.Close()
					wait(t, "Done", h.done)
					if string(h.all) != "a" {
						t.Errorf("read %q, want %q", h.all, "a")
					}
					wait(t, "Halt", halt(&p))
				}
			})
		}
	})
	t.Run("called by several", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			var p poll.Poller
			h := startOf(t, &p, server, nil)
			first, second := halt(&p), halt(&p)
			h.sock.Close()
			wait(t, "Halt", first)
			wait(t, "Halt", second)
		})
	})
}
