package lifecycle_test

// Goroutines over TCP: none for an idle connection, one for each callback that runs, and no connection waits for another's callback.

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// goroutines returns the number of goroutines that serve connections.
func goroutines() int {
	buf := make([]byte, 1<<20)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return strings.Count(string(buf[:n]), "created by example.com/hail/internal/poll.")
		}
		buf = make([]byte, 2*len(buf))
	}
}

// checkGoroutines waits until there are at most so many, by the given count.
func checkGoroutines(t *testing.T, when string, count func() int, most int) {
	t.Helper()
	got := count()
	for limit := time.Now().Add(kit.Ample); got > most && time.Now().Before(limit); got = count() {
		runtime.Gosched()
	}
	if got > most {
		t.Errorf("%s: %d goroutines after %v, want at most %d", when, got, kit.Ample, most)
	}
}

// TestIdleConnectionsHoldNoGoroutine is not parallel: it counts all goroutines.
func TestIdleConnectionsHoldNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere they hold one")
	}
	s := &hail.Server{Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo}}
	addr := kit.Listen(t, s)
	before := runtime.NumGoroutine()
	conns := kit.Callers(t, addr, 500)
	const own = 5 // the poller, the sweep, and goroutines that the runtime may start
	checkGoroutines(t, "before any message", runtime.NumGoroutine, before+own)
	for i, c := range conns {
		c.Exchange(t, strconv.Itoa(i))
	}
	checkGoroutines(t, "after a message on each", runtime.NumGoroutine, before+own)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	checkGoroutines(t, "after Close", goroutines, 0)
}

// TestBlockedCallbacksDelayNobody is not parallel: it counts goroutines.
func TestBlockedCallbacksDelayNobody(t *testing.T) {
	for _, n := range []int{1, kit.Often(1000)} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			blocked, release := make(chan struct{}, n), make(chan struct{})
			s := &hail.Server{Handler: hail.Handler{
				OnConnect: kit.Accept,
				OnMessage: func(c *hail.Conn, m hail.Message) error {
					if m.String() == "block" {
						blocked <- struct{}{}
						<-release
					}
					return c.Send(m)
				},
			}}
			addr := kit.Listen(t, s)
			others := kit.Callers(t, addr, 5)
			blocking := kit.Callers(t, addr, n)
			for _, c := range blocking {
				c.Write(kit.Message([]byte("block")))
			}
			for range n {
				kit.Await(t, "a callback that blocks", blocked, kit.Ample)
			}
			for i := range 50 {
				for _, c := range others {
					c.Exchange(t, strconv.Itoa(i))
				}
			}
			others = append(others, kit.Callers(t, addr, 5)...) // and connections that begin now
			for _, c := range others {
				c.Exchange(t, "hello")
			}
			close(release)
			for _, c := range blocking {
				c.SetDeadline(time.Now().Add(kit.Ample))
				if _, got, err := c.Next(); string(got) != "block" || err != nil {
					t.Fatalf("got %q, %v, want %q", got, err, "block")
				}
			}
			if runtime.GOOS == "linux" {
				checkGoroutines(t, "all idle", goroutines, 1)
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestFloodDelaysNobody has peers send without a pause, more than there are processors.
func TestFloodDelaysNobody(t *testing.T) {
	t.Parallel()
	// A callback of the flood makes the other peer write. The wait until its message is served is counted in messages of the
	// flood: the test's goroutines share the processors and the time with the server.
	const times = 51
	var flood, wrote, served atomic.Int64
	var idle atomic.Bool
	var polite *kit.Caller
	between := make(chan int64, times)
	s := &hail.Server{Handler: hail.Handler{
		OnConnect: kit.Accept,
		OnMessage: func(c *hail.Conn, m hail.Message) error {
			if len(m.Data) > 0 {
				between <- flood.Load() - wrote.Load()
				idle.Store(served.Add(1) < times)
				return nil
			}
			if flood.Add(1); idle.CompareAndSwap(true, false) {
				wrote.Store(flood.Load())
				polite.Write(kit.Message([]byte("a")))
			}
			return nil
		},
	}}
	addr := kit.Listen(t, s)
	polite = kit.Callers(t, addr, 1)[0]
	tiny := slices.Repeat(hailtest.Frame{Fin: true, Opcode: hailtest.OpBinary}.Bytes(), 10_000)
	for _, c := range kit.Callers(t, addr, runtime.GOMAXPROCS(0)+3) {
		go func() { // ends with the connection
			for {
				if _, err := c.Write(tiny); err != nil {
					return
				}
				c.SetDeadline(time.Now().Add(kit.Ample))
			}
		}()
	}
	idle.Store(true)
	var all []int64
	for range times {
		all = append(all, kit.Await(t, "a message", between, kit.Ample))
	}
	slices.Sort(all)
	if got, want := all[times/2], int64(10_000); got > want {
		t.Errorf("a message has to wait for %d messages of others, want less than %d", got, want)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
