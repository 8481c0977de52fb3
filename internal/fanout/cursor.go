package fanout

// Subscriptions.

import (
	"fmt"
	"sort"
	"sync/atomic"
)

// Bound is what limits a topic's log.
type Bound uint8

const (
	Bytes    Bound = iota // [Config.MaxBytes]
	Messages              // [Config.MaxMessages]
)

// String returns the name of the option that sets the bound.
func (b Bound) String() string {
	if b == Messages {
		return "TopicMessages"
	}
	return "TopicBytes"
}

// BehindError says that a subscriber has fallen off a topic's log.
type BehindError struct {
	Topic    string
	All      bool  // it is no topic, but all that is broadcast
	Messages int   // how many were published since those it took, its own among them
	Bound    Bound // of the log
}

func (e *BehindError) Error() string {
	on := fmt.Sprintf("topic %q", e.Topic)
	if e.All {
		on = "broadcasts"
	}
	return fmt.Sprintf("hail: %d messages behind on %s (Options.%v)", e.Messages, on, e.Bound)
}

// Cursor is a subscription: a place in a topic's log. Its owner calls one method at a time.
type Cursor struct {
	topic   *topic
	target  Target
	id      uint64
	deflate bool

	// Guarded by the topic's mu, but for reading next.
	ended bool
	lost  bool
	gone  bool          // out of the topic's cursors
	at    int32         // where it is in them
	next  atomic.Uint64 // the index of the message to take
	end   uint64        // where an ended one ends
	held  *chunk        // what Peek gave is from there
}

// Subscribe returns a cursor for what is published from now on, but for messages whose sender is id; 0 is
// nobody's. With deflate it takes those that were compressed as such. The target is woken when there is
// something.
func (h *Hub) Subscribe(name string, id uint64, deflate bool, target Target) *Cursor {
	c := &Cursor{target: target, id: id, deflate: deflate}
	h.subscribe(name, c, (*topic).next)
	return c
}

// SubscribeSince does what [Hub.Subscribe] does, but starts with what the topic still has of the messages
// with numbers larger than seq. complete reports whether that is all there were. The target is not
// woken for them.
func (h *Hub) SubscribeSince(name string, seq, id uint64, deflate bool, target Target) (c *Cursor, complete bool) {
	c = &Cursor{target: target, id: id, deflate: deflate}
	h.subscribe(name, c, func(t *topic) (from uint64) {
		from, complete = t.sinceLocked(seq)
		return from
	})
	return c, complete
}

// SubscribeAll returns a cursor for what is broadcast from now on.
func (h *Hub) SubscribeAll(deflate bool, target Target) *Cursor {
	c := &Cursor{topic: h.all, target: target, deflate: deflate}
	t := h.all
	t.mu.Lock()
	defer t.unlock()
	c.next.Store(t.next())
	t.addLocked(c)
	return c
}

// subscribe puts c where start says.
func (h *Hub) subscribe(name string, c *Cursor, start func(*topic) uint64) {
	for {
		t := h.open(name)
		t.mu.Lock()
		if t.gone.Load() {
			t.mu.Unlock()
			continue
		}
		c.topic = t
		c.next.Store(start(t))
		t.addLocked(c)
		t.unlock()
		return
	}
}

// limitLocked returns the index at which nothing is left to take.
func (c *Cursor) limitLocked() uint64 {
	if c.ended {
		return c.end
	}
	return c.topic.next()
}

// caughtUp reports, without a lock, that there is nothing to take. See head of topic.
func (c *Cursor) caughtUp() bool { return c.next.Load()<<1 == c.topic.head.Load() }

// Peek returns what to write next: whole frames, of messages with numbers up to upto, nil where there are
// none. It returns what lies together, so there may be more behind it. The bytes never change, and may be
// used for as long as they are needed; but what the log drops stays in memory as long. Until they are
// skipped they count as not taken.
//
// A *[BehindError] says that the next message is not in the log any more. Peek(0), which returns no frames, tells that too.
func (c *Cursor) Peek(upto uint64) (p []byte, err error) {
	if c.caughtUp() {
		return nil, nil
	}
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	if c.gone {
		return nil, nil
	}
	if t.loseLocked(c) {
		return nil, &BehindError{t.name, t == t.hub.all, int(t.next() - c.next.Load()), t.bound}
	}
	t.passOwnLocked(c)
	if c.gone || c.next.Load() == c.limitLocked() {
		return nil, nil
	}
	ch, i := t.log.find(c.next.Load())
	j := ch.run(i, int(min(c.limitLocked()-ch.base, uint64(len(ch.entries)))), c.id, upto)
	if i == j {
		return nil, nil
	}
	c.held = ch
	b, z := ch.stream(c.deflate)
	from, to := ch.offset(i, z), ch.offset(j, z)
	return b[from:to:to], nil
}

// run returns where, at the latest at limit, the messages from i on end that are not the id's and have
// numbers up to upto.
func (ch *chunk) run(i, limit int, id, upto uint64) int {
	if ch.entries[limit-1].seq > upto {
		limit = i + sort.Search(limit-i, func(n int) bool { return ch.entries[i+n].seq > upto })
	}
	if ch.senders&senderBit(id) == 0 {
		return limit
	}
	for ; i < limit && ch.entries[i].sender != id; i++ {
	}
	return i
}

// Skip moves past the frames of which a part is in the first n bytes of what Peek returned last, and returns
// where the last of them ends: what lies between is the rest of a frame that has to follow. Peek
// has to have returned at least n bytes since the last Skip.
func (c *Cursor) Skip(n int) (end int) {
	if n == 0 {
		return 0
	}
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	ch := c.held
	c.held = nil
	i := int(c.next.Load() - ch.base)
	_, z := ch.stream(c.deflate)
	start := ch.offset(i, z)
	j := i + 1 + sort.Search(len(ch.entries)-i, func(k int) bool { return ch.offset(i+k+1, z) >= start+n })
	if !c.gone {
		t.moveLocked(c, ch.base+uint64(j))
	}
	return ch.offset(j, z) - start
}

// Pending returns how many messages there are to take, those that the log has dropped among them.
func (c *Cursor) Pending() int {
	if c.caughtUp() {
		return 0
	}
	t := c.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	next, limit := c.next.Load(), c.limitLocked()
	if c.gone || next >= limit {
		return 0
	}
	n := int(limit - next)
	if c.id == 0 || t.log == nil {
		return n
	}
	for at := max(next, t.log.first); at < limit; at++ {
		if ch, i := t.log.find(at); ch.entries[i].sender == c.id {
			n--
		}
	}
	return n
}

// End unsubscribes: what is published from now on is not the cursor's, but what was before can
// still be taken. The target is woken for that as before. Whoever does not want it drops the cursor.
func (c *Cursor) End() {
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	if c.ended || c.gone {
		return
	}
	t.endLocked(c)
	if !t.loseLocked(c) {
		t.passOwnLocked(c)
	}
	if !c.gone && c.next.Load() == c.end {
		t.removeLocked(c)
	}
}

// Drained reports whether the cursor has ended and has nothing left to take, or was dropped.
func (c *Cursor) Drained() bool {
	t := c.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.gone
}

// Drop gives the cursor up, with what it has not taken.
func (c *Cursor) Drop() {
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	if !c.gone {
		t.removeLocked(c)
	}
}
