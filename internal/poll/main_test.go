package poll_test

// Shared by the tests: a Handler that checks poll's promises, and each kind of transport.

import (
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail/hailtest"
	"example.com/hail/internal/poll"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

// patience is how long a test waits for something that has to happen.
const patience = 20 * time.Second

// handler is a poll.Handler that checks poll's promises. A test sets its functions.
type handler struct {
	t    testing.TB
	sock poll.Socket

	turn     func(p []byte, err error) bool // called after each read; nil: reads until an error
	writable func(write func([]byte) (int, error))
	last     func() // called at the end of Done
	partial  bool   // Ready returns Partial in place of Idle
	size     int    // of a read; 0: 4096

	// Owned by Ready, and free for the test after done.
	all   []byte // everything that was read
	err   error  // of the last read
	reads []int  // the bytes of each read
	turns int    // how many reads there were

	inside  atomic.Int32 // running calls of Ready and Done
	writing atomic.Int32
	dones   atomic.Int32
	hangups chan error
	done    chan struct{} // closed by Done
}

// start returns a handler for nc, with a Poller of its own. prepare may be nil.
func start(t testing.TB, nc net.Conn, prepare func(h *handler)) *handler {
	return startOf(t, new(poll.Poller), nc, prepare)
}

// startOf is start with a Poller that has other sockets too.
func startOf(t testing.TB, p *poll.Poller, nc net.Conn, prepare func(h *handler)) *handler {
	h := newHandlerOf(t, p, nc)
	if prepare != nil {
		prepare(h)
	}
	h.sock.Start(false)
	return h
}

func newHandler(t testing.TB, nc net.Conn) *handler {
	return newHandlerOf(t, new(poll.Poller), nc)
}

func newHandlerOf(t testing.TB, p *poll.Poller, nc net.Conn) *handler {
	h := &handler{t: t, hangups: make(chan error, 10), done: make(chan struct{})}
	h.sock = p.New(nc, h)
	return h
}

// enter checks that a call of Ready or Done runs alone.
func (h *handler) enter(name string) (leave func()) {
	if n := h.inside.Add(1); n != 1 {
		h.t.Errorf("%s runs together with %d others of Ready and Done", name, n-1)
	}
	if h.dones.Load() != 0 {
		h.t.Errorf("%s after Done", name)
	}
	return func() { h.inside.Add(-1) }
}

func (h *handler) Ready() poll.Verdict {
	defer h.enter("Ready")()
	size := h.size
	if size == 0 {
		size = 4096
	}
	for {
		p := make([]byte, size)
		n, err := h.sock.Read(p)
		switch {
		case err == poll.ErrWouldBlock && h.partial:
			return poll.Partial
		case err == poll.ErrWouldBlock:
			return poll.Idle
		}
		p = p[:n]
		h.all = append(h.all, p...)
		h.reads = append(h.reads, n)
		h.err = err
		h.turns++
		more := err == nil
		if h.turn != nil {
			more = h.turn(p, err)
		}
		if !more {
			return poll.Ended
		}
	}
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
	if h.last != nil {
		h.last()
	}
}

// wait waits until c is closed, or for a value.
func wait[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: nothing after %v", what, patience)
	}
	return v
}

// transports make pairs of connected ends: ours and the peer's.
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
		// Small buffers fill up soon.
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

// wantEOF reads until the end, which must give want.
func wantEOF(t testing.TB, peer net.Conn, want string) {
	t.Helper()
	got, err := io.ReadAll(peer)
	if err != nil || string(got) != want {
		t.Errorf("peer reads %q, %v, want %q and the end", got, err, want)
	}
}

// pattern returns n bytes in which a piece that is missing or moved shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8)*31 ^ byte(i)
	}
	return b
}
