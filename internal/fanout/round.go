package fanout

// Waking: topics to which something came wait in a queue for a few workers.

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Cursors that are looked at in one hold of a topic's lock, and woken behind it.
const batch = 32

// round is one pass over a topic's cursors. Several goroutines may share it. Guarded by the topic's mu.
type round struct {
	cursors []*Cursor // as they were at its begin; nothing in the array changes
	at      int       // those below have been taken to be woken
	sharers int
	low     uint64 // no cursor is below
}

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
			t.mu.Lock()
			t.queued = false
			t.wakeLocked()
		}
		h.queue.workers.Add(-1)
		// Whoever put one in before that may have counted on us.
		if h.closed.Load() || h.queue.empty() || !h.queue.hire() {
			return
		}
	}
}

// todo is what is left to do for a publisher when it has unlocked the topic.
type todo struct {
	enqueue, help, age bool
}

func (t *topic) afterAppendLocked(ok bool) (d todo) {
	if !ok {
		return d
	}
	l := t.log
	if t.hub.history && l != nil && !t.aging {
		t.aging, d.age = true, true
	}
	if len(t.cursors) == 0 {
		return d
	}
	t.dirty = true
	d.enqueue = t.markLocked()
	d.help = l != nil && (l.freshBytes >= t.hub.helpBytes || t.next()-l.freshFrom >= t.hub.helpMessages)
	return d
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

func (d todo) do(t *topic) {
	h := t.hub
	if d.age {
		h.ages.add(t, h.now()+h.cfg.HistoryAge)
	}
	if d.enqueue {
		h.enqueue(t)
	}
	if d.help && h.enter() {
		t.mu.Lock()
		helped := t.wakeLocked()
		h.leave()
		if !helped {
			runtime.Gosched() // the others are at the round's last
		}
	}
}

// wakeLocked takes part in waking the topic's cursors, and begins with it where something came. It reports
// whether there was anything to do. mu is held, and unlocked in the end.
func (t *topic) wakeLocked() bool {
	var cursors [batch]*Cursor
	r := t.round
	if r == nil && t.dirty && !t.gone.Load() {
		r = t.beginLocked()
	}
	if r == nil || r.at == len(r.cursors) {
		t.unlock()
		return false
	}
	r.sharers++
	for r.at < len(r.cursors) && !t.hub.closed.Load() {
		seen := r.cursors[r.at:min(r.at+batch, len(r.cursors))]
		r.at += len(seen)
		woken := t.takeLocked(seen, cursors[:0])
		share := len(r.cursors)-r.at > batch && !t.queued && t.hub.queue.workers.Load() < t.hub.queue.max
		if share {
			t.queued = true
		}
		t.unlock()
		if share {
			t.hub.enqueue(t)
		}
		for _, c := range woken {
			c.target.Wake(c)
		}
		t.mu.Lock()
		t.lowLocked(r, woken)
	}
	again := false
	if r.sharers--; r.sharers == 0 {
		again = t.finishLocked(r)
	}
	t.unlock()
	if again {
		t.hub.enqueue(t)
	}
	return true
}

// beginLocked begins a round.
func (t *topic) beginLocked() *round {
	t.dirty = false
	t.shared = true
	t.round = &round{cursors: t.cursors, low: t.next()}
	if l := t.log; l != nil {
		l.freshBytes, l.freshFrom = 0, t.next()
	}
	return t.round
}

// takeLocked appends those of the cursors that have something to take.
func (t *topic) takeLocked(cursors, to []*Cursor) []*Cursor {
	for _, c := range cursors {
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

// lowLocked takes note of where cursors are that were woken.
func (t *topic) lowLocked(r *round, woken []*Cursor) {
	for i, c := range woken {
		if !c.gone && !c.lost {
			r.low = min(r.low, c.next.Load())
		}
		woken[i] = nil
	}
}

// finishLocked ends a round, and reports whether the caller has to put the topic into the queue again.
func (t *topic) finishLocked(r *round) bool {
	t.round, t.shared = nil, false
	switch {
	case t.behind == 0:
		t.settleLocked(t.next())
	case r.at == len(r.cursors): // or Close broke it off
		t.settleLocked(r.low)
	}
	return t.dirty && t.markLocked()
}
