package fanout

// History: messages that are kept after everyone has read them, until they are too old.

import (
	"container/heap"
	"sync"
	"time"
)

// agePart is how often a topic is checked during HistoryAge. Publishing drops old messages too, so a busy topic needs no
// more than that.
const agePart = 8

// ages schedules the checks of topics whose history gets too old.
type ages struct {
	mu      sync.Mutex
	due     dueHeap
	timer   *time.Timer // for the first of due
	stopped bool
}

// due is the time at which a topic is to be checked.
type due struct {
	at    time.Duration // since the hub's start
	topic *topic
}

// dueHeap is a heap of topics, the earliest first.
type dueHeap []due

func (d dueHeap) Len() int           { return len(d) }
func (d dueHeap) Less(i, j int) bool { return d[i].at < d[j].at }
func (d dueHeap) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dueHeap) Push(x any)        { *d = append(*d, x.(due)) }
func (d *dueHeap) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	(*d)[last] = due{}
	*d = (*d)[:last]
	return x
}

// add schedules a check of the topic.
func (a *ages) add(t *topic, at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return
	}
	heap.Push(&a.due, due{at, t})
	if a.due[0].topic == t {
		a.armLocked(t.hub)
	}
}

// armLocked sets the timer, which runs Hub.age when the first topic is due. stop stops it.
func (a *ages) armLocked(h *Hub) {
	wait := a.due[0].at - h.now()
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, h.age)
	} else {
		a.timer.Reset(wait)
	}
}

// next removes and returns a topic that is due. If there is none, it arms the timer for the next and returns nil.
func (a *ages) next(h *Hub) *topic {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopped || len(a.due) == 0:
		return nil
	case a.due[0].at > h.now():
		a.armLocked(h)
		return nil
	}
	return heap.Pop(&a.due).(due).topic
}

// stop cancels all checks.
func (a *ages) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped, a.due = true, nil
	if a.timer != nil {
		a.timer.Stop()
	}
}

// age checks the topics that are due. The timer of ages starts it, and Close waits for it.
func (h *Hub) age() {
	if !h.enter() {
		return
	}
	defer h.leave()
	for {
		t := h.ages.next(h)
		if t == nil {
			return
		}
		t.mu.Lock()
		at, more := t.ageLocked(h.now())
		t.unlock()
		if more {
			h.ages.add(t, at)
		}
	}
}

// ageLocked drops messages that are too old. If more of them will be, it returns when to check again.
func (t *topic) ageLocked(now time.Duration) (at time.Duration, more bool) {
	t.dropReadLocked()
	if !t.emptyLocked() {
		newest := t.expiryLocked(t.next() - 1)
		if newest > now {
			oldest := t.expiryLocked(t.log.first)
			return min(newest, max(oldest, now+t.hub.cfg.HistoryAge/agePart)), true
		}
	}
	// The rest is kept for slow subscribers, and dropped when they have read it.
	t.aging = false
	return 0, false
}

// sinceLocked returns the index of the first message after number seq that the topic keeps for new subscribers. complete
// reports whether no message after seq is missing. It is false if seq is a number that the hub has not issued yet.
func (t *topic) sinceLocked(seq uint64) (from uint64, complete bool) {
	t.dropReadLocked()
	next, l := t.next(), t.log
	if l == nil {
		return next, seq >= t.floor && seq <= t.hub.Order()
	}
	from = l.first
	if t.history {
		from = t.historyLocked()
	}
	floor := t.floor
	if from > l.first {
		ch, i := l.find(from - 1)
		floor = ch.entries[i].seq
	}
	return max(from, l.after(seq, next)), seq >= floor && seq <= t.hub.Order()
}
