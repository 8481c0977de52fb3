package hail

// One connection: its methods, and its way from the handshake to the first turn.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"example.com/hail/internal/admit"
	"example.com/hail/internal/fanout"
	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// Conn is one connection. Every method may be called from any goroutine, and from the callbacks.
type Conn struct {
	// The fields that the sweep reads stand together. Immutable except life and pulse.
	server *Server
	link   *link.Conn
	place  life.Place
	life   life.Machine
	pulse  life.Pulse // owned by the sweep

	// Immutable.
	counts *counters
	addr   string          // what MaxConnsPerIP counts it by
	values context.Context // the request's, without its end

	topics   atomic.Pointer[fanout.Subscriber] // nil until the first is joined
	hearsAll bool                              // broadcasts are written to it; guarded by the link's lock
	opens    atomic.Bool                       // OnConnect has returned nil

	rate life.Bucket // owned by the reader

	// Guarded by mu. While it is held, life changes.
	mu     sync.Mutex
	state  any
	ctx    context.Context // made when it is asked for
	cancel context.CancelCauseFunc
	gone   error   // the cause of ctx's end, once it has ended
	ending *ending // nil until it is decided why the connection ends
}

// ID returns the connection's number, counted from 1, which no other connection of its Server has.
func (c *Conn) ID() uint64 { return c.place.Number() }

// Server returns the server that the connection belongs to.
func (c *Conn) Server() *Server { return c.server }

// Send queues m to be written, after the messages queued before, and copies its data. If the queue has no room
// (Options.SendQueue), it waits, at most Options.WriteTimeout. nil means queued, in order. If the connection ends before m
// is written, CloseInfo.Err and Stats say so. The error is ErrConnClosed, ErrQueueFull (at once if m alone is larger
// than the queue), or says what is wrong with m.
func (c *Conn) Send(m Message) error { return c.send(m, true) }

// TrySend is Send that never waits: if the queue has no room, it returns ErrQueueFull at once.
func (c *Conn) TrySend(m Message) error { return c.send(m, false) }

// SendJSON sends the message that [JSON] makes of v. Its errors are that function's and Send's.
func (c *Conn) SendJSON(v any) error {
	m, err := JSON(v)
	if err != nil {
		return err
	}
	return c.Send(m)
}

func (c *Conn) send(m Message, wait bool) error {
	first, err := m.first()
	if err != nil {
		return err
	}
	switch err := c.link.Send(first, m.Data, wait); err {
	case nil:
		c.counts.sent.Add(1)
		return nil
	case link.ErrFull:
		return c.server.queueFull
	case link.ErrTooLarge:
		return c.server.tooLarge
	default:
		return c.closedError()
	}
}

// closedError is the error of a connection that is ending.
func (c *Conn) closedError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == nil {
		// Nothing can be written any more, but the connection has not been read to its end.
		return &endError{c, CloseInfo{Code: StatusAbnormalClosure, Cause: CausePeerGone}}
	}
	return &endError{c, c.ending.info}
}

// Close starts to close the connection and returns; OnClose says when it is over. The queue is written first, then the
// close frame (RFC 6455 section 5.5.1). Then the peer's close frame is waited for, at most Options.CloseTimeout.
// Messages that arrive meanwhile are dropped. A reason over 123 bytes is cut at a character's boundary.
//
// The error is ErrConnClosed if the connection was closing already. A code that may not be sent is an error too, and
// closes with 1011. StatusNoStatusRcvd sends a close frame without a code.
func (c *Conn) Close(code StatusCode, reason string) error {
	var err error
	if !sendable(code) {
		err = fmt.Errorf("hail: close code %d may not be sent (RFC 6455 section 7.4): closed with %d", code, StatusInternalError)
		code, reason = StatusInternalError, ""
	}
	if !c.apply(life.Close, CloseInfo{Code: code, Reason: wire.CutReason(reason), Cause: CauseClosed}).Has(life.Decide) {
		return c.closedError()
	}
	return err
}

var errCut = errors.New("hail: cut by Conn.CloseNow")

// CloseNow cuts the connection: nothing more is written, no close frame either, and its context ends. It returns at once. OnClose follows,
// after a callback that runs; CloseInfo has code 1006 and [CauseClosed], unless the connection was ending already.
func (c *Conn) CloseNow() { c.apply(life.CutOff, lost(CauseClosed, errCut)) }

func sendable(code StatusCode) bool {
	return wire.ValidCode(int(code)) || code == StatusNoStatusRcvd
}

// Context returns a context with the values of the request's context. It ends with the connection: when the peer's close
// frame is read, when the peer is gone, or when the connection is cut; at the latest before OnClose. Conn.Close does not end
// it at once: the peer's answer does, or Options.CloseTimeout.
//
// While a callback runs, nobody reads. Over plain TCP on Linux a peer that goes is noticed all the same: at once, or within half
// a second if it had gone before the callback began.
//
// [context.Cause] then returns an error that matches ErrConnClosed, and ErrServerClosed too if the server was shut down.
// errors.As finds a CloseError in it.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(c.values)
		if c.gone != nil {
			c.cancel(c.gone)
		}
	}
	return c.ctx
}

// RemoteAddr returns the address of the transport's peer, which may be a proxy.
func (c *Conn) RemoteAddr() net.Addr { return c.link.RemoteAddr() }

// Subprotocol returns the subprotocol that was negotiated, "" for none.
func (c *Conn) Subprotocol() string { return c.link.Subprotocol() }

// State returns the value last given to SetState, nil at first.
func (c *Conn) State() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// SetState keeps v with the connection, for State.
func (c *Conn) SetState(v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = v
}

// newConn makes a connection of a link, and adds it to the server's.
func newConn(s *Server, l *link.Conn, addr string, r *http.Request) *Conn {
	c := &Conn{server: s, link: l, addr: addr}
	c.values = context.WithoutCancel(r.Context())
	s.conns.Number((*owner)(c))
	c.counts = &s.stats.parts[c.place.Part()]
	l.Bind((*owner)(c), &c.counts.traffic)
	s.conns.Add((*owner)(c))
	return c
}

// open runs OnConnect, and has the connection read. ServeHTTP calls it.
func (c *Conn) open(r *http.Request) {
	s := c.server
	defer c.link.Start() // also if OnConnect ends the goroutine
	s.sweeper.Join(s.limits.Tick, s.sweep)
	s.log(c.values, slog.LevelDebug, "hail: connected", func() []slog.Attr {
		return []slog.Attr{slog.Uint64("conn", c.ID()), slog.String("path", admit.Clip(r.URL.Path)), slog.String("remote", r.RemoteAddr)}
	})
	if end := s.end.Load(); end != nil {
		if c.apply(end.event, end.why).Has(life.Kill) {
			end.late.Add(1)
		}
		return
	}
	c.callConnect(r)
}

// owner is what the inside sees of a Conn.
type owner Conn

func (o *owner) Turn() bool         { return (*Conn)(o).turn() }
func (o *owner) CloseWritten()      { (*Conn)(o).apply(life.CloseWritten, CloseInfo{}) }
func (o *owner) WriteFailed()       { (*Conn)(o).apply(life.WriteFailed, CloseInfo{}) }
func (o *owner) Place() *life.Place { return &o.place }
func (o *owner) Done()              { (*Conn)(o).done() }

func (o *owner) Hangup(err error) {
	if c := (*Conn)(o); c.life.State().Call() != life.None {
		c.hangup(err)
	} // else the sweep tells, if a callback runs for long
}

// turn handles what has arrived, and reports whether more can come.
func (c *Conn) turn() bool {
	for {
		var m link.Message
		var err error
		if c.life.State().Phase() == life.Open {
			m, err = c.link.Next()
		} else {
			err = c.link.Discard()
		}
		switch e := err.(type) {
		case nil:
			c.receive(m)
		case *link.PeerClose:
			c.peerClosed(e)
		case *link.Violation:
			c.broke(e)
		default:
			return err == link.ErrAgain || c.unreadable(err)
		}
	}
}

// receive handles one message.
func (c *Conn) receive(in link.Message) {
	s := c.server
	m := Message{MessageBinary, in.Data}
	if in.Text {
		m.Type = MessageText
	}
	s.log(c.values, slog.LevelDebug, "hail: message", func() []slog.Attr {
		return []slog.Attr{slog.Uint64("conn", c.ID()), slog.String("type", m.Type.String()), slog.Int("bytes", len(m.Data))}
	})
	if s.options.MessageRate > 0 && !c.rate.Take(s.clock.Real(), s.options.MessageRate, s.options.MessageBurst) {
		c.violated(life.Violate, CloseInfo{Code: StatusPolicyViolation, Reason: "too many messages", Cause: CauseMessageRate,
			Err: fmt.Errorf("hail: more than %v messages a second (Options.MessageRate)", s.options.MessageRate)})
		return
	}
	c.callMessage(m)
}
