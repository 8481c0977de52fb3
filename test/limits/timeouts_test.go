package limits_test

// Timeouts on a late sweep, and on real sockets.

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/hail"
	"example.com/hail/hailtest"
	"example.com/hail/test/internal/kit"
)

// lateConn delays callers that ask for its socket.
type lateConn struct {
	net.Conn
	asked func()
}

func (c lateConn) SyscallConn() (syscall.RawConn, error) {
	c.asked()
	return nil, errors.ErrUnsupported
}

// lateSweep connects a peer that delays s's sweep once, by stays, after the sweep has pinged it. late is closed when the delay
// begins.
func lateSweep(t *testing.T, s *hail.Server, stays time.Duration) (late chan struct{}) {
	t.Helper()
	late = make(chan struct{})
	var asked atomic.Int32
	hailtest.Dial(t, s, "/", hailtest.Timeout(time.Hour), hailtest.Wrap(func(nc net.Conn) net.Conn {
		return lateConn{nc, func() {
			if asked.Add(1) == 2 { // the first is not the sweep: a connection is set up
				close(late)
				time.Sleep(stays)
			}
		}}
	}))
	return late
}

// TestTimeoutsAreNotEarlyWhenTheSweepIsLate has a sweep that lasts a minute. At its end each timeout begins to count.
func TestTimeoutsAreNotEarlyWhenTheSweepIsLate(t *testing.T) {
	t.Parallel()
	const limit, sweepIsLate = time.Second, time.Minute
	options := hail.Options{MessageTimeout: limit, WriteTimeout: limit, CloseTimeout: limit, SendQueue: 100_000}
	for name, tc := range map[string]struct {
		act   func(*hailtest.Peer, *hail.Conn)
		cause hail.Cause
		least time.Duration
	}{
		"MessageTimeout, CloseTimeout": {func(p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message([]byte("half"))[:8]) },
			hail.CauseMessageTimeout, 2 * limit},
		"CloseTimeout": {func(p *hailtest.Peer, c *hail.Conn) { p.Vanish(); c.Close(hail.StatusNormalClosure, "") },
			hail.CauseClosed, limit},
		"WriteTimeout": {func(p *hailtest.Peer, c *hail.Conn) {
			p.Stall()
			for c.TrySend(hail.Binary(kit.Noise(10_000))) == nil {
			}
		}, hail.CauseWriteTimeout, limit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, e := kit.Observed(hail.Handler{})
				s := &hail.Server{Handler: h, Options: options}
				late := lateSweep(t, s, sweepIsLate)
				<-e.Conns
				p := hailtest.Dial(t, s, "/", hailtest.Timeout(time.Hour))
				c := <-e.Conns
				<-late
				time.Sleep(sweepIsLate - limit/10)
				start := time.Now()
				tc.act(p, c)
				info := <-e.Closed
				if took := time.Since(start); took < tc.least || took > tc.least+limit {
					t.Errorf("OnClose after %v, want between %v and %v", took, tc.least, tc.least+limit)
				}
				if info.Cause != tc.cause {
					t.Errorf("got %+v, want the cause %v", info, tc.cause)
				}
			})
		})
	}
}

// TestSendToAPeerThatReadsNothing has OnMessage return the error of a Send that has waited in vain. Send gives up before a sweep
// finds that the peer accepts nothing, but that is why the connection ends.
func TestSendToAPeerThatReadsNothing(t *testing.T) {
	t.Parallel()
	kit.OverBubbles(t, func(t *testing.T, opts ...hailtest.Option) {
		h, e := kit.Observed(hail.Handler{OnMessage: func(c *hail.Conn, m hail.Message) error {
			for {
				if err := c.Send(hail.Binary(kit.Noise(10_000))); err != nil {
					return err
				}
			}
		}})
		s := &hail.Server{Handler: h, Options: hail.Options{SendQueue: 100_000}}
		p := hailtest.Dial(t, s, "/", opts...)
		<-e.Conns
		p.Stall()
		p.Send(hail.Text("go"))
		kit.CheckClosed(t, <-e.Closed, hail.StatusAbnormalClosure, hail.CauseWriteTimeout, false)
	})
}

// TestTimeoutsOnRealSockets has short timeouts on a real clock. They act as in a bubble.
func TestTimeoutsOnRealSockets(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	for name, tc := range map[string]struct {
		options hail.Options
		act     func(*hailtest.Peer, *hail.Conn)
		code    hail.StatusCode
		cause   hail.Cause
	}{
		"MessageTimeout, a frame": {hail.Options{MessageTimeout: short, CloseTimeout: short},
			func(p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Message([]byte("half"))[:8]) },
			hail.StatusPolicyViolation, hail.CauseMessageTimeout},
		"MessageTimeout, fragments": {hail.Options{MessageTimeout: short, CloseTimeout: short},
			func(p *hailtest.Peer, _ *hail.Conn) { p.Write(kit.Fragments(false, []byte("half"), 2)[:9]) },
			hail.StatusPolicyViolation, hail.CauseMessageTimeout},
		"WriteTimeout": {hail.Options{WriteTimeout: short, PingInterval: -1},
			func(p *hailtest.Peer, c *hail.Conn) {
				p.Stall()
				for c.Send(hail.Binary(kit.Noise(100_000))) == nil {
				}
			},
			hail.StatusAbnormalClosure, hail.CauseWriteTimeout},
		"PingTimeout": {hail.Options{PingInterval: short, PongTimeout: short},
			func(p *hailtest.Peer, _ *hail.Conn) { p.Vanish() },
			hail.StatusAbnormalClosure, hail.CausePingTimeout},
		"CloseTimeout": {hail.Options{CloseTimeout: short},
			func(p *hailtest.Peer, c *hail.Conn) { p.Vanish(); c.Close(hail.StatusNormalClosure, "") },
			hail.StatusNormalClosure, hail.CauseClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, opts := range [][]hailtest.Option{{hailtest.TCP()}, {hailtest.TCP(), hailtest.TLS(nil)}} {
				h, e := kit.Observed(hail.Handler{})
				start := time.Now()
				p := hailtest.Dial(t, &hail.Server{Handler: h, Options: tc.options}, "/", opts...)
				c := kit.Await(t, "OnConnect", e.Conns, kit.Ample)
				if tc.cause != hail.CausePingTimeout { // silence counts from the handshake on
					start = time.Now()
				}
				tc.act(p, c)
				kit.CheckClosed(t, kit.Await(t, "OnClose", e.Closed, kit.Ample), tc.code, tc.cause, false)
				if took := time.Since(start); took < short {
					t.Errorf("took %v, want %v at least", took, short)
				}
			}
		})
	}
}
