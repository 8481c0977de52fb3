package hailtest

// The peer: the client's end of a WebSocket connection, which obeys the protocol unless the test says otherwise.

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"example.com/hail"
)

// Peer is a client's end of a WebSocket connection, made by [Dial] or [DialURL].
//
// It reads all the time: it answers pings and the close, and queues messages for [Peer.Receive]. A
// server that breaks the protocol (a masked frame, a reserved bit, text that is not UTF-8, a frame
// after the close, ...) fails the test, in the cleanup at the latest. With the option [Raw] it does
// none of this, and the test reads frames.
//
// Methods that wait do so for at most the [Timeout]. A failure ends the test with Fatalf, which ends the
// goroutine it is called on, so a Peer belongs to the test's goroutine. Apart from that its methods may be
// called from any goroutine.
type Peer struct {
	// Response is the server's answer to the handshake.
	Response *http.Response

	tb      TB
	timeout time.Duration
	raw     bool
	wire    *wire
	in      *inbox
	out     *outbox
	loops   sync.WaitGroup
}

// newPeer starts the peer's two loops, unless it is raw; end ends them and waits.
func newPeer(tb TB, w *wire, resp *http.Response, d *deflate, o *options) *Peer {
	p := &Peer{
		Response: resp,
		tb:       tb,
		timeout:  o.timeout,
		raw:      o.raw,
		wire:     w,
		in:       newInbox(w.br, d),
		out:      newOutbox(w.conn),
	}
	if !p.raw {
		p.loops.Go(func() {
			p.in.readLoop(p.out.answer)
			close(p.out.answers)
		})
		p.loops.Go(p.out.answerLoop)
	}
	tb.Cleanup(p.end)
	return p
}

// Send sends m in one frame, compressed if that was negotiated. It fails the test if the connection is
// closed.
func (p *Peer) Send(m hail.Message) {
	p.tb.Helper()
	f := Frame{Fin: true, Opcode: Opcode(m.Type), Payload: m.Data}
	if d := p.in.deflate; d != nil && d.sends {
		f.RSV1, f.Payload = true, d.compress(m.Data)
	}
	if over := p.over(); over != "" {
		p.tb.Fatalf("hailtest: Send %s: %s", clip(m.Data), over)
	}
	if err := p.out.write(f.Bytes(), p.timeout); err != nil {
		p.tb.Fatalf("hailtest: Send %s: %v", clip(m.Data), p.writeError(err))
	}
}

// Receive returns the next message, in order of arrival. It fails the test if the connection ends instead.
func (p *Peer) Receive() hail.Message {
	p.tb.Helper()
	p.mustNotBeRaw("Receive")
	var m hail.Message
	var ok bool
	p.in.wait(p.timeout, func() bool {
		if len(p.in.messages) > 0 {
			m, p.in.messages, ok = p.in.messages[0], p.in.messages[1:], true
		}
		return ok || p.in.err != nil
	})
	if !ok {
		p.tb.Fatalf("hailtest: Receive: %s, want a message", p.state())
	}
	return m
}

// Pending returns how many messages wait to be received. It does not wait for any. In a
// [testing/synctest] bubble, 0 after synctest.Wait means that the server has sent nothing.
func (p *Peer) Pending() int {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	return len(p.in.messages)
}

// Close does the close handshake from this side and returns the server's answer, as [Peer.WaitClose]
// does. The code 1005 sends a close frame without a code.
func (p *Peer) Close(code hail.StatusCode, reason string) hail.CloseError {
	p.tb.Helper()
	if err := p.out.writeClose(CloseFrame(code, reason), p.timeout); errors.Is(err, os.ErrDeadlineExceeded) {
		p.tb.Fatalf("hailtest: Close: %v", p.writeError(err))
	}
	return p.WaitClose()
}

// WaitClose waits until the server has closed the connection, with or without a close frame. It returns
// the code and the reason of the close frame, or code 1006 if none came. It fails the test if the
// connection stays open. Messages that came before can still be received. A Raw peer drops every frame
// except the close.
func (p *Peer) WaitClose() hail.CloseError {
	p.tb.Helper()
	if p.raw {
		p.drain()
	}
	if !p.in.wait(p.timeout, func() bool { return p.in.err != nil }) {
		p.tb.Fatalf("hailtest: WaitClose: %s, want the connection closed", p.state())
	}
	p.in.mu.Lock()
	err, closed := p.in.err, p.in.closed
	p.in.mu.Unlock()
	if v, ok := err.(violation); ok {
		p.tb.Fatalf("hailtest: WaitClose: %v", v)
	}
	if closed != nil {
		return *closed
	}
	return hail.CloseError{Code: hail.StatusAbnormalClosure}
}

// ReadFrame returns the next frame of a [Raw] peer. It fails the test if none comes, and if the frame
// is masked or its length is not in the fewest bytes. The test checks everything else.
func (p *Peer) ReadFrame() Frame {
	p.tb.Helper()
	if !p.raw {
		p.tb.Fatalf("hailtest: ReadFrame needs a peer with the option Raw")
	}
	f, err := p.readFrame()
	if err != nil {
		p.tb.Fatalf("hailtest: ReadFrame: got %v, want a frame", err)
	}
	return f
}

// Write sends b as it is, for example the bytes of a [Frame]. It fails the test if the server does not
// read them in time. If the server has closed the connection the bytes are lost, as on a network: use
// Receive and WaitClose to see what the server did.
func (p *Peer) Write(b []byte) {
	p.tb.Helper()
	err := p.out.write(b, p.timeout)
	if errors.Is(err, os.ErrDeadlineExceeded) || err == errVanished {
		p.tb.Fatalf("hailtest: Write %s: %v", clip(b), p.writeError(err))
	}
}

// WriteSplit sends b in pieces of the given sizes. The last size repeats for the rest: WriteSplit(b, 1)
// sends byte by byte.
//
// In memory the server has read each piece before the next is sent. Over TCP the pieces are only
// separate writes.
func (p *Peer) WriteSplit(b []byte, sizes ...int) {
	p.tb.Helper()
	if len(sizes) == 0 {
		sizes = []int{max(1, len(b))}
	}
	if slices.Min(sizes) <= 0 {
		p.tb.Fatalf("hailtest: WriteSplit: got sizes %v, want them above 0", sizes)
	}
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), sizes[min(i, len(sizes)-1)])
		p.Write(b[:n])
		b = b[n:]
		if pipe, ok := p.wire.transport.(*PipeConn); ok && !pipe.out.waitConsumed(p.timeout) {
			p.tb.Fatalf("hailtest: WriteSplit: the server has read no more for %v", p.timeout)
		}
	}
}

// Stall stops reading. Nothing is read after it returns: the server's writes fill the buffers, and then
// wait.
func (p *Peer) Stall() {
	p.tb.Helper()
	p.mustNotBeRaw("Stall")
	p.wire.gate.set(pace{stalled: true})
}

// Resume ends a Stall or ReadSlowly.
func (p *Peer) Resume() {
	p.tb.Helper()
	p.mustNotBeRaw("Resume")
	p.wire.gate.set(pace{})
}

// ReadSlowly reads at most the given number of bytes per interval from now on. Bytes are those on the
// wire, with TLS and frame headers.
func (p *Peer) ReadSlowly(bytes int, every time.Duration) {
	p.tb.Helper()
	p.mustNotBeRaw("ReadSlowly")
	if bytes <= 0 || every < 0 {
		p.tb.Fatalf("hailtest: ReadSlowly: got %d bytes every %v, want at least 1 byte", bytes, every)
	}
	p.wire.gate.set(pace{bytes: bytes, every: every})
}

// Vanish removes the peer from the network: it never reads or writes again, and the server gets no
// sign of that. The cleanup closes the connection.
func (p *Peer) Vanish() {
	p.wire.gate.set(pace{stalled: true})
	p.out.vanish()
}

// Reset ends the connection with an RST. Bytes on their way are lost, in both directions.
func (p *Peer) Reset() {
	switch t := p.wire.transport.(type) {
	case *PipeConn:
		t.Reset()
	case *net.TCPConn:
		t.SetLinger(0)
	}
	p.wire.gate.Close()
}

// CloseWrite half-closes the connection: it sends a FIN and no close frame, as a dying process does.
// Over TLS it also sends close_notify.
func (p *Peer) CloseWrite() {
	type closeWriter interface{ CloseWrite() error }
	if c, ok := p.wire.conn.(closeWriter); ok {
		c.CloseWrite()
	}
	p.wire.transport.(closeWriter).CloseWrite()
}

// NetConn returns the connection below TLS: a *[PipeConn], or a *[net.TCPConn]. The peer reads from it and
// sets its deadlines.
func (p *Peer) NetConn() net.Conn { return p.wire.transport }

// end ends the connection and the loops. A server may report a client that goes away without a close
// frame as an error, so end sends the close frame of a page that is left, if there is room for it.
func (p *Peer) end() {
	p.tb.Helper()
	if !p.raw && p.over() == "" {
		p.out.writeClose(CloseFrame(hail.StatusGoingAway, ""), time.Second)
	}
	p.wire.gate.Close()
	p.loops.Wait()
	if v, ok := p.in.err.(violation); ok {
		p.tb.Errorf("hailtest: %v", v)
	}
}

// drain reads to the end of a Raw peer's connection, on the test's goroutine.
func (p *Peer) drain() {
	for p.in.err == nil {
		f, err := p.readFrame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			p.in.update(func() { p.in.err = err })
		case f.Opcode == OpClose:
			ce := f.CloseError()
			p.in.update(func() { p.in.closed = &ce })
		}
	}
}

func (p *Peer) readFrame() (Frame, error) {
	if p.out.vanished.Load() {
		return Frame{}, errVanished
	}
	p.wire.transport.SetReadDeadline(time.Now().Add(p.timeout))
	return readFrame(p.in.br)
}

func (p *Peer) mustNotBeRaw(method string) {
	p.tb.Helper()
	if p.raw {
		p.tb.Fatalf("hailtest: %s needs a peer without the option Raw", method)
	}
}

// over says why nothing can be sent any more, or returns "" if the connection is open.
func (p *Peer) over() string {
	p.in.mu.Lock()
	open := p.in.closed == nil && p.in.err == nil
	p.in.mu.Unlock()
	if open {
		return ""
	}
	return p.state()
}

// state describes the connection for a failure's message.
func (p *Peer) state() string {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	var s string
	if p.in.closed != nil {
		s = fmt.Sprintf("got a close frame with code %d and reason %q", p.in.closed.Code, p.in.closed.Reason)
	}
	switch {
	case p.in.err != nil && s == "":
		s = fmt.Sprintf("the connection ended without a close frame: %v", p.in.err)
	case p.in.err == nil && s == "":
		s = fmt.Sprintf("got nothing for %v", p.timeout)
	case p.in.err == nil:
		s += ", but the connection is open"
	}
	return s
}

func (p *Peer) writeError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server has not read it within %v (option Timeout)", p.timeout)
	}
	return err
}
