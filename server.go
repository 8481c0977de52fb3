package hail

// The Server: from a request to a connection, and all connections to their end.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail/internal/admit"
	"example.com/hail/internal/fanout"
	"example.com/hail/internal/life"
	"example.com/hail/internal/link"
	"example.com/hail/internal/poll"
)

// Server is an [http.Handler] that makes each request a WebSocket connection and runs its callbacks.
//
// Its zero value is ready. Its fields are read once, on first use; later changes have no effect. Do not copy a Server after
// first use. All methods may be called from any goroutine.
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
	limits    life.Limits
	queueFull error
	tooLarge  error

	clock   life.Clock
	poller  poll.Poller
	conns   life.Registry[*owner]
	gate    *admit.Gate
	end     atomic.Pointer[serverEnd] // nil while it serves
	sweeper life.Sweeper
	stats   serverStats

	hub      *fanout.Hub
	toAll    sync.Once
	hasToAll atomic.Bool // there was a broadcast
}

// setup reads the configuration, once. Malformed options panic, each time.
func (s *Server) setup() {
	s.once.Do(func() {
		s.handler, s.options = s.Handler.withDefaults(), s.Options.withDefaults()
		s.rules, s.fail = s.options.validate()
		if s.fail != nil {
			return
		}
		o := &s.options
		s.gate = admit.NewGate(o.MaxConns, o.MaxConnsPerIP)
		s.link = link.Config{
			ReadLimit: o.ReadLimit,
			SendQueue: o.SendQueue,
			SendWait:  o.WriteTimeout,
			Reuse:     o.ReuseBuffers,
			Now:       s.clock.Now,
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
		s.limits = life.Limits{Message: o.MessageTimeout, Write: o.WriteTimeout, Ping: o.PingInterval, Pong: o.PongTimeout, Close: o.CloseTimeout}
		s.limits.Tick = life.Tick(o.MessageTimeout, o.WriteTimeout, o.PingInterval, o.PongTimeout, o.CloseTimeout)
		s.clock.Real() // it counts from here
		s.queueFull = fmt.Errorf("%w: %d bytes (Options.SendQueue)", ErrQueueFull, o.SendQueue)
		s.tooLarge = fmt.Errorf("%w: message alone is larger than %d bytes (Options.SendQueue)", ErrQueueFull, o.SendQueue)
	})
	if s.fail != nil {
		panic(s.fail.Error())
	}
}

// ServeHTTP performs the handshake (RFC 6455 section 4.2), runs OnConnect and returns. The connection goes on without
// the request's goroutine and buffers. A request that is not a legal handshake, comes from an origin that is not
// allowed, or is over a limit gets an HTTP error, with Connection: close. After Shutdown or Close has begun, every request gets
// 503 with Retry-After, a load balancer's health check too.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.setup()
	if refusal := cmp.Or(s.gate.Closed(), s.rules.Check(r)); refusal != nil {
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
// The loop holds no lock. It may miss connections that come or end while it runs.
func (s *Server) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for o := range s.conns.All() {
			if c := (*Conn)(o); c.life.State().IsOpen() && !yield(c) {
				return
			}
		}
	}
}

// Len returns the number of open connections, as Conns has them. It does not block.
func (s *Server) Len() int { return int(s.stats.open.Load()) }

// Stats returns the server's counters. It does not block.
func (s *Server) Stats() Stats { return s.stats.read() }

// Shutdown ends the server gracefully. New requests get 503 with Retry-After. Every connection is closed with 1001, after
// its running callback has returned and its queue is written. 1,000 connections a second are closed, or more if that is
// necessary to close the last by three quarters of ctx's time. When ctx ends, the rest are cut.
//
// It returns nil if all have ended in time, else an error that says how many were cut and wraps ctx's. A peer that did not
// answer its close frame within Options.CloseTimeout has ended in time too. Shutdown may be called more than once.
// Nothing of the server runs after it returns, except callbacks that run for longer than Options.CloseTimeout after
// their context ended. The error counts those.
//
// http.Server.Shutdown neither closes nor waits for WebSocket connections: call both. A callback must not call Shutdown:
// it would wait for itself.
func (s *Server) Shutdown(ctx context.Context) error {
	s.setup()
	defer s.halt()
	s.endAs(&serverEnd{event: life.Drain, why: goingAway})
	life.Pace(ctx, slices.Collect(s.conns.All()), func(o *owner) { (*Conn)(o).apply(life.Drain, goingAway) })
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

// Close ends the server at once. New requests get 503, every connection is cut without a close frame, and its context
// ends. Close waits for the running callbacks, at most Options.CloseTimeout. Its error counts those that still run then,
// else it is nil. A callback must not call Close: it would wait for itself.
func (s *Server) Close() error {
	s.setup()
	defer s.halt()
	return s.cutAll(CauseServerClosed, nil)
}

// serverEnd is how a server ends. A connection that opens reads it after it was added to the registry, and Shutdown and Close
// store it before they walk the registry: at least one of the two sees the other.
type serverEnd struct {
	event life.Event // for each connection: Drain or CutOff
	why   CloseInfo
	late  atomic.Int32 // connections that were cut when they were opened
}

// endAs accepts no more connections, and returns how the server ends: the first cut, else the first drain.
func (s *Server) endAs(end *serverEnd) *serverEnd {
	defer s.gate.Close()
	for {
		before := s.end.Load()
		if before != nil && (before.event == life.CutOff || end.event == life.Drain) {
			return before
		}
		if s.end.CompareAndSwap(before, end) {
			return end
		}
	}
}

// sweep looks at every connection.
func (s *Server) sweep() {
	now := s.clock.Tick(s.limits.Tick)
	for o := range s.conns.All() {
		(*Conn)(o).check(now)
	}
}

// halt waits for the goroutines of a server that has no connections any more. Nothing is published after it.
func (s *Server) halt() {
	if s.gate.Len() == 0 { // no callback runs on
		s.sweeper.Halt()
		s.poller.Halt()
	}
	s.hub.Close()
}

// cutAll cuts every connection and waits for the callbacks. A nil why is no error.
func (s *Server) cutAll(cause Cause, why error) error {
	reason := why
	or(&reason, ErrServerClosed)
	end := s.endAs(&serverEnd{event: life.CutOff, why: lost(cause, reason)})
	cut, total := 0, s.gate.Len()
	for o := range s.conns.All() {
		if (*Conn)(o).apply(life.CutOff, lost(cause, reason)).Has(life.Kill) {
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
		// The connection was hijacked already, and is closed: there is nobody to answer.
		s.stats.refused.Add(1)
		s.log(r.Context(), slog.LevelWarn, "hail: handshake failed", func() []slog.Attr { return requestAttrs(r, err.Error()) })
	}
}

// refuse answers a request that is not upgraded, and logs why.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, refusal *admit.Refusal) {
	s.stats.refused.Add(1)
	refusal.Write(w, r)
	s.log(r.Context(), slog.LevelWarn, "hail: handshake refused", func() []slog.Attr {
		return append(requestAttrs(r, refusal.Detail), slog.Int("status", refusal.Status))
	})
}

// requestAttrs describes a request without its query, where tokens travel.
func requestAttrs(r *http.Request, why string) []slog.Attr {
	return []slog.Attr{
		slog.String("path", admit.Clip(r.URL.Path)),
		slog.String("remote", r.RemoteAddr),
		slog.String("err", why),
	}
}
