package hail

// One connection: what its user calls, and its way from open to done.

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail/internal/admit"
	"example.com/hail/internal/fanout"
	"example.com/hail/internal/link"
	"example.com/hail/internal/wire"
)

// Conn is one connection. Every method may be called from any goroutine, and from the callbacks.
type Conn struct {
	// What the sweep looks at stands together. Immutable but for calls and pulse.
	server *Server
	link   *link.Conn
	id     uint64
	calls  turnstile
	isOpen atomic.Bool // between OnConnect and OnClose
	opens  atomic.Bool // OnConnect has returned nil
	isDone atomic.Bool // the transport has ended
	pulse  pulse       // owned by the sweep

	// Immutable.
	shard  *shard
	addr   string          // what MaxConnsPerIP counts it by
	values context.Context // the request's, without its end

	topics atomic.Pointer[fanout.Subscriber] // nil until the first is joined

	index    int32 // guarded by shard.mu
	hearsAll bool  // broadcasts are written to it; guarded by the link's lock

	// Owned by the callbacks' goroutine.
	known    bool // OnConnect was called
	draining bool // the callback that ran was to be the last
	rate     bucket

	// Guarded by mu.
	mu     sync.Mutex
	state  any
	ctx    context.Context // made when it is asked for
	cancel context.CancelCauseFunc
	gone   error   // the cause of ctx's end, once it has ended
	ending *ending // once it has begun: later causes are too late
}

// ID returns the connection's number, counted from 1, which no other connection of its Server has.
func (c *Conn) ID() uint64 { return c.id }

// Send queues m to be written, behind what was queued before, and copies its data. Where the queue has no room
// (Options.SendQueue) it waits, at most Options.WriteTimeout. nil means queued, in order; should the connection
// end before m is written, CloseInfo.Err and Stats say so. The error is ErrConnClosed, ErrQueueFull (at once where
// m is larger than the queue), or says what is wrong with m.
func (c *Conn) Send(m Message) error { return c.send(m, true) }

// TrySend is Send that never waits: where the queue has no room it returns ErrQueueFull at once.
func (c *Conn) TrySend(m Message) error { return c.send(m, false) }

// SendJSON sends v as a text message, encoded as [json.Marshal] does. Its errors are that function's and Send's.
func (c *Conn) SendJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("hail: encode message: %w", err)
	}
	return c.Send(Message{MessageText, data})
}

func (c *Conn) send(m Message, wait bool) error {
	first, err := m.first()
	if err != nil {
		return err
	}
	switch err := c.link.Send(first, m.Data, wait); err {
	case nil:
		c.shard.sent.Add(1)
		return nil
	case link.ErrFull:
		return c.server.queueFull
	case link.ErrStuck:
		return &stuckError{c}
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
		// The transport has failed for writing, but not yet been read to its end.
		return &endError{c, CloseInfo{Code: StatusAbnormalClosure, Cause: CausePeerGone}}
	}
	return &endError{c, c.ending.info}
}

// Close starts to close the connection and returns; OnClose says when it is over. What is queued is written first,
// then the close frame (RFC 6455 section 5.5.1), then the peer's is waited for, at most Options.CloseTimeout.
// Messages that arrive meanwhile are dropped. A reason over 123 bytes is cut at a character's boundary.
//
// The error is ErrConnClosed where the connection was closing already. A code that may not be sent is an
// error too, and closes with 1011; StatusNoStatusRcvd sends a close frame without a code.
func (c *Conn) Close(code StatusCode, reason string) error {
	var err error
	if !sendable(code) {
		err = fmt.Errorf("hail: close code %d may not be sent (RFC 6455 section 7.4): closed with %d", code, StatusInternalError)
		code, reason = StatusInternalError, ""
	}
	if !c.end(CloseInfo{Code: code, Reason: wire.CutReason(reason), Cause: CauseClosed}) {
		return c.closedError()
	}
	return err
}

func sendable(code StatusCode) bool {
	return wire.ValidCode(int(code)) || code == StatusNoStatusRcvd
}

// Context returns a context with the values of the request's context. It ends when the connection does: with the
// peer's close frame or disappearance, or when the connection is cut, at the latest before OnClose. While a callback
// runs nobody reads; over plain TCP on Linux a peer that disappears is noticed all the same: at once, or within half
// a second where it had gone before the callback began. Conn.Close does not end it at once: the peer's answer does, or CloseTimeout.
// [context.Cause] then gives an error that is ErrConnClosed, and ErrServerClosed where Server.Shutdown or
// Server.Close ended the connection, unless the peer was known to have gone before, and in which errors.As finds a CloseError.
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

// State returns what SetState was given last, nil at first.
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

// newConn makes a connection of a link, known to the server.
func newConn(s *Server, l *link.Conn, addr string, r *http.Request) *Conn {
	c := &Conn{server: s, link: l, addr: addr, pulse: pulse{taken: unseen}}
	c.values = context.WithoutCancel(r.Context())
	c.rate.fill(s.options.MessageBurst)
	s.conns.number(c)
	l.Bind((*owner)(c), &c.shard.traffic)
	s.conns.add(c)
	return c
}

// open runs OnConnect, and lets the connection be read. It is called by ServeHTTP.
func (c *Conn) open(r *http.Request) {
	s := c.server
	defer c.link.Start() // also where OnConnect ends the goroutine
	s.sweeper.join(s.sweep)
	if s.debug(c) {
		s.options.Logger.LogAttrs(c.values, slog.LevelDebug, "hail: connected", slog.Uint64("conn", c.id),
			slog.String("path", admit.Clip(r.URL.Path)), slog.String("remote", r.RemoteAddr))
	}
	switch end := s.end.Load(); {
	case end != nil && end.cut:
		if c.cut(end.cause, end.why) {
			end.late.Add(1)
		}
		return
	case end != nil:
		c.drain()
		return
	case !c.calls.enter():
		return // Shutdown was quicker
	}
	c.known = true
	if err := c.callConnect(r); err != nil {
		c.callbackFailed(err)
		c.afterCall()
		return
	}
	// Before it counts as open: whoever sees it so may broadcast. Either the first broadcast sees that it opens,
	// or is seen here.
	c.opens.Store(true)
	if s.hasToAll.Load() {
		c.joinAll()
	}
	c.isOpen.Store(true)
	s.stats.open.Add(1)
	c.afterCall()
}

// owner is what the link sees of a Conn.
type owner Conn

func (o *owner) Turn() bool { return (*Conn)(o).turn() }
func (o *owner) Hangup(err error) {
	if (*Conn)(o).calls.running() {
		(*Conn)(o).hangup(err)
	} // else the sweep says it, should a callback run for long
}
func (o *owner) Done() { (*Conn)(o).done() }

// turn handles the messages that are there, and reports whether more can come.
func (c *Conn) turn() bool {
	for {
		m, err := c.link.Next()
		switch e := err.(type) {
		case nil:
			c.receive(m)
			continue
		case *link.PeerClose:
			c.peerClosed(e)
		case *link.Violation:
			c.violated(e)
		default:
			return err == link.ErrAgain || c.peerGone(err)
		}
		if !c.link.Closing() {
			return true // it was cut
		}
		// The peer's close frame may be there already, behind what was wrong.
	}
}

// receive handles one message.
func (c *Conn) receive(in link.Message) {
	s := c.server
	m := Message{MessageBinary, in.Data}
	if in.Text {
		m.Type = MessageText
	}
	if s.debug(c) {
		s.options.Logger.LogAttrs(c.values, slog.LevelDebug, "hail: message", slog.Uint64("conn", c.id),
			slog.String("type", m.Type.String()), slog.Int("bytes", len(m.Data)))
	}
	if !c.calls.enter() {
		return // the server shuts down, or the connection is over
	}
	if s.options.MessageRate > 0 && !c.rate.take(s.clock.Real(), s.options.MessageRate, s.options.MessageBurst) {
		c.leaveCall()
		c.fail(CloseInfo{Code: StatusPolicyViolation, Reason: "too many messages", Cause: CauseMessageRate,
			Err: fmt.Errorf("hail: more than %v messages a second (Options.MessageRate)", s.options.MessageRate)}, false)
		return
	}
	c.shard.received.Add(1)
	if err := c.callMessage(m); err != nil {
		c.callbackFailed(err)
	}
	c.afterCall()
}

// afterCall closes a connection for which the server waited until its callback had returned.
func (c *Conn) afterCall() {
	if c.draining {
		c.draining = false
		c.drain()
	}
}

// debug reports whether connections and messages are logged.
func (s *Server) debug(c *Conn) bool { return s.options.Logger.Enabled(c.values, slog.LevelDebug) }

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Duration
}

func (b *bucket) fill(burst int) { b.tokens = float64(burst) }

// take takes a token, and reports whether there was one.
func (b *bucket) take(now time.Duration, rate float64, burst int) bool {
	if b.at != 0 {
		b.tokens = min(b.tokens+rate*(now-b.at).Seconds(), float64(burst))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
