package lifecycle_test

// Pings and pongs: silence that is a peer's, and silence that is not.

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestPingComesOnlyAfterSilence(t *testing.T) {
	t.Parallel()
	const interval, early, late = 25 * time.Second, 20 * time.Second, 26 * time.Second
	text := kit.Message([]byte("text"))
	for name, life := range map[string][]byte{
		"a message": text,
		"a ping":    hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes(),
		"a pong":    hailtest.Frame{Fin: true, Opcode: hailtest.OpPong, Payload: []byte("unasked")}.Bytes(),
		"a byte":    text[:1],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{MessageTimeout: -1, Compression: true}}
				p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
				kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				frames := make(chan hailtest.Frame, 16)
				next := func() { frames <- p.ReadFrame() } // one frame; await waits for it
				go next()
				life, rest := life, text[1:]
				for range 10 { // three minutes without a silence
					time.Sleep(19 * time.Second)
					p.Write(life)
					if name == "a byte" {
						life, rest = rest, life // of a message
					}
					synctest.Wait()
					for len(frames) > 0 {
						if f := <-frames; f.Opcode != hailtest.OpPong {
							t.Errorf("got %v, want no ping while there is life", f)
						}
						go next()
						synctest.Wait()
					}
				}
				start := time.Now()
				if f := kit.Await(t, "a ping", frames, time.Hour); f.Opcode != hailtest.OpPing {
					t.Errorf("got %v, want a ping", f)
				}
				if took := time.Since(start); took < early || took > late {
					t.Errorf("ping after %v, want it %v after the last life, less a fifth at most", took, interval)
				}
				// Not only a pong answers it.
				time.Sleep(9 * time.Second)
				p.Write(text)
				go next()
				start = time.Now()
				if f := kit.Await(t, "a ping", frames, time.Hour); f.Opcode != hailtest.OpPing {
					t.Errorf("got %v, want a ping", f)
				}
				if took := time.Since(start); took < early || took > late {
					t.Errorf("next ping after %v, want it %v after the last life, less a fifth at most", took, interval)
				}
				if len(e.Closed) > 0 {
					t.Errorf("closed: %+v", <-e.Closed)
				}
			})
		})
	}
}

func TestPingTimeoutCutsASilentPeer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options        hail.Options
		interval, pong time.Duration
	}{
		"default": {hail.Options{}, 25 * time.Second, 10 * time.Second},
		"shorter": {hail.Options{PingInterval: 4 * time.Second, PongTimeout: 2 * time.Second}, 4 * time.Second, 2 * time.Second},
		"longer":  {hail.Options{PingInterval: time.Hour, PongTimeout: 2 * time.Hour}, time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				o := tc.options
				o.Compression = true
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: o}, "/", opts...)
				p.Send(hail.Text("the last word"))
				kit.Await(t, "OnMessage", e.Msgs, kit.Ample)
				start := time.Now()
				p.Vanish()
				info := kit.Await(t, "OnClose", e.Closed, 24*time.Hour)
				took := time.Since(start)
				if least, most := tc.interval*4/5+tc.pong, tc.interval+tc.pong+2*time.Second; took < least || took > most {
					t.Errorf("OnClose after %v, want between %v and %v", took, least, most)
				}
				kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CausePingTimeout, false)
				kit.CheckNames(t, info.Err, "Options.PongTimeout")
				if len(e.Errs) > 0 {
					t.Errorf("OnError: got %v, want nothing: a lost peer is no error", <-e.Errs)
				}
			})
		})
	}
}

func TestPingTimeoutLeavesAnIdlePeerAlone(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		time.Sleep(3 * time.Hour) // the peer answers pings
		p.Send(hail.Text("still here"))
		if got := kit.Await(t, "OnMessage", e.Msgs, time.Second).String(); got != "still here" {
			t.Errorf("got %q", got)
		}
	})
}

// TestPingsGoOn has a peer do nothing but answer pings. Over TCP the system may still count a ping as unsent when it has
// been answered.
func TestPingsGoOn(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{Options: hail.Options{PingInterval: 20 * time.Millisecond}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		p.ReadFrame() // the greeting
		for i := range 10 {
			f := p.ReadFrame()
			if f.Opcode != hailtest.OpPing {
				t.Fatalf("frame %d: got %+v, want a ping", i, f)
			}
			p.Write(hailtest.Frame{Fin: true, Opcode: hailtest.OpPong, Payload: f.Payload}.Bytes())
		}
	})
}

// TestPingTimeoutLeavesASlowPeerAlone has a peer that needs longer than PongTimeout to read the data ahead of the ping.
func TestPingTimeoutLeavesASlowPeerAlone(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.ReadSlowly(1<<10, 250*time.Millisecond)
		if err := c.Send(hail.Binary(kit.Noise(300_000))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.Pending() != 1 {
			t.Errorf("the message has not arrived; closed: %+v", <-e.Closed)
		}
	})
}

func TestPingTimeoutLeavesAPeerAloneThatIsSentMoreThanItTakes(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	for _, name := range []string{"tcp", "tls"} { // for the others the system does not say how much the peer has accepted
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, e := kit.Observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: hail.Options{PingInterval: time.Second, PongTimeout: 2 * time.Second, SendQueue: -1}}
			p := hailtest.Dial(t, s, "/", kit.Transports[name]...)
			p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10) // so that the system tells of the peer's progress soon
			c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
			p.ReadSlowly(2<<10, 40*time.Millisecond) // 50 KB a second
			if err := c.Send(hail.Binary(kit.Noise(200_000))); err != nil {
				t.Fatalf("Send: %v", err)
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range 250 {
				<-tick.C
				if err := c.Send(hail.Binary(kit.Noise(1_200))); err != nil { // 60 KB a second: the system accepts it all
					t.Fatalf("Send: %v; closed: %+v", err, kit.Await(t, "OnClose", e.Closed, kit.Ample))
				}
			}
			if c.Context().Err() != nil {
				t.Errorf("closed: %+v", kit.Await(t, "OnClose", e.Closed, kit.Ample))
			}
		})
	}
}

// wordyConn stands for a transport that writes more than it is given, as TLS does for each record. It does so once on is true.
type wordyConn struct {
	net.Conn
	on *atomic.Bool
}

func (c wordyConn) NetConn() net.Conn { return c.Conn }

func (c wordyConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil && c.on.Load() {
		_, err = c.Conn.Write(make([]byte, 3*n))
	}
	return n, err
}

// In TestPingTimeoutLeavesASlowPeerAloneWhoseSystemHoldsMoreThanWasWritten that is so until the peer has accepted most of it,
// which lasts longer than PongTimeout.
func TestPingTimeoutLeavesASlowPeerAloneWhoseSystemHoldsMoreThanWasWritten(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what a peer has taken")
	}
	var on atomic.Bool
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{PingInterval: time.Second, PongTimeout: 3 * time.Second / 2}}
	p := hailtest.Dial(t, s, "/", hailtest.TCP(), hailtest.Raw(), hailtest.Wrap(func(nc net.Conn) net.Conn { return wordyConn{nc, &on} }))
	p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
	c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
	on.Store(true)
	if err := c.Send(hail.Binary(make([]byte, 60_000))); err != nil {
		t.Fatalf("Send: %v", err)
	}
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	for range 100 { // 50 KB a second
		<-tick.C
		if _, err := io.ReadFull(p.NetConn(), make([]byte, 2<<10)); err != nil || len(e.Closed) > 0 {
			t.Fatalf("read: %v; closed: %+v", err, kit.Await(t, "OnClose", e.Closed, kit.Ample))
		}
	}
}

// TestPingsAreSpread has many connections of the same moment, which shall not be pinged at the same moment.
func TestPingsAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const conns = 200
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h}
		var mu sync.Mutex
		times := make(map[time.Duration]int) // pings by the time since the start
		start := time.Now()
		var readers sync.WaitGroup
		for range conns {
			p := hailtest.Dial(t, s, "/", hailtest.Raw(), hailtest.Timeout(time.Hour))
			readers.Go(func() { // ends with the first frame; waited for below
				p.ReadFrame()
				mu.Lock()
				defer mu.Unlock()
				times[time.Since(start)]++
			})
		}
		readers.Wait()
		for at, n := range times {
			if at < 20*time.Second || at > 26*time.Second {
				t.Errorf("%d pings after %v, want them between 20 and 25 s", n, at)
			}
			if n > conns/4 {
				t.Errorf("%d of %d pings at once, after %v", n, conns, at)
			}
		}
		if len(times) < 8 {
			t.Errorf("pings at %d different times, want 8 at least: %v", len(times), times)
		}
		if len(e.Closed) > 0 {
			t.Errorf("closed: %+v", <-e.Closed)
		}
	})
}

func TestBlockedCallbackIsNotSilence(t *testing.T) {
	t.Parallel()
	block := func() { time.Sleep(10 * time.Minute) }
	for name, h := range map[string]hail.Handler{
		"OnConnect": {OnConnect: func(*hail.Conn, *http.Request) error { block(); return nil }},
		"OnMessage": {OnMessage: func(_ *hail.Conn, m hail.Message) error { block(); return nil }},
		"OnMessage, which sends meanwhile": {OnMessage: func(c *hail.Conn, m hail.Message) error {
			for range 600 {
				time.Sleep(time.Second)
				if err := c.Send(hail.Text("working")); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(h)
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
				p.Send(hail.Text("go"))
				time.Sleep(11 * time.Minute)
				if len(e.Closed) > 0 {
					t.Fatalf("closed: %+v", <-e.Closed)
				}
				p.Vanish()
				start := time.Now()
				kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, time.Hour), hail.StatusAbnormalClosure, hail.CausePingTimeout, false)
				if took := time.Since(start); took > 37*time.Second {
					t.Errorf("a peer that vanished later was found after %v, want about 35 s", took)
				}
			})
		})
	}
}

func TestBlockedOnErrorIsNotSilence(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{
			OnMessage: func(*hail.Conn, hail.Message) error { return hail.CloseError{Code: 4001, Reason: "chosen"} },
			OnError:   func(*hail.Conn, error) { time.Sleep(time.Minute) },
		})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		p.Send(hail.Text("go"))
		if got := p.WaitClose(); got.Code != 4001 {
			t.Errorf("close: got %v, want 4001", got)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, time.Hour), 4001, hail.CauseCallback, false)
	})
}

func TestPingsOff(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{PingInterval: -1, Compression: true}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		time.Sleep(3 * time.Hour)
		if err := c.Send(hail.Text("first")); err != nil {
			t.Errorf("after silent hours: Send: %v", err)
		}
		if f := p.ReadFrame(); f.Opcode != hailtest.OpText {
			t.Errorf("after silent hours: got %v, want no ping before the text", f)
		}
	})
}

func TestPongTimeoutOff(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{PongTimeout: -1, Compression: true}}
		p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
		if f := p.ReadFrame(); f.Opcode != hailtest.OpPing {
			t.Errorf("got %v, want a ping", f)
		}
		time.Sleep(3 * time.Hour)
		p.Write(kit.Message([]byte("still here")))
		kit.Await(t, "OnMessage", e.Msgs, time.Second)
	})
}
