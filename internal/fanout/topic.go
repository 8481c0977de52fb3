package fanout

// One topic: its log, its cursors, and what is kept for whom.

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail/internal/wire"
)

// topic is created by the first to subscribe, or to publish where there is history, and gone when it has neither
// cursors nor messages. Its messages have indices: 0, 1, 2 and so on.
type topic struct {
	hub     *Hub
	name    string
	history bool   // see [Config]
	link    *topic // the queue's

	// head is twice the index of the next message, and one more while it is being appended. A cursor that
	// is at it needs no lock to know that it has nothing to take: the mark stands before the number is
	// taken, so whoever knows the number sees the mark, or the message.
	head  atomic.Uint64
	wants atomic.Int32 // subscribers that want compressed frames
	gone  atomic.Bool  // set under mu

	// Guarded by mu.
	mu      sync.Mutex
	floor   uint64    // the number of the last message that is not in the log, or the latest at the start
	cursors []*Cursor // those that have ended and not been drained too
	log     *log      // nil where it is empty and no round runs
	round   *round    // nil while nobody is being woken
	subs    int32     // cursors that have not ended
	behind  int32     // cursors that have something to take
	lost    int32     // cursors that are known to have fallen off
	hint    int32     // how large the log has been lately, in bytes
	bound   Bound     // what made the log drop messages that were not read
	dirty   bool      // something came since the round began
	queued  bool
	shared  bool // the round uses the array of cursors
	aging   bool // the hub's timer knows of the topic
}

// next returns the index of the next message. mu is held.
func (t *topic) next() uint64 { return t.head.Load() >> 1 }

// firstLocked returns the index of the oldest message that the log has, that of the next where it is empty.
func (t *topic) firstLocked() uint64 {
	if t.log == nil {
		return t.next()
	}
	return t.log.first
}

// emptyLocked reports whether the log has no messages.
func (t *topic) emptyLocked() bool { return t.firstLocked() == t.next() }

// keepsDeflated reports whether messages are kept compressed too.
func (t *topic) keepsDeflated() bool {
	return t.wants.Load() > 0 || t.history && t.hub.cfg.Deflate
}

// numberLocked takes a number for a message that is appended before mu is free, so that numbers rise in the log.
func (t *topic) numberLocked() (seq uint64) {
	t.head.Store(t.head.Load() | 1)
	return t.hub.order.Add(1)
}

// unnumberLocked notes that no message is being appended.
func (t *topic) unnumberLocked() { t.head.Store(t.head.Load() &^ 1) }

// appendLocked appends a message that has its number.
func (t *topic) appendLocked(m *message, seq uint64) {
	h, next := t.hub, t.next()
	l := t.log
	if l == nil {
		l = newLog(next, t.hint)
		t.log = l
	}
	if !t.keepsDeflated() || h.cfg.MaxBytes > 0 && wire.FrameSize(len(m.payload))+m.deflatedSize() > h.cfg.MaxBytes {
		m.deflated = nil
	}
	ch := l.tailFor(m, next, t)
	before := ch.before(len(ch.entries))
	ch.add(m, seq)
	if t.history {
		ch.times = append(ch.times, h.now())
	}
	size := ch.before(len(ch.entries)) - before
	l.bytes += size
	l.total += size
	l.peak = max(l.peak, l.bytes)
	t.head.Store((next + 1) << 1)
	t.behind = int32(len(t.cursors)) - t.lost
	t.boundLocked()
	if t.behind == 0 {
		t.settleLocked(next + 1)
	}
}

// boundLocked drops what is past the log's bounds, read or not.
func (t *topic) boundLocked() {
	cfg, l, next := &t.hub.cfg, t.log, t.next()
	if limit := uint64(cfg.MaxMessages); cfg.MaxMessages > 0 && next-l.first > limit {
		t.bound = Messages
		t.floor = l.drop(next-limit, true)
	}
	// The newest always fits, but for the second stream of a very small log.
	for cfg.MaxBytes > 0 && l.bytes > cfg.MaxBytes && l.first+1 < next {
		t.bound = Bytes
		t.floor = l.drop(l.first+1, true)
	}
}

// settleLocked drops what is below low, the lowest cursor, except for history.
func (t *topic) settleLocked(low uint64) {
	l := t.log
	if l == nil {
		return
	}
	// While a round runs more is likely to come.
	keep := t.round != nil
	if seq := l.drop(min(low, t.historyLocked()), keep); seq != 0 {
		t.floor = seq
	}
	if l.first == t.next() && !keep {
		t.hint = max(t.hint/hintPart, int32(min(l.peak, maxChunk)))
		t.log = nil
		l.free()
	}
}

// historyLocked returns the index from which on messages are kept whether they are read or not.
func (t *topic) historyLocked() uint64 {
	next := t.next()
	if !t.history || t.log == nil {
		return next
	}
	from := t.log.first
	if keep := uint64(t.hub.cfg.HistoryMessages); next-from > keep {
		from = next - keep
	}
	for now := t.hub.now(); from < next && t.expiryLocked(from) <= now; from++ {
	}
	return from
}

// expiryLocked returns when the message of this index is too old for history.
func (t *topic) expiryLocked(index uint64) time.Duration {
	ch, i := t.log.find(index)
	return ch.times[i] + t.hub.cfg.HistoryAge
}

// countLocked counts c in, or out with -1.
func (t *topic) countLocked(c *Cursor, n int32) {
	switch {
	case c.lost:
		t.lost += n
	case c.next.Load() < c.limitLocked():
		t.behind += n
	}
}

// addLocked makes c a subscriber.
func (t *topic) addLocked(c *Cursor) {
	c.at = int32(len(t.cursors))
	t.cursors = append(t.cursors, c)
	t.subs++
	if c.deflate {
		t.wants.Add(1)
	}
	t.countLocked(c, 1)
	t.lowLocked(t.round, c)
}

// endLocked makes c no subscriber.
func (t *topic) endLocked(c *Cursor) {
	c.ended, c.end = true, t.next()
	t.subs--
	if c.deflate {
		t.wants.Add(-1)
	}
}

// removeLocked takes c out.
func (t *topic) removeLocked(c *Cursor) {
	if !c.ended {
		t.endLocked(c)
	}
	t.countLocked(c, -1)
	c.gone = true
	if t.shared {
		t.cursors, t.shared = slices.Clone(t.cursors), false
	}
	last := len(t.cursors) - 1
	t.cursors[c.at] = t.cursors[last]
	t.cursors[c.at].at = c.at
	t.cursors[last] = nil
	t.cursors = t.cursors[:last]
	if last == 0 {
		t.cursors = nil
	} else if 4*last < cap(t.cursors) {
		t.cursors = slices.Clone(t.cursors)
	}
	t.readLocked()
}

// moveLocked moves c on. One that was lost before is so no more where it has moved past all that was dropped.
func (t *topic) moveLocked(c *Cursor, next uint64) {
	t.countLocked(c, -1)
	c.next.Store(next)
	if c.lost && !t.fallenLocked(c) {
		c.lost = false
		t.lowLocked(t.round, c)
	}
	t.countLocked(c, 1)
	switch {
	case next < c.limitLocked():
	case c.ended:
		t.removeLocked(c)
	default:
		t.readLocked()
	}
}

// readLocked drops the log when everyone has read it. That the slow among them are behind no more is
// seen here alone: nobody is being woken when they catch up.
func (t *topic) readLocked() {
	if t.behind == 0 {
		t.settleLocked(t.next())
	}
}

// loseLocked reports whether c has fallen off, and takes note of it.
func (t *topic) loseLocked(c *Cursor) bool {
	if c.lost || !t.fallenLocked(c) {
		return c.lost
	}
	t.countLocked(c, -1)
	c.lost = true
	t.countLocked(c, 1)
	t.readLocked()
	return true
}

// fallenLocked reports whether the log has dropped what c is to take next.
func (t *topic) fallenLocked(c *Cursor) bool {
	return c.next.Load() < min(t.firstLocked(), c.limitLocked())
}

// passOwnLocked moves c past messages of its own.
func (t *topic) passOwnLocked(c *Cursor) {
	if c.id == 0 {
		return
	}
	start, limit := c.next.Load(), c.limitLocked()
	next := start
	for next < limit {
		ch, i := t.log.find(next)
		if ch.entries[i].sender != c.id {
			break
		}
		next++
	}
	if next != start {
		t.moveLocked(c, next)
	}
}

// unlock unlocks mu, and takes the topic out where it has become empty.
func (t *topic) unlock() {
	gone := len(t.cursors) == 0 && t.log == nil && t != t.hub.all && !t.gone.Load()
	if gone {
		t.gone.Store(true)
	}
	t.mu.Unlock()
	if gone {
		t.hub.topics.forget(t)
	}
}
