package hailtest_test

// Peers that stall, read slowly and change their pace.

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
)

func TestPeerPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := hailtest.Dial(t, echo, "/")
		synctest.Wait()
		if got := p.Pending(); got != 0 {
			t.Errorf("got %d messages pending, want 0", got)
		}
		p.Send(hail.Text("a"))
		p.Send(hail.Text("b"))
		synctest.Wait()
		if got := p.Pending(); got != 2 {
			t.Errorf("got %d messages pending, want 2", got)
		}
	})
}

// flood writes KiB after KiB for ever, and reports the bytes written on request.
func flood(wrote *int, ended *error) http.Handler {
	return hijack("", func(conn net.Conn, br *bufio.Reader) {
		kib := frame(hailtest.OpBinary, zeros(1020)).Bytes()
		for *ended == nil {
			var n int
			n, *ended = conn.Write(kib)
			*wrote += n
		}
	})
}

func TestPeerStall(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]hailtest.Option{"plain": hailtest.Timeout(time.Minute), "tls": hailtest.TLS(nil)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := make(chan struct{})
				var wrote int
				var ended error
				h := flood(&wrote, &ended)
				p := hailtest.Dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-start
					h.ServeHTTP(w, r)
				}), "/", opt, hailtest.BufferSize(4096), early(start))
				p.Stall()
				synctest.Wait()
				before, pending := wrote, p.Pending()
				<-time.After(time.Hour)
				synctest.Wait()
				if wrote != before || p.Pending() != pending {
					t.Errorf("stalled: the server wrote %d bytes more, the peer read %d messages more", wrote-before, p.Pending()-pending)
				}
				p.Resume()
				for range pending + 100 {
					p.Receive()
				}
				p.Stall()
				p.Reset()
				synctest.Wait()
				if !errors.Is(ended, syscall.ECONNRESET) && !errors.Is(ended, syscall.EPIPE) {
					t.Errorf("after Reset: the server's write got %v, want ECONNRESET", ended)
				}
			})
		})
	}
}

// TestPeerStallsFromManyGoroutines has several goroutines change a peer's pace at once while nothing arrives. Then the
// peer reads a message.
func TestPeerStallsFromManyGoroutines(t *testing.T) {
	t.Parallel()
	overTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		p := hailtest.Dial(t, hijack("", func(conn net.Conn, br *bufio.Reader) {
			br.ReadByte()
			conn.Write(frame(hailtest.OpText, "some").Bytes())
			io.Copy(io.Discard, br)
		}), "/", opts...)
		var others sync.WaitGroup
		for range 4 {
			others.Go(func() {
				for range 200 {
					p.Stall()
					p.Resume()
				}
			})
		}
		others.Wait()
		p.Send(hail.Text("now"))
		if got := p.Receive().String(); got != "some" {
			t.Errorf("got %q", got)
		}
	})
}

// early is an option that closes c when it is applied: before the handshake.
func early(c chan struct{}) hailtest.Option {
	close(c)
	return hailtest.EarlyData(nil)
}

func TestPeerStallFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := make(chan struct{})
		var wrote int
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			<-start
			wrote, _ = conn.Write(frame(hailtest.OpBinary, zeros(1<<20)).Bytes())
		})
		p := hailtest.Dial(t, h, "/", hailtest.BufferSize(5000))
		p.Stall()
		close(start)
		synctest.Wait()
		p.Reset()
		synctest.Wait()
		if wrote != 5000 {
			t.Errorf("the server wrote %d bytes, want the 5000 that fit into the pipe", wrote)
		}
	})
}

func TestPeerReadSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := make(chan struct{})
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			<-start
			conn.Write(frame(hailtest.OpText, zeros(98)).Bytes())
			conn.Write(frame(hailtest.OpText, zeros(98)).Bytes())
			io.Copy(io.Discard, br)
		})
		p := hailtest.Dial(t, h, "/", hailtest.Timeout(time.Hour))
		synctest.Wait() // until the peer reads, at its old pace
		p.ReadSlowly(10, time.Second)
		began := time.Now()
		close(start)
		p.Receive()
		if got := time.Since(began); got != 10*time.Second {
			t.Errorf("got 100 bytes after %v, want 10s", got)
		}
		p.ReadSlowly(50, time.Minute)
		p.Receive()
		if got := time.Since(began); got != 10*time.Second+2*time.Minute {
			t.Errorf("got the next 100 bytes after %v, want 2m10s", got)
		}
	})
}

// TestPeerChangesPace has the peer stall, and resume, while it waits to read and while it reads.
func TestPeerChangesPace(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]hailtest.Option{"plain": hailtest.BufferSize(1000), "tls": hailtest.TLS(nil)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := hailtest.Dial(t, echo, "/", opt)
				for range 3 {
					synctest.Wait()
					p.Stall()
					p.Send(hail.Text("late"))
					<-time.After(time.Hour)
					if got := p.Pending(); got != 0 {
						t.Errorf("stalled: got %d messages, want 0", got)
					}
					p.ReadSlowly(1, 2*time.Hour)
					<-time.After(time.Hour)
					p.Stall()
					<-time.After(10 * time.Hour)
					p.Resume()
					start := time.Now()
					if got := p.Receive(); got.String() != "late" || time.Since(start) != 0 {
						t.Errorf("resumed: got %q after %v, want it at once", got, time.Since(start))
					}
				}
			})
		})
	}
}

// TestPeerStallsWhileItWaitsToRead stalls between two slow reads: the second does not happen.
func TestPeerStallsWhileItWaitsToRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := make(chan struct{})
		var wrote int
		h := hijack("", func(conn net.Conn, br *bufio.Reader) {
			<-start
			wrote, _ = conn.Write(frame(hailtest.OpBinary, zeros(1<<20)).Bytes())
		})
		p := hailtest.Dial(t, h, "/", hailtest.BufferSize(5000))
		p.ReadSlowly(1, time.Minute)
		close(start)
		<-time.After(150 * time.Second) // two reads, and the third due soon
		p.Stall()
		<-time.After(time.Hour)
		p.Reset()
		synctest.Wait()
		if wrote != 5002 {
			t.Errorf("the server wrote %d bytes, want the 5000 that fit into the pipe and the 2 read", wrote)
		}
	})
}

func TestPeerBufferSizeOverTCP(t *testing.T) {
	t.Parallel()
	wrote := make(chan int, 1)
	start := make(chan struct{})
	h := hijack("", func(conn net.Conn, br *bufio.Reader) {
		<-start
		conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, _ := conn.Write(frame(hailtest.OpBinary, zeros(16<<20)).Bytes())
		wrote <- n
	})
	p := hailtest.Dial(t, h, "/", hailtest.TCP(), hailtest.BufferSize(8<<10))
	p.Stall()
	close(start)
	// Linux doubles the size and accepts whole packets, of 64 KiB on loopback. By default it buffers some MiB.
	if got, most := <-wrote, 512<<10; got > most {
		t.Errorf("the server wrote %d bytes to a peer that does not read, want at most %d", got, most)
	}
}
