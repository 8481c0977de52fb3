// Package hostile_test has peers that attack a server, and checks the cost to the server against stated bounds.
package hostile_test

import (
	"bytes"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestMain(m *testing.M) { hailtest.Main(m) }

// bounds are the most that an attack may cost the server.
type bounds struct {
	heap       int // bytes more than before, without garbage
	goroutines int // more than before
	time       time.Duration
}

// hold runs an attack, which calls look at its height and returns when it is over. look's argument reports whether the attack
// still goes on, because after its end there is nothing to measure. nil means that it goes on until look returns.
func (b bounds) hold(t *testing.T, attack func(look func(goesOn func() bool))) {
	t.Helper()
	looked, looking := false, time.Duration(0)
	heapBefore, before, start := heap(), runtime.NumGoroutine(), time.Now()
	attack(func(goesOn func() bool) {
		t.Helper()
		defer func(begin time.Time) { looked, looking = true, looking+time.Since(begin) }(time.Now())
		if goesOn == nil {
			goesOn = func() bool { return true }
		}
		if n := settle(func() int { return runtime.NumGoroutine() - before }, b.goroutines, goesOn); n > b.goroutines {
			t.Errorf("goroutines: got %d more, want at most %d", n, b.goroutines)
		}
		if n := settle(func() int { return heap() - heapBefore }, b.heap, goesOn); n > b.heap {
			t.Errorf("heap: got %d bytes more, want at most %d", n, b.heap)
		}
		if !goesOn() {
			t.Error("the attack was over before it was measured")
		}
	})
	if !looked {
		t.Error("nothing was measured")
	}
	if took := time.Since(start) - looking; took > b.time {
		t.Errorf("time: got %v, want at most %v", took, b.time)
	}
}

// settle measures until the bound is kept, or gives up after two seconds.
func settle(measure func() int, most int, goesOn func() bool) int {
	n := measure()
	for limit := time.Now().Add(2 * time.Second); n > most && time.Now().Before(limit) && goesOn(); n = measure() {
		runtime.Gosched()
	}
	return n
}

// heap returns the bytes in use, without garbage and without the memory of pools.
func heap() int {
	runtime.GC()
	runtime.GC() // a pool frees its memory with the second collection
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return int(live[0].Value.Uint64())
}

// transports are the kinds of connections that the server has. It holds a goroutine for an idle connection, except over
// epoll.
var transports = map[string]func(net.Listener) net.Listener{
	"epoll":     func(ln net.Listener) net.Listener { return ln },
	"goroutine": func(ln net.Listener) net.Listener { return opaque{ln} },
	"tls": func(ln net.Listener) net.Listener {
		return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{kit.Certificate()}})
	},
}

// kinds returns the kinds to test: all, or only the most common if tests are to be short.
func kinds() []string {
	if testing.Short() {
		return []string{"epoll"}
	}
	return slices.Sorted(maps.Keys(transports))
}

// opaque hides the type of accepted connections from the server.
type opaque struct{ net.Listener }

type opaqueConn struct{ net.Conn }

func (l opaque) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return opaqueConn{nc}, nil
}

// target is a server under attack.
type target struct {
	kind   string
	server *hail.Server
	addr   string
	closed chan hail.CloseInfo
}

// serve runs a server on a loopback port until the test's end. It replaces h.OnClose.
func serve(t *testing.T, kind string, h hail.Handler, o hail.Options) *target {
	t.Helper()
	tg := &target{kind: kind, closed: make(chan hail.CloseInfo, 20_000)}
	h.OnClose = func(_ *hail.Conn, info hail.CloseInfo) { tg.closed <- info }
	if h.OnConnect == nil {
		h.OnConnect = func(*hail.Conn, *http.Request) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = kit.Quiet
	}
	tg.server = &hail.Server{Handler: h, Options: o}
	tg.addr = listen(t, "tcp", kind, tg.server, func() {
		if err := tg.server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return tg
}

// listen serves h on a loopback port, or a Unix socket, until the test's end, and then calls stop.
func listen(t *testing.T, network, kind string, h http.Handler, stop func()) string {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if kind == multipath {
		kind = "epoll"
	}
	kit.Serve(t, transports[kind](ln), h)
	t.Cleanup(stop)
	return ln.Addr().String()
}

// connect opens a connection whose client does nothing by itself.
func (tg *target) connect(t *testing.T, opts ...option) *client {
	t.Helper()
	c := dial(t, tg.kind, tg.addr)
	c.upgrade(opts...)
	t.Cleanup(c.reset)
	return c
}

// crowd opens n such connections.
func (tg *target) crowd(t *testing.T, n int, opts ...option) []*client {
	t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = tg.connect(t, opts...)
	}
	return clients
}

// stands reports whether no connection has ended.
func (tg *target) stands() bool { return len(tg.closed) == 0 }

// ends waits for the end of n connections. Each has to have one of the causes.
func (tg *target) ends(t *testing.T, n int, want ...hail.Cause) {
	t.Helper()
	for range n {
		info := kit.Await(t, "OnClose", tg.closed, kit.Ample)
		known := false
		for _, cause := range want {
			known = known || cause == info.Cause
		}
		if !known {
			t.Errorf("OnClose: got cause %q (%v), want one of %v", info.Cause, info.Err, want)
		}
	}
}

// flood writes b again and again until the server ends the connection, and fails the test if it has not after kit.Ample.
func flood(t *testing.T, nc net.Conn, b []byte) {
	t.Helper()
	nc.SetWriteDeadline(time.Now().Add(kit.Ample))
	for {
		if _, err := nc.Write(b); err != nil {
			if os.IsTimeout(err) {
				t.Errorf("the server still has the connection after %v", kit.Ample)
			}
			return
		}
	}
}

// pester does the same as flood, with a pause of a few milliseconds. Many connections can do so at the same time and be
// measured.
func pester(t *testing.T, nc net.Conn, b []byte) {
	t.Helper()
	nc.SetWriteDeadline(time.Now().Add(kit.Ample))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := nc.Write(b); err != nil {
			if os.IsTimeout(err) {
				t.Errorf("the server still has the connection after %v", kit.Ample)
			}
			return
		}
		<-tick.C
	}
}

// frame returns a client's frame. Its key is 0, so frames for a flood are made fast.
func frame(fin bool, op hailtest.Opcode, payload []byte) []byte {
	b := hailtest.Frame{Fin: fin, Opcode: op, Payload: payload, Key: [4]byte{0, 0, 0, 1}}.Bytes()
	return b
}

// repeat returns n copies of a frame.
func repeat(b []byte, n int) []byte { return bytes.Repeat(b, n) }
