package poll_test

// Reading, and calls of Ready that end their goroutine.

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"example.com/hail/internal/poll"
)

func TestReading(t *testing.T) {
	overAll(t, func(t *testing.T, server, peer net.Conn) {
		h := start(t, server, nil)
		want := pattern(100_000)
		for rest, size := want, 1; len(rest) > 0; size = size*3%4001 + 1 {
			n := min(size, len(rest))
			write(t, peer, rest[:n])
			rest = rest[n:]
		}
		peer.Close()
		wait(t, "Done", h.done)
		if !bytes.Equal(h.all, want) {
			t.Errorf("read %d bytes, want the %d that were sent", len(h.all), len(want))
		}
		if h.err != io.EOF {
			t.Errorf("the last read met %v, want io.EOF", h.err)
		}
	})
}

func TestReadyEnds(t *testing.T) {
	overAll(t, func(t *testing.T, server, peer net.Conn) {
		h := start(t, server, func(h *handler) {
			h.turn = func([]byte, error) bool { return false }
		})
		write(t, peer, []byte("a"))
		wait(t, "Done", h.done)
		wantEOF(t, peer, "")
		if h.turns != 1 {
			t.Errorf("%d turns, want 1", h.turns)
		}
	})
}

func TestGoexit(t *testing.T) {
	t.Run("each turn", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.size = 100 // leaves bytes for the next call
				h.turn = func(p []byte, err error) bool {
					if err == nil {
						runtime.Goexit()
					}
					return false
				}
			})
			want := pattern(3000)
			write(t, peer, want[:1])
			write(t, peer, want[1:])
			peer.Close()
			wait(t, "Done", h.done)
			if !bytes.Equal(h.all, want) || h.err != io.EOF {
				t.Errorf("read %d bytes and %v, want %d and io.EOF", len(h.all), h.err, len(want))
			}
		})
	})
	t.Run("after the end", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						runtime.Goexit() // before Ready has returned the error's verdict
					}
					return err == nil
				}
			})
			peer.Close()
			wait(t, "Done", h.done)
		})
	})
}

// TestReadOn has more arrive at once than is read before other sockets have theirs: no event tells of the rest.
func TestReadOn(t *testing.T) {
	overAll(t, func(t *testing.T, server, peer net.Conn) {
		want := pattern(4000)
		all := make(chan struct{})
		h := newHandler(t, server)
		h.size = 10
		h.turn = func(_ []byte, err error) bool {
			if len(h.all) == len(want) && err == nil {
				close(all)
			}
			return err == nil
		}
		if _, ok := server.(interface{ SetReadBuffer(int) error }); ok {
			write(t, peer, want)
			h.sock.Start(false)
		} else { // what does not buffer is read while it is written
			h.sock.Start(false)
			write(t, peer, want)
		}
		wait(t, "all that was sent", all)
		h.sock.Close()
		wait(t, "Done", h.done)
	})
}

// TestPartial is about streams: they wait with a small buffer of their own, unless a part of a message has arrived.
func TestPartial(t *testing.T) {
	t.Parallel()
	for _, partial := range []bool{false, true} {
		name := map[bool]string{false: "nothing", true: "a message"}[partial]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, peer := pipePair(t)
			h := start(t, server, func(h *handler) { h.partial = partial })
			want := pattern(4000)
			write(t, peer, want)
			peer.Close()
			wait(t, "Done", h.done)
			if !bytes.Equal(h.all, want) {
				t.Errorf("read %d bytes, want %d", len(h.all), len(want))
			}
			if whole := h.reads[0] == len(want); whole != partial {
				t.Errorf("the reads were %v, want all at once: %v", h.reads, partial)
			}
		})
	}
}

// TestStartReady has Ready called before anything has arrived.
func TestStartReady(t *testing.T) {
	overAll(t, func(t *testing.T, server, peer net.Conn) {
		h := &handler{t: t, hangups: make(chan error, 10), done: make(chan struct{})}
		e := &eager{handler: h, called: make(chan struct{})}
		h.sock = new(poll.Poller).New(server, e)
		h.sock.Start(true)
		wait(t, "Ready", e.called)
		h.sock.Close()
		wait(t, "Done", h.done)
	})
}

// eager says when its first Ready runs.
type eager struct {
	*handler
	once   sync.Once
	called chan struct{}
}

func (e *eager) Ready() poll.Verdict {
	e.once.Do(func() { close(e.called) })
	return e.handler.Ready()
}
