package hail

// Heartbeats and timeouts: one look at every connection now and then, instead of timers for each.

import (
	"io"
	"math"
	"sync"
	"time"

	"example.com/hail/internal/link"
)

const (
	slowestSweep = 500 * time.Millisecond
	fastestSweep = 5 * time.Millisecond
	// A timeout is found late by up to two sweeps, each this part of the shortest.
	sweepPart = 8
)

// sweepTick returns the time between two sweeps for the timeouts that are on.
func sweepTick(timeouts ...time.Duration) time.Duration {
	tick := slowestSweep
	for _, t := range timeouts {
		if t > 0 {
			tick = min(tick, t/sweepPart)
		}
	}
	return max(tick, fastestSweep)
}

// sweeper is the goroutine that a server has while it has connections.
type sweeper struct {
	mu    sync.Mutex
	users int
	stop  chan struct{} // of the newest loop
	done  chan struct{}
}

// join is called for each connection. The first starts loop on a goroutine, which ends
// when the last has left; halt waits for it.
func (w *sweeper) join(loop func(stop <-chan struct{})) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users++
	if w.users > 1 {
		return
	}
	before, stop, done := w.done, make(chan struct{}), make(chan struct{})
	w.stop, w.done = stop, done
	go func() {
		defer close(done)
		if before != nil {
			<-before // never two loops at once
		}
		loop(stop)
	}()
}

// leave is called once for each join.
func (w *sweeper) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users--
	if w.users == 0 {
		close(w.stop)
	}
}

// halt waits for the loop if it is ending.
func (w *sweeper) halt() {
	w.mu.Lock()
	done := w.done
	if w.users > 0 {
		done = nil
	}
	w.mu.Unlock()
	if done != nil {
		<-done
	}
}

// sweep looks at every connection each tick, until stop is closed.
func (s *Server) sweep(stop <-chan struct{}) {
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		now := s.clock.Tick(s.tick)
		for c := range s.conns.all() {
			c.check(now)
		}
	}
}

// pulse is what the sweep remembers of a connection.
type pulse struct {
	pinged time.Duration // when the ping was sent that is out; 0: none is
	closed time.Duration // when our close frame was written, while a callback runs
	goal   int64         // of the bytes written, those before the ping that is out

	// Bytes, as the last look found them.
	written int64
	taken   int64 // of written, those that the peer has taken, at the least; unseen where nobody looked
}

// unseen is what a pulse has taken before the first of a row of looks. Any other may be negative: what the system holds may be
// more than was written, of small records of TLS for example.
const unseen = math.MinInt64

// over reports whether more than limit has passed since then. A stamp is up to a tick of the clock old, which is
// allowed for: no timeout is early, however late the sweep.
func (s *Server) over(now, since, limit time.Duration) bool {
	return limit > 0 && since != 0 && now-since-s.tick > limit
}

// check enforces the connection's timeouts.
func (c *Conn) check(now time.Duration) {
	s, t, o := c.server, &c.link.Stamps, &c.server.options
	heard := t.Read.Get()
	if c.pulse.pinged != 0 && heard >= c.pulse.pinged {
		c.pulse.pinged = 0 // before it could be moved behind its answer
	}
	stall, sent := t.Stall.Get(), t.CloseSent.Get()
	if stall == 0 && c.pulse.pinged == 0 && sent == 0 {
		c.pulse.taken = unseen
	} else if before := c.pulse.taken; c.progress() {
		if stall != 0 {
			t.Stall.Move(stall, now)
			stall = now
		}
		// Neither a pong nor a close frame can come before what was written ahead of its cause is taken.
		if c.pulse.pinged != 0 && before < c.pulse.goal {
			c.pulse.pinged = now
		}
		if sent != 0 {
			t.CloseSent.Move(sent, now)
			sent = now
		}
	}
	switch {
	case s.over(now, stall, o.WriteTimeout):
		c.lose(CauseWriteTimeout, errNoProgress)
	case c.calls.running():
		c.checkCall(now)
	case s.over(now, sent, c.closeTimeout()):
		why := errNoAnswer
		switch {
		case !c.isEnding():
			why = errNotWritable
		case !c.link.CloseSent():
			why = errNotSent
		}
		if c.pulse.behind() {
			c.lose(CausePeerGone, why)
		} else {
			c.cut(CausePeerGone, why)
		}
	case t.Closing.Get() != 0:
	case s.over(now, t.Message.Get(), o.MessageTimeout):
		c.failLate(CloseInfo{Code: StatusPolicyViolation, Reason: "message timeout", Cause: CauseMessageTimeout, Err: errTooSlow})
	case o.PingInterval > 0:
		c.heartbeat(now, heard, stall != 0)
	}
}

// checkCall does what check does while a callback runs. Nobody reads meanwhile: silence is ours, not the peer's.
func (c *Conn) checkCall(now time.Duration) {
	t := &c.link.Stamps
	t.Read.Set(now)
	c.pulse.pinged = 0
	if sent := t.CloseSent.Get(); sent != 0 {
		or(&c.pulse.closed, sent)
		over, ending := c.server.over(now, c.pulse.closed, c.server.options.CloseTimeout), c.isEnding()
		switch {
		case over && ending:
			c.endContext() // the callback may be waiting for that
		case over:
			c.cut(CausePeerGone, errNotWritable)
		}
		if ending {
			t.CloseSent.Set(now) // the answer may be there; it is looked for behind the callback
		}
	}
	if c.link.HungUp() {
		c.hangup(io.EOF)
	}
}

// progress reports whether the peer is known to have taken bytes from the system since the last look.
func (c *Conn) progress() bool {
	written, held := c.link.Written()
	before := c.pulse.taken
	c.pulse.written, c.pulse.taken = written, max(before, written-max(held, 0))
	return held >= 0 && before != unseen && c.pulse.taken > before
}

// behind reports whether the system held something for the peer.
func (p *pulse) behind() bool { return p.taken < p.written }

// closeTimeout is how long the peer's close frame is waited for: while ours is not taken, at least as long as for that.
func (c *Conn) closeTimeout() time.Duration {
	o := &c.server.options
	if c.pulse.behind() && (o.WriteTimeout < 0 || o.WriteTimeout > o.CloseTimeout && o.CloseTimeout > 0) {
		return o.WriteTimeout
	}
	return o.CloseTimeout
}

// failLate ends a connection from outside its goroutine: OnError has to wait until the callbacks' is free.
func (c *Conn) failLate(info CloseInfo) {
	if c.beginLate(info, info.Err) {
		c.sendClose(info, link.CloseFrame{Drop: true, Behind: info.Cause == CauseSlowConsumer})
	}
}

// heartbeat pings a silent peer, and cuts one that stays so.
func (c *Conn) heartbeat(now, heard time.Duration, stalled bool) {
	s := c.server
	switch {
	case c.pulse.pinged != 0 && stalled:
		c.pulse.pinged = now // the ping waits too; WriteTimeout counts
		c.pulse.goal = c.pulse.written
	case c.pulse.pinged == 0 && now-heard >= c.pingAfter():
		c.pulse.pinged = now
		c.link.Ping()
		c.progress()
		c.pulse.goal = c.pulse.written
	case c.pulse.pinged != 0 && s.over(now, c.pulse.pinged, s.options.PongTimeout):
		c.lose(CausePingTimeout, errPongMissing)
	}
}

// pingAfter returns PingInterval less up to a fifth, which the connection's number decides.
func (c *Conn) pingAfter() time.Duration {
	const steps = 1 << 16
	spread := time.Duration(c.id * 0x9E3779B97F4A7C15 >> 48) // of steps
	interval := c.server.options.PingInterval
	return interval - interval/5/steps*spread
}
