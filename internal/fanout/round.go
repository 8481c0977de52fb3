package fanout

// Waking: topics to which something came wait in a queue for a few workers.

import (
	"sync"
	"sync/atomic"
)

const (
	// Cursors that are looked at in one hold of a topic's lock, and woken behind it.
	batch = 32
	// After so many of these a goroutine has done its turn: other topics, and a publisher's caller, wait for it.
	turn = 64
)

// round is one pass over a topic's cursors. Several goroutines may share it. Guarded by the topic's mu.
type round struct {
	cursors []*Cursor // as they were at its begin; nothing in the array changes
	at      int       // those below have been taken to be woken
	sharers int
	low     uint64        // no cursor is below
	from    uint64        // the log's woken at the end
	total   int           // and its wokenTotal
	ended   chan struct{} // closed at the end, nil where nobody waits for it
}

var rounds = sync.Pool{New: func() any { return new(round) }}

// queue holds the topics that are dirty, or have a round that may be shared.
type queue struct {
	pushed  atomic.Pointer[topic] // the newest first; publishers meet here without a lock
	max     int32                 // workers at a time
	workers atomic.Int32

	mu    sync.Mutex
	first *topic // the oldest first
}

// push puts in a topic whose queued mark the caller has set.
func (q *queue) push(t *topic) {
	for {
		first := q.pushed.Load()
		t.link = first
		if q.pushed.CompareAndSwap(first, t) {
			return
		}
	}
}

// pop takes out the topic that was put in first, nil where there is none.
func (q *queue) pop() *topic {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == nil {
		for t := q.pushed.Swap(nil); t != nil; {
			link := t.link
			t.link, q.first = q.first, t
			t = link
		}
	}
	t := q.first
	if t != nil {
		q.first, t.link = t.link, nil
	}
	return t
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first == nil && q.pushed.Load() == nil
}

// hire reports whether one more worker may run, and counts it.
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

// enqueue puts a marked topic into the queue. It starts a worker unless enough of them run; the worker
// ends when the queue is empty or the hub closed, and Close waits for it.
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

// work is a worker.
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
		// Whoever put one in before that may have counted on us.
		if h.closed.Load() || h.queue.empty() || !h.queue.hire() {
			return
		}
	}
}

// markLocked reports whether the caller has to put the topic into the queue. While a round runs its end
// does that.
func (t *topic) markLocked() bool {
	if t.queued || t.round != nil {
		return false
	}
	t.queued = true
	return true
}

// wake takes part in waking the topic's cursors, and begins with it where something came. It reports whether
// there was anything to do. popped says that the topic has just come out of the queue.
func (t *topic) wake(popped bool) bool {
	var space [batch]*Cursor
	t.mu.Lock()
	if popped {
		t.queued = false
	}
	r := t.joinLocked()
	if r == nil {
		t.unlock()
		return false
	}
	for n := 0; n < turn && r.at < len(r.cursors) && !t.hub.closed.Load(); n++ {
		woken := t.takeLocked(r, space[:0])
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

// joinLocked returns the topic's round, a new one where something came, nil where nobody is left to be woken.
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

// shareLocked reports whether the caller has to put the topic into the queue, for one more worker.
func (t *topic) shareLocked(r *round) bool {
	q := &t.hub.queue
	if t.queued || len(r.cursors)-r.at < batch || q.workers.Load() >= q.max {
		return false
	}
	t.queued = true
	return true
}

// leaveLocked leaves a round; the last to do so ends it if it is done. It reports whether the caller has to
// put the topic into the queue, because it is not, or because something came meanwhile.
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
	case t.behind == 0:
		t.settleLocked(t.next())
	case r.at == len(r.cursors): // or Close broke it off
		t.settleLocked(r.low)
	}
	*r = round{}
	rounds.Put(r)
	return t.dirty && t.markLocked()
}

// takeLocked appends those of the next few cursors that have something to take.
func (t *topic) takeLocked(r *round, to []*Cursor) []*Cursor {
	from := r.at
	r.at = min(from+batch, len(r.cursors))
	for _, c := range r.cursors[from:r.at] {
		if c.gone {
			continue
		}
		if !t.loseLocked(c) {
			t.passOwnLocked(c)
		}
		if !c.gone && c.next.Load() < c.limitLocked() {
			to = append(to, c)
		}
	}
	return to
}

// lowLocked has the end of a round, if there is one, keep what the cursors have to take.
func (t *topic) lowLocked(r *round, cursors ...*Cursor) {
	for _, c := range cursors {
		if r != nil && !c.gone && !c.lost {
			r.low = min(r.low, c.next.Load())
		}
	}
}
