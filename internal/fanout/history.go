package fanout

// History: what is kept that everyone has read, until it is too old.

import (
	"container/heap"
	"sync"
	"time"
)

// A busy topic is looked at this often while its oldest message ages; its publishers do so anyway.
const agePart = 8

// ages says when topics have to be looked at because their history is too old.
type ages struct {
	mu      sync.Mutex
	due     dueHeap
	timer   *time.Timer // for the first of due
	stopped bool
}

type due struct {
	at    time.Duration // since the hub's start
	topic *topic
}

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

// add has the topic looked at, at the time given.
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

// armLocked sets the timer, which runs Hub.age when the first topic is due; stop stops it.
func (a *ages) armLocked(h *Hub) {
	wait := a.due[0].at - h.now()
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, h.age)
	} else {
		a.timer.Reset(wait)
	}
}

// next takes out a topic that is due; where there is none it arms the timer for the next.
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

func (a *ages) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped, a.due = true, nil
	if a.timer != nil {
		a.timer.Stop()
	}
}

// age looks at the topics that are due. The timer of ages starts it; Close waits for it.
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

// ageLocked drops what is too old, and returns when to look again.
func (t *topic) ageLocked(now time.Duration) (at time.Duration, more bool) {
	t.readLocked()
	if !t.emptyLocked() {
		newest := t.expiryLocked(t.next() - 1)
		if newest > now {
			oldest := t.expiryLocked(t.log.first)
			return min(newest, max(oldest, now+t.hub.cfg.HistoryAge/agePart)), true
		}
	}
	// What is left is kept for the slow, who will drop it.
	t.aging = false
	return 0, false
}

// sinceLocked returns where the messages begin with numbers larger than seq, of those that the topic keeps for
// newcomers, and whether there were no others: as far as numbers go that were given.
func (t *topic) sinceLocked(seq uint64) (from uint64, complete bool) {
	t.readLocked()
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
	return max(from, l.behind(seq, next)), seq >= floor && seq <= t.hub.Order()
}
