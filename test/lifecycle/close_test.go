package lifecycle_test

// Closing: the messages before the close frame, and the wait for the answer.

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestCloseTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		option, timeout time.Duration
		answerAfter     time.Duration // 0: never
		clean           bool
	}{
		"no answer":          {0, 5 * time.Second, 0, false},
		"no answer, shorter": {time.Second, time.Second, 0, false},
		"no answer, longer":  {time.Minute, time.Minute, 0, false},
		"answer in time":     {0, 0, 4900 * time.Millisecond, true},
		"off":                {-1, 0, 3 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: tc.option, Compression: true}}
				p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw())...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				start := time.Now()
				if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
					t.Fatalf("Close: %v", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("Close took %v, want that it does not wait", took)
				}
				if f := p.ReadFrame(); f.Opcode != hailtest.OpClose {
					t.Fatalf("got %v, want a close frame", f)
				}
				if tc.answerAfter > 0 {
					time.Sleep(tc.answerAfter)
					p.Write(hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes())
				}
				info := kit.Await(t, "OnClose", e.Closed, 48*time.Hour)
				if tc.timeout > 0 {
					kit.CheckDelay(t, "OnClose", start, tc.timeout)
				}
				kit.CheckClosed(t, info, hail.StatusNormalClosure, hail.CauseClosed, tc.clean)
			})
		})
	}
}

// A peer that still reads messages before our close frame cannot answer it.
func TestCloseTimeoutLeavesASlowReaderAlone(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	const messages, size = 8, 64 << 10
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 500 * time.Millisecond, SendQueue: -1}}
	p := hailtest.Dial(t, s, "/", hailtest.TCP())
	c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
	p.ReadSlowly(8<<10, 50*time.Millisecond) // 160 KB a second: the peer needs longer than CloseTimeout for the bytes in the system's buffers
	for range messages {
		if err := c.Send(hail.Binary(make([]byte, size))); err != nil {
			t.Fatalf("Send: %v", err)
		}
	}
	if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
		t.Fatalf("Close: %v", err)
	}
	// If the socket were closed, these messages would reset it, and the bytes on the way would be lost.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		p.Send(hail.Text("what close?"))
	}
	if got := p.WaitClose(); got.Code != hail.StatusNormalClosure || p.Pending() != messages {
		t.Errorf("peer: got %v and %d messages, want %d and %d", got, p.Pending(), hail.StatusNormalClosure, messages)
	}
	kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusNormalClosure, hail.CauseClosed, true)
}

// TestCloseTimeoutWithoutWriteTimeout has a peer that accepts nothing of the data before our close frame. It may do so for ever.
func TestCloseTimeoutWithoutWriteTimeout(t *testing.T) {
	kit.Long(t)
	t.Parallel()
	for name, size := range map[string]int{"with the system": 100_000, "queued": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, e := kit.Observed(hail.Handler{})
			s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: time.Second / 2, WriteTimeout: -1, SendQueue: -1}}
			p := hailtest.Dial(t, s, "/", hailtest.TCP())
			p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
			c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
			p.Stall()
			if err := c.Send(hail.Binary(make([]byte, size))); err != nil {
				t.Fatalf("Send: %v", err)
			}
			if err := c.Close(hail.StatusNormalClosure, ""); err != nil {
				t.Fatalf("Close: %v", err)
			}
			select {
			case info := <-e.Closed:
				t.Errorf("closed: %+v", info)
			case <-time.After(time.Second):
			}
			p.Resume()
			if got := p.WaitClose(); got.Code != hail.StatusNormalClosure {
				t.Errorf("close frame: got %v, want 1000", got)
			}
			kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusNormalClosure, hail.CauseClosed, true)
		})
	}
}

// If the peer accepts nothing of the data before our close frame, WriteTimeout counts.
func TestCloseTimeoutOfAPeerThatTakesNothing(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what a peer has taken")
	}
	const writeTimeout = time.Second
	h, e := kit.Observed(hail.Handler{})
	s := &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 100 * time.Millisecond, WriteTimeout: writeTimeout}}
	p := hailtest.Dial(t, s, "/", hailtest.TCP())
	p.NetConn().(*net.TCPConn).SetReadBuffer(16 << 10)
	c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
	p.Stall()
	if err := c.Send(hail.Binary(make([]byte, 100_000))); err != nil { // the system accepts it all
		t.Fatalf("Send: %v", err)
	}
	start := time.Now()
	if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
		t.Fatalf("Close: %v", err)
	}
	info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
	if took := time.Since(start); took < writeTimeout {
		t.Errorf("OnClose: after %v, want at least %v", took, writeTimeout)
	}
	kit.CheckClosed(t, info, hail.StatusNormalClosure, hail.CauseClosed, false)
	kit.CheckNames(t, info.Err, "the peer's close frame did not come")
}

// The peer's close frame comes while ours waits after queued messages, or is being written with them.
func TestCloseInfoHasTheCodeThatCameFirst(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		for _, read := range []int{0, 2} { // all messages after the first are one write
			h, e := kit.Observed(hail.Handler{})
			s := &hail.Server{Handler: h}
			p := hailtest.Dial(t, s, "/", append(opts, hailtest.Raw(), hailtest.BufferSize(1<<10))...)
			c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
			for c.TrySend(hail.Binary(make([]byte, 50_000))) == nil {
			}
			if err := c.Close(4000, "ours"); err != nil {
				t.Fatalf("Close: %v", err)
			}
			for range read {
				p.ReadFrame()
			}
			p.Write(hailtest.CloseFrame(3000, "theirs").Bytes())
			<-c.Context().Done()
			if got := p.WaitClose(); got.Code != 4000 {
				t.Errorf("close frame: got %v, want 4000", got)
			}
			info := kit.Await(t, "OnClose", e.Closed, kit.Ample)
			kit.CheckClosed(t, info, 3000, hail.CauseClosed, true)
			if info.Reason != "theirs" {
				t.Errorf("CloseInfo: got reason %q, want %q", info.Reason, "theirs")
			}
		}
	})
}

// TestCloseAmidAMessageDropsWhatFollows has a peer continue a fragmented message after our close frame, rightly or wrongly.
// The server drops the rest, as it drops everything in this phase, and finds the peer's close frame after it.
func TestCloseAmidAMessageDropsWhatFollows(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]hailtest.Frame{
		"the rest":       {Fin: true, Opcode: hailtest.OpContinuation, Payload: []byte("the rest")},
		"not UTF-8":      {Fin: true, Opcode: hailtest.OpContinuation, Payload: []byte("\xff")},
		"over the limit": {Fin: true, Opcode: hailtest.OpContinuation, Payload: make([]byte, 100_000)},
		"a new message":  {Fin: true, Opcode: hailtest.OpText, Payload: []byte("new")},
		"unknown opcode": {Fin: true, Opcode: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				p := hailtest.Dial(t, &hail.Server{Handler: h}, "/", append(opts, hailtest.Raw())...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				p.Write(append(hailtest.Frame{Opcode: hailtest.OpText, Payload: []byte("a message's first fra")}.Bytes(),
					hailtest.Frame{Fin: true, Opcode: hailtest.OpPing}.Bytes()...))
				if f := p.ReadFrame(); f.Opcode != hailtest.OpPong {
					t.Fatalf("got %v, want a pong", f)
				}
				if err := c.Close(4000, "bye"); err != nil {
					t.Fatalf("Close: %v", err)
				}
				p.Write(append(rest.Bytes(), hailtest.CloseFrame(4000, "").Bytes()...))
				if got := p.WaitClose(); got.Code != 4000 {
					t.Errorf("close frame: got %v, want 4000", got)
				}
				kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), 4000, hail.CauseClosed, true)
			})
		})
	}
}

// brokenConn is a transport whose writes can fail while its reads wait.
type brokenConn struct {
	net.Conn
	broken atomic.Bool
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, errors.New("broken")
	}
	return c.Conn.Write(p)
}

// mute dials. It also returns a function that makes the server's writes fail from then on.
func mute(t *testing.T, s *hail.Server, opts []hailtest.Option) (*hailtest.Peer, func()) {
	t.Helper()
	var nc *brokenConn
	wrap := hailtest.Wrap(func(inner net.Conn) net.Conn {
		nc = &brokenConn{Conn: inner}
		return nc
	})
	p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), hailtest.Raw(), wrap)...)
	return p, func() { nc.broken.Store(true) }
}

// sendUntil sends until that fails.
func sendUntil(c *hail.Conn) error {
	for {
		if err := c.Send(hail.Text("hello")); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func TestCloseTimeoutWhereTheCloseFrameCannotBeWritten(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		_, silence := mute(t, &hail.Server{Handler: h, Options: hail.Options{CloseTimeout: 3 * time.Second}}, opts)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		silence()
		start := time.Now()
		if err := c.Close(hail.StatusNormalClosure, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		info := kit.Await(t, "OnClose", e.Closed, 48*time.Hour)
		kit.CheckDelay(t, "OnClose", start, 3*time.Second)
		kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CauseClosed, false)
		kit.CheckNames(t, info.Err, "the close frame could not be written")
	})
}

func TestCloseTimeoutWhileTheCallbackThatClosedGoesOn(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			c.Close(hail.StatusNormalClosure, "bye")
			time.Sleep(10 * time.Second) // tidies up
			return nil
		}})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: hail.Options{Compression: true}}, "/", opts...)
		p.Send(hail.Text("go")) // the peer answers the close frame at once
		info := kit.Await(t, "OnClose", e.Closed, time.Hour)
		kit.CheckClosed(t, info, hail.StatusNormalClosure, hail.CauseClosed, true)
	})
}

func TestCloseWritesWhatIsQueuedToASlowReader(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", append(opts, hailtest.BufferSize(1<<10))...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.ReadSlowly(1<<10, 250*time.Millisecond)
		if err := c.Send(hail.Binary(kit.Noise(100_000))); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if err := c.Close(hail.StatusNormalClosure, ""); err != nil {
			t.Fatalf("Close: %v", err)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, time.Hour), hail.StatusNormalClosure, hail.CauseClosed, true)
		if p.Pending() != 1 {
			t.Error("the message that was queued before Close has not arrived")
		}
	})
}

// TestCloseBesideAViolation calls Close at the moment at which the server reads a violation.
func TestCloseBesideAViolation(t *testing.T) {
	t.Parallel()
	const queued = 3
	for name, wrong := range map[string]hailtest.Frame{
		"its end is known":     {Fin: true, Opcode: hailtest.OpText, Payload: []byte("\xff")},
		"its end is not known": {Fin: true, Opcode: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for try := range kit.Often(600) {
				synctest.Test(t, func(t *testing.T) {
					h, e := kit.Observed(hail.Handler{})
					s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}
					p := hailtest.Dial(t, s, "/", kit.Narrow([]hailtest.Option{hailtest.Raw(), hailtest.Timeout(time.Hour)})...)
					c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
					for range queued {
						if err := c.Send(hail.Text("queued")); err != nil {
							t.Fatalf("Send: %v", err)
						}
					}
					synctest.Wait()
					go func() { // ends at once
						spin(50 * (try % 100))
						c.Close(hail.StatusNormalClosure, "")
					}()
					p.Write(wrong.Bytes())
					for range queued {
						if f := p.ReadFrame(); string(f.Payload) != "queued" {
							t.Fatalf("try %d: got %v, want the queued messages", try, f)
						}
					}
					if f := p.ReadFrame(); f.Opcode != hailtest.OpClose {
						t.Fatalf("try %d: got %v, want a close frame", try, f)
					}
					p.Write(hailtest.CloseFrame(hail.StatusNormalClosure, "").Bytes())
					if info := kit.Await(t, "OnClose", e.Closed, time.Hour); info.Code == hail.StatusAbnormalClosure {
						t.Errorf("try %d: got %+v", try, info)
					}
				})
			}
		})
	}
}

// spin spends some time that a bubble does not notice.
func spin(n int) {
	for x := new(atomic.Int64); n > 0; n-- {
		x.Add(1)
	}
}

// heldConn closes when the test allows it.
type heldConn struct {
	net.Conn
	let chan struct{}
}

func (c *heldConn) Close() error {
	<-c.let
	return c.Conn.Close()
}

// TestServerCloseBehindACleanClose calls Server.Close after both close frames were exchanged and before OnClose is called.
func TestServerCloseBehindACleanClose(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		let := make(chan struct{})
		wrap := hailtest.Wrap(func(inner net.Conn) net.Conn { return &heldConn{inner, let} })
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{Compression: true}}
		p := hailtest.Dial(t, s, "/", append(slices.Clone(opts), wrap, hailtest.Raw())...)
		kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Write(hailtest.CloseFrame(hail.StatusNormalClosure, "bye").Bytes())
		if f := p.ReadFrame(); f.Opcode != hailtest.OpClose {
			t.Fatalf("got %v, want a close frame", f)
		}
		synctest.Wait()
		if len(e.Closed) > 0 {
			t.Fatal("OnClose came before the connection was closed")
		}
		time.AfterFunc(time.Second, func() { close(let) })
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), hail.StatusNormalClosure, hail.CausePeerClosed, true)
	})
}
