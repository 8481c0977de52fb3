package hailtest

// The reading side of a peer: it turns frames into messages, answers pings and the close, and keeps
// violations.

import (
	"bufio"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"example.com/hail"
)

// inbox holds what a peer has received.
type inbox struct {
	br      *bufio.Reader
	deflate *deflate // nil: not negotiated

	// Owned by the reader.
	partial    hail.Message // the fragments so far
	fragmented bool         // partial has begun
	compressed bool         // partial is compressed

	// Guarded by mu.
	mu       sync.Mutex
	changed  chan struct{} // closed, and replaced, at each change
	messages []hail.Message
	closed   *hail.CloseError // the close frame; nil before
	err      error            // why reading ended; nil before
}

func newInbox(br *bufio.Reader, d *deflate) *inbox {
	return &inbox{br: br, deflate: d, changed: make(chan struct{})}
}

// readLoop reads until the connection ends and calls answer with the frames that a client has to send
// back: pongs and one close. newPeer starts it, the end of the connection ends it, Peer.end waits.
func (in *inbox) readLoop(answer func(Frame)) {
	for {
		f, err := readFrame(in.br)
		if err == nil {
			err = in.accept(f)
		}
		if err != nil {
			in.update(func() { in.err = err })
			return
		}
		switch f.Opcode {
		case OpPing:
			answer(Frame{Fin: true, Opcode: OpPong, Payload: f.Payload})
		case OpClose:
			// The answer carries the same code (RFC 6455, section 5.5.1).
			answer(CloseFrame(f.CloseError().Code, ""))
		}
	}
}

// accept handles a frame, or returns an error if it is illegal.
func (in *inbox) accept(f Frame) error {
	if in.closed != nil {
		return violation(fmt.Sprintf("a frame after the close frame: %v", f))
	}
	if f.RSV2 || f.RSV3 || f.RSV1 && (in.deflate == nil || f.Opcode.control() || f.Opcode == OpContinuation) {
		return violation(fmt.Sprintf("a reserved bit: %v", f))
	}
	switch {
	case f.Opcode.control() && (!f.Fin || len(f.Payload) > 125):
		return violation(fmt.Sprintf("a control frame that is fragmented or too long: %v", f))
	case f.Opcode == OpClose:
		return in.acceptClose(f)
	case f.Opcode == OpPing, f.Opcode == OpPong:
		return nil
	case f.Opcode > OpBinary:
		return violation(fmt.Sprintf("a reserved opcode: %v", f))
	case (f.Opcode == OpContinuation) != in.fragmented:
		return violation(fmt.Sprintf("a fragment out of place: %v", f))
	}
	return in.acceptData(f)
}

func (in *inbox) acceptData(f Frame) error {
	if f.Opcode != OpContinuation {
		in.partial = hail.Message{Type: hail.MessageType(f.Opcode)}
		in.compressed = f.RSV1
	}
	in.partial.Data = append(in.partial.Data, f.Payload...)
	in.fragmented = !f.Fin
	if !f.Fin {
		return nil
	}
	m := in.partial
	in.partial = hail.Message{}
	if in.compressed {
		data, err := in.deflate.inflate(m.Data)
		if err != nil {
			return err
		}
		m.Data = data
	}
	if m.Type == hail.MessageText && !utf8.Valid(m.Data) {
		return violation("a text message that is not UTF-8: " + clip(m.Data))
	}
	in.update(func() { in.messages = append(in.messages, m) })
	return nil
}

func (in *inbox) acceptClose(f Frame) error {
	ce := f.CloseError()
	if len(f.Payload) > 0 && !sendable(ce.Code) || !utf8.ValidString(ce.Reason) {
		return violation(fmt.Sprintf("an illegal close frame: %v", f))
	}
	in.update(func() { in.closed = &ce })
	return nil
}

// sendable reports whether a close frame may carry the code (RFC 6455, section 7.4, and the IANA registry).
func sendable(code hail.StatusCode) bool {
	switch {
	case code == 1004, code == hail.StatusNoStatusRcvd, code == hail.StatusAbnormalClosure:
		return false
	case code >= 1000 && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}

func (in *inbox) update(change func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change()
	close(in.changed)
	in.changed = make(chan struct{})
}

// wait waits until done, which runs with mu held, reports true. It returns false after the timeout.
func (in *inbox) wait(timeout time.Duration, done func() bool) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		in.mu.Lock()
		ok, changed := done(), in.changed
		in.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}
