package hail

// The Server: from a request to a connection, and all connections to their end.

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail/internal/admit"
	"example.com/hail/internal/fanout"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
)

// Server is an [http.Handler] that makes each request a WebSocket connection and runs its callbacks.
//
// Its zero value is ready. Its fields are read once, by the first request, publish, Topics, Shutdown or Close: later changes have
// no effect, and a Server may not be copied after that. All methods may be called from any goroutine.
type Server struct {
	Handler // the callbacks
	Options // limits and policies

	once sync.Once
	fail error // of the options; found by once

	// Immutable after once.
	handler   Handler
	options   Options
	rules     *admit.Rules
	link      link.Config
	tick      time.Duration // of the sweep
	queueFull error
	tooLarge  error

	clock   link.Clock
	poller  poll.Poller
	conns   registry
	gate    gate
	end     atomic.Pointer[serverEnd] // nil while it serves
	sweeper sweeper
	stats   serverStats

	hub      *fanout.Hub
	toAll    sync.Once
	hasToAll atomic.Bool // there was a broadcast
}

// setup reads the configuration, once. Wrong options panic, each time.
func (s *Server) setup() {
	s.once.Do(func() {
		s.handler, s.options = s.Handler.withDefaults(), s.Options.withDefaults()
		s.rules, s.fail = s.options.validate()
		if s.fail != nil {
			return
		}
		o := &s.options
		s.gate = gate{admit.NewGate(o.MaxConns, o.MaxConnsPerIP)}
		s.link = link.Config{
			ReadLimit: o.ReadLimit,
			SendQueue: o.SendQueue,
			SendWait:  o.WriteTimeout,
			Reuse:     o.ReuseBuffers,
			Clock:     &s.clock,
			Poller:    &s.poller,
		}
		s.hub = fanout.New(fanout.Config{
			MaxBytes:        max(o.TopicBytes, 0),
			MaxMessages:     max(o.TopicMessages, 0),
			HistoryMessages: o.History.Messages,
			HistoryAge:      o.History.Age,
			Deflate:         o.Compression,
			DeflateFrom:     link.DeflateFrom,
		})
		s.link.Order = s.hub.Order
		s.tick = sweepTick(o.MessageTimeout, o.WriteTimeout, o.PingInterval, o.PongTimeout, o.CloseTimeout)
		s.clock.Real() // it counts from here
		s.queueFull = fmt.Errorf("%w: %d bytes (Options.SendQueue)", ErrQueueFull, o.SendQueue)
		s.tooLarge = fmt.Errorf("%w: message alone is larger than %d bytes (Options.SendQueue)", ErrQueueFull, o.SendQueue)
	})
	if s.fail != nil {
		panic(s.fail.Error())
	}
}

// ServeHTTP performs the handshake (RFC 6455 section 4.2), runs OnConnect and returns; the connection
// goes on without the request's goroutine and buffers. A request that is not a legal handshake, comes
// from another origin or is over a limit gets an HTTP error, with Connection: close.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.setup()
	if refusal := s.rules.Check(r); refusal != nil {
		s.refuse(w, r, refusal)
		return
	}
	addr := s.gate.Addr(r.RemoteAddr)
	if refusal := s.gate.Enter(addr); refusal != nil {
		s.refuse(w, r, refusal)
		return
	}
	accepted := false
	defer func() {
		if !accepted { // by an error or a panic of w's
			s.gate.Leave(addr)
		}
	}()
	neg := link.Negotiation{Subprotocol: s.rules.Subprotocol(r), Compression: s.options.Compression}
	l, err := link.Accept(w, r, neg, &s.link)
	if err != nil {
		s.acceptFailed(w, r, err)
		return
	}
	accepted = true
	s.stats.accepted.Add(1)
	newConn(s, l, addr, r).open(r)
}

// Conns returns the open connections: those whose OnConnect has returned nil and whose OnClose has not begun.
// The loop holds no lock; it may miss connections that come or end while it runs.
func (s *Server) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for c := range s.conns.all() {
			if c.isOpen.Load() && !yield(c) {
				return
			}
		}
	}
}

// Len returns the number of open connections, as Conns has them. It does not block.
func (s *Server) Len() int { return int(s.stats.open.Load()) }

// Stats returns the server's counters. It does not block.
func (s *Server) Stats() Stats { return s.stats.read(&s.conns) }

const (
	drainStep   = 10 * time.Millisecond
	drainRate   = 1000 // closes a second
	drainBudget = 0.75 // of the time that ctx leaves
)

// Shutdown ends the server gracefully. New requests get 503 with Retry-After. Every connection is closed with
// 1001, after its running callback has returned and its queue is written; 1,000 a second, or faster where that is
// what it takes to have closed the last by three quarters of ctx's time. When ctx ends, the rest are cut.
//
// It returns nil when all have ended in time, else an error that says how many were cut and wraps ctx's. A peer that
// did not answer its close frame within Options.CloseTimeout has ended in time too. It may be called more than once.
// Nothing of the server runs after it returns, but for a callback that goes on for longer than
// Options.CloseTimeout after its context ended; the error counts those.
//
// http.Server.Shutdown neither closes nor waits for WebSocket connections: call both. A callback may not
// call Shutdown: it would wait for itself.
func (s *Server) Shutdown(ctx context.Context) error {
	s.setup()
	defer s.halt()
	s.endAs(&serverEnd{})
	s.drain(ctx)
	select {
	case <-s.gate.Empty():
		return nil
	case <-ctx.Done():
	}
	select {
	case <-s.gate.Empty(): // at the same time
		return nil
	default:
		return s.cutAll(CauseShutdown, ctx.Err())
	}
}

// Close ends the server at once: new requests get 503, every connection is cut without a close frame, and its
// context ends. It waits for the running callbacks, at most Options.CloseTimeout; its error counts those that
// still run then, else it is nil. A callback may not call Close: it would wait for itself.
func (s *Server) Close() error {
	s.setup()
	defer s.halt()
	return s.cutAll(CauseServerClosed, nil)
}

// serverEnd is how a server ends. A connection that is being opened reads it after it was added to the registry, and
// Shutdown and Close store it before they walk the registry: at least one of the two sees the other.
type serverEnd struct {
	// Immutable.
	cut   bool // else connections are drained
	cause Cause
	why   error

	late atomic.Int32 // connections that were cut when they were opened
}

// endAs lets nobody in any more, and returns how the server ends: the first cut, else the first drain.
func (s *Server) endAs(end *serverEnd) *serverEnd {
	defer s.gate.Close()
	for {
		before := s.end.Load()
		if before != nil && (before.cut || !end.cut) {
			return before
		}
		if s.end.CompareAndSwap(before, end) {
			return end
		}
	}
}

// gate adds a name that a connection's end uses.
type gate struct{ *admit.Gate }

func (g gate) leave(addr string) { g.Leave(addr) }

// halt waits for the goroutines that a server without connections is about to end. Nothing is published any more.
func (s *Server) halt() {
	if s.gate.Len() == 0 { // no callback runs on
		s.sweeper.halt()
		s.poller.Halt()
	}
	s.hub.Close()
}

// drain starts to close every connection, a few at a time.
func (s *Server) drain(ctx context.Context) {
	var conns []*Conn
	for c := range s.conns.all() {
		conns = append(conns, c)
	}
	each := time.Second / drainRate
	if deadline, ok := ctx.Deadline(); ok {
		budget := time.Duration(drainBudget * float64(time.Until(deadline)))
		each = min(each, budget/time.Duration(max(len(conns), 1)))
	}
	start := time.Now()
	ticker := time.NewTicker(drainStep)
	defer ticker.Stop()
	for done := 0; done < len(conns); {
		due := len(conns)
		if each > 0 {
			due = min(due, int((time.Since(start)+drainStep)/each))
		}
		for ; done < due; done++ {
			conns[done].drain()
		}
		if done == len(conns) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// cutAll cuts every connection and waits for the callbacks. A nil why is no error.
func (s *Server) cutAll(cause Cause, why error) error {
	reason := why
	or(&reason, ErrServerClosed)
	end := s.endAs(&serverEnd{cut: true, cause: cause, why: reason})
	cut, total := 0, s.gate.Len()
	for c := range s.conns.all() {
		if c.cut(cause, reason) {
			cut++
		}
	}
	grace := s.options.CloseTimeout
	if grace < 0 {
		grace = defaultCloseTimeout
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	running := 0
	select {
	case <-s.gate.Empty():
	case <-timer.C:
		running = s.gate.Len()
	}
	cut += int(end.late.Swap(0))
	switch {
	case running > 0 && why == nil:
		return fmt.Errorf("hail: %d callbacks still run %v after their connections were cut", running, grace)
	case running > 0:
		return fmt.Errorf("hail: %d of %d connections cut, %d callbacks still run: %w", cut, total, running, why)
	case why != nil && cut > 0:
		return fmt.Errorf("hail: %d of %d connections cut: %w", cut, total, why)
	}
	return nil
}

// acceptFailed answers a request that passed the checks, but not the handshake.
func (s *Server) acceptFailed(w http.ResponseWriter, r *http.Request, err error) {
	var hijack *link.HijackError
	switch {
	case errors.As(err, &hijack):
		s.refuse(w, r, admit.NotHijackable(w, hijack.Err))
	default:
		// The connection was taken over already, and is closed: there is nobody to answer.
		s.stats.refused.Add(1)
		s.options.Logger.LogAttrs(r.Context(), slog.LevelWarn, "hail: handshake failed", requestAttrs(r, err.Error())...)
	}
}

// refuse answers a request that is not upgraded, and logs why.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, refusal *admit.Refusal) {
	s.stats.refused.Add(1)
	refusal.Write(w, r)
	s.options.Logger.LogAttrs(r.Context(), slog.LevelWarn, "hail: handshake refused",
		append(requestAttrs(r, refusal.Detail), slog.Int("status", refusal.Status))...)
}

// requestAttrs describes a request without its query, where tokens travel.
func requestAttrs(r *http.Request, why string) []slog.Attr {
	return []slog.Attr{
		slog.String("path", admit.Clip(r.URL.Path)),
		slog.String("remote", r.RemoteAddr),
		slog.String("err", why),
	}
}
