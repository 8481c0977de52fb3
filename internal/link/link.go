// Package link reads and writes the frames of one connection. It reads into pooled buffers, assembles messages, and asks
// the engine about illegal frames. It writes many frames with one call. It knows no callback and decides nothing: its
// [Owner] asks for messages, and says what to send and when to close.
package link

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"example.com/hail/internal/poll"
)

// Errors of Next and Send.
var (
	// ErrAgain is returned by Next if no message is complete yet, or if other connections come first.
	ErrAgain = errors.New("link: nothing to read yet")
	// ErrClosed is returned by Send after the close frame was queued or the transport has ended.
	ErrClosed = errors.New("link: closed")
	// ErrFull is returned by Send if the queue has no room, after SendWait if it waits.
	ErrFull = errors.New("link: queue full")
	// ErrTooLarge is returned by Send if not even an empty queue can hold the message.
	ErrTooLarge = errors.New("link: message larger than the queue")
)

// PeerClose is Next's error for the peer's close frame.
type PeerClose struct {
	Code   int // wire.NoStatus if the frame had none
	Reason string
	First  bool // our close frame was not queued yet, or data was to be written before it
}

func (*PeerClose) Error() string { return "close frame received" }

// Violation is Next's error for bytes that break the protocol or a limit.
type Violation struct {
	Code   int    // to close with
	Reason string // to close with
	Err    error
	Lost   bool // where the next frame begins is not known
	Closes bool // the illegal frame is the peer's close frame
}

func (v *Violation) Error() string { return v.Err.Error() }
func (v *Violation) Unwrap() error { return v.Err }

// Config is the configuration that the links of a server share. It does not change.
type Config struct {
	ReadLimit int64                // of a message, in bytes; negative: no limit
	SendQueue int                  // of a connection, in bytes; negative: no limit
	SendWait  time.Duration        // how long Send waits for room; negative: for ever
	Reuse     bool                 // Message.Data is only valid until the next Next
	Now       func() time.Duration // the time that Stamps are set to, never 0; called for each message
	Poller    *poll.Poller
	Order     func() uint64 // the number of the message that was published last
}

// Owner is told of a link's events. Turn and Done are called by one goroutine at a time, the others by any.
type Owner interface {
	// Turn handles the messages that Next returns, until ErrAgain. It reports whether more can arrive.
	Turn() bool
	// Hangup says that the peer has gone, if that is noticed during a Turn or before Start. It may be called late.
	Hangup(err error)
	// Slow says that the peer reads published messages more slowly than they are published: those that were not written
	// are given up. A publisher may call it, so it must return soon.
	Slow(err error)
	// CloseWritten says that our close frame was written, WriteFailed that nothing can be written any more, unless the owner
	// has seen to that by Cut or Abandon. One of them is called, once, by any goroutine that writes.
	CloseWritten()
	WriteFailed()
	// Done is the last call: the transport has ended and nothing runs any more.
	Done()
}

// Message is one whole message.
type Message struct {
	Text bool
	Data []byte
}

// Traffic counts a connection's bytes, as they are read and written.
type Traffic struct{ In, Out atomic.Uint64 }

// Conn is one connection's link.
type Conn struct {
	Stamps Stamps // first, in few cache lines: they are read all the time

	// Immutable after Bind.
	cfg      *Config
	nc       net.Conn // until Bind
	remote   net.Addr
	sock     poll.Socket
	owner    Owner
	traffic  *Traffic
	protocol string
	deflates bool // permessage-deflate was negotiated

	written atomic.Int64 // bytes

	in  in  // owned by Ready
	out out // guarded by its mu
}

// Stamps are the times from which timeouts count.
type Stamps struct {
	Read    Stamp // bytes arrived last
	Message Stamp // the first byte of a message whose last has not arrived
	Stall   Stamp // the last progress of a write that has to wait
	Closed  Stamp // our close frame was written, or it became known that nothing can be written
}

// Stamp is a time by Config.Now, 0 for none.
type Stamp struct{ t atomic.Int64 }

// Set sets the stamp to now.
func (s *Stamp) Set(now time.Duration) { s.t.Store(int64(now)) }

// Clear sets the stamp to 0.
func (s *Stamp) Clear() {
	if s.t.Load() != 0 {
		s.t.Store(0)
	}
}

// Get returns the time, 0 for none.
func (s *Stamp) Get() time.Duration { return time.Duration(s.t.Load()) }

// Start sets the stamp to now, unless it is set already.
func (s *Stamp) Start(now time.Duration) { s.t.CompareAndSwap(0, int64(now)) }

// Bind sets the link's owner. It is called before any other method.
func (c *Conn) Bind(owner Owner, traffic *Traffic) {
	c.owner, c.traffic = owner, traffic
	c.sock, c.nc = c.cfg.Poller.New(c.nc, c), nil
	c.Stamps.Read.Set(c.cfg.Now())
	traffic.In.Add(uint64(len(c.in.unread()))) // they came with the handshake
}

// Start starts reading.
func (c *Conn) Start() { c.sock.Start(c.in.r < c.in.w) }

// Subprotocol returns the negotiated subprotocol, "" for none.
func (c *Conn) Subprotocol() string { return c.protocol }

// RemoteAddr returns the address of the transport's peer.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// HungUp reports whether the peer is known to have gone, even if bytes before that are unread.
func (c *Conn) HungUp() bool { return c.sock.HungUp() }

// Written returns how many bytes were written, and how many of them, at most, the peer has not acknowledged: -1 if the
// system does not tell.
func (c *Conn) Written() (written, unsent int64) {
	written = c.written.Load() // first, so that bytes that are written meanwhile count as unsent only
	return written, int64(c.sock.Unsent())
}

// Cut closes the transport at once. Done follows.
func (c *Conn) Cut() {
	c.fail(ErrClosed)
	c.sock.Close()
}

// Abandon is Cut for a peer that acknowledges nothing: after that time the system drops the bytes that it holds.
func (c *Conn) Abandon(after time.Duration) {
	c.fail(ErrClosed)
	c.sock.Abandon(after)
}

// Ready implements [poll.Handler].
func (c *Conn) Ready() poll.Verdict {
	in := &c.in
	if in.errReturned {
		return poll.Idle
	}
	in.budget = maxFrames
	more := c.owner.Turn()
	if in.buf != nil && in.r == in.w {
		in.drop() // however Turn has ended
	}
	switch {
	case !more:
		return poll.Ended
	case in.budget == 0:
		return poll.Again
	case in.r < in.w || in.part != nil && in.part.inFrame:
		return poll.Partial
	default:
		return poll.Idle
	}
}

// Hangup implements [poll.Handler].
func (c *Conn) Hangup(err error) { c.owner.Hangup(err) }

// Done implements [poll.Handler].
func (c *Conn) Done() {
	c.settle()
	c.in.free()
	c.owner.Done()
}

var _ poll.Handler = (*Conn)(nil)
