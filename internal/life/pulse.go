package life

// Heartbeat and timeouts of one connection.

import (
	"math"
	"time"
)

// Limits are a server's timeouts. One that is not above 0 is off.
type Limits struct {
	Message time.Duration // from a message's first byte to its last
	Write   time.Duration // without progress
	Ping    time.Duration // of silence, before a ping
	Pong    time.Duration // of silence after a ping
	Close   time.Duration // for the peer's close frame
	Tick    time.Duration // between two looks
}

// Transport is what a [Pulse] may ask of a connection.
type Transport interface {
	// Ping queues a ping.
	Ping()
	// Written returns how many bytes were written, and how many of them, at the most, the system still holds for the
	// peer: -1 if it does not tell.
	Written() (written, held int64)
}

// Signs are the moments, by the server's clock, that a [Pulse] goes by. 0 stands for "not".
type Signs struct {
	State   State
	Read    time.Duration // bytes arrived last
	Message time.Duration // the first byte of a message whose last has not come
	Stall   time.Duration // the last progress of a write that has to wait
	Closed  time.Duration // the close frame was written, or it became known that nothing can be written
}

// Finding is what a look at a connection has found.
type Finding uint8

const (
	Well        Finding = iota
	Unread              // the peer accepts no data: WriteTimeout
	Silent              // the peer does not answer a ping: PongTimeout
	Slow                // a message does not end: MessageTimeout
	Unanswered          // the peer's close frame does not come: CloseTimeout
	Unreachable         // the same, and the system still holds data for the peer
	Waiting             // a callback has run for CloseTimeout since the close frame was written
)

// Pulse is what the looks at a connection remember. It belongs to who looks.
type Pulse struct {
	pinged time.Duration // when the ping was sent that is not answered; 0: none is
	goal   int64         // of the bytes written, those before that ping
	moved  time.Duration // when the peer was last seen to accept bytes
	busy   time.Duration // when a callback was last seen to run

	// Bytes, as the last look found them.
	written int64
	acked   int64 // of written, those that the peer has acknowledged, at the least; unseen if nobody looked
	looking bool  // acked is known
}

// Look decides what the signs of a connection say. spread, from 0 to 1<<16, tells apart when connections are pinged.
func (p *Pulse) Look(now time.Duration, s Signs, l *Limits, spread uint16, t Transport) Finding {
	if s.State.Call() != None {
		p.busy, p.pinged = now, 0 // nobody reads meanwhile: the silence is ours
	}
	heard := max(s.Read, p.busy)
	if p.pinged != 0 && heard >= p.pinged {
		p.pinged = 0
	}
	if s.Stall == 0 && s.Closed == 0 && p.pinged == 0 {
		p.looking = false
	} else if before := p.acked; p.progress(t) {
		p.moved = now
		if p.pinged != 0 && before < p.goal {
			p.pinged = now // its answer cannot come before what was written ahead of it is read
		}
	}
	switch {
	case l.over(now, p.since(s.Stall, p.moved), l.Write):
		return Unread
	case s.State.Call() != None:
		return p.lookAtCall(now, s, l)
	case l.over(now, p.since(s.Closed, p.quiet(s)), p.closeTimeout(l)):
		if p.unacked() {
			return Unreachable
		}
		return Unanswered
	case s.State.Ends():
		return Well
	case l.over(now, s.Message, l.Message):
		return Slow
	}
	return p.heartbeat(now, heard, s.Stall != 0, l, spread, t)
}

// quiet returns since when the peer's close frame could have come and been found. Before it is decided that the connection
// ends, a callback that runs delays nothing: the peer could have the next one run forever.
func (p *Pulse) quiet(s Signs) time.Duration {
	if s.State.Ends() {
		return max(p.moved, p.busy)
	}
	return p.moved
}

// since returns a moment, or a later one that takes its place; 0 stays 0.
func (p *Pulse) since(from, later time.Duration) time.Duration {
	if from == 0 {
		return 0
	}
	return max(from, later)
}

// over reports whether more than limit has passed since then. A stamp is up to a tick of the clock old, which is
// allowed for: no timeout is early, however late the look.
func (l *Limits) over(now, since, limit time.Duration) bool {
	return limit > 0 && since != 0 && now-since-l.Tick > limit
}

// lookAtCall is the part of Look for while a callback runs. The peer's close frame may have arrived: it is looked for
// after the callback.
func (p *Pulse) lookAtCall(now time.Duration, s Signs, l *Limits) Finding {
	switch {
	case !l.over(now, s.Closed, l.Close):
		return Well
	case s.State.Ends():
		return Waiting
	}
	return Unanswered
}

// progress reports whether the peer is known to have acknowledged bytes since the last look.
func (p *Pulse) progress(t Transport) bool {
	written, held := t.Written()
	before, looked := p.acked, p.looking
	acked := written - max(held, 0)
	if !looked {
		before = math.MinInt64
	}
	p.written, p.acked, p.looking = written, max(before, acked), true
	return held >= 0 && looked && p.acked > before
}

// unacked reports whether the system held bytes for the peer that it has not acknowledged.
func (p *Pulse) unacked() bool { return p.looking && p.acked < p.written }

// closeTimeout is how long the peer's close frame is waited for. While ours is not acknowledged that is at least as long as
// for the acknowledgement.
func (p *Pulse) closeTimeout(l *Limits) time.Duration {
	if p.unacked() && (l.Write <= 0 || l.Write > l.Close && l.Close > 0) {
		return l.Write
	}
	return l.Close
}

// heartbeat pings a silent peer, and finds one that stays silent.
func (p *Pulse) heartbeat(now, heard time.Duration, stalled bool, l *Limits, spread uint16, t Transport) Finding {
	switch {
	case l.Ping <= 0:
	case p.pinged != 0 && stalled:
		p.pinged, p.goal = now, p.written // the ping waits too; WriteTimeout counts
	case p.pinged == 0 && now-heard >= l.Ping-l.Ping/5/(1<<16)*time.Duration(spread):
		p.pinged = now
		t.Ping()
		p.progress(t)
		p.goal = p.written
	case p.pinged != 0 && l.over(now, p.pinged, l.Pong):
		return Silent
	}
	return Well
}
