package hail

// The callbacks and the log, and the only place from which they are called.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"example.com/hail/internal/life"
	"example.com/hail/internal/wire"
)

// Handler is a Server's callbacks. For one connection they are called one at a time, in the order OnConnect,
// OnMessage..., OnClose, with OnError between if something goes wrong. Several goroutines call them for different
// connections. A callback may block: only its own connection waits. Meanwhile pings are not answered, and the peer's
// silence does not count. A panic is caught.
type Handler struct {
	// OnConnect is called after the upgrade and before anything is read. It may send. An error refuses the connection:
	// it is closed with 1011, or with the code and reason of a CloseError. (The handshake has been answered by then:
	// use middleware to refuse with an HTTP status.) The request may be used until OnConnect returns, not later:
	// routers reuse theirs. Default: nothing if OnMessage is set, else Greet(Text(DefaultGreeting)).
	OnConnect func(c *Conn, r *http.Request) error

	// OnMessage is called with each message, in the order of arrival. An error closes the connection, as OnConnect's
	// does, and the messages after it are dropped.
	// Default: nothing if OnConnect is set, else Reply(Text(DefaultReply)).
	OnMessage func(c *Conn, m Message) error

	// OnClose is called last, when the transport has ended, exactly once for each connection whose OnConnect was called.
	// That is also a connection that OnConnect refused: CloseInfo.Opened is false then.
	// Nothing can be sent any more. Default: nothing.
	OnClose func(c *Conn, info CloseInfo)

	// OnError is called before the close frame is sent, with the error of a callback, a CloseError too, its panic as
	// a *PanicError, or the rule or limit that the peer broke. It may still send. For MessageTimeout and a slow
	// consumer it is called when the connection is over. A peer that is gone, or was cut by a timeout, is not reported
	// here: CloseInfo.Err tells. Default: Options.Logger at Error, or Debug for a CloseError.
	OnError func(c *Conn, err error)
}

func (h Handler) withDefaults() Handler {
	switch {
	case h.OnConnect == nil && h.OnMessage == nil:
		h.OnConnect, h.OnMessage = Greet(Text(DefaultGreeting)), Reply(Text(DefaultReply))
	case h.OnConnect == nil:
		h.OnConnect = func(*Conn, *http.Request) error { return nil }
	case h.OnMessage == nil:
		h.OnMessage = func(*Conn, Message) error { return nil }
	}
	return h
}

var errGoexit = errors.New("hail: callback ended its goroutine (runtime.Goexit)")

// callConnect runs OnConnect.
func (c *Conn) callConnect(r *http.Request) {
	if !c.life.Begin() {
		return // Shutdown was quicker
	}
	var err error
	done := false
	defer c.called(life.Accept, &done, &err)
	err = c.server.handler.OnConnect(c, r)
	if err == nil {
		c.hearAll()
	}
	done = true
}

// callMessage runs OnMessage.
func (c *Conn) callMessage(m Message) {
	if !c.life.Begin() {
		return // the connection ends
	}
	c.counts.received.Add(1)
	var err error
	done := false
	defer c.called(life.Return, &done, &err)
	err = c.server.handler.OnMessage(c, m)
	done = true
}

// called is deferred around OnConnect and OnMessage. It tells the machine of success, or of what went wrong.
func (c *Conn) called(success life.Event, done *bool, err *error) {
	e, info := life.Fail, CloseInfo{}
	switch {
	case *done && *err == nil:
		c.leave(success)
		return
	case *done:
		e, info = c.failure(*err)
	default:
		info = panicInfo(errGoexit) // unless it is a panic; a goroutine that ends is replaced by another
		if v := recover(); v != nil {
			info = panicInfo(c.panicked(v))
		}
	}
	defer c.leave(life.Return) // also if OnError ends the goroutine
	if c.apply(e, info).Has(life.Report) {
		c.report(info.Err)
	}
}

// failure returns how the error of a callback ends the connection. The error's methods are the user's: a panic of theirs is
// the callback's.
func (c *Conn) failure(err error) (e life.Event, info CloseInfo) {
	defer func() {
		if v := recover(); v != nil {
			e, info = life.Fail, panicInfo(c.panicked(v))
		}
	}()
	_ = err.Error() // the log, OnError and CloseInfo call it later
	var panicked *PanicError
	switch chosen, isChosen := chosenClose(err); {
	case errors.As(err, &panicked):
		return life.Fail, panicInfo(err)
	case isEndOf(c, err):
		return life.GiveUp, info // the reason of that end is told
	case errors.Is(err, ErrQueueFull) && c.stalled():
		return life.Starve, lost(CauseWriteTimeout, life.Unread.Why(c.life.State())) // the next sweep would find it
	case isChosen && sendable(chosen.Code):
		return life.Fail, CloseInfo{Code: chosen.Code, Reason: wire.CutReason(chosen.Reason), Cause: CauseCallback, Err: err}
	}
	return life.Fail, CloseInfo{Code: StatusInternalError, Reason: internalError, Cause: CauseCallback, Err: err}
}

const internalError = "internal error"

// panicInfo is how a panic ends the connection.
func panicInfo(err error) CloseInfo {
	return CloseInfo{Code: StatusInternalError, Reason: internalError, Cause: CausePanic, Err: err}
}

// panicked makes a caught panic an error.
func (c *Conn) panicked(v any) *PanicError {
	c.server.stats.panics.Add(1)
	return &PanicError{Value: v, Stack: debug.Stack()}
}

// report tells OnError, or the log.
func (c *Conn) report(err error) {
	h := c.server.handler.OnError
	if h == nil {
		c.logError(err)
		return
	}
	defer func() {
		if v := recover(); v != nil {
			c.logError(fmt.Errorf("OnError: %w", c.panicked(v)))
		}
	}()
	h(c, err)
}

// callClose runs OnClose.
func (c *Conn) callClose(info CloseInfo) {
	h := c.server.handler.OnClose
	if h == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			c.report(c.panicked(v))
		}
	}()
	h(c, info)
}

func (c *Conn) logError(err error) {
	defer c.server.loseLine() // of the error's methods
	var p *PanicError
	level, isPanic := slog.LevelError, errors.As(err, &p)
	if !isPanic {
		if _, isMeant := chosenClose(err); isMeant {
			level = slog.LevelDebug
		}
	}
	c.server.log(c.values, level, "hail: error", func() []slog.Attr {
		attrs := []slog.Attr{slog.Uint64("conn", c.ID()), slog.String("err", err.Error())}
		if isPanic {
			attrs = append(attrs, slog.String("stack", string(p.Stack)))
		}
		return attrs
	})
}

// log writes to Options.Logger, and is all that calls it. attrs is called if the line is wanted. Its errors are the user's, as the
// logger is: a panic of either is counted, and costs only the line.
func (s *Server) log(ctx context.Context, level slog.Level, msg string, attrs func() []slog.Attr) {
	defer s.loseLine()
	if l := s.options.Logger; l.Enabled(ctx, level) {
		l.LogAttrs(ctx, level, msg, attrs()...)
	}
}

// loseLine is deferred where a line is logged.
func (s *Server) loseLine() {
	if recover() != nil {
		s.stats.panics.Add(1)
	}
}
