package link

// Published frames: a connection writes them from logs that it shares with others.

import (
	"slices"
)

// Source is a place in a log of frames. The link calls it with its sending half locked.
type Source interface {
	// Peek returns frames to write next, of messages with numbers up to upto. Their bytes never change, and may be
	// kept. Its error says that the source is lost: what comes next is not in the log any more. Peek(0) returns no frames.
	Peek(upto uint64) ([]byte, error)
	// Skip moves past n bytes of what Peek returned, and returns where the frame ends that the last of them is in.
	Skip(n int) (end int)
	// Pending returns how many messages are to be written.
	Pending() int
	// End leaves out what is published later, Drop also what is pending.
	End()
	Drop()
	// Drained reports whether an ended source has nothing left.
	Drained() bool
}

// sources are where a connection's published frames come from, and their order with its own. It is part of out.
type sources struct {
	order order
	live  []source // they take turns
	ended []source // they go before the others: a log may be left and joined again
	turn  int      // where in live to look next
	over  bool     // nothing is added any more

	from   Source  // of the frames that are being written
	given  bool    // from was given up meanwhile
	rest   []byte  // of a frame that was written in part
	copied *buffer // holds rest; nil if that is in the log's memory
}

// source is a Source that has its turn when so many own bytes are written: they were queued before it was added.
type source struct {
	Source
	after int64
}

// A shorter rest of a frame is copied, and so keeps no others in memory. A longer one stays in the log's, once for
// all that lack it.
const shareFrom = 16 << 10

// Listen adds the source that join returns, and returns join's error. join runs with the sending half locked, and not
// at all once nothing more is to be written: the error is then ErrClosed.
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
		c.pushLocked() // there may be something in it already
	}
	c.unlock()
	return err
}

// Unlisten ends the source that leave returns, if it does return one. What was published before is still written. leave
// runs as join does in Listen.
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

// Wake says that there may be something in a source, or that it is lost.
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

// deaf reports whether no source is added any more, and nothing is queued: the connection ends, or has given messages
// up, and what is queued would come after a gap.
func (o *out) deaf() bool {
	return o.ending || o.err != nil || o.sources != nil && o.sources.over
}

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

// endAll ends all sources.
func (s *sources) endAll() {
	s.over = true
	for _, src := range s.live {
		s.retire(src)
	}
	s.live = nil
}

// retire ends a source, and forgets it if nothing is left to write.
func (s *sources) retire(src source) {
	src.End()
	if !src.Drained() {
		s.ended = append(s.ended, src)
	}
}

// dropAll gives all sources up, and returns how many messages they had left. Those that are being written are among
// them, until wrote knows better.
func (s *sources) dropAll() (lost int) {
	s.over = true
	for _, src := range slices.Concat(s.ended, s.live) {
		lost += src.Pending()
		src.Drop()
	}
	s.ended, s.live, s.given = nil, nil, true
	return lost
}

// fallBehind gives published messages up for a connection that was too slow for them.
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
		at := (s.turn + i) % len(s.live)
		if p, err := s.peekAt(s.live[at], upto); err != nil || len(p) > 0 {
			s.turn = at + 1
			return p, err
		}
	}
	return nil, nil
}

func (s *sources) peekAt(src source, upto uint64) ([]byte, error) {
	if src.after > s.order.written {
		return nil, nil
	}
	s.from, s.given = src.Source, false
	return src.Peek(upto)
}

// wrote notes that n bytes of p were written, which peek returned.
func (o *out) wrotePublished(p []byte, n int) {
	s := o.sources
	end := s.from.Skip(n)
	if s.given {
		o.lost -= countData(p[:end], 0)
	}
	if end > n {
		s.keepRest(p[n:end])
	}
}

// wroteRest notes that n bytes of rest were written.
func (s *sources) wroteRest(n int) {
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.dropRest()
	}
}

// keepRest keeps the rest of a frame, which the log may forget before the peer reads it.
func (s *sources) keepRest(rest []byte) {
	s.rest = rest
	if len(rest) < shareFrom {
		s.copied = newBuffer(len(rest))
		s.copied.b = append(s.copied.b, rest...)
		s.rest = s.copied.b
	}
}

func (s *sources) dropRest() {
	s.copied.free()
	s.rest, s.copied = nil, nil
}

// settle gives everything up, and returns how many messages were not written.
func (s *sources) settle() (lost int) {
	if len(s.rest) > 0 {
		lost++
	}
	s.dropRest()
	return lost + s.dropAll()
}
