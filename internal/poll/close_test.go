package poll_test

// The end from our side: Close and CloseWrite, at any moment.

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestClose(t *testing.T) {
	t.Run("in Ready", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						if err := h.sock.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					}
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
			if string(h.all) != "a" {
				t.Errorf("read %q, want %q", h.all, "a")
			}
		})
	})
	t.Run("in Ready that ends its goroutine", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						h.sock.Close()
						runtime.Goexit()
					}
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Done", h.done)
		})
	})
	t.Run("while idle", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			turned := make(chan struct{})
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						close(turned)
					}
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Ready", turned)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { h.sock.Close() })
			}
			wg.Wait()
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
		})
	})
	t.Run("while Ready runs", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			running, closed := make(chan struct{}), make(chan struct{})
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						close(running)
						<-closed
						if h.dones.Load() != 0 {
							t.Error("Done while Ready runs")
						}
					}
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Ready", running)
			h.sock.Close() // does not wait for the Ready
			wantEOF(t, peer, "")
			close(closed)
			wait(t, "Done", h.done)
		})
	})
	t.Run("before Start", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := newHandler(t, server)
			if err := h.sock.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			h.sock.Start(false)
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
			if len(h.all) != 0 || h.turns > 1 {
				t.Errorf("read %q in %d turns, want nothing", h.all, h.turns)
			}
		})
	})
	t.Run("before Start, after bytes have arrived", func(t *testing.T) {
		t.Parallel()
		for range 100 {
			server, peer := tcpPair(t)
			write(t, peer, []byte("too late"))
			h := newHandler(t, struct{ net.Conn }{server})
			h.sock.Close()
			h.sock.Start(false)
			wait(t, "Done", h.done)
			if len(h.all) != 0 {
				t.Fatalf("read %q, want nothing", h.all)
			}
		}
	})
	t.Run("again after Done", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, nil)
			peer.Close()
			wait(t, "Done", h.done)
			h.sock.Close()
			if n := h.dones.Load(); n != 1 {
				t.Errorf("Done %d times, want once", n)
			}
		})
	})
}

func TestCloseWrite(t *testing.T) {
	t.Parallel()
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			server, peer := tr.pair(t)
			h := start(t, server, nil)
			if err := h.sock.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
			wantEOF(t, peer, "")
			write(t, peer, []byte("still read"))
			peer.Close()
			wait(t, "Done", h.done)
			if string(h.all) != "still read" {
				t.Errorf("read %q, want %q", h.all, "still read")
			}
		})
	}
	t.Run("a transport that cannot", func(t *testing.T) {
		t.Parallel()
		server, peer := pipePair(t)
		h := start(t, server, nil)
		if err := h.sock.CloseWrite(); err != nil {
			t.Errorf("CloseWrite: %v, want nil", err)
		}
		peer.Close()
		wait(t, "Done", h.done)
	})
}

// overTLS stands for a *tls.Conn. Its Close writes an alert, and blocks if the peer does not read.
type overTLS struct {
	net.Conn
	t testing.TB
}

func (o overTLS) NetConn() net.Conn { return o.Conn }

func (o overTLS) Close() error {
	o.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := o.Conn.Write([]byte("alert")); err != io.ErrClosedPipe {
		o.t.Errorf("the alert's write returned %v, want the transport to be closed before", err)
	}
	return o.Conn.Close()
}

func TestCloseOfTLS(t *testing.T) {
	t.Parallel()
	server, peer := pipePair(t)
	h := start(t, overTLS{server, t}, nil)
	h.sock.Close()
	wait(t, "Done", h.done)
	wantEOF(t, peer, "")
}

// flooded is a connection whose Read takes long to return. Like a net.Conn's, its Close waits for that.
type flooded struct {
	net.Conn
	reading, back chan struct{}
}

func (f flooded) Read([]byte) (int, error) {
	select {
	case f.reading <- struct{}{}:
	default: // Read has returned, and is called again
	}
	<-f.back
	return 0, net.ErrClosed
}

func (f flooded) Close() error {
	<-f.back
	return f.Conn.Close()
}

func TestCloseDoesNotWaitForTheReader(t *testing.T) {
	t.Parallel()
	server, _ := pipePair(t)
	nc := flooded{server, make(chan struct{}, 1), make(chan struct{})}
	h := start(t, nc, nil)
	wait(t, "Read", nc.reading)
	closed := make(chan struct{})
	go func() { // waited for below
		defer close(closed)
		h.sock.Close()
	}()
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
		t.Error("Close waits for Read")
	}
	close(nc.back)
	wait(t, "Done", h.done)
	wait(t, "Close", closed)
}
