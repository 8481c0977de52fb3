// Package link moves the frames of one connection: pooled buffers in, coalesced frames out. It assembles messages, and
// asks the engine about illegal frames. It knows no callback and decides nothing:
// its [Owner] asks for messages, and says what to send and when to end.
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
	// ErrAgain is Next's where nothing is complete yet.
	ErrAgain = errors.New("link: nothing to read yet")
	// ErrClosed is Send's once the close frame is queued or the transport has ended.
	ErrClosed = errors.New("link: closed")
	// ErrFull is Send's if the queue has no room, or had none for SendWait.
	ErrFull = errors.New("link: queue full")
	// ErrTooLarge is Send's for a message that the queue cannot hold even when empty.
	ErrTooLarge = errors.New("link: message larger than the queue")
)

// PeerClose is Next's error for the peer's close frame.
type PeerClose struct {
	Code   int // wire.NoStatus where the frame had none
	Reason string
	First  bool // ours was not queued yet, or something else was to be written before it
}

func (*PeerClose) Error() string { return "close frame received" }

// Violation is Next's error for bytes that break the protocol or a limit.
type Violation struct {
	Code   int    // to close with
	Reason string // to close with
	Err    error
	Lost   bool // where the next frame begins is no longer known
	Closes bool // the peer's close frame is what breaks the protocol
}

func (v *Violation) Error() string { return v.Err.Error() }
func (v *Violation) Unwrap() error { return v.Err }

// Config is what the links of a server share. It does not change.
type Config struct {
	ReadLimit int64                // bytes of a message; negative: none
	SendQueue int                  // bytes of a connection; negative: none
	SendWait  time.Duration        // how long Send waits for room; negative: for ever
	Reuse     bool                 // Message.Data is valid until the next Next
	Now       func() time.Duration // the time that Stamps are set to, never 0; it is asked for with each message
	Poller    *poll.Poller
	Order     func() uint64 // the number of the message that was published last
}

// Owner is told of a link's events. Turn and Done are called by one goroutine at a time, the others by any.
type Owner interface {
	// Turn handles what Next gives until ErrAgain, and reports whether more can come.
	Turn() bool
	// Hangup says that the peer has gone, if that is noticed during a Turn or before Start. It may come late.
	Hangup(err error)
	// Slow says that the peer takes published messages more slowly than they come: those that it has not
	// taken are given up. It may be called by whoever publishes, and returns soon.
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
	Stamps Stamps // first, in few cache lines: they are looked at all the time

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

// Stamps are the moments that timeouts count from.
type Stamps struct {
	Read    Stamp // bytes arrived last
	Message Stamp // the first byte of a message whose last has not come
	Stall   Stamp // the last progress of a write that has to wait
	Closed  Stamp // our close frame was written, or it became known that nothing can be written
}

// Stamp is a moment by Config.Now, 0 for none.
type Stamp struct{ t atomic.Int64 }

// Set puts the stamp at now.
func (s *Stamp) Set(now time.Duration) { s.t.Store(int64(now)) }

// Clear takes the stamp off.
func (s *Stamp) Clear() {
	if s.t.Load() != 0 {
		s.t.Store(0)
	}
}

// Get returns the moment, 0 for none.
func (s *Stamp) Get() time.Duration { return time.Duration(s.t.Load()) }

// Start sets the stamp unless it is set already.
func (s *Stamp) Start(now time.Duration) { s.t.CompareAndSwap(0, int64(now)) }

// Bind gives the link its owner, before anything else happens to it.
func (c *Conn) Bind(owner Owner, traffic *Traffic) {
	c.owner, c.traffic = owner, traffic
	c.sock, c.nc = c.cfg.Poller.New(c.nc, c), nil
	c.Stamps.Read.Set(c.cfg.Now())
	traffic.In.Add(uint64(len(c.in.unread()))) // came with the handshake
}

// Start begins to read.
func (c *Conn) Start() { c.sock.Start(c.in.r < c.in.w) }

// Subprotocol returns what was negotiated, "" for none.
func (c *Conn) Subprotocol() string { return c.protocol }

// RemoteAddr returns the transport's peer.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// HungUp reports whether the peer is known to have gone, even behind bytes that nobody has read.
func (c *Conn) HungUp() bool { return c.sock.HungUp() }

// Written returns how many bytes were written, and how many of them, at the most, the system still holds for the peer: -1
// where it does not tell.
func (c *Conn) Written() (written, held int64) {
	written = c.written.Load() // first: what is written meanwhile counts as held
	return written, int64(c.sock.Unsent())
}

// Cut ends the connection at once. Done follows.
func (c *Conn) Cut() {
	c.fail(ErrClosed)
	c.sock.Close()
}

// Abandon is Cut for a peer that takes nothing: after that time the system gives up too.
func (c *Conn) Abandon(after time.Duration) {
	c.fail(ErrClosed)
	c.sock.Abandon(after)
}

// Ready is poll's: see [poll.Handler].
func (c *Conn) Ready() poll.Verdict {
	in := &c.in
	if in.ended {
		return poll.Idle
	}
	in.share = maxShare
	more := c.owner.Turn()
	if in.buf != nil && in.r == in.w {
		in.drop() // whatever has ended the turn
	}
	switch {
	case !more:
		return poll.Ended
	case in.share == 0:
		return poll.Again
	case in.r < in.w || in.part != nil && in.part.inside:
		return poll.Partial
	default:
		return poll.Idle
	}
}

// Hangup is poll's: see [poll.Handler].
func (c *Conn) Hangup(err error) { c.owner.Hangup(err) }

// Done is poll's: see [poll.Handler].
func (c *Conn) Done() {
	c.settle()
	c.in.free()
	c.owner.Done()
}

var _ poll.Handler = (*Conn)(nil)
