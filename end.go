package hail

// The end of a connection: what is told to its state machine, and what is done then.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
)

var errTransport = errors.New("hail: connection lost")

// goingAway is how Shutdown closes connections.
var goingAway = CloseInfo{Code: StatusGoingAway, Cause: CauseShutdown}

// ending is what is known of a connection's end.
type ending struct {
	info    CloseInfo // its code and reason are the close frame's, 1006 if none is sent
	late    error     // for OnError, which could not run at the time
	trouble error     // what has gone wrong since; of no interest if the close handshake is completed all the same
}

// apply tells the connection's machine of an event, and does what is to be done, except to call user code: that is left
// to the caller. why is noted if the event decides why the connection ends.
func (c *Conn) apply(e life.Event, why CloseInfo) life.Do {
	undelivered := 0
	if e == life.TransportEnded {
		undelivered = c.link.Undelivered()
	}
	c.mu.Lock()
	state, do := c.life.Step(e)
	switch {
	case do.Has(life.Decide):
		c.ending = &ending{info: why}
		if isBreach(why.Cause) && !do.Has(life.Report) {
			c.ending.late = why.Err
		}
	case e == life.CutOff || e == life.Starve:
		or(&c.ending.trouble, why.Err)
	}
	if e == life.TransportEnded {
		c.ending.conclude(state, undelivered)
	}
	if c.ending != nil {
		why = c.ending.info
	}
	if state.Phase() >= life.Cut {
		why.settle(state)
	}
	c.mu.Unlock()
	c.act(do, why)
	return do
}

// isBreach reports whether OnError is told of an end with that cause: the peer broke the protocol or a limit.
func isBreach(cause Cause) bool {
	switch cause {
	case CauseProtocol, CauseReadLimit, CauseMessageRate, CauseMessageTimeout, CauseSlowConsumer:
		return true
	}
	return false
}

// isFailure reports whether an end with that cause is neither side's wish.
func isFailure(cause Cause) bool {
	return cause != CausePeerClosed && cause != CauseClosed && cause != CauseShutdown
}

// act does what the machine has said.
func (c *Conn) act(do life.Do, info CloseInfo) {
	if do.Has(life.CountIn) {
		c.server.stats.open.Add(1)
	}
	if do.Has(life.CountOut) {
		c.server.stats.open.Add(-1)
	}
	if do.Has(life.EndContext) {
		c.endContext(&endError{c, info})
	}
	switch {
	case do.Has(life.Frame):
		if !c.link.Close(closeFrame(info)) {
			c.apply(life.CutOff, CloseInfo{}) // nothing can be written any more
		}
	case do.Has(life.HalfClose):
		c.link.CloseWrite()
	case do.Has(life.Finish):
		c.link.Finish()
	case do.Has(life.Kill):
		c.link.Cut()
	case do.Has(life.Abandon):
		after := c.server.options.WriteTimeout
		if after < 0 {
			after = defaultWriteTimeout
		}
		c.link.Abandon(after)
	}
}

// closeFrame returns the close frame for an end. After a failure, data that the peer has not accepted for long is not waited for.
func closeFrame(info CloseInfo) link.CloseFrame {
	f := link.CloseFrame{Code: int(info.Code), Reason: info.Reason}
	switch {
	case info.Cause == CausePeerClosed:
		f.Reason = "" // its own code is the answer
	case isFailure(info.Cause):
		f.DropStalled, f.DropSources = true, info.Cause == CauseSlowConsumer
	}
	return f
}

// lost is the end of a connection without a close frame.
func lost(cause Cause, err error) CloseInfo {
	return CloseInfo{Code: StatusAbnormalClosure, Cause: cause, Err: err}
}

// leave says that a callback has returned, by Accept or Return. If the server waits for that, the connection is closed.
func (c *Conn) leave(e life.Event) {
	if e != life.Return || !c.life.Leave() {
		c.apply(e, goingAway)
	}
}

// violated ends a connection whose peer broke the protocol or a limit. It belongs to the reader.
func (c *Conn) violated(e life.Event, info CloseInfo) {
	if c.apply(e, info).Has(life.Report) {
		defer c.leave(life.Return) // also if OnError ends the goroutine
		c.report(info.Err)
	}
}

// broke is violated for what the link has found.
func (c *Conn) broke(v *link.Violation) {
	info := CloseInfo{Code: StatusCode(v.Code), Reason: v.Reason, Cause: CauseProtocol, Err: fmt.Errorf("hail: %w", v.Err)}
	if info.Code == StatusMessageTooBig {
		info.Cause = CauseReadLimit
	}
	e := life.Violate
	if v.Lost {
		e = life.Lose
	}
	defer func() {
		if v.Closes {
			c.apply(life.PeerClose, info) // info is of use to a broken connection, which the violation did not end
		}
	}()
	c.violated(e, info)
}

// peerClosed answers the peer's close frame, or has its answer.
func (c *Conn) peerClosed(p *link.PeerClose) {
	info := CloseInfo{Code: StatusCode(p.Code), Reason: p.Reason, Cause: CausePeerClosed}
	c.mu.Lock()
	// After a failure, the peer's or ours, nothing of its close frame is used (RFC 6455 section 7.1.7).
	if c.ending != nil && p.First && !isFailure(c.ending.info.Cause) {
		c.ending.info.Code, c.ending.info.Reason = info.Code, info.Reason
	}
	c.mu.Unlock()
	c.apply(life.PeerClose, info)
}

// unreadable tells that nothing can be read any more, and reports whether the connection goes on all the same: its close frame is
// still being written.
func (c *Conn) unreadable(err error) bool {
	e := life.ReadFailed
	if err == io.EOF {
		e = life.EndOfStream
	}
	c.apply(e, lost(CausePeerGone, fmt.Errorf("%w: %w", errTransport, err)))
	return c.life.State().Phase() < life.Cut
}

// findings say how a timeout ends the connection. Why is added.
var findings = [...]struct {
	event life.Event
	info  CloseInfo
}{
	life.Unread:      {life.Starve, lost(CauseWriteTimeout, nil)},
	life.Silent:      {life.Starve, lost(CausePingTimeout, nil)},
	life.Slow:        {life.Expire, CloseInfo{Code: StatusPolicyViolation, Reason: "message timeout", Cause: CauseMessageTimeout}},
	life.Unanswered:  {life.CutOff, lost(CausePeerGone, nil)},
	life.Unreachable: {life.Starve, lost(CausePeerGone, nil)},
	life.Waiting:     {life.Overdue, CloseInfo{}}, // the callback may be waiting for its context
}

// check has the pulse look at the connection, and ends it if a timeout has passed.
func (c *Conn) check(now time.Duration) {
	state, t := c.life.State(), &c.link.Stamps
	signs := life.Signs{State: state, Read: t.Read.Get(), Message: t.Message.Get(), Stall: t.Stall.Get(), Closed: t.Closed.Get()}
	const golden = 0x9E3779B97F4A7C15 // neighbouring numbers spread
	if f := c.pulse.Look(now, signs, &c.server.limits, uint16(c.ID()*golden>>48), c.link); f != life.Well {
		found := findings[f]
		found.info.Err = f.Why(state)
		c.apply(found.event, found.info)
	}
	if state.Call() != life.None && c.link.HungUp() {
		c.hangup(io.EOF)
	}
}

// stalled reports whether the peer has accepted nothing for WriteTimeout. Send gives up before a sweep finds that.
func (c *Conn) stalled() bool {
	limit, stall := c.server.options.WriteTimeout, c.link.Stamps.Stall.Get()
	return limit > 0 && stall != 0 && c.server.clock.Real()-stall >= limit
}

// hangup ends the context of a connection whose peer has gone while a callback runs.
// What the peer sent before it went is still read, and may tell more.
func (c *Conn) hangup(err error) { c.apply(life.Hangup, lost(CausePeerGone, err)) }

// endContext ends the context, unless it has ended.
func (c *Conn) endContext(cause error) {
	c.mu.Lock()
	or(&c.gone, cause)
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// done is the connection's last call: nothing of it runs any more.
func (c *Conn) done() {
	c.server.stats.lost.Add(uint64(c.link.Undelivered()))
	do := c.apply(life.TransportEnded, lost(CausePeerGone, fmt.Errorf("%w: %w", errTransport, io.EOF)))
	c.mu.Lock()
	info, late := c.ending.info, c.ending.late
	c.mu.Unlock()
	// Deferred, for a callback that ends the goroutine.
	defer c.forget(info)
	if do.Has(life.OnClose) {
		defer c.callClose(info)
		if late != nil {
			c.report(late)
		}
	}
}

// forget takes the connection off the server's books.
func (c *Conn) forget(info CloseInfo) {
	s := c.server
	s.log(c.values, slog.LevelDebug, "hail: closed", func() []slog.Attr {
		attrs := []slog.Attr{slog.Uint64("conn", c.ID()), slog.String("cause", info.Cause.String()),
			slog.Int("code", int(info.Code)), slog.String("reason", info.Reason)}
		if info.Err != nil {
			attrs = append(attrs, slog.String("err", info.Err.Error()))
		}
		return attrs
	})
	s.stats.closed[info.Cause].Add(1)
	s.conns.Remove((*owner)(c))
	s.sweeper.Leave()
	s.gate.Leave(c.addr)
}

// conclude completes what OnClose is told.
func (e *ending) conclude(s life.State, lost int) {
	e.info.settle(s)
	e.info.Opened = s.Accepted()
	e.info.Err = s.Conclude(e.info.Err, e.trouble, lost)
}

// settle sets the code of a connection that is cut in that state. After a failure the peer's close frame does not count.
func (i *CloseInfo) settle(s life.State) {
	if !s.Sent() && (!s.Received() || isFailure(i.Cause)) {
		i.Code, i.Reason = StatusAbnormalClosure, ""
	}
}
