package poll_test

// Writing: WantWrite, Writable, and bytes that the peer has not acknowledged.

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/internal/poll"
)

// writer returns a Handler's Writable that writes p, and sends the result to wrote.
func (h *handler) writer(p []byte, wrote chan<- error) func(func([]byte) (int, error)) {
	return func(write func([]byte) (int, error)) {
		for len(p) > 0 {
			n, err := write(p)
			p = p[n:]
			if err == poll.ErrWouldBlock && h.sock.WantWrite() {
				return
			}
			if n == 0 && err == nil {
				err = io.ErrNoProgress // it has to wait
			}
			if err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}
}

func TestWantWrite(t *testing.T) {
	t.Run("writes when there is room", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := newHandler(t, server)
			full, want := fill(h)
			wrote := make(chan error, 1)
			h.writable = h.writer(full, wrote)
			h.sock.Start(false)
			if !h.sock.WantWrite() {
				t.Fatal("WantWrite = false, want true")
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(peer, got); err != nil {
				t.Fatalf("peer: %v", err)
			}
			if !bytes.Equal(got, want) {
				t.Error("the peer reads other bytes than were written")
			}
			if err := wait(t, "Writable", wrote); err != nil {
				t.Errorf("write: %v", err)
			}
			peer.Close()
			wait(t, "Done", h.done)
		})
	})
	t.Run("again and again", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := newHandler(t, server)
			wrote := make(chan error, 1)
			h.sock.Start(false)
			for range 20 {
				h.writable = h.writer([]byte("x"), wrote)
				if !h.sock.WantWrite() {
					t.Fatal("WantWrite = false, want true")
				}
				if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
					t.Fatalf("peer: %v", err)
				}
				if err := wait(t, "Writable", wrote); err != nil {
					t.Fatalf("write: %v", err)
				}
				h.joinWriter()
			}
			h.sock.Close()
			wait(t, "Done", h.done)
		})
	})
	t.Run("Close ends a write that waits", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := newHandler(t, server)
			full, _ := fill(h)
			full = append(full, make([]byte, 4<<20)...) // more than any buffer holds
			wrote := make(chan error, 1)
			h.writable = h.writer(full, wrote)
			h.sock.Start(false)
			if !h.sock.WantWrite() {
				t.Fatal("WantWrite = false, want true")
			}
			h.sock.Close()
			if err := wait(t, "Writable", wrote); err == nil || err == poll.ErrWouldBlock || err == io.ErrNoProgress {
				t.Errorf("write: %v, want the transport's error", err)
			}
			wait(t, "Done", h.done)
		})
	})
	t.Run("after the end", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.writable = func(func([]byte) (int, error)) { t.Error("Writable after the end") }
			})
			h.sock.Close()
			wait(t, "Done", h.done)
			if h.sock.WantWrite() {
				t.Error("WantWrite = true, want false")
			}
			if n, err := h.sock.Write([]byte("a")); n != 0 || err == nil {
				t.Errorf("Write = %d, %v, want an error", n, err)
			}
		})
	})
	t.Run("while it ends", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			var called atomic.Int32
			h := start(t, server, func(h *handler) {
				h.writable = func(write func([]byte) (int, error)) {
					called.Add(1)
					write([]byte("a")) // the peer reads: there is room
				}
			})
			granted := make(chan int32, 1)
			go func() { granted <- h.askToWrite(&called) }()
			go io.Copy(io.Discard, peer)
			h.sock.Close()
			wait(t, "Done", h.done)
			want := wait(t, "WantWrite = false", granted)
			if got := called.Load(); got != want {
				t.Errorf("Writable was called %d times, want %d: once for each true", got, want)
			}
		})
	})
	t.Run("Done waits for Writable", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			server, _ := pipePair(t)
			release := make(chan struct{})
			h := start(t, server, func(h *handler) {
				h.writable = func(func([]byte) (int, error)) { <-release }
			})
			if !h.sock.WantWrite() {
				t.Fatal("WantWrite = false, want true")
			}
			h.sock.Close()
			synctest.Wait()
			if h.dones.Load() != 0 {
				t.Error("Done while Writable runs")
			}
			if h.sock.WantWrite() {
				t.Error("WantWrite while the end waits for Writable = true, want false")
			}
			close(release)
			<-h.done
		})
	})
}

// askToWrite calls WantWrite, one call after the other, until the end. It returns how often that returned true.
func (h *handler) askToWrite(called *atomic.Int32) (granted int32) {
	for h.sock.WantWrite() {
		granted++
		for called.Load() < granted || h.writing.Load() != 0 {
			runtime.Gosched()
		}
	}
	return granted
}

// beyond is how many bytes fill leaves to write.
const beyond = 256 << 10

// fill writes until the socket is full. It returns the bytes that are left to write, and all that the peer has to read.
func fill(h *handler) (left, all []byte) {
	all = pattern(4 << 20)
	at := 0
	for at < len(all) {
		p := all[at:min(at+1<<20, len(all))]
		n, err := h.sock.Write(p)
		at += n
		if n < len(p) && err == nil {
			h.t.Fatalf("Write = %d of %d, nil, want %v for a part", n, len(p), poll.ErrWouldBlock)
		}
		if err != nil {
			if err != poll.ErrWouldBlock {
				h.t.Fatalf("Write: %v", err)
			}
			break
		}
	}
	if at == len(all) {
		h.t.Fatalf("the socket accepted %d bytes that nobody reads", at)
	}
	end := min(at+beyond, len(all))
	return bytes.Clone(all[at:end]), all[:end]
}

// joinWriter waits until Writable has returned. It is about to.
func (h *handler) joinWriter() {
	for h.writing.Load() != 0 {
		runtime.Gosched()
	}
}

func TestStreamWriteNeverWrites(t *testing.T) {
	t.Parallel()
	server, _ := pipePair(t)
	h := start(t, server, nil)
	if n, err := h.sock.Write([]byte("a")); n != 0 || err != poll.ErrWouldBlock {
		t.Errorf("Write = %d, %v, want 0, %v", n, err, poll.ErrWouldBlock)
	}
	h.sock.Close()
	wait(t, "Done", h.done)
}

func TestUnsent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		server, peer := tcpPair(t)
		h := newHandler(t, server)
		if got := h.sock.Unsent(); got != 0 {
			t.Errorf("before any write: Unsent = %d, want 0", got)
		}
		_, all := fill(h)
		full := h.sock.Unsent()
		if full <= 0 || full > len(all) {
			t.Errorf("with a full buffer: Unsent = %d, want more than 0 and at most %d", full, len(all))
		}
		wrote := len(all) - beyond // fill did not write the last of it
		io.CopyN(io.Discard, peer, int64(wrote))
		// The last acknowledgement may come later.
		limit := time.Now().Add(patience)
		for h.sock.Unsent() != 0 && time.Now().Before(limit) {
			runtime.Gosched()
		}
		if got := h.sock.Unsent(); got != 0 {
			t.Errorf("with everything read: Unsent = %d, want 0", got)
		}
		h.sock.Close()
		if got := h.sock.Unsent(); got != -1 {
			t.Errorf("after Close: Unsent = %d, want -1", got)
		}
		h.sock.Start(false)
		wait(t, "Done", h.done)
	})
	t.Run("tls", func(t *testing.T) {
		t.Parallel()
		server, _ := tcpPair(t)
		h := newHandler(t, tls.Server(server, new(tls.Config)))
		if got := h.sock.Unsent(); got != 0 {
			t.Errorf("Unsent = %d, want 0, of the connection under TLS", got)
		}
	})
	t.Run("a pipe does not tell", func(t *testing.T) {
		t.Parallel()
		server, _ := pipePair(t)
		h := newHandler(t, server)
		if got := h.sock.Unsent(); got != -1 {
			t.Errorf("Unsent = %d, want -1", got)
		}
	})
}

func readFull(t testing.TB, peer net.Conn, p []byte) {
	t.Helper()
	if _, err := io.ReadFull(peer, p); err != nil {
		t.Errorf("peer: %v", err)
	}
}
