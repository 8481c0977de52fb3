// Package poll says when a socket can be read or written, so that a connection
// holds memory only while something moves. It knows no frame and runs no user code
// of its own accord: a [Handler] does, in Ready and Done.
package poll

import (
	"errors"
	"time"
)

// ErrWouldBlock is returned by a Read or Write that would have to wait.
var ErrWouldBlock = errors.New("poll: would block")

// Socket is one connection's transport. Read belongs to the Handler's Ready; Write belongs to one goroutine at a time; the
// rest may be called from any.
type Socket interface {
	// Start begins to watch the socket for reading, and returns. It is called once. ready says that the Handler has something
	// to do already.
	Start(ready bool)
	// Read reads what has arrived. It returns ErrWouldBlock if that is nothing, or if other sockets come first. It only waits
	// on a transport that cannot do without, after the verdict Partial.
	Read(p []byte) (int, error)
	// Write writes what the transport takes now. With ErrWouldBlock the rest has to wait for WantWrite.
	Write(p []byte) (int, error)
	// WantWrite asks for one call of Handler.Writable, to which the caller's right to write passes.
	// It reports false, and nothing passes, once the connection has ended.
	WantWrite() bool
	// HungUp reports whether the peer is known to have ended the connection, or its sending direction,
	// even behind bytes that nobody has read.
	HungUp() bool
	// Unsent returns how many written bytes the system still holds for the peer, -1 if it does not tell.
	Unsent() int
	// CloseWrite ends the sending direction, if the transport can.
	CloseWrite() error
	// Close ends the connection at once. It does not wait for the Handler. The system goes on to send what was written.
	Close() error
	// Abandon is Close for a peer that accepts nothing: if it goes on like that, the system gives up what was written after
	// that time, if it can. Else it may keep it for minutes.
	Abandon(after time.Duration) error
}

// Handler is told of a Socket's events. Ready and Done never run at the same time.
type Handler interface {
	// Ready reads by Socket.Read, until that returns ErrWouldBlock, handles what has come, and says how to go on. It may take
	// long, and may end its goroutine (runtime.Goexit): then another calls it again.
	Ready() Verdict
	// Writable writes what is left through write, which returns ErrWouldBlock or waits.
	// A nil write stands for Socket.Write.
	Writable(write func([]byte) (int, error))
	// Hangup says that the peer has gone, if that is noticed while Ready runs, or before Start.
	// It returns soon, and may come as late as after Done.
	Hangup(err error)
	// Done is called once, after Close or when the transport has ended, as the last call of all.
	Done()
}

// Verdict says how a socket goes on after Ready.
type Verdict int

const (
	// Ended: nothing more can come, or is wanted.
	Ended Verdict = iota
	// Idle: all that was read is handled. No memory is held for more.
	Idle
	// Partial: a message has begun, so there is memory for the rest of it, which the next Read may wait for.
	Partial
	// Again: some of what was read is left. Other sockets come first.
	Again
)
