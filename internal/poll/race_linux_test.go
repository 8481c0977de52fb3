package poll_test

// Races of sockets that hold no goroutine: events against reads, writes, Start, Close and each other.

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail/internal/poll"
)

// overPolled runs a test over the transports that hold no goroutine.
func overPolled(t *testing.T, f func(t *testing.T, pair func(t testing.TB) (server, peer net.Conn))) {
	t.Parallel()
	for name, pair := range map[string]func(t testing.TB) (server, peer net.Conn){"tcp": tcpPair, "socketpair": socketPair} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, pair)
		})
	}
}

// often returns n, or less if tests are to be short.
func often(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// yields lets other goroutines run, a random number of times.
func yields() {
	for range rand.IntN(4) {
		runtime.Gosched()
	}
}

// TestNoEventIsLost has many sockets answer bytes that arrive in pieces of any size, at any moment of Ready.
func TestNoEventIsLost(t *testing.T) {
	overPolled(t, func(t *testing.T, pair func(t testing.TB) (server, peer net.Conn)) {
		var p poll.Poller
		var group sync.WaitGroup
		for range 16 {
			server, peer := pair(t)
			h := startOf(t, &p, server, func(h *handler) {
				h.size = 16
				h.turn = func(p []byte, err error) bool {
					yields()
					h.sock.Write(p) // so little that there is room
					yields()
					return err == nil
				}
			})
			group.Go(func() {
				want, got := pattern(40), make([]byte, 40)
				for range often(300) {
					peer.SetDeadline(time.Now().Add(patience))
					n := 1 + rand.IntN(len(want))
					write(t, peer, want[:n/2])
					yields()
					write(t, peer, want[n/2:n])
					if readFull(t, peer, got[:n]); !bytes.Equal(got[:n], want[:n]) {
						t.Errorf("the peer reads %q, want %q", got[:n], want[:n])
						break
					}
				}
				peer.Close()
				wait(t, "Done", h.done)
			})
		}
		group.Wait()
		wait(t, "Halt", halt(&p))
	})
}

// TestWritesToASlowReader has each write find the socket full, with and without a Close in between.
func TestWritesToASlowReader(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run("closed "+strconv.FormatBool(closes), func(t *testing.T) {
			overPolled(t, func(t *testing.T, pair func(t testing.TB) (server, peer net.Conn)) {
				var p poll.Poller
				want := pattern(256 << 10)
				var group sync.WaitGroup
				for range 10 {
					server, peer := pair(t)
					server.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(8 << 10)
					h := newHandlerOf(t, &p, server)
					wrote := make(chan error, 1)
					h.writable = h.writer(want, wrote)
					var asked, called atomic.Int32
					inner := h.writable
					h.writable = func(write func([]byte) (int, error)) {
						called.Add(1)
						inner(write)
					}
					h.sock.Start(false)
					if h.sock.WantWrite() {
						asked.Add(1)
					}
					group.Go(func() {
						got, err := readSlowly(peer, len(want), func(n int) {
							if closes && n > len(want)/2 {
								h.sock.Close()
							}
						})
						if !bytes.Equal(got, want[:len(got)]) {
							t.Errorf("the %d bytes that the peer reads are not those that were written", len(got))
						}
						if !closes && len(got) < len(want) {
							t.Errorf("the peer reads %d bytes and %v, want %d", len(got), err, len(want))
						}
						if err := wait(t, "Writable", wrote); (err == nil) == closes && len(got) < len(want) {
							t.Errorf("write: %v", err)
						}
						h.sock.Close()
						wait(t, "Done", h.done)
					})
				}
				group.Wait()
				wait(t, "Halt", halt(&p))
			})
		})
	}
}

// readSlowly reads n bytes in small pieces of random sizes, or until the end.
func readSlowly(peer net.Conn, n int, at func(n int)) ([]byte, error) {
	var got []byte
	buf := make([]byte, 16<<10)
	for len(got) < n {
		peer.SetDeadline(time.Now().Add(patience))
		m, err := peer.Read(buf[:1+rand.IntN(len(buf))])
		got = append(got, buf[:m]...)
		if err != nil {
			return got, err
		}
		at(len(got))
		yields()
	}
	return got, nil
}

// TestStartRaces calls Start while the peer sends and leaves, and while others call Close.
func TestStartRaces(t *testing.T) {
	overPolled(t, func(t *testing.T, pair func(t testing.TB) (server, peer net.Conn)) {
		var p poll.Poller
		for i := range often(300) {
			server, peer := pair(t)
			h := newHandlerOf(t, &p, server)
			h.writable = func(write func([]byte) (int, error)) { write([]byte("a")) }
			var group sync.WaitGroup
			group.Go(func() { h.sock.Start(false) })
			group.Go(func() { h.sock.WantWrite() })
			group.Go(func() {
				peer.Write([]byte("sent"))
				if i%2 == 0 {
					peer.Close()
				}
			})
			if i%3 == 0 || i%2 == 1 {
				for range 3 {
					group.Go(func() { h.sock.Close() })
				}
			}
			group.Wait()
			wait(t, "Done", h.done)
			if got := string(h.all); got != "" && got != "sent" {
				t.Errorf("read %q, want %q or nothing", got, "sent")
			}
			peer.Close()
		}
		wait(t, "Halt", halt(&p))
	})
}

// TestCloseRaces closes sockets while they are read, written, queried and half-closed.
func TestCloseRaces(t *testing.T) {
	overPolled(t, func(t *testing.T, pair func(t testing.TB) (server, peer net.Conn)) {
		var p poll.Poller
		for range often(100) {
			server, peer := pair(t)
			var called atomic.Int32
			h := startOf(t, &p, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns%5 == 4 {
						runtime.Goexit()
					}
					h.sock.Unsent()
					return err == nil
				}
				h.writable = func(write func([]byte) (int, error)) {
					write(make([]byte, 1000))
					called.Add(1)
				}
			})
			var group sync.WaitGroup
			granted := make(chan int32, 1)
			group.Go(func() { granted <- h.askToWrite(&called) })
			group.Go(func() { io.Copy(io.Discard, peer) })
			group.Go(func() {
				for {
					if _, err := peer.Write(make([]byte, 100)); err != nil {
						return
					}
				}
			})
			for range 2 {
				group.Go(func() {
					for h.sock.Unsent() >= 0 { // ends with Close
						h.sock.HungUp()
						runtime.Gosched()
					}
				})
			}
			for range 10 {
				yields()
			}
			for range 4 {
				group.Go(func() { h.sock.Close() })
			}
			wait(t, "Done", h.done)
			peer.Close()
			group.Wait()
			if got, want := called.Load(), <-granted; got != want {
				t.Errorf("Writable was called %d times, want %d: once for each true", got, want)
			}
		}
		wait(t, "Halt", halt(&p))
	})
}

// TestComeAndGo has the last socket end while the next one starts, again and again.
func TestComeAndGo(t *testing.T) {
	for _, at := range []int{1, 2, 8} {
		t.Run(strconv.Itoa(at)+" at a time", func(t *testing.T) {
			t.Parallel()
			var p poll.Poller
			var group sync.WaitGroup
			for range at {
				group.Go(func() {
					for range often(2000) / at {
						comeAndGo(t, &p)
					}
				})
			}
			group.Wait()
			wait(t, "Halt", halt(&p))
		})
	}
}

func comeAndGo(t *testing.T, p *poll.Poller) {
	server, peer := rawSocketPair(t)
	defer peer.Close()
	h := startOf(t, p, server, nil)
	switch rand.IntN(3) {
	case 0:
		h.sock.Close()
	case 1:
		peer.Close()
	default:
		peer.Write([]byte("a"))
		peer.Close()
	}
	wait(t, "Done", h.done)
}
