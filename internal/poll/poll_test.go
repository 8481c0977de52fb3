package poll_test

// The promises of Socket and Handler, over every kind of transport.

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail/hailtest"
	"example.com/hail/internal/poll"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// handler is a poll.Handler that checks what it is promised. Its functions are what a test wants of it.
type handler struct {
	t    testing.TB
	sock poll.Socket

	turn     func(p []byte, err error) bool // nil: goes on until an error
	writable func(write func([]byte) (int, error))
	pending  func() bool
	size     int // of a read; 0: 4096

	// Owned by Fill and Turn, and free for the test after done.
	all   []byte // everything that was read
	err   error  // of the last Fill
	reads []int  // what each Fill has read
	part  []byte // what Fill has read and Turn not been given
	turns int
	fresh bool // Fill said true, Turn has not followed

	inside  atomic.Int32 // calls of Fill, Turn or Done that run
	writing atomic.Int32
	dones   atomic.Int32
	hangups chan error
	done    chan struct{} // closed by Done
}

// start gives nc to a handler. prepare may be nil.
func start(t testing.TB, nc net.Conn, prepare func(h *handler)) *handler {
	h := newHandler(t, nc)
	if prepare != nil {
		prepare(h)
	}
	h.sock.Start()
	return h
}

func newHandler(t testing.TB, nc net.Conn) *handler {
	h := &handler{t: t, hangups: make(chan error, 10), done: make(chan struct{})}
	h.sock = new(poll.Poller).New(nc, h)
	return h
}

func (h *handler) enter(name string) (leave func()) {
	if n := h.inside.Add(1); n != 1 {
		h.t.Errorf("%s runs together with %d others of Fill, Turn and Done", name, n-1)
	}
	if h.dones.Load() != 0 {
		h.t.Errorf("%s after Done", name)
	}
	return func() { h.inside.Add(-1) }
}

func (h *handler) Fill() bool {
	defer h.enter("Fill")()
	if h.fresh {
		h.t.Error("Fill again, want Turn: the last said true")
	}
	size := h.size
	if size == 0 {
		size = 4096
	}
	p := make([]byte, size)
	n, err := h.sock.Read(p)
	if err == poll.ErrWouldBlock {
		return false
	}
	h.part = append(h.part, p[:n]...)
	h.all = append(h.all, p[:n]...)
	h.reads = append(h.reads, n)
	h.err, h.fresh = err, true
	return true
}

func (h *handler) Pending() bool { return h.pending != nil && h.pending() }

func (h *handler) Turn() poll.Verdict {
	defer h.enter("Turn")()
	if !h.fresh {
		h.t.Error("Turn without a Fill that said true")
	}
	h.fresh = false
	h.turns++
	p := h.part
	h.part = nil
	more := h.err == nil
	if h.turn != nil {
		more = h.turn(p, h.err)
	}
	if more {
		return poll.More
	}
	return poll.Ended
}

func (h *handler) Writable(write func([]byte) (int, error)) {
	if n := h.writing.Add(1); n != 1 {
		h.t.Errorf("Writable runs %d times at once, want 1", n)
	}
	if h.dones.Load() != 0 {
		h.t.Error("Writable after Done")
	}
	if write == nil {
		write = h.sock.Write
	}
	h.writable(write)
	h.writing.Add(-1)
}

func (h *handler) Hangup(err error) {
	h.hangups <- err
}

func (h *handler) Done() {
	defer h.enter("Done")()
	if h.writing.Load() != 0 {
		h.t.Error("Done while Writable runs")
	}
	if n := h.dones.Add(1); n != 1 {
		h.t.Errorf("Done %d times, want once", n)
		return
	}
	close(h.done)
}

// wait waits for something that is closed or sent.
func wait[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: nothing after %v", what, patience)
	}
	return v
}

// transports are pairs of connected ends: ours and the peer's.
var transports = []struct {
	name string
	pair func(t testing.TB) (server, peer net.Conn)
}{
	{"tcp", tcpPair},
	{"unix", unixPair},
	{"pipe", pipePair},
	{"wrapped tcp", func(t testing.TB) (server, peer net.Conn) {
		server, peer = tcpPair(t)
		return struct{ net.Conn }{server}, peer
	}},
}

func tcpPair(t testing.TB) (server, peer net.Conn) { return listenPair(t, "tcp", "127.0.0.1:0") }

func unixPair(t testing.TB) (server, peer net.Conn) {
	if runtime.GOOS == "windows" {
		t.Skip("no unix sockets")
	}
	return listenPair(t, "unix", filepath.Join(t.TempDir(), "s"))
}

func listenPair(t testing.TB, network, addr string) (server, peer net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err = net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, nc := range []net.Conn{server, peer} {
		// Small buffers are soon full.
		sized := nc.(interface {
			SetReadBuffer(int) error
			SetWriteBuffer(int) error
		})
		sized.SetReadBuffer(32 << 10)
		sized.SetWriteBuffer(32 << 10)
	}
	return closeBoth(t, server, peer)
}

func pipePair(t testing.TB) (server, peer net.Conn) {
	server, peer = net.Pipe()
	return closeBoth(t, server, peer)
}

func closeBoth(t testing.TB, server, peer net.Conn) (net.Conn, net.Conn) {
	peer.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() {
		server.Close()
		peer.Close()
	})
	return server, peer
}

// overAll runs a test over every transport.
func overAll(t *testing.T, f func(t *testing.T, server, peer net.Conn)) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			server, peer := tr.pair(t)
			f(t, server, peer)
		})
	}
}

func write(t testing.TB, nc net.Conn, p []byte) {
	t.Helper()
	if _, err := nc.Write(p); err != nil {
		t.Errorf("peer: %v", err)
	}
}

// wantEOF reads what is left, which must be want.
func wantEOF(t testing.TB, peer net.Conn, want string) {
	t.Helper()
	got, err := io.ReadAll(peer)
	if err != nil || string(got) != want {
		t.Errorf("peer reads %q, %v, want %q and the end", got, err, want)
	}
}

// pattern is n bytes of which no part is like another's neighbour.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8)*31 ^ byte(i)
	}
	return b
}

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
			t.Errorf("the last Fill met %v, want io.EOF", h.err)
		}
	})
}

func TestTurnEnds(t *testing.T) {
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

func TestClose(t *testing.T) {
	t.Run("in Turn", func(t *testing.T) {
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
	t.Run("in Turn that ends its goroutine", func(t *testing.T) {
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
			wait(t, "Turn", turned)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { h.sock.Close() })
			}
			wg.Wait()
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
		})
	})
	t.Run("while Turn runs", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			running, closed := make(chan struct{}), make(chan struct{})
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						close(running)
						<-closed
						if h.dones.Load() != 0 {
							t.Error("Done while Turn runs")
						}
					}
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Turn", running)
			h.sock.Close() // does not wait for the Turn
			wantEOF(t, peer, "")
			close(closed)
			wait(t, "Done", h.done)
		})
	})
	t.Run("while Turn waits for bytes", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			running := make(chan struct{})
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns == 1 {
						close(running)
						if n, err := h.sock.ReadWait(make([]byte, 8)); n != 0 || err == nil || err == poll.ErrWouldBlock {
							t.Errorf("ReadWait = %d, %v, want the end", n, err)
						}
					}
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Turn", running)
			h.sock.Close()
			wait(t, "Done", h.done)
		})
	})
	t.Run("before Start", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := newHandler(t, server)
			if err := h.sock.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			h.sock.Start()
			wait(t, "Done", h.done)
			wantEOF(t, peer, "")
			if len(h.all) != 0 || h.turns > 1 {
				t.Errorf("read %q in %d turns, want nothing", h.all, h.turns)
			}
		})
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

func TestGoexit(t *testing.T) {
	t.Run("each turn", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.size = 100 // what is left over is not forgotten
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
						runtime.Goexit() // with the error still untold
					}
					return err == nil
				}
			})
			peer.Close()
			wait(t, "Done", h.done)
		})
	})
}

func TestReadInTurn(t *testing.T) {
	t.Run("ReadWait waits", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			asked := make(chan struct{})
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if h.turns > 1 {
						return err == nil
					}
					close(asked)
					buf := make([]byte, 8)
					if n, err := h.sock.ReadWait(buf); string(buf[:n]) != "b" || err != nil {
						t.Errorf("ReadWait = %q, %v, want %q", buf[:n], err, "b")
					}
					return true
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Turn", asked)
			write(t, peer, []byte("b"))
			peer.Close()
			wait(t, "Done", h.done)
			if string(h.all) != "a" {
				t.Errorf("Fill read %q, want %q", h.all, "a")
			}
		})
	})
}

// TestPending is about streams: with nothing pending they wait with a small buffer of their own.
func TestPending(t *testing.T) {
	t.Parallel()
	for _, pending := range []bool{false, true} {
		name := map[bool]string{false: "nothing", true: "a message"}[pending]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, peer := pipePair(t)
			h := start(t, server, func(h *handler) { h.pending = func() bool { return pending } })
			want := pattern(4000)
			write(t, peer, want)
			peer.Close()
			wait(t, "Done", h.done)
			if !bytes.Equal(h.all, want) {
				t.Errorf("read %d bytes, want %d", len(h.all), len(want))
			}
			if whole := h.reads[0] == len(want); whole != pending {
				t.Errorf("the reads were %v, want all at once: %v", h.reads, pending)
			}
		})
	}
}

// writer is a Handler's Writable that writes p, and says how it went.
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
			h.sock.Start()
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
			h.sock.Start()
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
			full = append(full, make([]byte, 4<<20)...) // more than any buffer takes
			wrote := make(chan error, 1)
			h.writable = h.writer(full, wrote)
			h.sock.Start()
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
	t.Run("against the end", func(t *testing.T) {
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

// askToWrite asks for Writable, one call after the other, until the end. It returns how often that was granted.
func (h *handler) askToWrite(called *atomic.Int32) (granted int32) {
	for h.sock.WantWrite() {
		granted++
		for called.Load() < granted || h.writing.Load() != 0 {
			runtime.Gosched()
		}
	}
	return granted
}

// beyond is how much fill leaves to write.
const beyond = 256 << 10

// fill writes until the socket takes no more, and returns bytes that are left to write
// and all that the peer has to read.
func fill(h *handler) (left, all []byte) {
	all = pattern(4 << 20)
	at := 0
	for at < len(all) {
		p := all[at:min(at+1<<20, len(all))]
		n, err := h.sock.Write(p)
		at += n
		if n < len(p) && err == nil {
			h.t.Fatalf("Write = %d of %d, nil, want %v beside what is short", n, len(p), poll.ErrWouldBlock)
		}
		if err != nil {
			if err != poll.ErrWouldBlock {
				h.t.Fatalf("Write: %v", err)
			}
			break
		}
	}
	if at == len(all) {
		h.t.Fatalf("the socket took %d bytes that nobody reads", at)
	}
	end := min(at+beyond, len(all))
	return bytes.Clone(all[at:end]), all[:end]
}

// joinWriter waits until Writable has returned, which it is about to.
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

// overTLS stands for a *tls.Conn, whose Close writes an alert, and waits for a peer that does not read.
type overTLS struct {
	net.Conn
	t testing.TB
}

func (o overTLS) NetConn() net.Conn { return o.Conn }
func (o overTLS) Close() error {
	o.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := o.Conn.Write([]byte("alert")); err != io.ErrClosedPipe {
		o.t.Errorf("a write at the Close of what lies over the transport: %v, want the transport closed before", err)
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

// hangUps are the ways in which a peer goes.
var hangUps = []struct {
	name  string
	leave func(t *testing.T, peer net.Conn)
	want  string // read after it
	reset bool
}{
	{"FIN", func(t *testing.T, peer net.Conn) { peer.Close() }, "", false},
	{"half a FIN", func(t *testing.T, peer net.Conn) { peer.(interface{ CloseWrite() error }).CloseWrite() }, "", false},
	{"FIN behind unread data", func(t *testing.T, peer net.Conn) {
		write(t, peer, []byte("unread"))
		peer.Close()
	}, "unread", false},
	{"RST", func(t *testing.T, peer net.Conn) {
		peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
	}, "", true},
}

func TestHangup(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of a peer's end that nobody reads")
	}
	for _, tr := range transports[:2] {
		for _, l := range hangUps {
			if l.reset && tr.name != "tcp" {
				continue // only TCP resets
			}
			t.Run(tr.name+"/"+l.name+" during a Turn", func(t *testing.T) {
				t.Parallel()
				server, peer := tr.pair(t)
				write(t, peer, []byte("a"))
				turns := make(chan struct{})
				told := make(chan error, 1)
				h := start(t, server, func(h *handler) {
					h.turn = func(p []byte, err error) bool {
						if h.turns == 1 {
							close(turns)
							told <- wait(t, "Hangup", h.hangups)
						}
						return err == nil
					}
				})
				wait(t, "Turn", turns)
				l.leave(t, peer)
				if err := wait(t, "Hangup", told); err != io.EOF {
					t.Errorf("Hangup(%v), want io.EOF", err)
				}
				wait(t, "Done", h.done)
				if got, want := string(h.all), "a"+l.want; got != want {
					t.Errorf("read %q, want %q", got, want)
				}
				if (h.err == io.EOF) == l.reset {
					t.Errorf("the end is %v, want a reset: %v", h.err, l.reset)
				}
				if !h.sock.HungUp() {
					t.Error("HungUp is false at the end, want true")
				}
				if n := len(h.hangups); n != 0 {
					t.Errorf("%d Hangups more, want none", n)
				}
			})
			t.Run(tr.name+"/"+l.name+" before Start", func(t *testing.T) {
				t.Parallel()
				server, peer := tr.pair(t)
				h := newHandler(t, server)
				l.leave(t, peer)
				wait(t, "Hangup", h.hangups)
				h.sock.Start()
				wait(t, "Done", h.done)
				if got := string(h.all); got != l.want {
					t.Errorf("read %q, want %q", got, l.want)
				}
			})
		}
	}
}

func TestNoHangup(t *testing.T) {
	t.Parallel()
	t.Run("of a peer that stays", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			echoed := make(chan string, 1)
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					if err == nil {
						echoed <- string(p)
					}
					return err == nil
				}
			})
			for i := range 20 {
				want := strings.Repeat("x", i+1)
				write(t, peer, []byte(want))
				if got := wait(t, "Turn", echoed); got != want {
					t.Fatalf("read %q, want %q", got, want)
				}
			}
			if h.sock.HungUp() || len(h.hangups) != 0 {
				t.Errorf("HungUp %v and %d Hangups while the peer is there, want none", h.sock.HungUp(), len(h.hangups))
			}
			peer.Close()
			wait(t, "Done", h.done)
			if h.err != io.EOF {
				t.Errorf("the end is %v, want io.EOF", h.err)
			}
		})
	})
	t.Run("for our own Close", func(t *testing.T) {
		overAll(t, func(t *testing.T, server, peer net.Conn) {
			h := start(t, server, func(h *handler) {
				h.turn = func(p []byte, err error) bool {
					h.sock.Close()
					return err == nil
				}
			})
			write(t, peer, []byte("a"))
			wait(t, "Done", h.done)
			if n := len(h.hangups); n != 0 {
				t.Errorf("%d Hangups for our own Close, want none", n)
			}
		})
	})
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
		// The acknowledgement of the last bytes may take its time.
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
		h.sock.Start()
		wait(t, "Done", h.done)
	})
	t.Run("tls", func(t *testing.T) {
		t.Parallel()
		server, _ := tcpPair(t)
		h := newHandler(t, tls.Server(server, new(tls.Config)))
		if got := h.sock.Unsent(); got != 0 {
			t.Errorf("Unsent = %d, want 0: of the connection beneath", got)
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

func TestManyAtOnce(t *testing.T) {
	overAll(t, func(t *testing.T, server, peer net.Conn) {
		// Reading, writing and closing from all sides, for the race detector.
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
