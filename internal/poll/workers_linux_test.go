package poll_test

// The goroutines that serve sockets: about as many as there are blocked callbacks, and none without sockets.

import (
	"crypto/sha256"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/hail/internal/poll"
)

// socketPair returns a pair that uses no port.
func socketPair(t testing.TB) (server, peer net.Conn) {
	t.Helper()
	server, peer = rawSocketPair(t)
	return closeBoth(t, server, peer)
}

// rawSocketPair is socketPair without a cleanup, for sockets that come and go.
func rawSocketPair(t testing.TB) (server, peer net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		ends[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}

// goroutines counts the goroutines that poll has started. Tests that call it are not parallel.
func goroutines() int {
	buf := make([]byte, 1<<20)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return strings.Count(string(buf[:n]), "created by example.com/hail/internal/poll.")
		}
		buf = make([]byte, 2*len(buf))
	}
}

// waitGoroutines waits until poll has at most the given number of goroutines.
func waitGoroutines(t testing.TB, most int) {
	t.Helper()
	got := goroutines()
	for limit := time.Now().Add(patience); got > most && time.Now().Before(limit); got = goroutines() {
		runtime.Gosched()
	}
	if got > most {
		t.Errorf("%d goroutines after %v, want at most %d", got, patience, most)
	}
}

// echo has a handler send the bytes of each read to the channel.
func echo(h *handler) <-chan string {
	said := make(chan string, 1)
	h.turn = func(p []byte, err error) bool {
		if err == nil {
			said <- string(p)
		}
		return err == nil
	}
	return said
}

// bystander is a socket that others must not disturb.
type bystander struct {
	*handler
	peer net.Conn
	said <-chan string
}

func newBystander(t testing.TB, p *poll.Poller) *bystander {
	server, peer := socketPair(t)
	b := &bystander{peer: peer}
	b.handler = startOf(t, p, server, func(h *handler) { b.said = echo(h) })
	return b
}

// check checks that the socket is served.
func (b *bystander) check(what string) {
	b.t.Helper()
	write(b.t, b.peer, []byte(what))
	if got := wait(b.t, "a Ready of a bystander", b.said); got != what {
		b.t.Errorf("the bystander reads %q, want %q", got, what)
	}
}

func TestBlockedReadyDelaysNobody(t *testing.T) {
	for _, n := range []int{1, 2, 1000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			var p poll.Poller
			blocked, release := make(chan struct{}, n), make(chan struct{})
			var peers []net.Conn
			var handlers []*handler
			for range n {
				server, peer := socketPair(t)
				handlers = append(handlers, startOf(t, &p, server, func(h *handler) {
					h.turn = func(p []byte, err error) bool {
						if err == nil {
							blocked <- struct{}{}
							<-release
						}
						return err == nil
					}
				}))
				peers = append(peers, peer)
			}
			by := newBystander(t, &p)
			waitGoroutines(t, 1)
			for _, peer := range peers {
				write(t, peer, []byte("block"))
			}
			for range peers {
				wait(t, "a Ready that blocks", blocked) // all of them at the same time
			}
			for i := range 100 {
				by.check(strconv.Itoa(i))
			}
			if got := goroutines(); got > 2*n+8 {
				t.Errorf("%d goroutines for %d callbacks that block, want about as many", got, n)
			}
			close(release)
			by.check("after")
			waitGoroutines(t, 1)
			for _, peer := range peers {
				peer.Close()
			}
			for _, h := range handlers {
				wait(t, "Done", h.done)
			}
			by.sock.Close()
			wait(t, "Done", by.done)
			waitGoroutines(t, 0)
		})
	}
}

// hog is a Handler that always has more to do: bytes that it has not handled, or bytes that it has sent to itself.
type hog struct {
	sock  poll.Socket
	peer  net.Conn
	bytes bool
	turn  func()
	stop  atomic.Bool
	done  chan struct{}
}

func (h *hog) Ready() poll.Verdict {
	if h.bytes {
		h.peer.Write(make([]byte, 16)) // as many bytes as reads before other sockets come first
	}
	for {
		if h.stop.Load() {
			return poll.Ended
		}
		h.turn()
		if !h.bytes {
			return poll.Again
		}
		if _, err := h.sock.Read(make([]byte, 1)); err == poll.ErrWouldBlock {
			return poll.Idle
		}
	}
}
func (h *hog) Writable(func([]byte) (int, error)) {}
func (h *hog) Hangup(error)                       {}
func (h *hog) Done()                              { close(h.done) }

// startHogs starts more hogs than there are processors. The test's cleanup ends them.
func startHogs(t testing.TB, p *poll.Poller, bytes bool, turn func()) {
	var hogs []*hog
	for range runtime.GOMAXPROCS(0) + 3 {
		server, peer := socketPair(t)
		peer.Write(make([]byte, 16))
		h := &hog{peer: peer, bytes: bytes, turn: turn, done: make(chan struct{})}
		h.sock = p.New(server, h)
		h.sock.Start(true)
		hogs = append(hogs, h)
	}
	t.Cleanup(func() {
		for _, h := range hogs {
			h.stop.Store(true)
		}
		for _, h := range hogs {
			wait(t, "Done of a hog", h.done)
		}
	})
}

func TestFloodsStarveNobody(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]bool{"of frames": false, "of bytes": true} {
		t.Run(name+", to be read", func(t *testing.T) {
			t.Parallel()
			var p poll.Poller
			server, peer := socketPair(t)
			// A hog has the peer write. The delay until Ready is counted in turns of the hogs, not in time: the hogs
			// do not have the processors for themselves.
			const times = 101
			var work [8 << 10]byte // costs some microseconds a turn
			var turns, wrote atomic.Int64
			var idle atomic.Bool
			between := make(chan int64, times)
			h := startOf(t, &p, server, func(h *handler) {
				h.turn = func(_ []byte, err error) bool {
					between <- turns.Load() - wrote.Load()
					idle.Store(true)
					return err == nil && h.turns < times
				}
			})
			startHogs(t, &p, bytes, func() {
				sha256.Sum256(work[:])
				if turns.Add(1); idle.CompareAndSwap(true, false) {
					wrote.Store(turns.Load())
					peer.Write([]byte("a"))
				}
			})
			idle.Store(true)
			var all []int64
			for range times {
				all = append(all, wait(t, "a Ready", between))
			}
			slices.Sort(all)
			if got := all[times/2]; got > 1000 {
				t.Errorf("a message has to wait for %d turns of other sockets, want less than a hundred", got)
			}
			wait(t, "Done", h.done)
		})
		t.Run(name+", to be written", func(t *testing.T) {
			t.Parallel()
			var p poll.Poller
			startHogs(t, &p, bytes, func() {})
			server, peer := socketPair(t)
			h := newHandlerOf(t, &p, server)
			full, want := fill(h)
			wrote := make(chan error, 1)
			h.writable = h.writer(full, wrote)
			h.sock.Start(false)
			if !h.sock.WantWrite() {
				t.Fatal("WantWrite = false, want true")
			}
			readFull(t, peer, make([]byte, len(want)))
			if err := wait(t, "Writable", wrote); err != nil {
				t.Errorf("write: %v", err)
			}
			peer.Close()
			wait(t, "Done", h.done)
		})
	}
}

// TestFloodCostsNoMemory is not parallel: it measures the heap of the whole process.
func TestFloodCostsNoMemory(t *testing.T) {
	var p poll.Poller
	var turns atomic.Int64
	startHogs(t, &p, false, func() { turns.Add(1) })
	heap := func(turn int64) uint64 {
		for turns.Load() < turn {
			runtime.Gosched()
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap(1000)
	const more = 200_000
	if after := heap(turns.Load() + more); after > before+1<<20 {
		t.Errorf("heap: %d bytes after %d turns more, want about the %d there were", after, more, before)
	}
}

// TestFloodStartsNoWorkers is not parallel: it counts all goroutines.
func TestFloodStartsNoWorkers(t *testing.T) {
	var p poll.Poller
	var turns atomic.Int64
	before := runtime.NumGoroutine()
	blocked, release := make(chan struct{}), make(chan struct{})
	startHogs(t, &p, false, func() { turns.Add(1) })
	server, peer := socketPair(t)
	h := startOf(t, &p, server, func(h *handler) {
		h.turn = func(p []byte, err error) bool {
			if h.turns == 1 {
				close(blocked)
				<-release
			}
			return err == nil
		}
	})
	write(t, peer, []byte("block"))
	wait(t, "a Ready that blocks", blocked)
	most := 0
	for start := turns.Load(); turns.Load() < start+100_000; runtime.Gosched() {
		most = max(most, runtime.NumGoroutine()-before)
	}
	if want := 2*runtime.GOMAXPROCS(0) + 10; most > want {
		t.Errorf("up to %d goroutines serve %d sockets, want at most %d", most, runtime.GOMAXPROCS(0)+4, want)
	}
	close(release)
	h.sock.Close()
	wait(t, "Done", h.done)
}

// TestGoexitKeepsTheWorkers has each callback end its goroutine.
func TestGoexitKeepsTheWorkers(t *testing.T) {
	var p poll.Poller
	const n = 100
	var group sync.WaitGroup
	for range n {
		server, peer := socketPair(t)
		h := startOf(t, &p, server, func(h *handler) {
			h.size = 100
			h.turn = func(p []byte, err error) bool {
				if err == nil {
					runtime.Goexit()
				}
				return false
			}
			h.last = runtime.Goexit
		})
		group.Go(func() {
			want := pattern(1000)
			write(t, peer, want)
			peer.Close()
			wait(t, "Done", h.done)
			if string(h.all) != string(want) {
				t.Errorf("read %d bytes, want the %d that were sent", len(h.all), len(want))
			}
		})
	}
	by := newBystander(t, &p)
	group.Wait()
	by.check("still there")
	by.sock.Close()
	wait(t, "Done", by.done)
	waitGoroutines(t, 0)
}
