// Package poll says when a socket can be read or written, so that a connection holds memory only while bytes arrive or
// leave. It knows no frame. User code runs only in the methods of a [Handler].
package poll

import (
	"errors"
	"time"
)

// ErrWouldBlock is returned by a Read or Write that would have to wait.
var ErrWouldBlock = errors.New("poll: would block")

// Socket is the transport of one connection. Read may be called only in the Handler's Ready, and Write by one goroutine at
// a time. The other methods may be called from any goroutine.
type Socket interface {
	// Start begins to watch the socket for reading, and returns. It is called once. If ready is set, Ready is called at
	// once.
	Start(ready bool)
	// Read reads bytes that have arrived. It returns ErrWouldBlock if there are none, or if other sockets come first. It
	// waits only on a transport that has no other way, after the verdict Partial.
	Read(p []byte) (int, error)
	// Write writes as much as the transport accepts now. If it returns ErrWouldBlock, the rest has to wait for WantWrite.
	Write(p []byte) (int, error)
	// WantWrite asks for one call of Handler.Writable. The caller's right to write passes to that call. If the connection
	// has ended WantWrite returns false, and the caller keeps the right.
	WantWrite() bool
	// HungUp reports whether the peer is known to have closed the connection, or its sending direction, even if bytes
	// before that are unread.
	HungUp() bool
	// Unsent returns how many written bytes the peer has not acknowledged, -1 if the system does not tell.
	Unsent() int
	// CloseWrite closes the sending direction, if the transport can.
	CloseWrite() error
	// Close closes the connection at once. It does not wait for the Handler. The system goes on to send the bytes that
	// were written.
	Close() error
	// Abandon is Close for a peer that acknowledges nothing. After that time the system drops the bytes that were written,
	// if the system can. Else it may keep them for minutes.
	Abandon(after time.Duration) error
}

// Handler handles the events of a Socket. Ready and Done never run at the same time.
type Handler interface {
	// Ready reads with Socket.Read until that returns ErrWouldBlock, handles the bytes, and returns how to go on. It may
	// block, and it may end its goroutine (runtime.Goexit): then another goroutine calls it again.
	Ready() Verdict
	// Writable writes the rest with write, which returns ErrWouldBlock or waits. A nil write stands for Socket.Write.
	Writable(write func([]byte) (int, error))
	// Hangup says that the peer has gone, if that is noticed while Ready runs or before Start. It must return soon. It may
	// be called even after Done.
	Hangup(err error)
	// Done is called once, after Close or when the transport has ended. Except for Hangup it is the last call.
	Done()
}

// Verdict says how a socket goes on after Ready.
type Verdict int

const (
	// Ended: nothing more can arrive, or nothing more is wanted.
	Ended Verdict = iota
	// Idle: all bytes that were read are handled. The Handler holds no memory for more.
	Idle
	// Partial: a part of a message has arrived. The Handler has memory for the rest, so the next Read may wait for it.
	Partial
	// Again: some of the bytes that were read are not handled. Other sockets come first.
	Again
)
