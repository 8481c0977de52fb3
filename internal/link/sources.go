package link

// Published frames: a connection writes them from logs that it shares with other connections.

import (
	"slices"
)

// Source is a place in a log of frames. The link calls its methods with the sending half locked.
type Source interface {
	// Peek returns frames to write next, of messages with numbers up to upto. Their bytes never change, and may be kept.
	// Its error says that the log has dropped the next message. Peek(0) returns no frames, but this error too.
	Peek(upto uint64) ([]byte, error)
	// Skip moves past the first n bytes that Peek returned, to the end of a frame, and returns where that frame ends.
	Skip(n int) (end int)
	// Pending returns how many messages are not written.
	Pending() int
	// End leaves out messages that are published later. Drop gives up those that are pending too.
	End()
	Drop()
	// Drained reports whether the source has ended and nothing is pending.
	Drained() bool
}

// sources are the sources of a connection, and the order of published frames and its own. It is a part of out.
type sources struct {
	order  order
	live   []source // written in turn
	ended  []source // written before the others: a topic may be left and joined again
	next   int      // the index in live to start at
	closed bool     // no source is added any more

	current Source  // the source of the frames that are being written
	dropped bool    // current was dropped meanwhile
	rest    []byte  // the rest of a frame that was written in part
	copied  *buffer // holds rest; nil if that is in the log's memory
}

// source is a Source with the number of own bytes that go before it: they were queued before it was added.
type source struct {
	Source
	after int64
}

// shareFrom is the size from which on the rest of a frame stays in the log's memory, which many connections share. A
// shorter rest is copied, because it would keep the memory of other frames in use.
const shareFrom = 16 << 10

// Listen adds the source that join returns, and returns join's error. join runs with the sending half locked. If nothing
// more is to be written, Listen returns ErrClosed and does not call join.
func (c *Conn) Listen(join func() (Source, error)) error {
	o := &c.out
	o.mu.Lock()
	if o.deaf() {
		o.mu.Unlock()
		return ErrClosed
	}
	src, err := join()
	if src != nil {
		o.addSource(src)
		c.pushLocked() // it may have messages already
	}
	c.unlock()
	return err
}

// Unlisten ends the source that leave returns, which may be nil. Messages that were published before are still written.
// leave is called under the same conditions as join in Listen.
func (c *Conn) Unlisten(leave func() Source) error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deaf() {
		return ErrClosed
	}
	if src := leave(); src != nil {
		o.sources.end(src)
	}
	return nil
}

// Wake says that a source may have messages, or has lost some.
func (c *Conn) Wake(src Source) {
	o := &c.out
	o.mu.Lock()
	switch {
	case o.err != nil || o.sources == nil:
	case !o.writing:
		c.pushLocked()
	default:
		if _, err := src.Peek(0); err != nil {
			o.fallBehind(err)
		}
	}
	c.unlock()
}

// Compresses reports whether sources may have compressed frames.
func (c *Conn) Compresses() bool { return c.deflates }

// deaf reports whether no source is added and no message is queued any more: the connection is closing, or has given up
// published messages, so that a new one would follow a gap.
func (o *out) deaf() bool {
	return o.ending || o.err != nil || o.sources != nil && o.sources.closed
}

// addSource adds a live source.
func (o *out) addSource(src Source) {
	if o.sources == nil {
		o.sources = &sources{order: newOrder(o.ownLeft() + o.buf.len())}
	}
	s := o.sources
	s.live = append(s.live, source{src, s.order.join()})
}

// end ends a live source.
func (s *sources) end(src Source) {
	i := slices.IndexFunc(s.live, func(l source) bool { return l.Source == src })
	s.retire(s.live[i])
	s.live = slices.Delete(s.live, i, i+1)
}

// endAll ends all sources, and lets no other be added.
func (s *sources) endAll() {
	s.closed = true
	for _, src := range s.live {
		s.retire(src)
	}
	s.live = nil
}

// retire ends a source. It keeps the source if messages are left to write.
func (s *sources) retire(src source) {
	src.End()
	if !src.Drained() {
		s.ended = append(s.ended, src)
	}
}

// dropAll drops all sources, and returns how many messages were not written. It counts messages that are being written;
// wrotePublished corrects that.
func (s *sources) dropAll() (undelivered int) {
	s.closed = true
	for _, src := range slices.Concat(s.ended, s.live) {
		undelivered += src.Pending()
		src.Drop()
	}
	s.ended, s.live, s.dropped = nil, nil, true
	return undelivered
}

// fallBehind gives up the published messages of a connection that was too slow for them.
func (o *out) fallBehind(err error) {
	o.lost += o.sources.dropAll()
	o.tell.behind = err
}

// ahead reports whether published frames are to be written before the close frame.
func (s *sources) ahead() bool { return len(s.live) > 0 || len(s.ended) > 0 || len(s.rest) > 0 }

// peek returns frames of one of the sources, of messages with numbers up to upto.
func (s *sources) peek(upto uint64) ([]byte, error) {
	for i := 0; i < len(s.ended); {
		if p, err := s.peekAt(s.ended[i], upto); err != nil || len(p) > 0 {
			return p, err
		}
		if s.ended[i].Drained() {
			s.ended = slices.Delete(s.ended, i, i+1)
		} else {
			i++
		}
	}
	for i := range s.live {
		at := (s.next + i) % len(s.live)
		if p, err := s.peekAt(s.live[at], upto); err != nil || len(p) > 0 {
			s.next = at + 1
			return p, err
		}
	}
	return nil, nil
}

// peekAt returns frames of a source, unless own bytes go before it.
func (s *sources) peekAt(src source, upto uint64) ([]byte, error) {
	if src.after > s.order.written {
		return nil, nil
	}
	s.current, s.dropped = src.Source, false
	return src.Peek(upto)
}

// wrotePublished notes that the first n bytes of p were written. peek has returned p.
func (o *out) wrotePublished(p []byte, n int) {
	s := o.sources
	end := s.current.Skip(n)
	if s.dropped {
		o.lost -= countData(p[:end], 0)
	}
	if end > n {
		s.keepRest(p[n:end])
	}
}

// wroteRest notes that the first n bytes of rest were written.
func (s *sources) wroteRest(n int) {
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.dropRest()
	}
}

// keepRest keeps the rest of a frame, which the log may drop before the rest is written.
func (s *sources) keepRest(rest []byte) {
	s.rest = rest
	if len(rest) < shareFrom {
		s.copied = newBuffer(len(rest))
		s.copied.b = append(s.copied.b, rest...)
		s.rest = s.copied.b
	}
}

// dropRest forgets the rest, and frees its copy.
func (s *sources) dropRest() {
	s.copied.free()
	s.rest, s.copied = nil, nil
}

// settle drops everything, and returns how many messages were not written.
func (s *sources) settle() (undelivered int) {
	if len(s.rest) > 0 {
		undelivered++
	}
	s.dropRest()
	return undelivered + s.dropAll()
}
