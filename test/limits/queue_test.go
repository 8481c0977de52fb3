package limits_test

// The send queue: messages that fit, and messages that wait for room.

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

func TestSendQueueHoldsWhatFitsExactly(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{SendQueue: 10_000, WriteTimeout: -1})}
		p := hailtest.Dial(t, s, "/", kit.Narrow(opts)...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		const header = 4
		data := kit.Noise(10_000)
		for i := range 3 {
			if err := c.TrySend(hail.Binary(data[:2500-header])); err != nil {
				t.Errorf("message %d: got %v, want room", i, err)
			}
		}
		if err := c.TrySend(hail.Binary(data[:2501-header])); !errors.Is(err, hail.ErrQueueFull) {
			t.Errorf("a byte too many: got %v, want ErrQueueFull", err)
		}
		if err := c.TrySend(hail.Binary(data[:2500-header])); err != nil {
			t.Errorf("a message that fills the queue: got %v, want room", err)
		}
		err := c.TrySend(hail.Binary(nil))
		if !errors.Is(err, hail.ErrQueueFull) {
			t.Errorf("an empty message into a full queue: got %v, want ErrQueueFull", err)
		}
		kit.CheckNames(t, err, "10000", "Options.SendQueue")
		p.Resume()
		for range 4 {
			if got := len(p.Receive().Data); got != 2500-header {
				t.Errorf("received: got %d bytes, want %d", got, 2500-header)
			}
		}
		synctest.Wait() // until the server knows that they are written
		if err := c.TrySend(hail.Binary(data[:10_000-header])); err != nil {
			t.Errorf("a message as large as the queue: got %v, want room", err)
		}
		if got := len(p.Receive().Data); got != 10_000-header {
			t.Errorf("received: got %d bytes, want %d", got, 10_000-header)
		}
	})
}

func TestMessageLargerThanTheSendQueue(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 10_000, Compression: true}}
		p := hailtest.Dial(t, s, "/", opts...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		start := time.Now()
		for name, send := range map[string]func(hail.Message) error{"Send": c.Send, "TrySend": c.TrySend} {
			err := send(hail.Binary(kit.Noise(9_997)))
			if !errors.Is(err, hail.ErrQueueFull) {
				t.Errorf("%s: got %v, want ErrQueueFull", name, err)
			}
			kit.CheckNames(t, err, "larger than 10000 bytes", "Options.SendQueue")
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v: room was waited for that there will never be", took)
		}
		if err := c.Send(hail.Text("small")); err != nil {
			t.Errorf("Send: %v", err)
		}
		if got := p.Receive().String(); got != "small" {
			t.Errorf("got %q, want that the connection goes on", got)
		}
	})
}

// fill queues m until there is no more room in a bubble's transport and queue, and returns how often.
func fill(t *testing.T, c *hail.Conn, m hail.Message) int {
	t.Helper()
	for n, full := 0, false; ; {
		switch err := c.TrySend(m); {
		case err == nil && n < 1<<20:
			n, full = n+1, false
		case !errors.Is(err, hail.ErrQueueFull):
			t.Fatalf("TrySend %d: got %v, want ErrQueueFull at some time", n, err)
		case full:
			return n
		default:
			synctest.Wait() // the transport accepts some
			full = true
		}
	}
}

func TestSendWaitsForRoom(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", opts...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		synctest.Wait()
		start := time.Now()
		m := hail.Binary(kit.Noise(1000))
		n := fill(t, c, m)
		if least := 1 << 20 / 1004; n < least {
			t.Errorf("queued %d messages, want %d at least", n, least)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("TrySend took %v, want that it does not wait", took)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() { // ends with Send; waited for below
			if err := c.Send(m); err != nil {
				t.Errorf("Send: got %v, want room", err)
			}
			if took := time.Since(start); took != 9*time.Second {
				t.Errorf("Send took %v, want the 9 s until the peer read on", took)
			}
		})
		time.Sleep(9 * time.Second)
		p.Resume()
		waiting.Wait()
		for range n + 1 {
			if got := p.Receive(); !bytes.Equal(got.Data, m.Data) {
				t.Errorf("received: got %d other bytes", len(got.Data))
			}
		}
	})
}

func TestSendGivesUpAfterWriteTimeout(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		p := hailtest.Dial(t, &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}, "/", opts...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		synctest.Wait()
		start := time.Now()
		m := hail.Binary(kit.Noise(1000))
		fill(t, c, m)
		err := c.Send(m)
		if !errors.Is(err, hail.ErrQueueFull) {
			t.Errorf("Send: got %v, want ErrQueueFull", err)
		}
		kit.CheckNames(t, err, "1048576", "Options.SendQueue")
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Send took %v, want WriteTimeout", took)
		}
		info := kit.Await(t, "OnClose", e.Closed, time.Hour)
		kit.CheckDelay(t, "OnClose", start, 10*time.Second)
		kit.CheckClosed(t, info, hail.StatusAbnormalClosure, hail.CauseWriteTimeout, false)
		kit.CheckNames(t, info.Err, "Options.WriteTimeout", "queued messages were not written")
		if err := c.Send(hail.Text("too late")); !errors.Is(err, hail.ErrConnClosed) {
			t.Errorf("Send: got %v, want ErrConnClosed", err)
		}
		if len(e.Errs) > 0 {
			t.Errorf("OnError: got %v, want nothing: a lost peer is no error", <-e.Errs)
		}
	})
}

// TestQueueOfAnotherConnectionIsFull has a callback return the error of a Send to another peer, which accepts nothing. The
// callback's own peer reads, but more slowly than the server sends.
func TestQueueOfAnotherConnectionIsFull(t *testing.T) {
	t.Parallel()
	for name, opts := range kit.Transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const writeTimeout = 500 * time.Millisecond
			var stuck atomic.Pointer[hail.Conn]
			message := hail.Binary(make([]byte, 30_000))
			failed := make(chan error, 1)
			h, e := kit.Observed(hail.Handler{
				OnMessage: func(c *hail.Conn, m hail.Message) error {
					for stuck.Load().TrySend(message) == nil {
					}
					time.Sleep(writeTimeout / 8) // the peer has accepted nothing since before Send waits
					for {
						if err := stuck.Load().Send(message); err != nil {
							return err
						}
					}
				},
				OnError: func(_ *hail.Conn, err error) { failed <- err },
			})
			s := &hail.Server{Handler: h, Options: hail.Options{WriteTimeout: writeTimeout, SendQueue: 2 << 20}}
			p := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
			c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
			other := hailtest.Dial(t, s, "/", append(opts, hailtest.BufferSize(64<<10))...)
			stuck.Store(kit.Await(t, "OnConnect", e.Conns, kit.Ample))
			other.Stall()
			p.ReadSlowly(16<<10, 10*time.Millisecond)
			p.Send(hail.Text("go"))
			for range 60 {
				if err := c.Send(message); err != nil {
					t.Fatalf("Send: %v", err)
				}
			}
			if err := kit.Await(t, "OnError", failed, kit.Ample); !errors.Is(err, hail.ErrQueueFull) && !errors.Is(err, hail.ErrConnClosed) {
				t.Errorf("OnError: got %v, want the error of the Send", err)
			}
			p.Resume()
			causes := make(map[hail.Cause]int)
			for range 2 {
				causes[kit.Await(t, "OnClose", e.Closed, kit.Ample).Cause]++
			}
			if causes[hail.CauseCallback] != 1 || causes[hail.CauseWriteTimeout] != 1 {
				t.Errorf("got causes %v, want the callback's error, and the write timeout of the other", causes)
			}
		})
	}
}

func TestSendThatWaitsEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*hailtest.Peer, *hail.Conn, *hail.Server){
		"Conn.Close":   func(_ *hailtest.Peer, c *hail.Conn, _ *hail.Server) { c.Close(hail.StatusNormalClosure, "") },
		"RST":          func(p *hailtest.Peer, _ *hail.Conn, _ *hail.Server) { p.Reset() },
		"Server.Close": func(_ *hailtest.Peer, _ *hail.Conn, s *hail.Server) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{})}
				p := hailtest.Dial(t, s, "/", opts...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				p.Stall()
				m := hail.Binary(kit.Noise(1000))
				fill(t, c, m)
				result := make(chan error, 1)
				go func() { result <- c.Send(m) }() // ends with Send; its result is waited for
				synctest.Wait()
				start := time.Now()
				end(p, c, s)
				if err := kit.Await(t, "Send", result, kit.Ample); !errors.Is(err, hail.ErrConnClosed) {
					t.Errorf("Send: got %v, want ErrConnClosed", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("Send ended after %v, want at once", took)
				}
			})
		})
	}
}

func TestRepliesToABatchMayBeMoreThanTheSendQueue(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		s := &hail.Server{
			Handler: hail.Handler{OnConnect: kit.Accept, OnMessage: hail.Echo},
			Options: hail.Options{SendQueue: 3000},
		}
		p := hailtest.Dial(t, s, "/", opts...)
		const n = 200
		want := kit.Noise(900)
		p.Write(bytes.Repeat(kit.Message(want), n))
		for i := range n {
			if got := p.Receive(); !bytes.Equal(got.Data, want) {
				t.Fatalf("echo %d: got %d other bytes", i, len(got.Data))
			}
		}
	})
}

func TestSendQueueOff(t *testing.T) {
	t.Parallel()
	kit.OverTransports(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{})
		s := &hail.Server{Handler: h, Options: kit.NoPings(hail.Options{SendQueue: -1})}
		p := hailtest.Dial(t, s, "/", opts...)
		c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
		p.Stall()
		const n = 50
		m := hail.Binary(kit.Noise(100_000))
		for i := range n {
			if err := c.TrySend(m); err != nil {
				t.Fatalf("message %d: got %v, want room", i, err)
			}
		}
		p.Resume()
		for i := range n {
			if got := p.Receive(); !bytes.Equal(got.Data, m.Data) {
				t.Fatalf("message %d: got %d other bytes", i, len(got.Data))
			}
		}
	})
}
