package hailtest

// The writing side of a peer: one writer at a time, and answers that never delay the reader.

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

var errVanished = errors.New("the peer has vanished")

// outbox writes to a peer's connection.
type outbox struct {
	conn      net.Conn
	turn      chan struct{} // held by the writer
	sentClose bool          // guarded by turn
	vanished  atomic.Bool
	answers   chan Frame // the latest answer that waits to be written
}

func newOutbox(conn net.Conn) *outbox {
	return &outbox{conn: conn, turn: make(chan struct{}, 1), answers: make(chan Frame, 1)}
}

// write writes all of b. It waits for its turn and then for the server, each for at most the timeout; 0
// means for ever.
func (out *outbox) write(b []byte, timeout time.Duration) error {
	if !out.acquire(timeout) {
		return os.ErrDeadlineExceeded
	}
	defer out.release()
	return out.writeInTurn(b, timeout)
}

// writeClose writes a close frame unless one has been written.
func (out *outbox) writeClose(f Frame, timeout time.Duration) error {
	if !out.acquire(timeout) {
		return os.ErrDeadlineExceeded
	}
	defer out.release()
	if out.sentClose {
		return nil
	}
	out.sentClose = true
	return out.writeInTurn(f.Bytes(), timeout)
}

func (out *outbox) writeInTurn(b []byte, timeout time.Duration) error {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	out.conn.SetWriteDeadline(deadline)
	// In this order, because vanish sets the flag first and the deadline then.
	if out.vanished.Load() {
		return errVanished
	}
	_, err := out.conn.Write(b)
	return err
}

func (out *outbox) acquire(timeout time.Duration) bool {
	if timeout <= 0 {
		out.turn <- struct{}{}
		return true
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case out.turn <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (out *outbox) release() { <-out.turn }

// vanish ends every write: after it returns none is under way and none follows.
func (out *outbox) vanish() {
	out.vanished.Store(true)
	out.conn.SetWriteDeadline(time.Unix(1, 0))
	out.turn <- struct{}{}
	out.release()
}

// answer queues f for answerLoop and drops an older answer that still waits: only the last ping needs a
// pong (RFC 6455, section 5.5.3). Only the read loop calls it.
func (out *outbox) answer(f Frame) {
	select {
	case <-out.answers:
	default:
	}
	out.answers <- f
}

// answerLoop writes answers, so a server that does not read cannot delay the reader. newPeer starts it,
// the end of the read loop ends it, Peer.end waits.
func (out *outbox) answerLoop() {
	for f := range out.answers {
		if f.Opcode == OpClose {
			out.writeClose(f, 0)
		} else {
			out.write(f.Bytes(), 0)
		}
	}
}
