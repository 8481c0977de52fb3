package link

// Reading after our close frame, until the peer's close frame.

import (
	"errors"

	"example.com/hail/internal/wire"
)

// Discard reads until the peer's close frame, and drops everything else. Its error is ErrAgain, a *PeerClose, a *Violation
// for a malformed close frame, or the transport's. After our close frame nothing else counts (RFC 6455 section 1.4).
func (c *Conn) Discard() error {
	in := &c.in
	in.lent.free()
	in.lent = nil
	if in.part != nil {
		c.dropMessage()
	}
	for {
		if err := c.seekClose(); err != nil {
			return err
		}
		err := c.refill()
		c.Stamps.Message.Clear()
		if err != nil {
			return err
		}
	}
}

// seekClose drops the bytes that were read before the peer's close frame. It returns the error for that frame, nil if it
// has not arrived.
func (c *Conn) seekClose() error {
	in := &c.in
	for !in.lost {
		n := min(in.skip, uint64(in.w-in.r))
		in.r += int(n)
		in.skip -= n
		h, size := wire.Parse(in.unread())
		if in.skip > 0 || size == 0 {
			return nil
		}
		if h.Opcode() != wire.Close {
			in.lost = int64(h.Length) < 0
			in.r += size
			in.skip = h.Length
			continue
		}
		if h.Length > wire.MaxControl {
			in.lost = true
			break
		}
		if uint64(in.w-in.r-size) < h.Length {
			return nil
		}
		p := in.unread()[size:][:h.Length]
		in.r += size + len(p)
		if h.Masked {
			wire.Mask(p, h.Key)
		}
		return c.peerClosed(wire.ParseClose(p))
	}
	in.r = in.w
	return nil
}

// peerClosed returns the error for the peer's close frame. Nothing after the frame is read.
func (c *Conn) peerClosed(code int, reason string, err error) error {
	c.in.lost = true
	v := &Violation{Code: codeProtocol, Reason: "invalid close frame", Err: err, Closes: true}
	switch {
	case err == nil:
		return &PeerClose{code, reason, c.closesFirst()}
	case errors.Is(err, wire.ErrReason):
		v.Code, v.Reason = codeInvalid, "invalid UTF-8"
	}
	return v
}
