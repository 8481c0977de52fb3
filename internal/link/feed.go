package link

// Published frames: what a connection takes from logs that it shares with others, in their order
// with the frames of its own.

import (
	"math"
	"slices"
)

// Feed is a place in a topic's log of frames. The link calls it with its sending half locked.
type Feed interface {
	// Topic returns the topic's name.
	Topic() string
	// Peek returns frames to write next, of messages with numbers up to upto. Their bytes never change, and may be
	// kept. Its error says that what comes next is not in the log any more.
	Peek(upto uint64) ([]byte, error)
	// Skip moves past n bytes of them, and returns where the frame ends of which the last is a part.
	Skip(n int) (end int)
	// Pending returns how many messages are to be taken.
	Pending() int
	// Lost reports whether Peek would fail.
	Lost() bool
	// End lets nothing join the feed that is published later, Drop gives it up with what is pending.
	End()
	Drop()
	// Drained reports whether an ended feed has nothing left.
	Drained() bool
}

// feeds are what a connection listens to, and how that goes between its own frames. It is part of out.
type feeds struct {
	list []listener
	left int      // of them, those that have ended
	next int      // where in list to look next
	kept []string // the topics at the end, not nil once it has begun

	// Own bytes are counted from the start of out.w; base is where that lies, with all that was before it.
	base   int
	marks  []mark
	passed int  // marks that are not needed any more
	parted bool // what is queued next has a mark of its own
	lim    int  // w.b[:lim] may be written: what was published before it is

	source source  // of the bytes that are being written
	from   Feed    // where source is feedSource
	given  bool    // from was given up meanwhile
	rest   []byte  // of a frame of a feed's that was written in part
	copied *buffer // holds rest, nil where that is in the log's memory
}

type listener struct {
	Feed
	ended bool
	after int // it has its turn when so many marks have passed: what was queued before it was opened goes first
}

// mark says that before own bytes up to end those messages go that have numbers up to upto.
type mark struct {
	upto uint64
	end  int
}

const (
	markSize = 16
	// Whoever goes from one topic to the next need not be slow to have a few that are not all written.
	minLeft = 64
	// A shorter rest of a frame is copied, and so keeps no others in memory. A longer one stays in the log's, once for
	// all who lack it.
	shareFrom = 16 << 10
)

type source int

const (
	ownSource source = iota
	feedSource
	restSource
)

// Listen adds the feed that open makes, unless the connection listens to that topic already. most bounds how
// many feeds it may have, but for those of the topic that free names; negative: none. Feeds that have ended are among them
// where that makes more than minLeft.
func (c *Conn) Listen(topic string, most int, free string, open func() Feed) error {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	if listens, err := o.listens(topic, most, free); listens || err != nil {
		return err
	}
	if o.feeds == nil {
		o.feeds = newFeeds(o)
	}
	f := o.feeds
	f.list = append(f.list, listener{Feed: open(), after: f.passed + len(f.marks)})
	f.parted = true
	c.pushLocked() // there may be something for it already
	return nil
}

// listens reports whether the connection listens to the topic, or why it may not begin to.
func (o *out) listens(topic string, most int, free string) (bool, error) {
	if o.deaf() {
		return false, ErrClosed
	}
	if o.feeds == nil {
		return false, nil
	}
	joined, left := 0, 0
	for _, l := range o.feeds.list {
		switch name := l.Topic(); {
		case l.ended:
			left++ // its topic is there until the peer takes the rest
		case name == topic:
			return true, nil
		case name != free:
			joined++
		}
	}
	if most >= 0 && topic != free && (joined >= most || joined+left >= max(most, minLeft)) {
		return false, ErrTopics
	}
	return false, nil
}

// deaf reports whether the connection listens to nothing any more, and will not: it ends, or is about to. Nothing is queued
// either, for it would come behind what was given up.
func (o *out) deaf() bool {
	return o.ending || o.eof || o.err != nil || o.feeds != nil && o.feeds.kept != nil
}

func newFeeds(o *out) *feeds {
	f := &feeds{lim: o.w.len()}
	if own := o.w.len() + o.buf.len(); own > 0 {
		f.marks = append(f.marks, mark{0, own})
	}
	return f
}

// Unlisten ends the feed of a topic. What was published before is still written.
func (c *Conn) Unlisten(topic string) error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deaf() {
		return ErrClosed
	}
	if o.feeds == nil {
		return nil
	}
	for i, l := range o.feeds.list {
		if !l.ended && l.Topic() == topic {
			o.feeds.end(i)
			break
		}
	}
	return nil
}

// Topics returns the topics that the connection listens to, in the order in which it joined them. Of one that
// is ending they are those that it listened to before.
func (c *Conn) Topics() []string {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	switch f := o.feeds; {
	case f == nil:
		return nil
	case f.kept != nil:
		return slices.Clone(f.kept)
	default:
		return f.topics()
	}
}

func (f *feeds) topics() (names []string) {
	for _, l := range f.list {
		if !l.ended {
			names = append(names, l.Topic())
		}
	}
	return names
}

// keepTopics notes the topics before the first of what ends them.
func (f *feeds) keepTopics() {
	if f.kept == nil {
		f.kept = append([]string{}, f.topics()...)
	}
}

// WakeFeed says that f may have something to write, or has lost it.
func (c *Conn) WakeFeed(f Feed) {
	o := &c.out
	o.mu.Lock()
	defer c.unlock()
	switch {
	case o.err != nil || o.feeds == nil:
	case !o.writing:
		c.pushLocked()
	case f.Lost():
		_, err := f.Peek(math.MaxUint64)
		o.fallBehind(err)
	}
}

// Compresses reports whether feeds may have compressed frames.
func (c *Conn) Compresses() bool { return c.deflates }

// end ends a feed, and forgets it where nothing is left to take.
func (f *feeds) end(i int) {
	f.list[i].End()
	f.list[i].ended = true
	f.left++
	if f.list[i].Drained() {
		f.remove(i)
	}
}

// remove forgets a feed that has ended.
func (f *feeds) remove(i int) {
	f.list = slices.Delete(f.list, i, i+1)
	f.left--
}

// endAll ends all feeds.
func (f *feeds) endAll() {
	f.keepTopics()
	for i := len(f.list) - 1; i >= 0; i-- {
		if !f.list[i].ended {
			f.end(i)
		}
	}
}

// dropAll gives all feeds up, and returns how many messages they had left. Those that are being written are among
// them, until wrote knows better.
func (f *feeds) dropAll() (lost int) {
	f.keepTopics()
	for _, l := range f.list {
		lost += l.Pending()
		l.Drop()
	}
	f.list, f.left, f.given = nil, 0, true
	return lost
}

// fallBehind gives published messages up for a connection that was too slow for them.
func (o *out) fallBehind(err error) {
	o.lost += o.feeds.dropAll()
	o.behind = err
}

// stamp notes that own bytes have been queued: they follow what has been published until now.
func (f *feeds) stamp(order uint64, o *out) {
	end := f.base + o.w.len() + o.buf.len()
	if n := len(f.marks); n > 0 && f.marks[n-1].upto == order && !f.parted {
		f.marks[n-1].end = end
		return
	}
	f.marks, f.parted = append(f.marks, mark{order, end}), false
}

// spliced notes that n bytes of control frames went in front of the own byte at a place in out.w, behind the frame
// that is being written: nothing published goes before them.
func (f *feeds) spliced(at, n int) {
	f.shift(at, n)
	f.lim += n
}

// dropped notes that the first n bytes in out.w, which were written, are gone.
func (f *feeds) dropped(n int) {
	f.base += n
	f.lim -= n
}

// loaded notes that out.w has new bytes in place of those that were written, the first of them control frames.
func (f *feeds) loaded(written, control int) {
	f.base += written
	past := 0
	for past < len(f.marks) && f.marks[past].end <= f.base {
		past++
	}
	f.pass(past)
	f.shift(0, control)
	f.lim = control
}

// shift moves the marks of the own bytes from a place in out.w on.
func (f *feeds) shift(at, n int) {
	for i := range f.marks {
		if f.marks[i].end > f.base+at {
			f.marks[i].end += n
		}
	}
}

// cut notes that the bytes in out.buf are gone.
func (f *feeds) cut(o *out) {
	end := f.base + o.w.len()
	for i, m := range f.marks {
		if m.end > end {
			f.marks[i].end = end
			f.marks = f.marks[:i+1]
			return
		}
	}
}

// pass takes out the first n marks.
func (f *feeds) pass(n int) {
	f.passed += n
	if n == len(f.marks) {
		f.marks = f.marks[:0] // from the start of its memory
	} else {
		f.marks = f.marks[n:]
	}
}

// reset notes that no own bytes are left.
func (f *feeds) reset() {
	f.pass(len(f.marks))
	f.base, f.lim = 0, 0
	if cap(f.marks) > 16 {
		f.marks = nil
	}
}

// nextBytes returns what to write next: the rest of a frame, own frames, or published ones that go before them.
func (f *feeds) nextBytes(o *out) []byte {
	if len(f.rest) > 0 {
		f.source = restSource
		return f.rest
	}
	if f.source == ownSource && o.off > 0 && o.off == o.ctlEnd && o.ctl.len() > 0 && !o.ending {
		// Control frames were written last. More of them wait for something else: a peer that pings without end would
		// get nothing but pongs.
		ctl := o.ctl
		o.ctl = nil
		p := f.nextInOrder(o)
		o.ctl = ctl
		if p != nil {
			return p
		}
	}
	return f.nextInOrder(o)
}

// nextInOrder returns own frames, or published ones that go before them.
func (f *feeds) nextInOrder(o *out) []byte {
	own := o.nextOwn()
	if len(own) == 0 {
		if o.last {
			return nil
		}
		f.pass(len(f.marks))
	}
	for len(own) == 0 || o.off >= f.lim {
		upto := uint64(math.MaxUint64)
		if len(own) > 0 && len(f.marks) > 0 {
			upto = f.marks[0].upto
		}
		p, err := f.peek(upto)
		switch {
		case err != nil:
			o.fallBehind(err)
			continue
		case len(p) > 0:
			f.source, f.given = feedSource, false
			return p
		case len(own) == 0:
			return nil
		}
		f.advance(o.w.len())
	}
	f.source = ownSource
	return o.w.b[o.off:f.lim]
}

// advance lets the own bytes of the first mark be written, of n that are there.
func (f *feeds) advance(n int) {
	if len(f.marks) == 0 {
		f.lim = n
		return
	}
	f.lim = min(n, f.marks[0].end-f.base)
	if f.marks[0].end-f.base <= n {
		f.pass(1)
	}
}

// peek returns frames of one of the feeds, which take turns.
func (f *feeds) peek(upto uint64) ([]byte, error) {
	for i := 0; i < len(f.list); {
		at := (f.next + i) % len(f.list)
		l := f.list[at]
		if !f.waits(at) {
			p, err := l.Peek(upto)
			if err != nil || len(p) > 0 {
				f.next, f.from = at+1, l.Feed
				return p, err
			}
		}
		if l.ended && l.Drained() {
			f.remove(at)
			f.next, i = 0, 0
		} else {
			i++
		}
	}
	return nil, nil
}

// waits reports whether others go before the feed whatever they have: own bytes that were queued before it was
// opened, or what is left of the topic from the last time that it was listened to.
func (f *feeds) waits(at int) bool {
	if f.list[at].after > f.passed {
		return true
	}
	for i := 0; f.left > 0 && i < at; i++ {
		if f.list[i].ended && f.list[i].Topic() == f.list[at].Topic() {
			return true
		}
	}
	return false
}

// wrote notes that n bytes of p were written, which nextBytes gave.
func (f *feeds) wrote(o *out, p []byte, n int) {
	switch f.source {
	case ownSource:
		o.off += n
	case restSource:
		if f.rest = f.rest[n:]; len(f.rest) == 0 {
			f.dropRest()
		}
	case feedSource:
		end := f.from.Skip(n)
		if f.given {
			o.lost -= countData(p[:end], 0)
		}
		if end > n {
			f.keepRest(p[n:end])
		}
	}
}

// keepRest keeps the rest of a frame, which the log may forget before the peer takes it.
func (f *feeds) keepRest(rest []byte) {
	f.rest = rest
	if len(rest) < shareFrom {
		f.copied = newBuffer(len(rest))
		f.copied.b = append(f.copied.b, rest...)
		f.rest = f.copied.b
	}
}

func (f *feeds) dropRest() {
	f.copied.free()
	f.rest, f.copied = nil, nil
}

// settle gives everything up but the topics' names, and returns how many messages were not written.
func (f *feeds) settle() (lost int) {
	if len(f.rest) > 0 {
		lost++
	}
	f.dropRest()
	lost += f.dropAll()
	*f = feeds{kept: f.kept}
	return lost
}
