package fanout

// Subscriptions: cursors in the logs of topics.

import (
	"fmt"
	"sort"
	"sync/atomic"
)

// Bound is a limit on a topic's log.
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

// BehindError says that a subscriber has fallen off a topic's log: the log has dropped a message that it has not read.
type BehindError struct {
	Topic    string
	All      bool  // the log is that of the broadcasts, which has no topic
	Messages int   // how many were published since the last that it read, including its own
	Bound    Bound // the limit that made the log drop messages
}

func (e *BehindError) Error() string {
	on := fmt.Sprintf("topic %q", e.Topic)
	if e.All {
		on = "broadcasts"
	}
	return fmt.Sprintf("hail: %d messages behind on %s (Options.%v)", e.Messages, on, e.Bound)
}

// Cursor is a subscription: a place in a topic's log. Its owner calls one method at a time.
//
// A message is unread until Skip has moved the cursor past it.
type Cursor struct {
	topic   *topic
	target  Target
	id      uint64
	deflate bool

	// Guarded by the topic's mu. next may be read without it.
	ended    bool
	fallen   bool          // off the log
	gone     bool          // removed from the topic's cursors
	at       int32         // its place among them
	next     atomic.Uint64 // the index of the next message to read
	endIndex uint64        // the index after the last message, once it has ended
	peeked   *chunk        // the chunk that holds the frames of the last Peek
}

// Subscribe returns a cursor for the messages that are published from now on, except those whose sender is id. No
// message has the sender 0. With deflate the cursor reads compressed messages as compressed frames. The target is woken
// when there is something to read.
func (h *Hub) Subscribe(name string, id uint64, deflate bool, target Target) *Cursor {
	c := &Cursor{target: target, id: id, deflate: deflate}
	h.subscribe(name, c, (*topic).next)
	return c
}

// SubscribeSince is [Hub.Subscribe], but the cursor starts with the messages after number seq that the topic still has.
// complete reports whether none of those is missing. The target is not woken for them.
func (h *Hub) SubscribeSince(name string, seq, id uint64, deflate bool, target Target) (c *Cursor, complete bool) {
	c = &Cursor{target: target, id: id, deflate: deflate}
	h.subscribe(name, c, func(t *topic) (from uint64) {
		from, complete = t.sinceLocked(seq)
		return from
	})
	return c, complete
}

// SubscribeAll returns a cursor for the messages that are broadcast from now on.
func (h *Hub) SubscribeAll(deflate bool, target Target) *Cursor {
	c := &Cursor{topic: h.all, target: target, deflate: deflate}
	t := h.all
	t.mu.Lock()
	defer t.unlock()
	c.next.Store(t.next())
	t.addLocked(c)
	return c
}

// subscribe adds c to the topic, at the index that start returns.
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

// limitLocked returns the index after the last message that the cursor may read.
func (c *Cursor) limitLocked() uint64 {
	if c.ended {
		return c.endIndex
	}
	return c.topic.next()
}

// caughtUp reports, without a lock, whether nothing is unread. See head of topic.
func (c *Cursor) caughtUp() bool { return c.next.Load()<<1 == c.topic.head.Load() }

// Peek returns whole frames to write next, of unread messages with numbers up to upto, nil if there are none. It returns
// the frames that lie together in memory, so more may follow. They stay unread until Skip.
//
// The bytes never change and may be kept. While they are kept, their memory stays in use, even if the log drops them.
//
// A *[BehindError] says that the log has dropped the next message. Peek(0) returns no frames, but this error too.
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
	if t.noteFallenLocked(c) {
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
	c.peeked = ch
	b, z := ch.frames(c.deflate)
	from, to := ch.offset(i, z), ch.offset(j, z)
	return b[from:to:to], nil
}

// run returns the end of the run of messages from i on that are not sent by id and have numbers up to upto. It is at
// most limit.
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

// Skip moves past the first n bytes that the last Peek returned, to the end of a frame, and returns where that frame
// ends. If end is larger than n, a frame was written in part, and the bytes from n to end have to follow. Peek must have
// returned at least n bytes since the last Skip.
func (c *Cursor) Skip(n int) (end int) {
	if n == 0 {
		return 0
	}
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	ch := c.peeked
	c.peeked = nil
	i := int(c.next.Load() - ch.base)
	_, z := ch.frames(c.deflate)
	start := ch.offset(i, z)
	j := i + 1 + sort.Search(len(ch.entries)-i, func(k int) bool { return ch.offset(i+k+1, z) >= start+n })
	if !c.gone {
		t.moveLocked(c, ch.base+uint64(j))
	}
	return ch.offset(j, z) - start
}

// Pending returns how many messages are unread, including those that the log has dropped.
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

// End unsubscribes: the cursor does not read what is published from now on. It can still read what was published before,
// and the target is woken for that. To give that up too, call Drop.
func (c *Cursor) End() {
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	if c.ended || c.gone {
		return
	}
	t.endLocked(c)
	if !t.noteFallenLocked(c) {
		t.passOwnLocked(c)
	}
	if !c.gone && c.next.Load() == c.endIndex {
		t.removeLocked(c)
	}
}

// Drained reports whether the cursor has ended and nothing is unread, or it was dropped.
func (c *Cursor) Drained() bool {
	t := c.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.gone
}

// Drop ends the cursor and gives up its unread messages.
func (c *Cursor) Drop() {
	t := c.topic
	t.mu.Lock()
	defer t.unlock()
	if !c.gone {
		t.removeLocked(c)
	}
}
