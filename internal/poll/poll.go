// Package poll says when a socket can be read or written, so that a connection
// holds memory only while something moves. It knows no frame and runs no user code
// of its own accord: a [Handler] does, in Turn and Done.
package poll

import (
	"errors"
	"time"
)

// ErrWouldBlock is returned by a Read or Write that would have to wait.
var ErrWouldBlock = errors.New("poll: would block")

// Socket is one connection's transport. Read belongs to the Handler's Fill; Write belongs to one goroutine at a time; the
// rest may be called from any.
type Socket interface {
	// Start begins to watch the socket for reading, and returns. It is called once.
	Start()
	// Read reads what has arrived, without waiting where the system allows it: where a read
	// must wait (see Pending) it does.
	Read(p []byte) (int, error)
	// Write writes what the transport takes now. With ErrWouldBlock the rest has to wait for WantWrite.
	Write(p []byte) (int, error)
	// WantWrite asks for one call of Handler.Writable, to which the caller's right to write passes.
	// It reports false, and nothing passes, once the connection has ended.
	WantWrite() bool
	// HungUp reports whether the peer is known to have ended the connection, or its sending direction,
	// even behind bytes that nobody has read.
	HungUp() bool
	// Unsent returns how many written bytes the system still holds for the peer, -1 where it does not tell.
	Unsent() int
	// CloseWrite ends the sending direction, where the transport can.
	CloseWrite() error
	// Close ends the connection at once. It does not wait for the Handler. The system goes on to send what was written.
	Close() error
	// Abandon is Close for a peer that takes nothing: where it still does not, the system gives up what was written after
	// that time, if it can. Else it may keep it for minutes.
	Abandon(after time.Duration) error
}

// Handler is told of a Socket's events. Fill, Turn and Done never run at the same time.
type Handler interface {
	// Fill reads what has arrived by Socket.Read and reports false where nothing had, or nothing more can come.
	// It may not close the socket, and returns soon.
	Fill() bool
	// Pending reports whether something is there already: bytes for a Turn, or a message in parts,
	// so that Fill has memory that it may wait with.
	Pending() bool
	// Turn handles what Fill has read, and says how to go on. It may take long,
	// and may end its goroutine (runtime.Goexit): then another goes on.
	Turn() Verdict
	// Writable writes what is left through write, which returns ErrWouldBlock or waits.
	// A nil write stands for Socket.Write.
	Writable(write func([]byte) (int, error))
	// Hangup says that the peer has gone, where that is noticed while a Turn runs, or before Start.
	// It returns soon, and may come as late as behind Done.
	Hangup(err error)
	// Done is called once, after Close or when the transport has ended, as the last call of all.
	Done()
}

// Verdict says how a socket goes on after a Turn.
type Verdict int

const (
	// Ended: nothing more can come, or is wanted.
	Ended Verdict = iota
	// More: what had been read is used up.
	More
	// Again: something of it is left; the next Fill finds that. Other sockets come first.
	Again
)
