package hail

// The callbacks, and the only place from which they are called.

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// Handler is a Server's callbacks. For one connection they are called one at a time, in the order
// OnConnect, OnMessage..., OnClose, with OnError between where something goes wrong; for different connections
// by several goroutines at once. A callback may block: only its own connection waits, whose pings are not
// answered meanwhile and whose peer's silence is not counted. A panic is caught.
type Handler struct {
	// OnConnect is called after the upgrade and before anything is read; it may send. An error refuses the
	// connection: it is closed with 1011, or with the code and reason of a CloseError. (The handshake has been
	// answered by then: to refuse with an HTTP status, use middleware.) The request may be used until OnConnect
	// returns, not later: routers reuse theirs. Default: Greet(Text(DefaultGreeting)).
	OnConnect func(c *Conn, r *http.Request) error

	// OnMessage is called with each message, in the order of arrival. An error closes the connection, as
	// OnConnect's does; the rest of what the peer sent is dropped. Default: Reply(Text(DefaultReply)).
	OnMessage func(c *Conn, m Message) error

	// OnClose is called last, exactly once for each connection whose OnConnect was called, when the transport
	// has ended. Nothing can be sent any more. Default: nothing.
	OnClose func(c *Conn, info CloseInfo)

	// OnError is told what went wrong, before the close frame is sent: the error of a callback, a CloseError
	// too, its panic as a *PanicError, or what rule or limit the peer broke. It may still send, but for
	// MessageTimeout and a slow consumer, which it is told of when the connection is over. A peer that is lost,
	// or cut for silence or for taking nothing, is not reported here: CloseInfo.Err says it.
	// Default: Options.Logger at Error, or Debug for a CloseError.
	OnError func(c *Conn, err error)
}

func (h Handler) withDefaults() Handler {
	if h.OnConnect == nil {
		h.OnConnect = Greet(Text(DefaultGreeting))
	}
	if h.OnMessage == nil {
		h.OnMessage = Reply(Text(DefaultReply))
	}
	return h
}

var errGoexit = errors.New("hail: callback ended its goroutine (runtime.Goexit)")

// turnstile says whether a callback runs, and what has to happen when it returns.
type turnstile struct{ v atomic.Int32 }

const callFree int32 = 0

const (
	callShut   int32 = 1 << iota // no callback may start any more
	callRuns                     // one runs
	callDrains                   // it is the last
)

func (t *turnstile) enter() bool { return t.v.CompareAndSwap(callFree, callRuns) }

// leave returns the bits that were set meanwhile.
func (t *turnstile) leave() int32 { return t.v.And(callShut) }

func (t *turnstile) running() bool { return t.v.Load()&callRuns != 0 }

// shut lets no further callback start.
func (t *turnstile) shut() { t.v.Or(callShut) }

func (t *turnstile) isShut() bool { return t.v.Load()&callShut != 0 }

// drain lets no further callback start, and reports whether none runs: else the one that does
// finds callDrains when it leaves.
func (t *turnstile) drain() bool {
	for {
		v := t.v.Load()
		switch {
		case v&callRuns == 0 && t.v.CompareAndSwap(v, callShut):
			return true
		case v&callRuns != 0 && t.v.CompareAndSwap(v, v|callDrains):
			return false
		}
	}
}

// callConnect runs OnConnect.
func (c *Conn) callConnect(r *http.Request) (err error) {
	done := false
	defer c.called(&done, &err)
	err = c.server.handler.OnConnect(c, r)
	done = true
	return err
}

// callMessage runs OnMessage.
func (c *Conn) callMessage(m Message) (err error) {
	done := false
	defer c.called(&done, &err)
	err = c.server.handler.OnMessage(c, m)
	done = true
	return err
}

// called is deferred around OnConnect and OnMessage.
func (c *Conn) called(done *bool, err *error) {
	c.leaveCall()
	if *done {
		*err = c.checked(*err)
	} else {
		if v := recover(); v != nil {
			*err = c.panicked(v)
		} else {
			// This goroutine ends; the socket goes on with another.
			c.fail(CloseInfo{Code: StatusInternalError, Reason: "internal error", Cause: CausePanic, Err: errGoexit}, false)
		}
	}
}

// checked returns err, or a *PanicError where err's own methods panic.
func (c *Conn) checked(err error) error {
	if err != nil {
		if v := unsound(err); v != nil {
			return c.panicked(v)
		}
	}
	return err
}

// unsound returns what err's own methods panic with, as those of a nil pointer in an error may: nil where they do not.
func unsound(err error) (v any) {
	defer func() { v = recover() }()
	_ = err.Error()
	errors.Is(err, ErrQueueFull)
	errors.As(err, new(*PanicError))
	errors.As(err, new(*stuckError))
	isEndOf(nil, err)
	chosenClose(err)
	return nil
}

// leaveCall ends what enter of calls has begun.
func (c *Conn) leaveCall() {
	c.draining = c.calls.leave()&callDrains != 0 || c.draining
}

// panicked makes a caught panic an error.
func (c *Conn) panicked(v any) *PanicError {
	c.server.stats.panics.Add(1)
	err, ok := v.(error)
	return &PanicError{Value: v, Stack: debug.Stack(), opaque: ok && unsound(err) != nil}
}

// report tells OnError, or the log.
func (c *Conn) report(err error) {
	h := c.server.handler.OnError
	if h == nil {
		c.logError(err)
		return
	}
	entered := c.calls.enter()
	defer func() {
		if entered {
			c.leaveCall()
		}
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
	level := slog.LevelError
	attrs := []slog.Attr{slog.Uint64("conn", c.id), slog.String("err", err.Error())}
	var p *PanicError
	if errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	} else if _, ok := chosenClose(err); ok {
		level = slog.LevelDebug // a close that was meant
	}
	c.server.options.Logger.LogAttrs(c.values, level, "hail: error", attrs...)
}
