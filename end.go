package hail

// The end of a connection: whoever is first says why.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

var (
	errNoAnswer    = errors.New("hail: the peer's close frame did not come")
	errNotWritable = errors.New("hail: connection lost: nothing can be written")
	errNotSent     = errors.New("hail: the close frame could not be written")
	errTransport   = errors.New("hail: connection lost")
	errPongMissing = errors.New("hail: no answer to a ping (Options.PongTimeout)")
	errNoProgress  = errors.New("hail: the peer takes no data (Options.WriteTimeout)")
	errTooSlow     = errors.New("hail: a message took too long to arrive (Options.MessageTimeout)")
)

// ending is what is known of a connection's end.
type ending struct {
	info    CloseInfo
	said    CloseInfo // its code and reason are the close frame's; 1006 where none is sent
	late    error     // for OnError, where no callback could run at the time
	trouble error     // what has gone wrong since, unless the close handshake was completed all the same
	cut     bool      // cut was called: who cuts all counts each once
}

// begin notes why the connection ends, and reports whether it was the first to.
func (c *Conn) begin(info CloseInfo) bool {
	return c.beginLate(info, nil)
}

// beginLate is begin from outside the callbacks' goroutine: OnError is told of late when that is free.
func (c *Conn) beginLate(info CloseInfo, late error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return false
	}
	c.ending = &ending{info: info, said: info, late: late}
	return true
}

// end starts the close handshake from our side, and reports whether it was the first to.
func (c *Conn) end(info CloseInfo) bool {
	first := c.begin(info)
	if first {
		c.sendClose(info, link.CloseFrame{})
	}
	return first
}

// sendClose queues the close frame that info names.
func (c *Conn) sendClose(info CloseInfo, frame link.CloseFrame) {
	frame.Code, frame.Reason = int(info.Code), info.Reason
	if !c.link.CloseWith(frame) && !c.link.Closing() {
		c.cutLink() // nothing can be written any more
	}
}

// follow does what another goroutine that has begun to end the connection may not have come to: until the close frame is queued
// what is read would be taken for messages.
func (c *Conn) follow(frame link.CloseFrame) {
	if c.link.Closing() {
		return
	}
	c.mu.Lock()
	said := c.ending.said
	c.mu.Unlock()
	if said.Code == StatusAbnormalClosure {
		c.cutLink()
		return
	}
	c.sendClose(said, frame)
}

// fail ends a connection with an error: OnError, then the close. It belongs to the callbacks' goroutine.
func (c *Conn) fail(info CloseInfo, half bool) {
	// Deferred, for an OnError that ends its goroutine.
	if frame := (link.CloseFrame{Drop: true, Half: half}); c.begin(info) {
		defer c.sendClose(info, frame)
	} else {
		defer c.follow(frame)
	}
	c.report(info.Err)
}

// blame notes why the connection ends at once, or what has gone wrong where it was ending already.
func (c *Conn) blame(cause Cause, why error) {
	if !c.begin(CloseInfo{Code: StatusAbnormalClosure, Cause: cause, Err: why}) {
		c.mu.Lock()
		or(&c.ending.trouble, why)
		c.mu.Unlock()
	}
}

// lose ends a connection whose peer takes nothing, or is silent, and may be closing already.
func (c *Conn) lose(cause Cause, why error) {
	c.blame(cause, why)
	c.calls.shut()
	c.endContext()
	after := c.server.options.WriteTimeout
	if after < 0 {
		after = defaultWriteTimeout
	}
	c.link.Abandon(after)
}

// peerGone ends a connection whose peer has gone, or sends nothing more and may still take what is being written. It
// reports whether the link waits for that.
func (c *Conn) peerGone(err error) bool {
	info := CloseInfo{Code: StatusAbnormalClosure, Cause: CausePeerGone, Err: fmt.Errorf("hail: connection lost: %w", err)}
	if err == io.EOF && c.link.PeerEnded() {
		c.begin(info)
		c.endContext()
		return true
	}
	c.begin(info)
	c.cutLink()
	return false
}

// cut ends a connection that may be closing already, and reports whether it was the first to, and the connection had not
// ended by itself.
func (c *Conn) cut(cause Cause, why error) bool {
	c.blame(cause, why)
	c.mu.Lock()
	first := !c.ending.cut
	c.ending.cut = true
	c.mu.Unlock()
	c.cutLink()
	return first && !c.isDone.Load() && !(c.link.CloseSent() && c.link.PeerClosed())
}

func (c *Conn) cutLink() {
	c.calls.shut() // what was read is for nobody
	c.endContext()
	c.link.Cut()
}

// endContext ends the context with what is known of the end.
func (c *Conn) endContext() {
	c.mu.Lock()
	info := c.ending.info
	c.mu.Unlock()
	c.cancelContext(&endError{c, info})
}

// cancelContext ends the context, unless it has ended.
func (c *Conn) cancelContext(cause error) {
	c.mu.Lock()
	or(&c.gone, cause)
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// drain closes the connection for Server.Shutdown, behind the callback that runs.
func (c *Conn) drain() {
	if c.calls.drain() {
		c.end(CloseInfo{Code: StatusGoingAway, Cause: CauseShutdown})
	}
}

// hangup ends the context of a connection whose peer has gone while a callback runs.
// What the peer sent before it went is still read, and may tell more.
func (c *Conn) hangup(err error) {
	if c.isEnding() {
		c.endContext()
		return
	}
	c.cancelContext(&endError{c, CloseInfo{Code: StatusAbnormalClosure, Cause: CausePeerGone, Err: err}})
}

// callbackFailed ends a connection with the error of OnConnect or OnMessage.
func (c *Conn) callbackFailed(err error) {
	defer c.calls.shut() // behind OnError
	info := CloseInfo{Code: StatusInternalError, Reason: "internal error", Cause: CauseCallback, Err: err}
	var panicked *PanicError
	switch chosen, isChosen := chosenClose(err); {
	case errors.As(err, &panicked):
		info.Cause = CausePanic
	case isEndOf(c, err):
		// Whatever ends the connection tells why. Where only its writes have failed so far it is read to its end, for nobody.
		return
	case errors.Is(err, ErrQueueFull) && c.stalled(err):
		c.lose(CauseWriteTimeout, errNoProgress)
		return // it was only a matter of who noticed first
	case isChosen && sendable(chosen.Code):
		info.Code, info.Reason = chosen.Code, wire.CutReason(chosen.Reason)
	}
	c.fail(info, false)
}

// stalled reports whether the peer has taken nothing for WriteTimeout, as far as the clock or an error of Send says.
func (c *Conn) stalled(err error) bool {
	limit, stall := c.server.options.WriteTimeout, c.link.Stamps.Stall.Get()
	var stuck *stuckError
	return limit > 0 && stall != 0 && (c.server.clock.Now()-stall >= limit || errors.As(err, &stuck) && stuck.conn == c)
}

func (c *Conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending != nil
}

// violated ends a connection whose peer broke the protocol or the read limit.
func (c *Conn) violated(v *link.Violation) {
	switch {
	case c.isEnding():
		c.follow(link.CloseFrame{Half: v.Lost})
		return
	case c.calls.isShut():
		c.cut(CausePeerGone, errNotWritable) // what is wrong is for nobody, as all that comes
		return
	}
	info := CloseInfo{Code: StatusCode(v.Code), Reason: v.Reason, Cause: CauseProtocol, Err: fmt.Errorf("hail: %w", v.Err)}
	if info.Code == StatusMessageTooBig {
		info.Cause = CauseReadLimit
	}
	c.fail(info, v.Lost)
}

// peerClosed answers the peer's close frame, or has its answer.
func (c *Conn) peerClosed(p *link.PeerClose) {
	first := c.begin(CloseInfo{Code: StatusCode(p.Code), Reason: p.Reason, Cause: CausePeerClosed})
	if !first && p.First {
		c.mu.Lock()
		// Behind a failure, the peer's or ours, nothing of its close frame is used (RFC 6455 section 7.1.7).
		if info := &c.ending.info; info.Cause == CauseClosed || info.Cause == CauseShutdown {
			info.Code, info.Reason = StatusCode(p.Code), p.Reason
		}
		c.mu.Unlock()
	}
	c.endContext()
	if first {
		c.sendClose(CloseInfo{Code: StatusCode(p.Code)}, link.CloseFrame{})
	} else {
		c.follow(link.CloseFrame{})
	}
}

// done is the connection's last call: nothing of it runs any more.
func (c *Conn) done() {
	s := c.server
	c.isDone.Store(true)
	info, late := c.conclude()
	c.cancelContext(&endError{c, info})
	if c.isOpen.CompareAndSwap(true, false) {
		s.stats.open.Add(-1)
	}
	// Also where a callback ends the goroutine.
	defer c.forget(info)
	if c.known {
		defer c.callClose(info)
		if late != nil {
			c.report(late)
		}
	}
}

// forget takes the connection off the server's books.
func (c *Conn) forget(info CloseInfo) {
	s := c.server
	if s.debug(c) {
		attrs := []slog.Attr{slog.Uint64("conn", c.id), slog.String("cause", info.Cause.String()),
			slog.Int("code", int(info.Code)), slog.String("reason", info.Reason)}
		if info.Err != nil {
			attrs = append(attrs, slog.String("err", info.Err.Error()))
		}
		s.options.Logger.LogAttrs(c.values, slog.LevelDebug, "hail: closed", attrs...)
	}
	s.stats.closed[info.Cause].Add(1)
	s.conns.remove(c)
	s.sweeper.leave()
	s.gate.leave(c.addr)
}

// conclude makes what OnClose is told of what is known in the end.
func (c *Conn) conclude() (CloseInfo, error) {
	sent, received := c.link.CloseSent(), c.link.PeerClosed()
	lost := c.link.Undelivered()
	c.server.stats.lost.Add(uint64(lost))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == nil {
		c.ending = &ending{info: CloseInfo{Code: StatusAbnormalClosure, Cause: CausePeerGone,
			Err: fmt.Errorf("%w: %w", errTransport, io.EOF)}}
	}
	info := &c.ending.info
	if !sent || !received {
		or(&info.Err, c.ending.trouble)
	}
	switch {
	case !sent && !received:
		info.Code, info.Reason = StatusAbnormalClosure, ""
		or(&info.Err, errNotSent)
	case !received:
		or(&info.Err, errNoAnswer)
	case !sent:
		or(&info.Err, errNotSent)
	}
	if lost > 0 {
		undelivered := fmt.Errorf("hail: %d queued messages were not written", lost)
		if info.Err != nil {
			undelivered = fmt.Errorf("%w; %d queued messages were not written", info.Err, lost)
		}
		info.Err = undelivered
	}
	return *info, c.ending.late
}
