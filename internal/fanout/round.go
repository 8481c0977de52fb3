package fanout

// Waking: topics with new messages wait in a queue, and a few workers wake their subscribers.

import (
	"sync"
	"sync/atomic"
)

const (
	// How many cursors are examined under one hold of the topic's lock. They are woken after it.
	batchSize = 32
	// How many batches a goroutine wakes before it goes on: other topics, or a publisher's caller, wait for it.
	maxBatches = 64
)

// round is one pass over a topic's cursors. Several goroutines may share it. It is guarded by the topic's mu.
type round struct {
	cursors []*Cursor // the topic's at the start of the round; the array does not change
	at      int       // cursors[:at] are woken, or about to be
	sharers int
	low     uint64        // no cursor is below it
	from    uint64        // the log's woken at the end
	total   int           // the log's wokenTotal at the end
	ended   chan struct{} // closed at the end, nil if nobody waits for it
}

var rounds = sync.Pool{New: func() any { return new(round) }}

// queue holds topics that are dirty, or have a round that may be shared.
type queue struct {
	pushed  atomic.Pointer[topic] // the newest first; publishers push without a lock
	max     int32                 // how many workers may run
	workers atomic.Int32

	mu    sync.Mutex
	first *topic // the oldest first
}

// push adds a topic. The caller has set its queued mark.
func (q *queue) push(t *topic) {
	for {
		first := q.pushed.Load()
		t.queueNext = first
		if q.pushed.CompareAndSwap(first, t) {
			return
		}
	}
}

// pop removes and returns the topic that was pushed first, nil if the queue is empty.
func (q *queue) pop() *topic {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == nil {
		for t := q.pushed.Swap(nil); t != nil; {
			next := t.queueNext
			t.queueNext, q.first = q.first, t
			t = next
		}
	}
	t := q.first
	if t != nil {
		q.first, t.queueNext = t.queueNext, nil
	}
	return t
}

// empty reports whether no topic is in the queue.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first == nil && q.pushed.Load() == nil
}

// hire counts one more worker, and reports whether it may run.
func (q *queue) hire() bool {
	for {
		n := q.workers.Load()
		if n >= q.max {
			return false
		}
		if q.workers.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// enqueue adds a topic that is marked as queued. It starts a worker unless enough of them run. The worker ends when the
// queue is empty or the hub is closed, and Close waits for it.
func (h *Hub) enqueue(t *topic) {
	h.queue.push(t)
	if !h.queue.hire() {
		return
	}
	if !h.enter() {
		h.queue.workers.Add(-1)
		return
	}
	go h.work()
}

// work is a worker's loop. enqueue starts it.
func (h *Hub) work() {
	defer h.leave()
	for {
		for !h.closed.Load() {
			t := h.queue.pop()
			if t == nil {
				break
			}
			t.wake(true)
		}
		h.queue.workers.Add(-1)
		// A topic that was pushed before that may have got no worker, because this one still counted.
		if h.closed.Load() || h.queue.empty() || !h.queue.hire() {
			return
		}
	}
}

// markLocked marks the topic as queued, and reports whether the caller has to enqueue it. While a round runs nobody has
// to: the end of the round does.
func (t *topic) markLocked() bool {
	if t.queued || t.round != nil {
		return false
	}
	t.queued = true
	return true
}

// wake wakes some of the topic's cursors. It joins the topic's round, or starts one if there are new messages. It reports
// whether there was anything to do. popped says that the topic was just popped from the queue.
func (t *topic) wake(popped bool) bool {
	var space [batchSize]*Cursor
	t.mu.Lock()
	if popped {
		t.queued = false
	}
	r := t.joinLocked()
	if r == nil {
		t.unlock()
		return false
	}
	for n := 0; n < maxBatches && r.at < len(r.cursors) && !t.hub.closed.Load(); n++ {
		woken := t.nextBatchLocked(r, space[:0])
		share := t.shareLocked(r)
		t.unlock()
		if share {
			t.hub.enqueue(t)
		}
		for _, c := range woken {
			c.target.Wake(c)
		}
		t.mu.Lock()
		t.lowLocked(r, woken...)
	}
	again := t.leaveLocked(r)
	t.unlock()
	if again {
		t.hub.enqueue(t)
	}
	return true
}

// joinLocked joins the topic's round, or starts one if there are new messages. It returns nil if nobody is left to be
// woken.
func (t *topic) joinLocked() *round {
	if r := t.round; r != nil {
		if r.at == len(r.cursors) {
			return nil
		}
		r.sharers++
		return r
	}
	dirty := t.dirty
	t.dirty = false
	if !dirty {
		return nil
	}
	t.shared = true
	r := rounds.Get().(*round)
	*r = round{cursors: t.cursors, sharers: 1, low: t.next(), from: t.next()}
	if t.log != nil {
		r.total = t.log.total
	}
	t.round = r
	return r
}

// shareLocked reports whether the caller has to enqueue the topic, so that one more worker joins the round.
func (t *topic) shareLocked(r *round) bool {
	q := &t.hub.queue
	if t.queued || len(r.cursors)-r.at < batchSize || q.workers.Load() >= q.max {
		return false
	}
	t.queued = true
	return true
}

// leaveLocked leaves a round. The last to leave ends the round if it is done. It reports whether the caller has to enqueue
// the topic, because the round is not done or because new messages came.
func (t *topic) leaveLocked(r *round) bool {
	if r.sharers--; r.sharers > 0 {
		return false
	}
	if r.at < len(r.cursors) && !t.hub.closed.Load() {
		queued := t.queued
		t.queued = true
		return !queued
	}
	t.round, t.shared = nil, false
	if r.ended != nil {
		close(r.ended)
	}
	if t.log != nil {
		t.log.woken, t.log.wokenTotal = r.from, r.total
	}
	switch {
	case t.unread == 0:
		t.dropBelowLocked(t.next())
	case r.at == len(r.cursors): // else Close broke the round off
		t.dropBelowLocked(r.low)
	}
	*r = round{}
	rounds.Put(r)
	return t.dirty && t.markLocked()
}

// nextBatchLocked appends those of the next batch of cursors that have something to read.
func (t *topic) nextBatchLocked(r *round, to []*Cursor) []*Cursor {
	from := r.at
	r.at = min(from+batchSize, len(r.cursors))
	for _, c := range r.cursors[from:r.at] {
		if c.gone {
			continue
		}
		if !t.noteFallenLocked(c) {
			t.passOwnLocked(c)
		}
		if !c.gone && c.next.Load() < c.limitLocked() {
			to = append(to, c)
		}
	}
	return to
}

// lowLocked lowers r.low to the cursors, so that the end of the round keeps the messages that they have not read. r may be
// nil.
func (t *topic) lowLocked(r *round, cursors ...*Cursor) {
	for _, c := range cursors {
		if r != nil && !c.gone && !c.fallen {
			r.low = min(r.low, c.next.Load())
		}
	}
}
