package fanout

// The work of a publisher after its message is appended: it queues the topic, and helps to wake the subscribers if the
// workers do not keep up. A subscriber that reads everything whenever it is woken must not fall off the log because
// messages are published faster than subscribers are woken.

import "time"

const (
	// Publishers help, and wait, when this fraction of a log's limits was appended since all subscribers were woken.
	helpPart = 4
	waitPart = 2
	// A lead in bytes is a fraction of at most this much. If the limits are wide or off, a large lead only costs memory.
	maxLead = 1 << 20
	// The longest wait. By then the others are at their last subscribers, and none of them waits for anything.
	helpWait = 10 * time.Millisecond
	// The round that runs, one for the messages that came since, and one more if others started that one.
	helpRounds = 3
)

// lead is how far publishing is ahead of waking.
type lead struct {
	messages uint64
	bytes    int
}

// leadOf returns a fraction of a log's limits.
func leadOf(cfg Config, part int) lead {
	d := lead{1 << 62, maxLead / part}
	if cfg.MaxBytes > 0 {
		d.bytes = min(d.bytes, cfg.MaxBytes/part)
	}
	if cfg.MaxMessages > 0 {
		d.messages = uint64(max(1, cfg.MaxMessages/part))
	}
	return d
}

// aheadLocked reports whether publishing is ahead by d or more.
func (t *topic) aheadLocked(d lead) bool {
	l := t.log
	return l != nil && (t.next()-l.woken >= d.messages || l.total-l.wokenTotal >= d.bytes)
}

// todo is the work of a publisher after it has unlocked the topic.
type todo struct {
	enqueue, help, age bool
}

// publishedLocked notes that a message was appended.
func (t *topic) publishedLocked() (d todo) {
	if t.history && !t.emptyLocked() && !t.aging {
		t.aging, d.age = true, true
	}
	if len(t.cursors) > 0 {
		t.dirty = true
		d.enqueue = t.markLocked()
		d.help = t.aheadLocked(t.hub.helpLead)
	}
	return d
}

// do does the work. The topic is not locked.
func (d todo) do(t *topic) {
	if d.age {
		t.hub.ages.add(t, t.hub.now()+t.hub.cfg.HistoryAge)
	}
	if d.enqueue {
		t.hub.enqueue(t)
	}
	if d.help {
		t.help()
	}
}

// help wakes subscribers as a worker does, and waits for the others that do, while publishing is too far ahead.
func (t *topic) help() {
	if !t.hub.enter() {
		return
	}
	defer t.hub.leave()
	var timeout <-chan time.Time
	for range helpRounds {
		worked := t.wake(false)
		ended, wait := t.roundEnd()
		switch {
		case !wait:
			return
		case ended == nil && !worked:
			return // nobody is left to be woken
		case ended == nil:
			continue
		case timeout == nil:
			timer := time.NewTimer(helpWait)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-ended:
		case <-timeout:
			return
		}
	}
}

// roundEnd reports whether publishing is so far ahead that publishers have to wait. ended is closed at the end of the
// topic's round, nil if no round runs.
func (t *topic) roundEnd() (ended <-chan struct{}, wait bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.aheadLocked(t.hub.waitLead) {
		return nil, false
	}
	r := t.round
	if r == nil {
		return nil, true
	}
	if r.ended == nil {
		r.ended = make(chan struct{})
	}
	return r.ended, true
}
