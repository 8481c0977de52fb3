package fanout

// One topic: its log, its cursors, and which messages it keeps.

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/hail/internal/wire"
)

// topic is created by the first subscriber, or by the first publisher if there is history. It is gone when it has neither
// cursors nor messages. Its messages have the indices 0, 1, 2 and so on.
type topic struct {
	hub       *Hub
	name      string
	history   bool   // see [Config]
	queueNext *topic // the next topic in the queue

	// head is twice the index of the next message, plus one while that is being appended. A cursor at head needs no
	// lock to know that nothing is unread: the one is added before the message gets its number, so a goroutine that knows the
	// number sees that head has changed.
	head  atomic.Uint64
	wants atomic.Int32 // how many subscribers want compressed frames
	gone  atomic.Bool  // set under mu

	// Guarded by mu.
	mu      sync.Mutex
	floor   uint64    // the number of the last message that is not in the log, or the latest when the topic was created
	cursors []*Cursor // including those that have ended and are not drained
	log     *log      // nil if it is empty and no round runs
	round   *round    // nil while nobody is being woken
	subs    int32     // how many cursors have not ended
	unread  int32     // how many cursors have something to read
	fallen  int32     // how many cursors are known to have fallen off the log
	hint    int32     // how large the log was lately, in bytes
	bound   Bound     // the limit that made the log drop unread messages
	dirty   bool      // messages came since the round started
	queued  bool      // it is in the queue, or about to be
	shared  bool      // the round uses the array of cursors
	aging   bool      // the hub has scheduled a check of the history
}

// next returns the index of the next message. mu is held.
func (t *topic) next() uint64 { return t.head.Load() >> 1 }

// firstLocked returns the index of the oldest message in the log, that of the next message if it is empty.
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

// numberLocked returns the number of a message that is appended before mu is unlocked. So numbers rise in the log.
func (t *topic) numberLocked() (seq uint64) {
	t.head.Store(t.head.Load() | 1)
	return t.hub.lastSeq.Add(1)
}

// unnumberLocked undoes the mark of numberLocked if the message is not appended.
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
	before := ch.bytesBefore(len(ch.entries))
	ch.add(m, seq)
	if t.history {
		ch.times = append(ch.times, h.now())
	}
	size := ch.bytesBefore(len(ch.entries)) - before
	l.bytes += size
	l.total += size
	l.peak = max(l.peak, l.bytes)
	t.head.Store((next + 1) << 1)
	t.unread = int32(len(t.cursors)) - t.fallen
	t.boundLocked()
	if t.unread == 0 {
		t.dropBelowLocked(next + 1)
	}
}

// boundLocked drops the messages that exceed the log's limits, read or not.
func (t *topic) boundLocked() {
	cfg, l, next := &t.hub.cfg, t.log, t.next()
	if limit := uint64(cfg.MaxMessages); cfg.MaxMessages > 0 && next-l.first > limit {
		t.bound = Messages
		t.floor = l.drop(next-limit, true)
	}
	// The newest always fits, except with the compressed frames of a very small log.
	for cfg.MaxBytes > 0 && l.bytes > cfg.MaxBytes && l.first+1 < next {
		t.bound = Bytes
		t.floor = l.drop(l.first+1, true)
	}
}

// dropBelowLocked drops the messages below low, the lowest cursor, except history.
func (t *topic) dropBelowLocked(low uint64) {
	l := t.log
	if l == nil {
		return
	}
	// While a round runs, more messages are likely to come.
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

// historyLocked returns the index of the oldest message that is kept as history.
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

// expiryLocked returns when the message of this index gets too old for history.
func (t *topic) expiryLocked(index uint64) time.Duration {
	ch, i := t.log.find(index)
	return ch.times[i] + t.hub.cfg.HistoryAge
}

// countLocked adds n to the counter that c belongs to: 1 counts it in, -1 counts it out.
func (t *topic) countLocked(c *Cursor, n int32) {
	switch {
	case c.fallen:
		t.fallen += n
	case c.next.Load() < c.limitLocked():
		t.unread += n
	}
}

// addLocked adds c to the topic's cursors.
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

// endLocked ends c: it reads nothing that is published from now on.
func (t *topic) endLocked(c *Cursor) {
	c.ended, c.endIndex = true, t.next()
	t.subs--
	if c.deflate {
		t.wants.Add(-1)
	}
}

// removeLocked removes c from the topic's cursors.
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
	t.dropReadLocked()
}

// moveLocked moves c to an index. A cursor that has fallen off the log is on it again if it moves past the messages that
// were dropped.
func (t *topic) moveLocked(c *Cursor, next uint64) {
	t.countLocked(c, -1)
	c.next.Store(next)
	if c.fallen && !t.fallenLocked(c) {
		c.fallen = false
		t.lowLocked(t.round, c)
	}
	t.countLocked(c, 1)
	switch {
	case next < c.limitLocked():
	case c.ended:
		t.removeLocked(c)
	default:
		t.dropReadLocked()
	}
}

// dropReadLocked drops the log if every cursor has read it. When a slow subscriber catches up no round runs, so only this
// notices it.
func (t *topic) dropReadLocked() {
	if t.unread == 0 {
		t.dropBelowLocked(t.next())
	}
}

// noteFallenLocked notes and reports whether c has fallen off the log.
func (t *topic) noteFallenLocked(c *Cursor) bool {
	if c.fallen || !t.fallenLocked(c) {
		return c.fallen
	}
	t.countLocked(c, -1)
	c.fallen = true
	t.countLocked(c, 1)
	t.dropReadLocked()
	return true
}

// fallenLocked reports whether the log has dropped the message that c reads next.
func (t *topic) fallenLocked(c *Cursor) bool {
	return c.next.Load() < min(t.firstLocked(), c.limitLocked())
}

// passOwnLocked moves c past messages that its owner has sent.
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

// unlock unlocks mu, and forgets the topic if it has neither cursors nor messages.
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
