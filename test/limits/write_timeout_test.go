package limits_test

// Peers that accept nothing, and peers that are only slow.

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestWriteTimeoutCutsAPeerThatTakesNothing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		option, timeout time.Duration
	}{
		"default": {0, 10 * time.Second},
		"shorter": {time.Second, time.Second},
		"longer":  {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{WriteTimeout: tc.option})}
				p := hailtest.Dial(t, s, "/", kit.Narrow(opts)...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				time.Sleep(2 * tc.timeout) // without anything to write nothing is late
				p.Stall()
				synctest.Wait()
				start := time.Now()
				if err := c.Send(hail.Text("not read")); err != nil {
					t.Fatalf("Send: %v", err)
				}
				info := kit.Await(t, "OnClose", e.Closed, time.Hour)
				kit.CheckDelay(t, "OnClose", start, tc.timeout)
				kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CauseWriteTimeout, false)
				kit.CheckNames(t, info.Err, "Options.WriteTimeout")
				if got, want := s.Stats().Undelivered, uint64(1); got != want {
					t.Errorf("Stats.Undelivered: got %d, want %d", got, want)
				}
			})
		})
	}
}

func TestWriteTimeoutLeavesAPeerAloneThatIsOnlySlow(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		want := kit.Noise(200_000)
		p.ReadSlowly(1<<10, 250*time.Millisecond) // 4 KiB a second: 49 seconds
		start := time.Now()
		if err := c.Send(hail.Binary(want)); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if got := p.Receive(); !bytes.Equal(got.Data, want) {
			t.Errorf("received: got %d other bytes", len(got.Data))
		}
		if took := time.Since(start); took < 40*time.Second {
			t.Errorf("took %v: the peer was not slow", took)
		}
		// Nor does it end a peer that accepts nothing for a shorter time.
		p.Stall()
		for range 5 {
			if err := c.Send(hail.Binary(want[:20_000])); err != nil {
				t.Fatalf("Send: %v", err)
			}
			time.Sleep(9900 * time.Millisecond)
			p.Resume()
			p.Receive()
			p.Stall()
		}
		if len(e.Closed) > 0 {
			t.Errorf("closed: %+v", <-e.Closed)
		}
	})
}

// TestWriteTimeoutLeavesAVerySlowPeerAlone has a peer that would need longer than WriteTimeout for a TLS record.
func TestWriteTimeoutLeavesAVerySlowPeerAlone(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.ReadSlowly(1<<10, time.Second)
		if err := c.Send(hail.Binary(kit.Noise(50_000))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.Pending() != 1 {
			t.Errorf("the message has not arrived; closed: %+v", <-e.Closed)
		}
	})
}

// TestWriteTimeoutLeavesASlowPeerAloneOverTCP has a socket that the system does not call writable again within WriteTimeout.
func TestWriteTimeoutLeavesASlowPeerAloneOverTCP(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	const n, before = 40, 5
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{WriteTimeout: time.Second, SendQueue: -1})}
	p := hailtest.Dial(t, s, "/", hailtest.TCP(), hailtest.BufferSize(1<<20), hailtest.Timeout(kit.Ample))
	p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10) // so that the system tells of the peer's progress soon
	c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
	p.ReadSlowly(4<<10, 50*time.Millisecond) // 80 KiB a second: the peer reads half of the system's buffers in 1.6 s
	data := kit.Noise(64 << 10)
	for range n {
		if err := c.TrySend(hail.Binary(data)); err != nil {
			t.Fatalf("TrySend: %v", err)
		}
	}
	for i := range n {
		if i == before { // after about 4 s
			p.Resume()
		}
		p.Receive()
	}
	if len(e.Closed) > 0 {
		t.Errorf("closed: %+v", <-e.Closed)
	}
}

func TestWriteTimeoutOff(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{WriteTimeout: -1, SendQueue: 20_000})}
		p := hailtest.Dial(t, s, "/", kit.Narrow(opts)...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		m := hail.Binary(kit.Noise(1000))
		n := fill(t, c, m)
		result := make(chan error, 1)
		go func() { result <- c.Send(m) }() // ends with Send; its result is waited for
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(result) > 0 || len(e.Closed) > 0 {
			t.Fatalf("after hours: %d results of Send, %d closes, want none", len(result), len(e.Closed))
		}
		p.Resume()
		for range n + 1 {
			p.Receive()
		}
		if err := kit.Await(t, "Send", result, kit.Ample); err != nil {
			t.Errorf("Send: got %v, want nil", err)
		}
	})
}
